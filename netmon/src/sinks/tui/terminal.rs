//! The terminal, and its way back: raw mode, the alternate screen, the mouse and the hidden cursor
//! are undone when [`Terminal`] is dropped, before a panic is told, and around a stop by Ctrl-Z.
//! Only `kill -9` leaves the terminal as it is; `reset` mends it.
//!
//! What is drawn goes out in one write a frame, and only the cells that changed. Keys are read
//! from the terminal that stdin is, else from `/dev/tty`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use nix::sys::termios::{self, SetArg, Termios};
use ratatui_core::backend::Backend;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_crossterm::CrosstermBackend;

/// A frame of a large screen is hardly longer.
const FRAME: usize = 64 * 1024;
/// The alternate screen, no cursor, and the mouse's buttons and wheel with coordinates beyond
/// 223 (xterm, "SGR"); its motions are not asked for, which would wake us for nothing.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?1006h\x1b[2J";
/// The same without the mouse.
const ENTER_WITHOUT_MOUSE: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[2J";
/// The inverse of both, the colours included.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?1006l\x1b[?1000l\x1b[?25h\x1b[?1049l";
/// How long a panic waits for a frame that is being written.
const FRAME_ENDS: Duration = Duration::from_millis(200);
/// What a terminal that does not tell its size is taken for (a serial line).
const USUAL_SIZE: (u16, u16) = (80, 24);
/// The widest screen that is drawn on: a display of 3,840 pixels with letters of four.
const WIDEST: u16 = 960;
/// The most cells that are drawn: two buffers of them take 10 MiB. Anybody may give a terminal a
/// size, and one of 65,535 by 65,535 would take 340 GB.
const MOST_CELLS: u32 = 1 << 17;

nix::ioctl_read_bad!(window_size, libc::TIOCGWINSZ, libc::winsize);

/// What to put back. Shared with the panic hook.
struct Modes {
    output: File,
    input: OwnedFd,
    mouse: bool,
    before: Mutex<Termios>,
    entered: AtomicBool,
    /// Held while a frame is written, and by who panics: a frame after the message would cover it.
    screen: Mutex<()>,
}

impl Modes {
    fn enter(&self) -> io::Result<()> {
        let before = termios::tcgetattr(&self.input)?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        // What is kept is what was there before us, not what a shell has set since.
        if !self.entered.swap(true, Ordering::SeqCst) {
            *self.before.lock().unwrap_or_else(PoisonError::into_inner) = before;
        }
        termios::tcsetattr(&self.input, SetArg::TCSANOW, &raw)?;
        (&self.output).write_all(if self.mouse { ENTER } else { ENTER_WITHOUT_MOUSE })
    }

    /// Does nothing the second time.
    fn leave(&self) -> io::Result<()> {
        if !self.entered.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        // The modes first: that never waits, even when nobody takes what is written.
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let restored = termios::tcsetattr(&self.input, SetArg::TCSANOW, &before);
        (&self.output).write_all(LEAVE)?;
        Ok(restored?)
    }

    /// Waits a little until no frame is being written. One that nobody takes, and one that is
    /// itself what panics, are not waited for.
    fn screen_soon(&self) -> Option<MutexGuard<'_, ()>> {
        let until = Instant::now() + FRAME_ENDS;
        loop {
            match self.screen.try_lock() {
                Ok(screen) => return Some(screen),
                Err(TryLockError::Poisoned(screen)) => return Some(screen.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Only what never waits.
    fn leave_at_once(&self) {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let _ = termios::tcsetattr(&self.input, SetArg::TCSANOW, &before);
    }
}

/// Puts the terminal back whatever happens to the thread that draws.
pub(super) struct Restore {
    modes: Arc<Modes>,
    panicked: Arc<AtomicBool>,
    hook: Arc<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>,
}

impl Restore {
    /// Whether any thread has panicked since: then the screen is not ours any more.
    pub(super) fn panicked(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.panicked)
    }

    /// When the thread that draws is stuck in a write that nobody takes: at least the modes.
    pub(super) fn at_once(&self) {
        self.modes.leave_at_once();
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        // A hook cannot be changed by who panics; it does nothing a second time.
        if !std::thread::panicking() {
            let hook = Arc::clone(&self.hook);
            panic::set_hook(Box::new(move |info| hook(info)));
        }
    }
}

/// A terminal in raw mode, on the alternate screen.
pub(super) struct Terminal {
    modes: Arc<Modes>,
    backend: CrosstermBackend<BufWriter<File>>,
    shown: Buffer,
    next: Buffer,
}

/// Takes the terminal over.
///
/// # Errors
/// In words, when there is none or it cannot be drawn on.
pub(super) fn take(mouse: bool) -> io::Result<(Terminal, Restore)> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return Err(io::Error::other(
            "the live view needs a terminal, and stdout is none; `--once` prints what it shows",
        ));
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Err(io::Error::other(
            "this terminal cannot be drawn on (TERM=dumb); `--once` prints what the live view shows",
        ));
    }
    let output = File::from(stdout.as_fd().try_clone_to_owned()?);
    let stdin = io::stdin();
    let input = if stdin.is_terminal() {
        stdin.as_fd().try_clone_to_owned()?
    } else {
        let opened = File::options().read(true).write(true).open("/dev/tty");
        opened.map(OwnedFd::from).map_err(|error| {
            io::Error::other(format!(
                "no terminal to read keys from: stdin is none, /dev/tty: {error}"
            ))
        })?
    };
    let before = Mutex::new(termios::tcgetattr(&input)?);
    let backend = CrosstermBackend::new(BufWriter::with_capacity(FRAME, output.try_clone()?));
    let (entered, screen) = (AtomicBool::new(false), Mutex::new(()));
    let modes = Arc::new(Modes { output, input, mouse, before, entered, screen });
    let restore = hook_panics(&modes);
    let mut terminal =
        Terminal { modes, backend, shown: Buffer::default(), next: Buffer::default() };
    terminal.enter()?;
    Ok((terminal, restore))
}

fn hook_panics(modes: &Arc<Modes>) -> Restore {
    let panicked = Arc::new(AtomicBool::new(false));
    let hook: Arc<dyn Fn(&PanicHookInfo<'_>) + Send + Sync> = Arc::from(panic::take_hook());
    let restore = Restore { modes: Arc::clone(modes), panicked, hook };
    let (modes, panicked, hook) =
        (Arc::clone(modes), Arc::clone(&restore.panicked), Arc::clone(&restore.hook));
    panic::set_hook(Box::new(move |info| {
        panicked.store(true, Ordering::SeqCst);
        let _screen = modes.screen_soon();
        // When it cannot be put back, the message is still worth printing.
        let _ = modes.leave();
        hook(info);
    }));
    restore
}

impl Terminal {
    /// Takes the terminal over (again) and forgets what was drawn.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        self.modes.enter()?;
        self.measure();
        Ok(())
    }

    /// Gives the terminal back.
    pub(super) fn leave(&self) -> io::Result<()> {
        self.modes.leave()
    }

    /// Asks for the size and draws everything the next time.
    pub(super) fn measure(&mut self) {
        let (width, height) = self.size();
        let area = Rect::new(0, 0, width, height);
        self.shown = Buffer::empty(area);
        self.next = Buffer::empty(area);
    }

    fn size(&self) -> (u16, u16) {
        use std::os::fd::AsRawFd;
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the descriptor is open, and the call only fills in the struct.
        match unsafe { window_size(self.modes.output.as_raw_fd(), &raw mut size) } {
            Ok(_) => drawable(size.ws_col, size.ws_row),
            Err(_) => USUAL_SIZE,
        }
    }

    /// What keys are read from.
    pub(super) fn input(&self) -> BorrowedFd<'_> {
        self.modes.input.as_fd()
    }

    /// Draws a frame: `fill` gets an empty buffer.
    pub(super) fn draw(&mut self, whole: bool, fill: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.next.reset();
        fill(&mut self.next);
        let _screen = self.modes.screen.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.modes.entered.load(Ordering::SeqCst) {
            // Somebody has panicked since.
            return Ok(());
        }
        if whole {
            self.shown.reset();
            self.backend.clear()?;
        }
        self.backend.draw(self.shown.diff_iter(&self.next))?;
        Backend::flush(&mut self.backend)?;
        std::mem::swap(&mut self.shown, &mut self.next);
        Ok(())
    }
}

/// As much of a terminal of this size as is drawn on, from its upper left corner.
fn drawable(width: u16, height: u16) -> (u16, u16) {
    if width == 0 || height == 0 {
        return USUAL_SIZE;
    }
    let width = width.min(WIDEST);
    let highest = MOST_CELLS / u32::from(width);
    (width, height.min(u16::try_from(highest).unwrap_or(u16::MAX)))
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing put back.
        let _ = self.modes.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_size_takes_too_much_memory() {
        let cases = [
            ((0, 0), USUAL_SIZE),
            ((0, 50), USUAL_SIZE),
            ((1, 1), (1, 1)),
            ((80, 24), (80, 24)),
            ((640, 180), (640, 180)),
            ((65_535, 65_535), (960, 136)),
            ((65_535, 1), (960, 1)),
            ((1, 65_535), (1, 65_535)),
            ((2, 65_535), (2, 65_535)),
            ((3, 65_535), (3, 43_690)),
        ];
        for ((width, height), expected) in cases {
            assert_eq!(drawable(width, height), expected, "{width} by {height}");
        }
    }
}
