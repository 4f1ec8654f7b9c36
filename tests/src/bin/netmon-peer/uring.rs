//! One operation at a time through io_uring.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use io_uring::{IoUring, opcode, squeue::Entry, types::Fd};

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
    let result = ring.completion().next().context("nothing was completed")?.result();
    Ok(usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))?)
}
