//! tap and tun devices, with the tests at the end where a virtual machine or VPN would be.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{ethtool::request, netns::Namespace, wait::PATIENCE};

/// What a device carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Ethernet frames: tap.
    Ethernet,
    /// IP packets: tun.
    Ip,
}

/// The user's end of a device, which is there for as long as this value is.
#[derive(Debug)]
pub struct TunTap {
    file: File,
}

impl Namespace {
    /// Makes a tap or tun device and sets it up.
    ///
    /// # Errors
    /// When the name is taken, or the kernel has no tun driver.
    pub fn add_tuntap(&self, name: &str, layer: Layer) -> Result<TunTap> {
        let wanted = name.to_owned();
        let device = self.run(move || open(&wanted, layer))?;
        self.set_up(name)?;
        Ok(device)
    }
}

fn open(name: &str, layer: Layer) -> Result<TunTap> {
    let path = "/dev/net/tun";
    let file = OpenOptions::new().read(true).write(true).open(path).context(path)?;
    let mut request = request(name)?;
    let kind = match layer {
        Layer::Ethernet => libc::IFF_TAP,
        Layer::Ip => libc::IFF_TUN,
    };
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(kind | libc::IFF_NO_PI)?;
    // SAFETY: the request is a `struct ifreq` with a name that ends with a zero.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("making {name}"));
    }
    Ok(TunTap { file })
}

impl TunTap {
    /// Gives the host a frame or packet: the device receives it.
    ///
    /// # Errors
    /// When the kernel does not take it whole.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        let taken = self.file.write(frame)?;
        ensure!(taken == frame.len(), "{taken} of {} bytes were taken", frame.len());
        Ok(())
    }

    /// Takes what the host has sent through the device.
    ///
    /// # Errors
    /// When nothing comes within [`PATIENCE`].
    pub fn receive(&mut self) -> Result<Vec<u8>> {
        let timeout = PollTimeout::try_from(PATIENCE)?;
        let ready = poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)], timeout)?;
        ensure!(ready > 0, "nothing has come for {PATIENCE:?}");
        let mut frame = vec![0; 65_536];
        let length = self.file.read(&mut frame)?;
        frame.truncate(length);
        Ok(frame)
    }
}
