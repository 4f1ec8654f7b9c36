//! Frames sent as they are (AF_PACKET), so that number and length are known.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsRawFd, RawFd},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
    unistd::Pid,
};

use crate::netns::Namespace;

/// From linux/if_packet.h.
const PACKET_QDISC_BYPASS: libc::c_int = 20;

/// A socket that sends whole frames through one link, by its qdisc and all hooks.
#[derive(Debug)]
pub struct PacketSocket {
    file: File,
}

impl Namespace {
    /// Opens one; it may be used by any thread.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn packet_socket(&self, link: &str) -> Result<PacketSocket> {
        let ifindex = i32::try_from(self.ifindex(link)?)?;
        self.run(move || open(ifindex).context("opening a packet socket"))
    }

    /// Sends the same frame `count` times through a link.
    ///
    /// # Errors
    /// When the link is down, or the frame is too long for it.
    pub fn send_frames(&self, link: &str, frame: &[u8], count: u64) -> Result<()> {
        self.packet_socket(link)?.send_many(frame, count)
    }
}

fn open(ifindex: i32) -> Result<PacketSocket> {
    let flags = SockFlag::SOCK_CLOEXEC;
    // Protocol 0: it sends, and receives nothing.
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
    // SAFETY: all of it is integers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_ifindex = ifindex;
    let length = u32::try_from(size_of_val(&address))?;
    // SAFETY: address and length are those of a `struct sockaddr_ll`.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(PacketSocket { file: socket.into() })
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl PacketSocket {
    /// Sends one frame; waits while the socket's buffer is full.
    ///
    /// # Errors
    /// When the link is down, or the frame is too long for it.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.file.write_all(frame).context("sending a frame")
    }

    /// Sends the same frame `count` times, so that none is lost on the way: a receiving CPU has
    /// room for a thousand (`net.core.netdev_max_backlog`), and may be busy.
    ///
    /// # Errors
    /// As [`PacketSocket::send`].
    pub fn send_many(&mut self, frame: &[u8], count: u64) -> Result<()> {
        const BURST: u64 = 100;
        const PAUSE: Duration = Duration::from_millis(1);
        for number in 1..=count {
            self.send(frame)?;
            if number % BURST == 0 {
                thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Sends the same frame `count` times, as fast as one CPU can, a batch with each system call.
    /// `sent` is told the size of each batch, before it is sent.
    ///
    /// A frame that the other end of a veth has no room for (ENOBUFS) is sent, too: it has passed
    /// the hooks, and the veth counts it as dropped.
    ///
    /// # Errors
    /// As [`PacketSocket::send`].
    pub fn flood(&mut self, frame: &[u8], count: u64, mut sent: impl FnMut(u64)) -> Result<()> {
        const BATCH: usize = 64;
        let mut part = libc::iovec {
            // Only read through, by sendmmsg(2).
            iov_base: frame.as_ptr().cast_mut().cast(),
            iov_len: frame.len(),
        };
        // SAFETY: all of it is integers and pointers, for which zero is a value.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        for message in &mut messages {
            message.msg_hdr.msg_iov = &raw mut part;
            message.msg_hdr.msg_iovlen = 1;
        }
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH as u64);
            sent(batch);
            let mut unsent = batch;
            while unsent > 0 {
                let (socket, length) = (self.file.as_raw_fd(), u32::try_from(unsent)?);
                // SAFETY: there are so many messages, each of one part, which is the frame.
                let taken = unsafe { libc::sendmmsg(socket, messages.as_mut_ptr(), length, 0) };
                let taken = match u64::try_from(taken) {
                    Ok(taken) => taken,
                    // The error of the first one.
                    Err(_) => match io::Error::last_os_error() {
                        error if error.raw_os_error() == Some(libc::ENOBUFS) => 0,
                        error => return Err(error).context("sending frames"),
                    },
                };
                // After so many, the next one was not taken; which error that was is not told.
                unsent -= (taken + 1).min(unsent);
            }
            left -= batch;
        }
        Ok(())
    }

    /// Sends from now on without the qdisc, and so without the hook on egress.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn bypass_qdisc(&self) -> Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: value and length are those of an int.
        let result = unsafe {
            libc::setsockopt(
                self.file.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_QDISC_BYPASS,
                (&raw const on).cast(),
                u32::try_from(size_of_val(&on))?,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error()).context("setting PACKET_QDISC_BYPASS");
        }
        Ok(())
    }
}

/// The CPUs that this thread may run on.
///
/// # Errors
/// When the kernel does not say.
pub fn cpus() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
}

/// Lets the calling thread run before all usual ones (SCHED_FIFO), so that what else the machine
/// does disturbs it little. A better nice value would count among the threads of its session only.
///
/// # Errors
/// For want of root.
pub fn go_first() -> Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the structure outlives the call; zero is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) };
    nix::errno::Errno::result(result).map(drop).context("setting SCHED_FIFO")
}

/// Keeps the calling thread on one CPU.
///
/// # Errors
/// When it may not run there.
pub fn stay_on(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}
