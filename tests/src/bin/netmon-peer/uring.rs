//! One operation at a time through io_uring.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use io_uring::{IoUring, cqueue, opcode, squeue::Entry, types::Fd};

pub(crate) fn send(socket: &OwnedFd, data: &[u8]) -> Result<usize> {
    run(&opcode::Send::new(fd(socket), data.as_ptr(), length(data)).build())
}

pub(crate) fn write(socket: &OwnedFd, data: &[u8]) -> Result<usize> {
    run(&opcode::Write::new(fd(socket), data.as_ptr(), length(data)).build())
}

pub(crate) fn recv(socket: &OwnedFd, room: &mut [u8]) -> Result<usize> {
    run(&opcode::Recv::new(fd(socket), room.as_mut_ptr(), length(room)).build())
}

pub(crate) fn read(socket: &OwnedFd, room: &mut [u8]) -> Result<usize> {
    run(&opcode::Read::new(fd(socket), room.as_mut_ptr(), length(room)).build())
}

pub(crate) fn sendmsg(socket: &OwnedFd, data: &[u8]) -> Result<usize> {
    let mut part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    let header = header(&mut part);
    run(&opcode::SendMsg::new(fd(socket), &raw const header).build())
}

/// Without copying, where the way allows it.
pub(crate) fn send_zc(socket: &OwnedFd, data: &[u8]) -> Result<usize> {
    run(&opcode::SendZc::new(fd(socket), data.as_ptr(), length(data)).build())
}

pub(crate) fn recvmsg(socket: &OwnedFd, room: &mut [u8]) -> Result<usize> {
    let mut part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    let mut header = header(&mut part);
    run(&opcode::RecvMsg::new(fd(socket), &raw mut header).build())
}

fn header(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: zeros are a header without address, parts and control messages.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header
}

fn fd(socket: &OwnedFd) -> Fd {
    Fd(socket.as_raw_fd())
}

fn length(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}

/// Hands it in and waits for its end: what it points to is there until then.
fn run(operation: &Entry) -> Result<usize> {
    let mut ring = IoUring::new(1).context("io_uring")?;
    // SAFETY: see above.
    unsafe { ring.submission().push(operation)? };
    ring.submit_and_wait(1)?;
    let completed = ring.completion().next().context("nothing was completed")?;
    let result = completed.result();
    // What is not copied is told a second time, when nobody looks at it any more.
    if cqueue::more(completed.flags()) {
        ring.submit_and_wait(1)?;
        ring.completion().next().context("its memory is not given back")?;
    }
    Ok(usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))?)
}
