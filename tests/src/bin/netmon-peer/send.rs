//! Every way to send.

use std::{
    fs::File,
    io::{self, IoSlice, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    ptr,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    fcntl::{SpliceFFlags, splice},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        memfd::{MFdFlags, memfd_create},
        sendfile::sendfile,
        socket::{MsgFlags, SockaddrStorage, recvmsg, send, sendmsg, setsockopt, sockopt},
        uio::writev,
    },
    unistd::{pipe, write},
};

use crate::{MESSAGE, uring};

/// One call, which may take less than all.
type Way = fn(&OwnedFd, &[u8]) -> Result<usize>;

const WAYS: &[(&str, Way)] = &[
    ("write", |socket, data| Ok(write(socket, data)?)),
    ("writev", by_writev),
    ("send", |socket, data| Ok(send(socket.as_raw_fd(), data, MsgFlags::empty())?)),
    ("sendto", by_sendto),
    ("more", |socket, data| {
        Ok(send(socket.as_raw_fd(), data, MsgFlags::from_bits_retain(libc::MSG_MORE))?)
    }),
    ("sendmsg", by_sendmsg),
    ("io_uring_send", |socket, data| uring::send(socket, data)),
    ("io_uring_write", |socket, data| uring::write(socket, data)),
    ("io_uring_sendmsg", |socket, data| uring::sendmsg(socket, data)),
    ("io_uring_send_zc", |socket, data| uring::send_zc(socket, data)),
    ("zerocopy", by_zerocopy),
];

/// Sends so many bytes; gives the number of messages, 0 where only the kernel knows it.
pub(crate) fn all(socket: &OwnedFd, way: &str, bytes: usize) -> Result<u64> {
    match way {
        "sendmmsg" => return by_sendmmsg(socket, bytes),
        "sendfile" => return by_sendfile(socket, bytes, bytes),
        "sendfile_pieces" => return by_sendfile(socket, bytes, MESSAGE),
        "splice" => return by_splice(socket, bytes, 16 * MESSAGE),
        "splice_pieces" => return by_splice(socket, bytes, MESSAGE),
        "segments" => return by_segments(socket, bytes),
        _ => {}
    }
    let known = WAYS.iter().find(|(name, _)| *name == way);
    let (_, send) = known.with_context(|| format!("no way {way}"))?;
    let data = vec![0x5a; MESSAGE];
    let (mut left, mut messages) = (bytes, 0);
    while left > 0 {
        let sent = send(socket, &data[..left.min(MESSAGE)])?;
        ensure!(sent > 0, "{way} takes nothing");
        left -= sent;
        messages += 1;
    }
    Ok(messages)
}

fn by_writev(socket: &OwnedFd, data: &[u8]) -> Result<usize> {
    let (first, second) = data.split_at(data.len() / 2);
    Ok(writev(socket, &[IoSlice::new(first), IoSlice::new(second)])?)
}

fn by_sendto(socket: &OwnedFd, data: &[u8]) -> Result<usize> {
    // SAFETY: the data is there for as long as the call lasts. The socket is connected.
    let sent = unsafe {
        let (data, length) = (data.as_ptr().cast(), data.len());
        libc::sendto(socket.as_raw_fd(), data, length, 0, ptr::null(), 0)
    };
    Ok(usize::try_from(sent).map_err(|_| io::Error::last_os_error())?)
}

fn by_sendmsg(socket: &OwnedFd, data: &[u8]) -> Result<usize> {
    let parts = [IoSlice::new(data)];
    let flags = MsgFlags::empty();
    Ok(sendmsg::<SockaddrStorage>(socket.as_raw_fd(), &parts, &[], flags, None)?)
}

/// As many messages as there are bytes for, by one call.
fn by_sendmmsg(socket: &OwnedFd, bytes: usize) -> Result<u64> {
    ensure!(bytes.is_multiple_of(MESSAGE), "not a multiple of {MESSAGE}");
    let data = vec![0x5a_u8; MESSAGE];
    let mut part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: zeros are a header without address, parts and control messages.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_iov = &raw mut part;
    header.msg_hdr.msg_iovlen = 1;
    let mut headers = vec![header; bytes / MESSAGE];
    let mut left = &mut headers[..];
    while !left.is_empty() {
        // SAFETY: the headers and what they point to are there for as long as the call lasts.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), left.as_mut_ptr(), left.len() as libc::c_uint, 0)
        };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        ensure!(left[..sent].iter().all(|it| it.msg_len as usize == MESSAGE), "a short message");
        left = &mut left[sent..];
    }
    Ok((bytes / MESSAGE) as u64)
}

/// By MSG_ZEROCOPY. What the kernel says of the memory afterwards is taken from the socket's queue of
/// errors, which is no traffic.
fn by_zerocopy(socket: &OwnedFd, data: &[u8]) -> Result<usize> {
    let (descriptor, on): (_, libc::c_int) = (socket.as_raw_fd(), 1);
    let (value, length) = ((&raw const on).cast(), size_of_val(&on) as libc::socklen_t);
    // SAFETY: value and length are those of an int.
    let result =
        unsafe { libc::setsockopt(descriptor, libc::SOL_SOCKET, libc::SO_ZEROCOPY, value, length) };
    ensure!(result == 0, io::Error::last_os_error());
    let flags = MsgFlags::from_bits_retain(libc::MSG_ZEROCOPY);
    let sent = send(socket.as_raw_fd(), data, flags)?;
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    while !ready[0].revents().is_some_and(|it| it.contains(PollFlags::POLLERR)) {
        poll(&mut ready, PollTimeout::NONE)?;
    }
    let mut control = nix::cmsg_space!([u8; 128]);
    let flags = MsgFlags::MSG_ERRQUEUE;
    recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut [], Some(&mut control), flags)?;
    Ok(sent)
}

/// So many bytes a call, each a datagram where the socket is one of UDP.
fn by_sendfile(socket: &OwnedFd, bytes: usize, piece: usize) -> Result<u64> {
    let mut file = File::from(memfd_create("sent", MFdFlags::empty())?);
    file.write_all(&vec![0x5a; bytes])?;
    let (mut offset, mut left) = (0, bytes);
    while left > 0 {
        let sent = sendfile(socket, file.as_fd(), Some(&mut offset), left.min(piece))?;
        ensure!(sent > 0, "sendfile takes nothing");
        left -= sent;
    }
    Ok(0)
}

fn by_splice(socket: &OwnedFd, bytes: usize, piece: usize) -> Result<u64> {
    let (reader, writer) = pipe()?;
    let mut left = bytes;
    while left > 0 {
        let mut filled = write(&writer, &vec![0x5a; left.min(piece)])?;
        left -= filled;
        while filled > 0 {
            filled -= splice(&reader, None, socket, None, filled, SpliceFFlags::empty())?;
        }
    }
    Ok(0)
}

/// Datagrams that the stack cuts out of longer ones (UDP_SEGMENT): a message is a call.
fn by_segments(socket: &OwnedFd, bytes: usize) -> Result<u64> {
    setsockopt(socket, sockopt::UdpGsoSegment, &(MESSAGE as i32))?;
    let data = vec![0x5a; 10 * MESSAGE];
    let mut messages = 0;
    for _ in 0..bytes / data.len() {
        let sent = send(socket.as_raw_fd(), &data, MsgFlags::empty())?;
        if sent != data.len() {
            bail!("{sent} bytes taken");
        }
        messages += 1;
    }
    Ok(messages)
}
