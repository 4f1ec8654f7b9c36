//! What the network monitor and the launcher say to one another: a JSON object a packet, over a
//! pair of `SOCK_SEQPACKET` sockets (unix(7)), and file descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::{Exit, LaunchError, Start};

/// The longest packet. A request is some hundred bytes; the kernel's own limit is that of the
/// socket's send buffer, 208 KiB by default.
pub(super) const LONGEST: usize = 64 << 10;

/// What the monitor wants. The number comes back in the answer.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Request {
    pub(super) number: u64,
    pub(super) wish: Wish,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Wish {
    Open(PathBuf),
    Look(PathBuf),
    Spawn(Start),
}

/// What the launcher says.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Told {
    Answer { number: u64, answer: Result<Granted, LaunchError> },
    Exited(Exit),
}

#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum Granted {
    /// The inode number; the socket comes beside it.
    Opened(u64),
    /// The inode number.
    Seen(u64),
    /// The process id.
    Spawned(u32),
}

/// A packet that is ready to be sent.
///
/// # Errors
/// What JSON cannot hold (a path that is not UTF-8), or too much of it.
pub(super) fn packet(what: &impl Serialize) -> Result<Vec<u8>, LaunchError> {
    let packet = serde_json::to_vec(what)
        .map_err(|error| LaunchError::Failed(format!("cannot be asked for: {error}")))?;
    if packet.len() > LONGEST {
        let length = packet.len();
        return Err(LaunchError::Failed(format!("a request of {length} bytes is too long")));
    }
    Ok(packet)
}

/// Sends a packet, and a file descriptor with it. All or nothing.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    handed: Option<BorrowedFd<'_>>,
    flags: MsgFlags,
) -> io::Result<()> {
    let handed: Vec<RawFd> = handed.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&handed)];
    let rights = if handed.is_empty() { &[] } else { &rights[..] };
    let parts = [IoSlice::new(packet)];
    let flags = flags | MsgFlags::MSG_NOSIGNAL;
    loop {
        match sendmsg::<UnixAddr>(socket.as_raw_fd(), &parts, rights, flags, None) {
            Err(Errno::EINTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// What was received.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    pub(super) bytes: &'a [u8],
    /// The file descriptor that came with it.
    pub(super) handed: Option<OwnedFd>,
    /// The process that has sent it, where the socket was asked to say that (`SO_PASSCRED`).
    pub(super) sender: Option<i32>,
}

/// Receives a packet, and the file descriptor that came with it. `None`: the other end is closed.
/// When this process may have no more files open, the packet comes without it.
///
/// # Errors
/// `InvalidData` for a packet longer than `buffer`.
pub(super) fn receive<'a>(
    socket: BorrowedFd<'_>,
    buffer: &'a mut [u8],
    flags: MsgFlags,
) -> io::Result<Option<Packet<'a>>> {
    let mut room = nix::cmsg_space!(UnixCredentials, RawFd);
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let (mut handed, mut sender) = (Vec::new(), None);
    let (length, is_whole) = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut room), flags) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(message) => {
                // With too many open files the kernel leaves it out, and says so; asked for then,
                // nix gives an error, for which the packet would be lost.
                let left_out = message.flags.contains(MsgFlags::MSG_CTRUNC);
                let controls = if left_out { None } else { Some(message.cmsgs()?) };
                for control in controls.into_iter().flatten() {
                    match control {
                        // SAFETY: the kernel has just made them for us, and nobody else knows
                        // their numbers.
                        ControlMessageOwned::ScmRights(all) => handed
                            .extend(all.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })),
                        ControlMessageOwned::ScmCredentials(of) => sender = Some(of.pid()),
                        _ => {}
                    }
                }
                break (message.bytes, !message.flags.contains(MsgFlags::MSG_TRUNC));
            }
        }
    };
    match (length, is_whole) {
        (0, _) => Ok(None),
        (_, false) => Err(io::ErrorKind::InvalidData.into()),
        // Of several, which nobody sends, the others are closed.
        (length, true) => {
            let handed = handed.into_iter().next();
            Ok(Some(Packet { bytes: &buffer[..length], handed, sender }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::fd::AsFd;
    use std::os::unix::ffi::OsStringExt;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    const NOW: MsgFlags = MsgFlags::MSG_DONTWAIT;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC;
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap()
    }

    #[test]
    fn arguments_may_be_any_bytes() {
        let arguments = vec![OsString::from_vec(vec![0xff, b'"'])];
        let start = Start { namespace: Some(("/run/netns/blue".into(), 7)), arguments };
        let sent = Request { number: 1, wish: Wish::Spawn(start.clone()) };
        let read: Request = serde_json::from_slice(&packet(&sent).unwrap()).unwrap();
        let Request { number: 1, wish: Wish::Spawn(read) } = read else { panic!("{read:?}") };
        assert_eq!(read, start);
    }

    #[test]
    fn a_request_has_a_longest() {
        let long = |length| {
            let path = PathBuf::from("x".repeat(length));
            packet(&Request { number: 1, wish: Wish::Open(path) })
        };
        assert!(long(LONGEST / 2).is_ok());
        let refused = long(LONGEST).unwrap_err().to_string();
        assert!(refused.contains("too long"), "{refused}");
    }

    #[test]
    fn packets_keep_apart_and_bring_their_descriptor() {
        let (here, there) = pair();
        let (kept, handed) = pair();
        send(here.as_fd(), b"first", None, NOW).unwrap();
        send(here.as_fd(), b"second", Some(handed.as_fd()), NOW).unwrap();
        drop((here, handed));
        let mut buffer = [0; 16];
        let first = receive(there.as_fd(), &mut buffer, NOW).unwrap().unwrap();
        assert_eq!((first.bytes, first.handed.is_none()), (&b"first"[..], true));
        assert_eq!(first.sender, None, "nobody has asked for it");
        let second = receive(there.as_fd(), &mut buffer, NOW).unwrap().unwrap();
        assert_eq!(second.bytes, b"second");
        send(second.handed.unwrap().as_fd(), b"x", None, NOW).unwrap();
        assert!(receive(there.as_fd(), &mut buffer, NOW).unwrap().is_none(), "closed");
        let arrived = receive(kept.as_fd(), &mut buffer, NOW).unwrap().unwrap();
        assert_eq!(arrived.bytes, b"x");
    }

    /// The kernel says so in the same way when too many files are open.
    #[test]
    fn a_packet_whose_descriptors_are_left_out_is_none_the_less_one() {
        let (here, there) = pair();
        let (_kept, handed) = pair();
        // Of so many there is no room for at least one.
        let many = [handed.as_raw_fd(); 32];
        let (parts, rights) = ([IoSlice::new(b"packet")], [ControlMessage::ScmRights(&many)]);
        sendmsg::<UnixAddr>(here.as_raw_fd(), &parts, &rights, NOW, None).unwrap();
        send(here.as_fd(), b"next", None, NOW).unwrap();
        let mut buffer = [0; 16];
        for expected in [&b"packet"[..], b"next"] {
            let packet = receive(there.as_fd(), &mut buffer, NOW).unwrap().unwrap();
            assert_eq!((packet.bytes, packet.handed.is_none()), (expected, true));
        }
    }

    #[test]
    fn a_packet_that_does_not_fit_is_an_error() {
        let (here, there) = pair();
        send(here.as_fd(), &[b'x'; 17], None, NOW).unwrap();
        let error = receive(there.as_fd(), &mut [0; 16], NOW).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
