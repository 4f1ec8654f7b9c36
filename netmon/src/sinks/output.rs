//! Gets the report to stdout without ever making the tick wait: a thread of its own writes, and
//! takes the latest tick when it is ready for one. A stdout that is blocked costs reports, which
//! are counted, and two buffers of memory; it costs no counting. On the path of every tick.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
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
}

/// What became of the output when it ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Ticks that were not written because stdout was blocked.
    pub skipped: u64,
    /// The last tick is written, too.
    pub complete: bool,
}

impl Output {
    /// Starts the thread.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("netmon-stdout".to_owned())
            .spawn(move || write_all(&writer, to))?;
        Ok(Self { shared })
    }

    /// Hands a tick over and gets an empty buffer back. The tick before, if it still waits, is
    /// replaced.
    pub fn submit(&self, buffer: &mut Vec<u8>) {
        let mut state = self.shared.state();
        if !state.waiting.is_empty() {
            state.skipped += 1;
        }
        std::mem::swap(&mut state.waiting, buffer);
        drop(state);
        self.shared.changed.notify_one();
        buffer.clear();
    }

    /// Waits until writing has failed, and says why.
    pub async fn failed(&self) -> io::Error {
        loop {
            if let Some(error) = self.shared.state().error.take() {
                return error;
            }
            self.shared.failed.notified().await;
        }
    }

    /// Writes what waits, for at most `patience`, and ends the thread.
    #[must_use]
    pub fn finish(self, patience: Duration) -> Ended {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.state();
        state.ending = true;
        self.shared.changed.notify_all();
        while (state.writing || !state.waiting.is_empty()) && state.error.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let complete = !state.writing && state.waiting.is_empty();
        Ended { skipped: state.skipped, complete }
    }
}

fn write_all(shared: &Shared, mut to: impl Write) {
    let mut buffer = Vec::new();
    loop {
        let mut state = shared.state();
        while state.waiting.is_empty() {
            if state.ending {
                return;
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.waiting, &mut buffer);
        state.writing = true;
        drop(state);
        let result = to.write_all(&buffer).and_then(|()| to.flush());
        buffer.clear();
        let mut state = shared.state();
        state.writing = false;
        let failed = result.is_err();
        state.error = result.err();
        if state.ending || failed {
            shared.changed.notify_all();
        }
        drop(state);
        if failed {
            shared.failed.notify_one();
            return;
        }
    }
}

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
        (Output::start(Gate { written, leave }).unwrap(), seen, allow)
    }

    #[test]
    fn a_blocked_writer_gets_the_latest_and_the_rest_is_counted() {
        let (output, seen, allow) = gate();
        let submit = |text: &str| output.submit(&mut text.as_bytes().to_vec());
        submit("one");
        assert_eq!(seen.recv().unwrap(), b"one");
        for text in ["two", "three", "four"] {
            submit(text);
        }
        allow.send(()).unwrap();
        assert_eq!(seen.recv().unwrap(), b"four");
        allow.send(()).unwrap();
        let ended = output.finish(Duration::from_secs(60));
        assert_eq!(ended, Ended { skipped: 2, complete: true });
    }

    #[test]
    fn finishing_does_not_wait_for_ever() {
        let (output, seen, _allow) = gate();
        output.submit(&mut b"one".to_vec());
        assert_eq!(seen.recv().unwrap(), b"one");
        assert!(!output.finish(Duration::from_millis(1)).complete);
    }

    #[test]
    fn a_closed_stdout_is_told() {
        let (output, seen, _allow) = gate();
        drop(seen);
        output.submit(&mut b"one".to_vec());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(output.failed());
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn buffers_come_back_empty() {
        let (output, _seen, _allow) = gate();
        let mut buffer = b"one".to_vec();
        output.submit(&mut buffer);
        assert!(buffer.is_empty());
    }
}
