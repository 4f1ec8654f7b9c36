//! The lock of rtnetlink held for as long as a test wants: what a namespace that is taken down or
//! a slow driver does to everybody who asks for links.
//!
//! An ethtool request is copied from user space while the kernel holds the lock. Its second half
//! lies on a page whose fault nobody answers (userfaultfd(2)), so the kernel waits there.

use std::{
    io::{self, Read},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::{ethtool, netns::Namespace};

/// `UFFDIO_API` and `UFFDIO_REGISTER` of linux/userfaultfd.h.
const UFFDIO_API: libc::Ioctl = 0xc018_aa3f_u32 as libc::Ioctl;
const UFFDIO_REGISTER: libc::Ioctl = 0xc020_aa00_u32 as libc::Ioctl;
const UFFD_API: u64 = 0xaa;
const MODE_MISSING: u64 = 1;
/// A request that changes nothing (linux/ethtool.h); longer than its first word.
const ETHTOOL_GSTRINGS: u32 = 0x1b;
/// `struct uffd_msg`.
const MESSAGE: usize = 32;
const PAGE: usize = 4096;

/// Nobody on the machine can change a link while the lock is held, so not for longer than this,
/// whatever a test waits for.
const AT_MOST: Duration = Duration::from_secs(5);

/// The lock is held until this is dropped.
pub struct HeldRtnl {
    release: Option<mpsc::Sender<()>>,
    releasing: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Takes the lock of rtnetlink, which is one for all namespaces, so other tests wait too. It
    /// is given back after five seconds at the latest; what needs the lock meanwhile waits.
    ///
    /// # Errors
    /// When the kernel has no userfaultfd.
    pub fn hold_rtnl(&self) -> Result<HeldRtnl> {
        // SAFETY: the call takes no pointers; what it gives is a descriptor that nobody else has.
        let faults = unsafe {
            let descriptor = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC);
            anyhow::ensure!(descriptor >= 0, "userfaultfd: {}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(i32::try_from(descriptor)?)
        };
        let request = pages().context("memory for a request")? + PAGE - size_of::<u32>();
        // SAFETY: the word lies on the first of the two pages, which can be written.
        unsafe { ptr::write(request as *mut u32, ETHTOOL_GSTRINGS) };
        control(&faults, UFFDIO_API, &mut [UFFD_API, 0, 0])?;
        let second = (request + size_of::<u32>()) as u64;
        control(&faults, UFFDIO_REGISTER, &mut [second, PAGE as u64, MODE_MISSING, 0])?;
        let socket = self.run(|| {
            let flags = SockFlag::SOCK_CLOEXEC;
            Ok(socket(AddressFamily::Inet, SockType::Datagram, flags, None)?)
        })?;
        let asking = thread::spawn(move || ask(&socket, request));
        // The kernel has come to the second page.
        let mut events = std::fs::File::from(faults.try_clone()?);
        events.read_exact(&mut [0; MESSAGE]).context("waiting for the lock")?;
        let (release, released) = mpsc::channel();
        let releasing = thread::spawn(move || {
            // Either it is dropped, which closes the channel, or it takes too long.
            let _: Result<(), _> = released.recv_timeout(AT_MOST);
            // Without a descriptor there is nobody to wait for, and the page is an ordinary one.
            drop((events, faults));
            // It does not panic.
            let _ = asking.join();
        });
        Ok(HeldRtnl { release: Some(release), releasing: Some(releasing) })
    }
}

impl HeldRtnl {
    /// Gives the lock back. `false`: it was given back before, because it took too long.
    #[must_use]
    pub fn release(self) -> bool {
        self.releasing.as_ref().is_some_and(|releasing| !releasing.is_finished())
    }
}

impl Drop for HeldRtnl {
    fn drop(&mut self) {
        self.release.take();
        if let Some(releasing) = self.releasing.take() {
            // It does not panic.
            let _ = releasing.join();
        }
    }
}

/// Two fresh pages, never given back: the kernel may be reading them.
fn pages() -> Result<usize> {
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
    // SAFETY: a new mapping where there is none.
    let address = unsafe { libc::mmap(ptr::null_mut(), 2 * PAGE, access, flags, -1, 0) };
    anyhow::ensure!(address != libc::MAP_FAILED, io::Error::last_os_error());
    Ok(address as usize)
}

fn control<const N: usize>(
    faults: &OwnedFd,
    request: libc::Ioctl,
    argument: &mut [u64; N],
) -> Result<()> {
    // SAFETY: the argument is as long as the request's number says, and outlives the call.
    let result = unsafe { libc::ioctl(faults.as_raw_fd(), request, argument.as_mut_ptr()) };
    anyhow::ensure!(result == 0, "userfaultfd: {}", io::Error::last_os_error());
    Ok(())
}

/// Returns when the second page is there. What the answer is does not matter.
fn ask(socket: &OwnedFd, address: usize) {
    let Ok(mut request) = ethtool::request("lo") else {
        return;
    };
    request.ifr_ifru.ifru_data = address as *mut libc::c_char;
    // SAFETY: the request's name ends with a zero; its data points to memory that is never freed
    // and longer than the command's structure.
    unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
}
