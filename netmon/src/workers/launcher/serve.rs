//! The launcher itself: one thread that waits for requests and for what it has started.
//!
//! No signal but SIGKILL ends it as long as the monitor lives. After that it gives what it has
//! started a moment to end by itself, kills the rest, stopped or not, and ends.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use caps::Capability;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, SockType, getsockopt, sockopt};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::handshake::Parent;
use super::open::{Home, namespace};
use super::start::start;
use super::wire::{self, Granted, LONGEST, Request, Told, Wish};
use super::{Exit, LaunchError, Reach, Start};
use crate::privileges;

/// How long what was started may take to end by itself: all is to be gone two seconds after a
/// `kill -9` of the monitor.
const GRACE: Duration = Duration::from_millis(1500);
/// How long the kernel may take to end what was killed.
const DYING: Duration = Duration::from_secs(5);

/// What the launcher keeps beside what it hands on, where other namespaces were asked for: to enter
/// namespaces, and to look at those of processes that have more capabilities than these
/// (`/proc/PID/ns/net`: ptrace(2), PTRACE_MODE_READ_FSCREDS), which are all those of containers.
const KEPT: [Capability; 2] = [Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE];

/// Serves the monitor, whose socket is standard input, until that is closed. What it keeps is
/// what that reach takes. Nothing is started but what `may_start` says is an interface monitor, by
/// its arguments.
///
/// # Errors
/// When standard input is no such socket, somebody else is at its other end, or the launcher cannot
/// work any more.
pub fn serve(reach: Reach, may_start: fn(&[OsString]) -> bool) -> io::Result<()> {
    let kept = match reach {
        Reach::Here => &[],
        Reach::Everywhere => &KEPT[..],
    };
    if let Err(error) = privileges::give_up_all_but(&[kept, &privileges::FOR_WORKERS].concat()) {
        // It has no log; nobody is told when stderr is closed.
        let _ = writeln!(io::stderr(), "netmon: the launcher keeps more than it needs: {error}");
    }
    let stdin = io::stdin();
    if getsockopt(&stdin, sockopt::SockType) != Ok(SockType::SeqPacket) {
        return Err(io::Error::other("is for netmon's own use"));
    }
    let monitor = Parent::meet(stdin.as_fd())?;
    // Blocked, not ignored: what is started is to ignore what netmon was told to, and no more.
    SigSet::all().thread_block()?;
    // Where it was ignored, ends would not be told.
    // SAFETY: the default action runs no code of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let mut launcher = Launching {
        socket: stdin.as_fd().try_clone_to_owned()?,
        ends: SignalFd::with_flags(&SigSet::from(Signal::SIGCHLD), flags)?,
        home: Home::here()?,
        running: BTreeSet::new(),
        monitor,
        reach,
        may_start,
    };
    let result = launcher.serve();
    launcher.end();
    result
}

struct Launching {
    socket: OwnedFd,
    ends: SignalFd,
    home: Home,
    /// What was started and has not ended: these numbers are nobody else's.
    running: BTreeSet<u32>,
    /// Whom it serves.
    monitor: Parent,
    reach: Reach,
    may_start: fn(&[OsString]) -> bool,
}

impl Launching {
    fn serve(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; LONGEST];
        loop {
            let mut ready = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.ends.as_fd(), PollFlags::POLLIN),
            ];
            wait(&mut ready, PollTimeout::NONE)?;
            let [socket, ends] = ready.map(|ready| ready.revents().unwrap_or(PollFlags::empty()));
            if !ends.is_empty() {
                self.reap();
            }
            if socket.contains(PollFlags::POLLHUP) {
                // What it has asked for before it died is of no use any more.
                return Ok(());
            }
            if !socket.is_empty() {
                let received = wire::receive(self.socket.as_fd(), &mut buffer, MsgFlags::empty())?;
                let Some(packet) = received else { return Ok(()) };
                self.monitor.check(&packet)?;
                let Request { number, wish } = serde_json::from_slice(packet.bytes)?;
                self.grant(number, wish)?;
            }
        }
    }

    fn grant(&mut self, number: u64, wish: Wish) -> io::Result<()> {
        let (answer, handed) = match wish {
            wish if !self.may_be_granted(&wish) => (Err(never_granted()), None),
            Wish::Open(path) => match self.home.open(&path)? {
                Ok((inode, links)) => (Ok(Granted::Opened(inode)), Some(links)),
                Err(error) => (Err(error), None),
            },
            Wish::Look(path) => (namespace(&path).map(|(_, inode)| Granted::Seen(inode)), None),
            Wish::Spawn(wanted) => {
                let started = start(wanted);
                self.running.extend(&started);
                (started.map(Granted::Spawned), None)
            }
        };
        self.tell(&Told::Answer { number, answer }, handed.as_ref().map(AsFd::as_fd));
        Ok(())
    }

    /// Whether a network monitor asks for such a thing.
    fn may_be_granted(&self, wish: &Wish) -> bool {
        match wish {
            Wish::Open(_) | Wish::Look(_) => self.reach == Reach::Everywhere,
            Wish::Spawn(Start { namespace, arguments }) => {
                let is_reached = namespace.is_none() || self.reach == Reach::Everywhere;
                is_reached && (self.may_start)(arguments)
            }
        }
    }

    fn tell(&self, what: &Told, handed: Option<BorrowedFd<'_>>) {
        let send = |packet: &[u8]| {
            wire::send(self.socket.as_fd(), packet, handed, MsgFlags::empty())
                .map_err(|error| LaunchError::Failed(error.to_string()))
        };
        if let Err(error) = wire::packet(what).and_then(|packet| send(&packet)) {
            // The monitor is gone, which is noticed next.
            tracing::debug!("the monitor is not told: {error}");
        }
    }

    /// Tells of all that have ended by now.
    fn reap(&mut self) {
        // One signal may stand for several ends.
        while let Ok(Some(_)) = self.ends.read_signal() {}
        let how = |status| match status {
            WaitStatus::Exited(pid, code) => Some((pid, format!("exit code {code}"))),
            WaitStatus::Signaled(pid, signal, _) => Some((pid, format!("killed by {signal}"))),
            _ => None,
        };
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let Some((pid, how)) = how(status) else { break };
            let Ok(pid) = u32::try_from(pid.as_raw()) else { continue };
            self.running.remove(&pid);
            self.tell(&Told::Exited(Exit { pid, how }), None);
        }
    }

    fn end(&mut self) {
        self.wait_for_ends(GRACE);
        for pid in self.running.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
            // It has just ended by itself if this fails.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.wait_for_ends(DYING);
    }

    /// Waits until nothing is running any more.
    fn wait_for_ends(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        self.reap();
        while !self.running.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let mut ready = [PollFd::new(self.ends.as_fd(), PollFlags::POLLIN)];
            if !matches!(wait(&mut ready, left), Ok(true)) {
                return;
            }
            self.reap();
        }
    }
}

fn never_granted() -> LaunchError {
    let why = "refused: this is nothing that a network monitor asks for";
    LaunchError::Failed(why.to_owned())
}

/// Whether something is ready before the time is over.
fn wait(ready: &mut [PollFd<'_>], limit: PollTimeout) -> io::Result<bool> {
    match poll(ready, limit) {
        Ok(ready) => Ok(ready > 0),
        // By a debugger at most: all signals are blocked. The next look tells more.
        Err(Errno::EINTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
