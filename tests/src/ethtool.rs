//! Offloads of a link switched on and off, as `ethtool -K` does (SIOCETHTOOL).

use std::{io, os::fd::AsRawFd};

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::netns::Namespace;

/// An offload, by the command that sets it (`linux/ethtool.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Offload {
    /// Segmentation of TCP by the device.
    Tso = 0x1f,
    /// Segmentation as late as possible, by the stack.
    Gso = 0x24,
    /// Joining of segments on receive; on a veth this also switches NAPI on.
    Gro = 0x2c,
}

impl Namespace {
    /// Switches an offload of a link.
    ///
    /// # Errors
    /// When there is no such link, or it cannot be switched there.
    pub fn set_offload(&self, link: &str, offload: Offload, on: bool) -> Result<()> {
        let name = link.to_owned();
        self.run(move || {
            set(&name, offload, on).with_context(|| format!("switching {offload:?} of {name}"))
        })
    }
}

fn set(name: &str, offload: Offload, on: bool) -> Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    // `struct ethtool_value`
    let mut value = [offload as u32, u32::from(on)];
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: the request's name ends with a zero and its data points to a `struct
    // ethtool_value`, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}

/// A `struct ifreq` for the link of that name, all else zero.
///
/// # Errors
/// When no link can have that name.
pub(crate) fn request(name: &str) -> Result<libc::ifreq> {
    // SAFETY: all of it is integers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    anyhow::ensure!((1..=room).contains(&name.len()), "{name:?} is no name of a link");
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}
