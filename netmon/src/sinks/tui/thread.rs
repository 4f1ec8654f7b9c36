//! The thread that draws and reads the keys. It sleeps in poll(2) until there is a key, a tick, a
//! signal, or the next frame is due; nothing wakes it otherwise.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::time::{ClockId, clock_gettime};
use signal_hook::consts::{SIGCONT, SIGTSTP, SIGWINCH};
use signal_hook::{SigId, flag, low_level};

use super::input::Decoder;
use super::screen::Screen;
use super::screen::state::Effect;
use super::terminal::Terminal;
use super::{End, LiveOptions, Mailbox};
use crate::model::traffic::view::TrafficView;
use crate::model::view::View;
use crate::privileges;

/// Ten frames a second at most.
const FRAME: Duration = Duration::from_millis(100);
/// Of a CPU's time at most a 40th goes into showing new data, on however slow a machine: after a
/// frame that took long, the next one waits longer. Keys do not wait.
const REST: u32 = 40;
/// The longest that a frame waits.
const SLOWEST: Duration = Duration::from_secs(1);
/// So long a lone Escape may be the beginning of a sequence.
const ESCAPE: Duration = Duration::from_millis(50);
/// So long the end waits for a terminal that does not take what is written.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to the thread.
pub(super) struct Thread {
    mailbox: Mailbox,
    wake: Arc<EventFd>,
    stop: Arc<AtomicBool>,
    ended: mpsc::Receiver<()>,
}

impl Thread {
    /// Starts it.
    pub(super) fn start(
        terminal: Terminal,
        options: &LiveOptions,
        panicked: Arc<AtomicBool>,
        on_end: impl FnOnce(End) + Send + 'static,
    ) -> io::Result<Self> {
        let mailbox = Mailbox::default();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_flags(flags)?);
        let stop = Arc::new(AtomicBool::new(false));
        let (has_ended, ended) = mpsc::channel::<()>();
        let mut painter = Painter {
            terminal,
            screen: Screen::new(options.units, options.theme, Arc::clone(&options.names))
                .beginning_with(&options.filter, options.kernel_threads),
            mailbox: Arc::clone(&mailbox),
            wake: Arc::clone(&wake),
            stop: Arc::clone(&stop),
            panicked,
            signals: Signals::catch()?,
            decoder: Decoder::default(),
            wants: Wants::Everything,
            drawn: None,
            pace: FRAME,
            used: Duration::ZERO,
        };
        std::thread::Builder::new().name("netmon-live".to_owned()).spawn(move || {
            // The thread that reads keys and writes names has no business with privileges.
            privileges::drop_all_but(&[]);
            // Dropped at the end of the thread, however that comes.
            let _has_ended = has_ended;
            let unwound = std::panic::AssertUnwindSafe(|| painter.run());
            let end = std::panic::catch_unwind(unwound).unwrap_or_else(|_| {
                Some(End::Failed(io::Error::other("the live view has panicked")))
            });
            painter.mailbox.close();
            drop(painter);
            if let Some(end) = end {
                on_end(end);
            }
        })?;
        Ok(Self { mailbox, wake, stop, ended })
    }

    pub(super) fn put(&self, view: &View, traffic: Option<&mut TrafficView>) {
        self.mailbox.put(view, traffic);
        self.wake();
    }

    pub(super) fn take_back(&self, traffic: &mut TrafficView) {
        self.mailbox.take_back(traffic);
    }

    fn wake(&self) {
        // Only a counter at its end would refuse, and then the thread is awake anyway.
        let _ = self.wake.write(1);
    }

    /// Ends it. `false`: it is stuck in a write.
    pub(super) fn end(&self) -> bool {
        self.stop.store(true, Ordering::SeqCst);
        self.mailbox.close();
        self.wake();
        !matches!(self.ended.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Timeout))
    }
}

