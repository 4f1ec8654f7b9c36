//! Every way to receive.

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result, ensure};
use nix::{
    fcntl::{SpliceFFlags, splice},
    sys::{
        socket::{MsgFlags, SockaddrStorage, recv, recvmsg},
        uio::readv,
    },
    unistd::{pipe, read},
};

use crate::{MESSAGE, uring};

/// One call: what it has taken.
type Way = fn(&OwnedFd, &mut [u8]) -> Result<usize>;

const WAYS: &[(&str, Way)] = &[
    ("read", |socket, room| Ok(read(socket, room)?)),
    ("readv", |socket, room| Ok(readv(socket, &mut [IoSliceMut::new(room)])?)),
    ("recv", |socket, room| Ok(recv(socket.as_raw_fd(), room, MsgFlags::empty())?)),
    ("recvmsg", by_recvmsg),
    ("peek", by_peek),
    ("io_uring_recv", |socket, room| uring::recv(socket, room)),
    ("io_uring_read", |socket, room| uring::read(socket, room)),
    ("io_uring_recvmsg", |socket, room| uring::recvmsg(socket, room)),
    ("splice", by_splice),
];

/// Receives so many bytes; gives the number of messages.
pub(crate) fn all(socket: &OwnedFd, way: &str, bytes: usize) -> Result<u64> {
    let (mut left, mut messages) = (bytes, 0);
    let mut room = vec![0; 8 * MESSAGE];
    while left > 0 {
        let (taken, calls) = if way == "recvmmsg" {
            by_recvmmsg(socket)?
        } else {
            let known = WAYS.iter().find(|(name, _)| *name == way);
            let (_, receive) = known.with_context(|| format!("no way {way}"))?;
            (receive(socket, &mut room)?, 1)
        };
        ensure!(taken > 0, "the other side has closed, {left} bytes early");
        left = left.checked_sub(taken).context("more than was expected")?;
        messages += calls;
    }
    Ok(messages)
}

fn by_recvmsg(socket: &OwnedFd, room: &mut [u8]) -> Result<usize> {
    let mut parts = [IoSliceMut::new(room)];
    let flags = MsgFlags::empty();
    let received = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, None, flags)?;
    Ok(received.bytes)
}

/// A look, and then for good.
fn by_peek(socket: &OwnedFd, room: &mut [u8]) -> Result<usize> {
    let seen = recv(socket.as_raw_fd(), room, MsgFlags::MSG_PEEK)?;
    let taken = recv(socket.as_raw_fd(), &mut room[..seen], MsgFlags::empty())?;
    ensure!(taken == seen, "{seen} bytes seen, {taken} taken");
    Ok(taken)
}

/// Whatever is there, up to eight messages.
fn by_recvmmsg(socket: &OwnedFd) -> Result<(usize, u64)> {
    const MOST: usize = 8;
    let mut rooms = vec![[0_u8; MESSAGE]; MOST];
    let mut parts: Vec<_> = rooms
        .iter_mut()
        .map(|room| libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() })
        .collect();
    let header = |part: &mut libc::iovec| {
        // SAFETY: zeros are a header without address, parts and control messages.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_iov = std::ptr::from_mut(part);
        header.msg_hdr.msg_iovlen = 1;
        header
    };
    let mut headers: Vec<_> = parts.iter_mut().map(header).collect();
    // SAFETY: the headers and what they point to are there for as long as the call lasts.
    let received = unsafe {
        let (headers, most) = (headers.as_mut_ptr(), MOST as libc::c_uint);
        let flags = libc::MSG_WAITFORONE;
        libc::recvmmsg(socket.as_raw_fd(), headers, most, flags, std::ptr::null_mut())
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let bytes = headers[..received].iter().map(|it| it.msg_len as usize).sum();
    Ok((bytes, received as u64))
}

fn by_splice(socket: &OwnedFd, room: &mut [u8]) -> Result<usize> {
    let (reader, writer) = pipe()?;
    let moved = splice(socket, None, &writer, None, room.len(), SpliceFFlags::empty())?;
    let mut left = moved;
    while left > 0 {
        left -= read(&reader, room)?;
    }
    Ok(moved)
}
