//! A program on a terminal of its own: a pseudo-terminal, and an emulator that knows what is on
//! its screen. Needs no privileges.

use std::{
    ffi::OsStr,
    fs::File,
    io::{ErrorKind, Read, Write},
    num::NonZeroU16,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    pty::{Winsize, openpty},
    sys::{
        prctl,
        signal::{SigHandler, Signal, signal},
        termios::{Termios, tcgetattr},
    },
    unistd::setsid,
};

use crate::{privileges::Privileges, process, wait};

/// ioctl_tty(2).
mod ioctl {
    nix::ioctl_write_int_bad!(make_controlling, libc::TIOCSCTTY);
    nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, nix::pty::Winsize);
}

/// A terminal, and the program on it. Dropping it kills that.
pub struct Terminal {
    child: Child,
    /// Our end; `None` once it is closed.
    ours: Option<File>,
    /// Its end, held open so that its modes can be asked for when the program has ended.
    theirs: OwnedFd,
    emulator: vt100::Parser,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("pid", &self.child.id()).finish_non_exhaustive()
    }
}

/// Modes of a terminal that a program must put back.
#[derive(Clone, Debug, PartialEq)]
pub struct Modes {
    termios: Termios,
    alternate_screen: bool,
    hidden_cursor: bool,
    mouse: bool,
}

impl Modes {
    /// Whether what the kernel keeps is the same; what is on the screen aside.
    #[must_use]
    pub fn same_termios(&self, other: &Self) -> bool {
        self.termios == other.termios
    }
}

/// Columns and lines.
pub type Size = (u16, u16);

impl Terminal {
    /// Starts a program as the leader of a session with this terminal, of this size.
    ///
    /// # Errors
    /// When the kernel has no pseudo-terminal, or the program cannot be started.
    pub fn start(program: impl AsRef<OsStr>, args: &[&str], size: Size) -> Result<Self> {
        Self::start_in(true, program.as_ref(), args, (size, size), Privileges::Full)
    }