/// What is to be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wants {
    Nothing,
    /// What has changed because of a tick.
    Tick,
    /// What has changed because of a key.
    Key,
    /// All, because the terminal may show anything.
    Everything,
}

struct Painter {
    terminal: Terminal,
    screen: Screen,
    mailbox: Mailbox,
    wake: Arc<EventFd>,
    stop: Arc<AtomicBool>,
    panicked: Arc<AtomicBool>,
    signals: Signals,
    decoder: Decoder,
    wants: Wants,
    drawn: Option<Instant>,
    /// From frame to frame, as long as no key is pressed.
    pace: Duration,
    /// CPU time of this thread until the last frame.
    used: Duration,
}

impl Painter {
    /// `None`: it was told to end.
    fn run(&mut self) -> Option<End> {
        loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(error) => return Some(End::Failed(error)),
            }
        }
    }

    /// Sleeps once. `Some`: it is over.
    fn turn(&mut self) -> io::Result<Option<Option<End>>> {
        self.draw_if_due()?;
        let key = self.sleep()?;
        if self.stop.load(Ordering::SeqCst) {
            return Ok(Some(None));
        }
        if self.panicked.load(Ordering::SeqCst) {
            return Err(io::Error::other("a thread has panicked"));
        }
        // More wakes than one are one.
        let _ = self.wake.read();
        if self.signals.take_size() {
            self.terminal.measure();
            self.wants = Wants::Everything;
        }
        let stop = self.signals.take_stop();
        if stop {
            self.suspend()?;
            self.put_away();
        }
        // After any stop the terminal may be in any mode.
        if self.signals.take_continue() && !stop {
            self.terminal.enter()?;
            self.wants = Wants::Everything;
        }
        self.look();
        let quits = self.keys(key);
        self.put_away();
        match quits? {
            true => Ok(Some(Some(End::Quit))),
            false => Ok(None),
        }
    }

    /// Takes the latest tick, and the flows, which the agent has to wait for meanwhile.
    fn look(&mut self) {
        let Self { screen, mailbox, .. } = self;
        if screen.update(|shown, events| mailbox.take(shown, events)) {
            self.want(Wants::Tick);
        }
    }

    /// Gives the flows back.
    fn put_away(&mut self) {
        self.mailbox.give_back(self.screen.shown());
    }

    fn want(&mut self, wants: Wants) {
        self.wants = self.wants.max(wants);
    }

    fn draw_if_due(&mut self) -> io::Result<()> {
        // The screen is not ours after a panic anywhere.
        if self.panicked.load(Ordering::SeqCst) {
            return Ok(());
        }
        if self.wants == Wants::Nothing || !self.until_frame().is_zero() {
            return Ok(());
        }
        self.drawn = Some(Instant::now());
        self.look();
        let whole = self.wants == Wants::Everything;
        self.wants = Wants::Nothing;
        let Self { terminal, screen, mailbox, .. } = self;
        terminal.draw(whole, |buffer| {
            screen.draw(buffer);
            // Before it is written, which may take any time.
            mailbox.give_back(screen.shown());
        })?;
        let used = Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?);
        let took = used.saturating_sub(std::mem::replace(&mut self.used, used));
        self.pace = (took * REST).clamp(FRAME, SLOWEST);
        Ok(())
    }

    /// How long until a frame may be drawn.
    fn until_frame(&self) -> Duration {
        let pace = if self.wants == Wants::Tick { self.pace } else { FRAME };
        self.drawn.map_or(Duration::ZERO, |drawn| pace.saturating_sub(drawn.elapsed()))
    }

    /// Until something happens.
    fn sleep(&self) -> io::Result<Option<Keys>> {
        let mut timeout = None;
        if self.wants != Wants::Nothing {
            timeout = Some(self.until_frame());
        }
        if self.decoder.is_waiting() {
            timeout = Some(timeout.map_or(ESCAPE, |frame: Duration| frame.min(ESCAPE)));
        }
        // Rounded up: to wake a moment early would be to wake twice.
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            PollTimeout::try_from(timeout.as_millis() as i32 + 1).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [
            PollFd::new(self.terminal.input(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout) {
            Ok(0) if self.decoder.is_waiting() => Ok(Some(Keys::NoMore)),
            Ok(_) | Err(Errno::EINTR) => {
                let [terminal, ..] = &fds;
                let ready = terminal.revents().unwrap_or(PollFlags::empty());
                Ok((!ready.is_empty()).then_some(Keys::Ready))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// `true`: the user wants to quit.
    fn keys(&mut self, keys: Option<Keys>) -> io::Result<bool> {
        let mut inputs = Vec::new();
        match keys {
            None => return Ok(false),
            Some(Keys::NoMore) => self.decoder.give_up(|input| inputs.push(input)),
            Some(Keys::Ready) => {
                let mut bytes = [0; 1024];
                let length = match nix::unistd::read(self.terminal.input(), &mut bytes) {
                    Ok(0) | Err(Errno::EIO) => {
                        return Err(io::Error::other("the terminal is gone"));
                    }
                    Ok(length) => length,
                    Err(Errno::EINTR | Errno::EAGAIN) => return Ok(false),
                    Err(error) => return Err(error.into()),
                };
                self.decoder.feed(&bytes[..length], |input| inputs.push(input));
            }
        }
        for input in inputs {
            match self.screen.input(input) {
                Effect::Draw => self.want(Wants::Key),
                Effect::Redraw => {
                    self.terminal.measure();
                    self.wants = Wants::Everything;
                }
                Effect::Suspend => self.suspend()?,
                Effect::Quit => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Stops the whole process as the terminal itself would, and goes on when it is continued.
    /// Where nobody could continue it (no job control), the kernel does not stop it.
    fn suspend(&mut self) -> io::Result<()> {
        self.put_away();
        self.terminal.leave()?;
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action and then the handler that was there run no code of ours.
        let before = unsafe { sigaction(Signal::SIGTSTP, &default) }?;
        let raised = raise(Signal::SIGTSTP);
        // SAFETY: as above.
        unsafe { sigaction(Signal::SIGTSTP, &before) }?;
        raised?;
        self.terminal.enter()?;
        self.wants = Wants::Everything;
        // There may be more keys to take in.
        self.look();
        Ok(())
    }
}

/// What there is of keys.
#[derive(Clone, Copy)]
enum Keys {
    /// Something to read, or the end of it.
    Ready,
    /// Nothing came after an Escape.
    NoMore,
}

/// Signals that concern the terminal, as something to poll.
struct Signals {
    pipe: UnixStream,
    size: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    go_on: Arc<AtomicBool>,
    ids: Vec<SigId>,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        let (pipe, write) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let mut signals = Self {
            pipe,
            size: Arc::default(),
            stop: Arc::default(),
            go_on: Arc::default(),
            ids: Vec::new(),
        };
        let flags =
            [(SIGWINCH, &signals.size), (SIGTSTP, &signals.stop), (SIGCONT, &signals.go_on)];
        for (signal, raised) in flags {
            // In this order: who is waked by the second finds the first.
            signals.ids.push(flag::register(signal, Arc::clone(raised))?);
            signals.ids.push(low_level::pipe::register(signal, write.try_clone()?)?);
        }
        Ok(signals)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    fn take_size(&mut self) -> bool {
        // Emptied before the flags are looked at, so that none is missed.
        while matches!(self.pipe.read(&mut [0; 64]), Ok(length) if length > 0) {}
        self.size.swap(false, Ordering::SeqCst)
    }

    fn take_stop(&self) -> bool {
        self.stop.swap(false, Ordering::SeqCst)
    }

    fn take_continue(&self) -> bool {
        self.go_on.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            low_level::unregister(id);
        }
    }
}
