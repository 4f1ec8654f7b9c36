//! What the kernel itself has counted of a TCP socket (TCP_INFO).

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    ptr, thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// include/uapi/linux/tcp.h, `struct tcp_info`: offsets of numbers of 64 bits.
const BYTES_RECEIVED: usize = 128;
const BYTES_SENT: usize = 200;
const BYTES_RETRANSMITTED: usize = 208;
const LENGTH: usize = 216;

/// Payload that was sent.
pub(crate) struct Sent {
    /// Each byte once.
    pub(crate) bytes: u64,
    /// What was sent again.
    pub(crate) again: u64,
}

/// Waits until all of it has arrived.
pub(crate) fn sent(socket: &OwnedFd) -> Result<Sent> {
    loop {
        let mut waiting: libc::c_int = 0;
        // SAFETY: an int is what the kernel writes.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut waiting) };
        ensure!(result == 0, io::Error::last_os_error());
        if waiting == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let info = info(socket)?;
    let again = number(&info, BYTES_RETRANSMITTED)?;
    Ok(Sent { bytes: number(&info, BYTES_SENT)? - again, again })
}

/// Payload that was received, each byte once.
pub(crate) fn received(socket: &OwnedFd) -> Result<u64> {
    number(&info(socket)?, BYTES_RECEIVED)
}

fn number(info: &[u8], at: usize) -> Result<u64> {
    let bytes = info.get(at..at + 8).context("an older kernel's TCP_INFO")?;
    Ok(u64::from_ne_bytes(bytes.try_into()?))
}

fn info(socket: &OwnedFd) -> Result<[u8; LENGTH]> {
    let mut info = [0; LENGTH];
    let mut length = libc::socklen_t::try_from(LENGTH)?;
    // SAFETY: there is room for as much as is said.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            ptr::from_mut(&mut info).cast(),
            &raw mut length,
        )
    };
    ensure!(result == 0, io::Error::last_os_error());
    ensure!(length as usize == LENGTH, "an older kernel's TCP_INFO");
    Ok(info)
}
