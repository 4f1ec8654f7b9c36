//! Whom the launcher serves: the process that has started it, if that has all of the launcher's
//! capabilities itself.
//!
//! Every user who may run a netmon whose file has capabilities may also run `netmon launcher`, with
//! any socket as its standard input. Who holds the other end of a socket cannot be known, for
//! whoever made it may have handed it on before it became another program by exec(2), the very
//! netmon included. But the kernel says of each packet who has sent it (`SO_PASSCRED`: unix(7)).
//! So the launcher
//!
//! 1. sees that its parent has at least its own capabilities. A process of that user has them only
//!    by being netmon, which becomes no other program;
//! 2. after that sends it a random challenge, which comes back as the first packet, so that no
//!    packet is heeded that the parent sent before it became netmon;
//! 3. heeds no packet but those that its parent has sent, as long as that is its parent.
//!
//! What this leaves: who has the same capabilities in another way may use the launcher, and gains
//! nothing by it; and what the launcher does for a network monitor, everybody has it do who may
//! start one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use caps::CapSet;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};
use nix::unistd::getppid;
use serde::{Deserialize, Serialize};

use super::wire::{self, LONGEST, Packet};

/// A starved machine takes seconds to start a program.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the launcher says first, and what comes back.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Challenge {
    challenge: [u8; 16],
}

/// The process that has started the launcher.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent(i32);

impl Parent {
    /// Makes sure that it may be served, and that it is at the other end of the socket.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn meet(socket: BorrowedFd<'_>) -> io::Result<Self> {
        setsockopt(&socket, sockopt::PassCred, &true)?;
        let parent = Self(getppid().as_raw());
        if !parent.has_our_capabilities() {
            let why = "serves only a network monitor that has started it: use netmon run --workers";
            return Err(io::Error::other(why));
        }
        let challenge = Challenge { challenge: random()? };
        let packet = wire::packet(&challenge).map_err(io::Error::other)?;
        wire::send(socket, &packet, None, MsgFlags::empty())?;
        let mut buffer = vec![0; LONGEST];
        let answer = wire::receive(socket, &mut buffer, MsgFlags::empty())?;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        parent.check(&answer)?;
        let answer = serde_json::from_slice::<Challenge>(answer.bytes);
        if answer.is_ok_and(|answer| answer == challenge) {
            Ok(parent)
        } else {
            Err(io::Error::other("the other end of the socket is not the network monitor"))
        }
    }

    /// Sees that a packet is its own.
    ///
    /// # Errors
    /// When another process has sent it.
    pub(super) fn check(self, packet: &Packet<'_>) -> io::Result<()> {
        // Its number may be another's once it has ended; then it is not our parent any more.
        if packet.sender == Some(self.0) && getppid().as_raw() == self.0 {
            return Ok(());
        }
        let who =
            packet.sender.map_or_else(|| "somebody".to_owned(), |pid| format!("process {pid}"));
        Err(io::Error::other(format!("was asked by {who}, which has not started it")))
    }

    /// It may do all that the launcher may.
    fn has_our_capabilities(self) -> bool {
        // Outside of our PID namespace it is 0, which stands for ourselves.
        let theirs = (self.0 > 0).then(|| caps::read(Some(self.0), CapSet::Permitted));
        match (theirs, caps::read(None, CapSet::Permitted)) {
            (Some(Ok(theirs)), Ok(ours)) => ours.is_subset(&theirs),
            _ => false,
        }
    }
}

/// The parent's part: gives back what the launcher sends first. The capabilities are needed until
/// then.
///
/// # Errors
/// When the launcher ends before, or does not answer for long.
pub(super) fn answer(socket: BorrowedFd<'_>) -> io::Result<()> {
    let limit = PollTimeout::try_from(PATIENCE).map_err(io::Error::other)?;
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let came = loop {
        match poll(&mut ready, limit) {
            Err(Errno::EINTR) => {}
            came => break came?,
        }
    };
    if came == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not begin"));
    }
    let mut buffer = vec![0; LONGEST];
    let Some(challenge) = wire::receive(socket, &mut buffer, MsgFlags::MSG_DONTWAIT)? else {
        return Err(io::Error::other("it has ended at once"));
    };
    let challenge: Challenge = serde_json::from_slice(challenge.bytes)?;
    let packet = wire::packet(&challenge).map_err(io::Error::other)?;
    wire::send(socket, &packet, None, MsgFlags::MSG_DONTWAIT)
}

fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    // SAFETY: so many bytes are written as there are.
    let length = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    match usize::try_from(Errno::result(length)?) {
        Ok(length) if length == bytes.len() => Ok(bytes),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    /// What is sent in a test is sent by the test's own process.
    #[test]
    fn a_packet_of_another_than_the_parent_is_refused() {
        let (here, there) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .unwrap();
        setsockopt(&there, sockopt::PassCred, &true).unwrap();
        wire::send(here.as_fd(), b"x", None, MsgFlags::empty()).unwrap();
        let mut buffer = [0; 16];
        let packet = wire::receive(there.as_fd(), &mut buffer, MsgFlags::empty()).unwrap().unwrap();
        assert_eq!(packet.sender, i32::try_from(std::process::id()).ok());
        let parent = Parent(getppid().as_raw());
        let refused = parent.check(&packet).unwrap_err().to_string();
        assert!(refused.contains("which has not started it"), "{refused}");
        assert!(parent.check(&Packet { sender: Some(parent.0), ..packet }).is_ok());
        // As if it had ended.
        let gone = Parent(parent.0 + 1);
        let packet = Packet { bytes: b"x", handed: None, sender: Some(gone.0) };
        assert!(gone.check(&packet).is_err());
        assert!(gone.check(&Packet { sender: None, ..packet }).is_err());
    }

    #[test]
    fn nobody_in_another_pid_namespace_is_served() {
        assert!(!Parent(0).has_our_capabilities());
    }
}
