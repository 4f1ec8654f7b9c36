//! Three questions to a driver, by the ethtool ioctl (man 7 netdevice; linux/ethtool.h). No
//! privilege needed. A driver that does not answer gives `None`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::model::link::Offloads;

const ETHTOOL_GDRVINFO: u32 = 0x3;
const ETHTOOL_GTSO: u32 = 0x1e;
const ETHTOOL_GGRO: u32 = 0x2b;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// The beginning of `struct ethtool_drvinfo`, and room for the rest of its 196 bytes.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// A socket to ask through.
#[derive(Debug)]
pub struct Ethtool(OwnedFd);

impl Ethtool {
    /// Opens the socket in the current network namespace.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The offloads that decide what the device's counters count.
    #[must_use]
    pub fn offloads(&self, name: &OsStr) -> Offloads {
        Offloads { gro: self.ask(name, ETHTOOL_GGRO), tso: self.ask(name, ETHTOOL_GTSO) }
    }

    /// The driver's name, as `ethtool -i` shows it.
    #[must_use]
    pub fn driver(&self, name: &OsStr) -> Option<String> {
        let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
        self.fill(name, &mut info)?;
        let driver = info.driver.split(|byte| *byte == 0).next()?;
        String::from_utf8(driver.to_vec()).ok()
    }

    fn ask(&self, name: &OsStr, command: u32) -> Option<bool> {
        let mut value = EthtoolValue { command, data: 0 };
        self.fill(name, &mut value)?;
        Some(value.data != 0)
    }

    /// Has the kernel answer a command, which begins with its number and is as long as the kernel
    /// takes it for.
    fn fill<T>(&self, name: &OsStr, command: &mut T) -> Option<()> {
        // SAFETY: all zeroes is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if name.len() >= request.ifr_name.len() {
            return None;
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_data = std::ptr::from_mut(command).cast();
        // SAFETY: the name is terminated, and the kernel writes as much as the command is long.
        let result =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        (result == 0).then_some(())
    }
}

const _: () = assert!(size_of::<DriverInfo>() == 196);

/// The current name of an interface (`if_indextoname(3)`), which need not be UTF-8.
///
/// # Errors
/// `ENXIO` when there is no interface of that number any more; others when that cannot be asked.
pub fn name_of(ifindex: crate::model::link::IfIndex) -> io::Result<OsString> {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that the function asks for.
    let found = unsafe { libc::if_indextoname(ifindex.0, name.as_mut_ptr()) };
    if found.is_null() {
        return Err(io::Error::last_os_error());
    }
    let bytes = name.iter().take_while(|byte| **byte != 0).map(|byte| byte.cast_unsigned());
    Ok(OsString::from_vec(bytes.collect()))
}
