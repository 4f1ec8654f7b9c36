//! UDP and TCP whose packets are known: datagrams one by one, datagrams that the stack or the
//! link segments (UDP_SEGMENT), and bulk TCP, which goes as super-packets where GSO is on.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt},
};

use crate::{
    netns::Namespace,
    wait::{self, PATIENCE},
};

/// Bytes before a UDP payload on an Ethernet link: Ethernet, IPv4 and UDP headers.
pub const UDP_HEADERS: usize = 14 + 20 + 8;

/// The kernel doubles it: a hundred and eighty segments, or four super-packets.
const SEND_BUFFER: usize = 128 << 10;

impl Namespace {
    /// A UDP socket with a port of the kernel's choice.
    ///
    /// # Errors
    /// When the namespace has no such address.
    pub fn udp(&self, address: Ipv4Addr) -> Result<UdpSocket> {
        self.run(move || {
            let socket = UdpSocket::bind((address, 0)).with_context(|| address.to_string())?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        })
    }

    /// Sends `bytes` by TCP from here to a listener in `other` that has `address` (they may be
    /// the same namespace), and waits until all has been read and the connection is closed.
    /// Returns how many bytes it took: more when some were sent again.
    ///
    /// # Errors
    /// When the connection fails or is cut.
    pub fn tcp_bulk(&self, other: &Self, address: Ipv4Addr, bytes: u64) -> Result<u64> {
        let listener = other.run(move || Ok(TcpListener::bind((address, 0))?))?;
        let port = listener.local_addr()?.port();
        let receiver = thread::spawn(move || receive_all(&listener));
        let target = SocketAddrV4::new(address, port);
        let mut stream = self.run(move || {
            let stream = TcpStream::connect_timeout(&target.into(), PATIENCE);
            let stream = stream.context("connecting")?;
            // What is under way must not run over a CPU's backlog of a thousand packets.
            setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER)?;
            Ok(stream)
        })?;
        let block = vec![0x5a; 1 << 20];
        let mut left = bytes;
        while left > 0 {
            let length = usize::try_from(left)?.min(block.len());
            stream.write_all(&block[..length])?;
            left -= length as u64;
        }
        stream.shutdown(Shutdown::Write)?;
        let Ok(received) = receiver.join() else { bail!("the receiver panicked") };
        let received = received?;
        ensure!(received == bytes, "{received} of {bytes} bytes have come");
        bytes_sent(&stream)
    }
}

/// Offsets in `struct tcp_info` (linux/tcp.h, Linux 4.19): segments that are not acknowledged
/// (32 bits), and bytes that were sent, those that were sent again included (64 bits).
const UNACKNOWLEDGED: usize = 24;
const BYTES_SENT: usize = 200;

/// How many bytes a TCP socket has sent, those that it has sent again included: when all are
/// acknowledged, since until then it may send some again.
fn bytes_sent(stream: &TcpStream) -> Result<u64> {
    wait::until("all to be acknowledged", || {
        let info = tcp_info(stream)?;
        let waiting = info[UNACKNOWLEDGED..UNACKNOWLEDGED + 4].iter().any(|byte| *byte != 0);
        let sent = u64::from_ne_bytes(info[BYTES_SENT..].try_into()?);
        Ok((!waiting).then_some(sent))
    })
}

fn tcp_info(stream: &TcpStream) -> Result<[u8; BYTES_SENT + 8]> {
    let mut info = [0_u8; BYTES_SENT + 8];
    let mut length = u32::try_from(info.len())?;
    // SAFETY: the pointers are to a buffer of that length, and to the length.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error()).context("TCP_INFO");
    }
    ensure!(length as usize == info.len(), "the kernel's tcp_info has {length} bytes");
    Ok(info)
}

fn receive_all(listener: &TcpListener) -> Result<u64> {
    let timeout = PollTimeout::try_from(PATIENCE)?;
    let ready = poll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], timeout)?;
    ensure!(ready > 0, "nobody has connected for {PATIENCE:?}");
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(total),
            count => total += count as u64,
        }
    }
}

/// Sends `count` payloads of `length` bytes, each taken by the receiver before the next, so that
/// no buffer runs over.
///
/// # Errors
/// When one does not arrive whole.
pub fn send_datagrams(from: &UdpSocket, to: &UdpSocket, length: usize, count: u64) -> Result<()> {
    let target = to.local_addr()?;
    let payload = vec![0x5a; length];
    let mut buffer = vec![0; 65_536];
    for number in 0..count {
        from.send_to(&payload, target)?;
        let received = to.recv(&mut buffer);
        let received = received.with_context(|| format!("datagram {number} has not arrived"))?;
        ensure!(received == length, "{received} of {length} bytes have come");
    }
    Ok(())
}

/// Sends one payload that is to be cut into datagrams of `segment` bytes (the last may be
/// shorter) by the stack or the link, and waits until all of it has arrived.
///
/// # Errors
/// When the kernel cannot, or something does not arrive.
pub fn send_segmented(
    from: &UdpSocket,
    to: &UdpSocket,
    segment: usize,
    length: usize,
) -> Result<()> {
    set_segment(from, segment)?;
    let sent = from.send_to(&vec![0x5a; length], to.local_addr()?)?;
    ensure!(sent == length, "{sent} of {length} bytes were taken");
    let mut buffer = vec![0; 65_536];
    let mut received = 0;
    while received < length {
        received += to.recv(&mut buffer).with_context(|| format!("{received} bytes have come"))?;
    }
    Ok(())
}

/// Sets UDP_SEGMENT (`linux/udp.h`).
fn set_segment(socket: &UdpSocket, segment: usize) -> Result<()> {
    let value = libc::c_int::try_from(segment)?;
    // SAFETY: value and length are those of an int.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const value).cast(),
            u32::try_from(size_of_val(&value))?,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error()).context("setting UDP_SEGMENT");
    }
    Ok(())
}

/// Waits until a TCP connection's last packets are through: a link's counts stand still.
///
/// # Errors
/// When they go on for [`PATIENCE`].
pub fn settle(namespace: &Namespace, link: &str) -> Result<()> {
    /// Longer than the kernel delays an acknowledgement (40 ms).
    const STILL: Duration = Duration::from_millis(60);
    let mut last = namespace.sysfs_totals(link)?;
    crate::wait::until_true(format!("{link} to come to rest"), || {
        thread::sleep(STILL);
        let now = namespace.sysfs_totals(link)?;
        let before = std::mem::replace(&mut last, now);
        Ok(before == now)
    })
}
