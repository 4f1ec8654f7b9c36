//! Gets the report to stdout without ever making the tick wait. What stdout takes at once is
//! written at once (`RWF_NOWAIT`); the rest is left to a thread of its own. A few ticks may wait
//! for it; when stdout is blocked for longer, the oldest give way to the latest and are counted.
//! That costs reports and some buffers, never counting. On the path of every tick: waking the
//! thread each time cost a tenth of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::on_terminal::OnTerminal;

/// Ticks that may wait: enough for a thread that gets its turn late, little for a blocked one.
const WAITING: usize = 4;

#[derive(Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    /// Empty buffers, to be used again.
    spare: Vec<Vec<u8>>,
    writing: bool,
    skipped: u64,
    error: Option<io::Error>,
    ending: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// To the thread: there is something to write. From it: all is written.
    changed: Condvar,
    failed: Notify,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole even when a holder of the lock has panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing thread's handle.
pub struct Output {
    shared: Arc<Shared>,
    /// Where to write without waiting, while that is possible.
    direct: Option<File>,
}

/// A file that others write to as well: each report is written while a lock is held (flock(2)),
/// which goes with the process. A terminal that is blocked blocks the others, too.
pub struct Locked {
    file: File,
    lock: File,
    held: bool,
}

impl Locked {
    /// Writes `file` while `lock` is held.
    #[must_use]
    pub const fn new(file: File, lock: File) -> Self {
        Self { file, lock, held: false }
    }
}

impl Write for Locked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.held {
            self.lock.lock()?;
            self.held = true;
        }
        self.file.write(bytes)
    }

    /// A report is over.
    fn flush(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.held) {
            self.lock.unlock()?;
        }
        Ok(())
    }
}

/// What became of the output when it ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// Ticks that were not written because stdout was blocked.
    pub skipped: u64,
    /// The last tick is written, too.
    pub complete: bool,
    /// Why writing has failed, if it has.
    pub error: Option<io::Error>,
}

impl Output {
    /// Starts with a file, which is written without the thread when it takes everything at once.
    /// A terminal gets nothing that it would obey.
    ///
    /// # Errors
    /// When the file cannot be shared with a thread, or no thread can be had.
    pub fn to_file(
        file: File,
        header: &str,
        first: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        if file.is_terminal() {
            return Self::start(OnTerminal(file), header, first);
        }
        let direct = Some(file.try_clone()?);
        Ok(Self { direct, ..Self::start(file, header, first)? })
    }

    /// Starts the thread, which does `first`, and writes `header` before everything else.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        to: impl Write + Send + 'static,
        header: &str,
        first: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        if !header.is_empty() {
            shared.state().waiting.push_back(header.as_bytes().to_vec());
        }
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("netmon-stdout".to_owned()).spawn(move || {
            first();
            write_all(&writer, to);
        })?;
        Ok(Self { shared, direct: None })
    }

    /// Hands a tick over and gets an empty buffer back. When too many wait, the oldest goes.
    pub fn submit(&mut self, buffer: &mut Vec<u8>) {
        let mut state = self.shared.state();
        if let Some(file) = &self.direct
            && state.waiting.is_empty()
            && !state.writing
        {
            match write_now(file, buffer) {
                Ok(written) => drop(buffer.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // This kind of file knows no such way; what else is wrong the thread will see.
                Err(_) => self.direct = None,
            }
            if buffer.is_empty() {
                return;
            }
        }
        let mut empty = state.spare.pop().unwrap_or_default();
        if state.waiting.len() >= WAITING
            && let Some(oldest) = state.waiting.pop_front()
        {
            state.skipped += 1;
            empty = oldest;
            empty.clear();
        }
        state.waiting.push_back(std::mem::replace(buffer, empty));
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Waits until writing has failed, and says why.
    pub fn failure(&self) -> impl Future<Output = io::Error> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            loop {
                if let Some(error) = &shared.state().error {
                    return copy(error);
                }
                shared.failed.notified().await;
            }
        }
    }

    /// Writes what waits, for at most `patience` (`None`: for as long as it takes), and ends the
    /// thread.
    #[must_use]
    pub fn finish(self, patience: Option<Duration>) -> Ended {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut state = self.shared.state();
        state.ending = true;
        self.shared.changed.notify_all();
        while (state.writing || !state.waiting.is_empty()) && state.error.is_none() {
            let changed = &self.shared.changed;
            state = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                None => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        let complete = !state.writing && state.waiting.is_empty() && state.error.is_none();
        Ended { skipped: state.skipped, complete, error: state.error.take() }
    }
}

/// The same error once more, as far as that is possible: its code, else its kind.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Writes everything, also where a parent has made the file non-blocking: then a full one is
/// looked at again after a moment.
pub(super) fn patiently(to: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    const MOMENT: Duration = Duration::from_millis(20);
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(MOMENT),
            Err(error) => return Err(error),
        }
    }
    to.flush()
}