    /// The same, and the kernel tells the program another size than the screen has.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_claiming(
        program: impl AsRef<OsStr>,
        args: &[&str],
        size: Size,
        claimed: Size,
    ) -> Result<Self> {
        Self::start_in(true, program.as_ref(), args, (size, claimed), Privileges::Full)
    }

    /// The same with these privileges.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(
        program: impl AsRef<OsStr>,
        args: &[&str],
        size: Size,
        privileges: Privileges,
    ) -> Result<Self> {
        Self::start_in(true, program.as_ref(), args, (size, size), privileges)
    }

    /// The same in the session of the tests: the kernel tells the program nothing of the
    /// terminal, neither its size nor its end.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_apart(program: impl AsRef<OsStr>, args: &[&str], size: Size) -> Result<Self> {
        Self::start_in(false, program.as_ref(), args, (size, size), Privileges::Full)
    }

    fn start_in(
        leads_session: bool,
        program: &OsStr,
        args: &[&str],
        ((width, height), claimed): (Size, Size),
        privileges: Privileges,
    ) -> Result<Self> {
        let claimed = Winsize { ws_row: claimed.1, ws_col: claimed.0, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&claimed, None).context("a pseudo-terminal")?;
        let ours = File::from(pair.master);
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        fcntl(&ours, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
        fcntl(&pair.slave, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
        let mut command = Command::new(program);
        let end = || Ok::<_, std::io::Error>(Stdio::from(pair.slave.try_clone()?));
        command.args(args).stdin(end()?).stdout(end()?).stderr(end()?);
        command.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
        command.env("PS1", "$ ").env_remove("ENV").env_remove("RUST_BACKTRACE");
        privileges.apply(&mut command);
        // SAFETY: between fork and exec only signal(2), prctl(2), setsid(2) and ioctl(2) are
        // called, and no memory is allocated.
        unsafe {
            command.pre_exec(move || {
                for ending in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGTSTP] {
                    signal(ending, SigHandler::SigDfl)?;
                }
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                if leads_session {
                    setsid()?;
                    ioctl::make_controlling(0, 0)?;
                }
                Ok(())
            });
        }
        let child = command.spawn().context("starting the program")?;
        let emulator = vt100::Parser::new(not_zero(height), not_zero(width), 0);
        Ok(Self { child, ours: Some(ours), theirs: pair.slave, emulator })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types.
    ///
    /// # Errors
    /// When the terminal does not take it.
    pub fn type_in(&mut self, keys: &str) -> Result<()> {
        let ours = self.ours.as_mut().context("the terminal is closed")?;
        ours.write_all(keys.as_bytes()).context("typing")
    }

    /// Takes in what was written and gives what is on the screen.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn screen(&mut self) -> Result<String> {
        self.read()?;
        Ok(self.emulator.screen().contents())
    }

    fn read(&mut self) -> Result<()> {
        let Some(ours) = &mut self.ours else { return Ok(()) };
        let mut bytes = [0; 4096];
        loop {
            match ours.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(length) => self.emulator.process(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(()),
                Err(error) => return Err(error).context("reading the terminal"),
            }
        }
    }

    /// Waits until the screen is as wanted, and gives it.
    ///
    /// # Errors
    /// When it does not become so; the error has the screen.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let seen = wait::until(what, || Ok(Some(self.screen()?).filter(|screen| wanted(screen))));
        match seen {
            Ok(screen) => Ok(screen),
            Err(error) => bail!("{error}; on the screen:\n{}", self.emulator.screen().contents()),
        }
    }

    /// Waits until the screen has this text, and gives it.
    ///
    /// # Errors
    /// As [`Self::until`].
    pub fn until_has(&mut self, text: &str) -> Result<String> {
        self.until(&format!("'{text}' on the screen"), |screen| screen.contains(text))
    }

    /// Whether anything on the screen has a colour.
    #[must_use]
    pub fn has_colors(&self) -> bool {
        let screen = self.emulator.screen();
        let (rows, columns) = screen.size();
        let places = (0..rows.get()).flat_map(|y| (0..columns.get()).map(move |x| (y, x)));
        places.filter_map(|(y, x)| screen.cell(y, x)).any(|cell| {
            cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default
        })
    }

    /// Another size, of which the kernel tells the program.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resize(&mut self, (width, height): Size) -> Result<()> {
        self.read()?;
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        let ours = self.ours.as_ref().context("the terminal is closed")?;
        self.emulator.screen_mut().set_size(not_zero(height), not_zero(width));
        // SAFETY: the descriptor is open, and the call only reads the struct.
        unsafe { ioctl::set_window_size(ours.as_raw_fd(), &raw const size) }?;
        Ok(())
    }

    /// The modes now.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn modes(&mut self) -> Result<Modes> {
        self.read()?;
        let screen = self.emulator.screen();
        Ok(Modes {
            termios: tcgetattr(&self.theirs)?,
            alternate_screen: screen.alternate_screen(),
            hidden_cursor: screen.hide_cursor(),
            mouse: screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None,
        })
    }

    /// Closes the terminal, as when a window is closed or a line breaks.
    pub fn close(&mut self) {
        self.ours = None;
    }

    /// Sends the program a signal.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        process::signal(self.pid(), signal)
    }

    /// Waits until the program has ended, reading what it writes.
    ///
    /// # Errors
    /// When it does not end.
    pub fn until_end(&mut self) -> Result<ExitStatus> {
        wait::until("the program to end", || {
            self.read()?;
            Ok(self.child.try_wait()?)
        })
    }

    /// The same without reading: what is written stays where it is.
    ///
    /// # Errors
    /// When it does not end.
    pub fn until_end_unread(&mut self) -> Result<ExitStatus> {
        wait::until("the program to end", || Ok(self.child.try_wait()?))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended is only waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn not_zero(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap_or(NonZeroU16::MIN)
}
