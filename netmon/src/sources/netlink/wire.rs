//! Netlink's framing (netlink(7)), for the conversations that no crate carries as they have to be:
//! statistics on the tick's path without allocating, XDP features at all, and the interfaces
//! whatever texts their descriptions hold.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rtnetlink::sys::{Socket, SocketAddr};

/// Length of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// The kernel answers at once; this only keeps a broken kernel from stopping the tick for good.
/// It does not bound a wait for rtnetlink's lock: a dump begins within send(2), which waits there.
const PATIENCE: Duration = Duration::from_secs(1);

/// A blocking socket that talks to the kernel in the current network namespace.
pub(super) fn connect(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let patience = libc::timeval { tv_sec: PATIENCE.as_secs().cast_signed(), tv_usec: 0 };
    // SAFETY: the pointer and length are those of a timeval that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const patience).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// Receives one datagram into a buffer, whose capacity is the most that is taken.
pub(super) fn receive(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    loop {
        match socket.recv(buffer, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(|_| ()),
        }
    }
}

/// What matters of `struct nlmsghdr`.
pub(super) struct Header {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// Whom it answers: the port of the socket that asked.
    pub(super) port: u32,
}

/// The messages of a datagram, headers off. Ends at the first that is cut short.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (Header, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3] =
            *self.0.first_chunk::<HEADER>()?;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let kind = u16::from_ne_bytes([k0, k1]);
        let header = Header {
            kind,
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            port: u32::from_ne_bytes([p0, p1, p2, p3]),
        };
        let payload = self.0.get(HEADER..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((header, payload))
    }
}

/// The attributes of a message, headers off.
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [l0, l1, k0, k1] = *self.0.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let kind = u16::from_ne_bytes([k0, k1]);
        let payload = self.0.get(4..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((kind, payload))
    }
}

/// The error that an `NLMSG_ERROR` carries.
pub(super) fn error_of(payload: &[u8]) -> io::Error {
    let code = u32_at(payload, 0).map_or(libc::EPROTO, |code| code.wrapping_neg().cast_signed());
    io::Error::from_raw_os_error(code)
}

const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_by_its_number() {
        let told = |code: i32| error_of(&code.to_ne_bytes()).raw_os_error();
        assert_eq!(told(-libc::ENODEV), Some(libc::ENODEV));
        assert_eq!(told(i32::MIN), Some(i32::MIN), "no number's negative");
        assert_eq!(error_of(&[1, 2]).raw_os_error(), Some(libc::EPROTO), "cut short");
    }
}
