//! The other end of a connection: how to get one, and whose it is.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, SockFlag, SockType, UnixAddr, getsockopt, sockopt::PeerCredentials,
};
use nix::unistd::geteuid;

/// Who is at the other end (`SO_PEERCRED`): as it was when it connected or began to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id; 0 for one that our PID namespace does not have.
    pub pid: u32,
    /// Effective user.
    pub uid: u32,
}

impl Peer {
    /// Asks the kernel.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(stream: &impl AsFd) -> io::Result<Self> {
        let peer = getsockopt(stream, PeerCredentials)?;
        Ok(Self { pid: peer.pid().unsigned_abs(), uid: peer.uid() })
    }

    /// Whether we talk to it: the same user's, or root's.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.is_allowed_by(geteuid().as_raw())
    }

    fn is_allowed_by(&self, us: u32) -> bool {
        self.uid == us || self.uid == 0
    }
}

/// Why there is no connection with the network monitor.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It does not run, or elsewhere.
    #[error(
        "no network monitor listens at {path}: start one with `netmon run --workers`, or say \
         where it is with --socket PATH"
    )]
    NoMonitor {
        /// The socket.
        path: PathBuf,
    },
    /// It is another user's.
    #[error("not permitted to talk with the network monitor at {path}: be the same user, or root")]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// As many wait as may.
    #[error("the network monitor at {path} takes no connections now")]
    Busy {
        /// The socket.
        path: PathBuf,
    },
    /// Who listens may not give us orders.
    #[error("user {uid} listens at {path}, which is neither the same user nor root")]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// The kernel refuses.
    #[error("cannot connect with {path}: {why}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// The reason.
        why: io::Error,
    },
}

/// Connects with the network monitor, if it is one that we may obey. The stream does not block.
///
/// # Errors
/// In words for people.
pub fn connect(path: &Path) -> Result<UnixStream, ConnectError> {
    let to_whom = || path.to_owned();
    let stream = connect_now(path).map_err(|why| match why {
        Errno::ENOENT | Errno::ECONNREFUSED => ConnectError::NoMonitor { path: to_whom() },
        Errno::EACCES | Errno::EPERM => ConnectError::Denied { path: to_whom() },
        Errno::EAGAIN => ConnectError::Busy { path: to_whom() },
        why => ConnectError::Io { path: to_whom(), why: why.into() },
    })?;
    let peer = Peer::of(&stream).map_err(|why| ConnectError::Io { path: to_whom(), why })?;
    if !peer.is_allowed() {
        return Err(ConnectError::Stranger { path: to_whom(), uid: peer.uid });
    }
    Ok(stream)
}

/// Connects, if that can be without waiting.
pub(super) fn connect_now(path: &Path) -> Result<UnixStream, Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    socket::connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::scratch::{Scratch, as_an_ordinary_user, set_mode};
    use nix::sys::socket::Backlog;
    use std::os::unix::net::UnixListener;

    #[test]
    fn each_end_knows_the_other() {
        let scratch = Scratch::new();
        let path = scratch.join("a.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let stream = connect(&path).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let us = Peer { pid: std::process::id(), uid: geteuid().as_raw() };
        assert_eq!(Peer::of(&stream).unwrap(), us);
        assert_eq!(Peer::of(&accepted).unwrap(), us);
        assert!(us.is_allowed());
        let mut byte = [0];
        let waits = io::Read::read(&mut &stream, &mut byte).unwrap_err();
        assert_eq!(waits.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_same_user_and_root_are_allowed() {
        for (uid, us, allowed) in [
            (1000, 1000, true),
            (0, 1000, true),
            (0, 0, true),
            (1001, 1000, false),
            (1000, 0, false),
        ] {
            assert_eq!(Peer { pid: 1, uid }.is_allowed_by(us), allowed, "{uid} with {us}");
        }
    }

    #[test]
    fn why_there_is_no_connection_is_told() {
        let scratch = Scratch::new();
        let path = scratch.join("a.sock");
        let told = || connect(&path).unwrap_err();
        assert!(matches!(told(), ConnectError::NoMonitor { .. }), "nothing there: {}", told());
        let listener = UnixListener::bind(&path).unwrap();
        set_mode(&path, 0);
        let error = as_an_ordinary_user(told);
        assert!(matches!(error, ConnectError::Denied { .. }), "{error}");
        set_mode(&path, 0o600);
        drop(listener);
        assert!(matches!(told(), ConnectError::NoMonitor { .. }), "nobody there: {}", told());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(matches!(told(), ConnectError::NoMonitor { .. }), "no socket: {}", told());
        let error = connect(&scratch.join(&"x".repeat(108))).unwrap_err().to_string();
        assert!(error.ends_with("File name too long (os error 36)"), "{error}");
    }

    #[test]
    fn a_monitor_that_accepts_nobody_is_not_waited_for() {
        let scratch = Scratch::new();
        let path = scratch.join("a.sock");
        let listener = UnixListener::bind(&path).unwrap();
        socket::listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let waiting = connect(&path).unwrap();
        let error = connect(&path).unwrap_err();
        assert!(matches!(error, ConnectError::Busy { .. }), "{error}");
        drop(waiting);
    }
}