/// Writes what can be written without waiting (pwritev2(2); pipes since Linux 6.5).
fn write_now(file: &File, bytes: &[u8]) -> io::Result<usize> {
    let piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: one piece, which the kernel only reads; −1 stands for the file's own position.
    let written =
        unsafe { libc::pwritev2(file.as_raw_fd(), &raw const piece, 1, -1, libc::RWF_NOWAIT) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

fn write_all(shared: &Shared, mut to: impl Write) {
    let mut state = shared.state();
    loop {
        let Some(mut buffer) = state.waiting.pop_front() else {
            if state.ending {
                return;
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.writing = true;
        drop(state);
        let result = patiently(&mut to, &buffer);
        buffer.clear();
        state = shared.state();
        state.spare.push(buffer);
        state.writing = false;
        state.error = result.err();
        if state.ending || state.error.is_some() {
            shared.changed.notify_all();
        }
        if state.error.is_some() {
            shared.failed.notify_one();
            return;
        }
    }
}

#[cfg(test)]
mod locked;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Gives each write out, and waits for leave before it returns.
    struct Gate {
        written: mpsc::Sender<Vec<u8>>,
        leave: mpsc::Receiver<()>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.leave.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gate() -> (Output, mpsc::Receiver<Vec<u8>>, mpsc::Sender<()>) {
        let (written, seen) = mpsc::channel();
        let (allow, leave) = mpsc::channel();
        (Output::start(Gate { written, leave }, "", || ()).unwrap(), seen, allow)
    }

    #[test]
    fn a_blocked_writer_gets_the_latest_and_the_rest_is_counted() {
        let (mut output, seen, allow) = gate();
        let mut submit = |number: usize| output.submit(&mut number.to_string().into_bytes());
        submit(0);
        assert_eq!(seen.recv().unwrap(), b"0");
        (1..=9).for_each(&mut submit);
        for expected in ["6", "7", "8", "9"] {
            allow.send(()).unwrap();
            assert_eq!(seen.recv().unwrap(), expected.as_bytes());
        }
        allow.send(()).unwrap();
        let ended = output.finish(Some(Duration::from_secs(60)));
        assert_eq!((ended.skipped, ended.complete), (5, true));
    }

    #[test]
    fn a_writer_that_is_a_little_late_gets_everything_after_the_header() {
        let (written, seen) = mpsc::channel();
        let (allow, leave) = mpsc::channel();
        let mut output = Output::start(Gate { written, leave }, "header", || ()).unwrap();
        (0..3).for_each(|number: usize| output.submit(&mut number.to_string().into_bytes()));
        for expected in ["header", "0", "1", "2"] {
            assert_eq!(seen.recv().unwrap(), expected.as_bytes());
            allow.send(()).unwrap();
        }
        assert_eq!(output.finish(Some(Duration::from_secs(60))).skipped, 0);
    }

    #[test]
    fn finishing_does_not_wait_for_ever() {
        let (mut output, seen, _allow) = gate();
        output.submit(&mut b"one".to_vec());
        assert_eq!(seen.recv().unwrap(), b"one");
        assert!(!output.finish(Some(Duration::from_millis(1))).complete);
    }

    #[test]
    fn a_closed_stdout_is_told() {
        let (mut output, seen, _allow) = gate();
        drop(seen);
        output.submit(&mut b"one".to_vec());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(output.failure());
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        // At the end, too, which may come first.
        output.submit(&mut b"two".to_vec());
        let ended = output.finish(None);
        let told = ended.error.map(|error| error.kind());
        assert_eq!((ended.complete, told), (false, Some(io::ErrorKind::BrokenPipe)));
    }

    #[test]
    fn a_pipe_gets_everything_in_order_whether_it_has_room_or_not() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let mut output = Output::to_file(File::from(writer), "header\n", || ()).unwrap();
        let mut reader = io::BufReader::new(File::from(reader));
        let mut line = String::new();
        io::BufRead::read_line(&mut reader, &mut line).unwrap();
        assert_eq!(line, "header\n");
        // Three times what a pipe holds, so that some of it has to wait.
        let tick = |number: usize| format!("{number} {}\n", "x".repeat(49_990));
        for number in 0..4 {
            output.submit(&mut tick(number).into_bytes());
        }
        for number in 0..4 {
            line.clear();
            io::BufRead::read_line(&mut reader, &mut line).unwrap();
            assert_eq!(line, tick(number));
        }
        let ended = output.finish(Some(Duration::from_secs(60)));
        assert_eq!((ended.skipped, ended.complete), (0, true));
    }

    #[test]
    fn a_non_blocking_pipe_is_written_as_it_gets_room() {
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
        let mut output = Output::to_file(File::from(writer), "", || ()).unwrap();
        let tick = vec![b'x'; 100_000];
        output.submit(&mut tick.clone());
        let mut reader = File::from(reader);
        let (mut buffer, mut seen) = (vec![0; 65_536], 0);
        while seen < tick.len() {
            match io::Read::read(&mut reader, &mut buffer) {
                Ok(read) => seen += read,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert!(output.finish(None).complete);
    }

    #[test]
    fn a_closed_pipe_is_told() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(reader);
        let mut output = Output::to_file(File::from(writer), "", || ()).unwrap();
        output.submit(&mut b"one".to_vec());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(output.failure()).kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn buffers_come_back_empty() {
        let (mut output, _seen, _allow) = gate();
        let mut buffer = b"one".to_vec();
        output.submit(&mut buffer);
        assert!(buffer.is_empty());
    }
}
