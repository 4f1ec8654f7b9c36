//! Looking into network namespaces (setns(2)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket,
};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use super::LaunchError;

/// The network namespace that the launcher lives in.
pub(super) struct Home(File);

impl Home {
    pub(super) fn here() -> io::Result<Self> {
        File::open("/proc/thread-self/ns/net").map(Self)
    }

    /// The inode number of the namespace at this path, and a socket for the news of its links.
    ///
    /// # Errors
    /// When the launcher has not come back from there, so that it is of no use any more.
    pub(super) fn open(&self, path: &Path) -> io::Result<Result<(u64, OwnedFd), LaunchError>> {
        let (namespace, inode) = match namespace(path) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = setns(&namespace, CloneFlags::CLONE_NEWNET) {
            return Ok(Err(not_entered(path, error)));
        }
        let links = links();
        setns(&self.0, CloneFlags::CLONE_NEWNET)?;
        let failed = |error| LaunchError::Failed(format!("cannot open a netlink socket: {error}"));
        Ok(links.map(|links| (inode, links)).map_err(failed))
    }
}

/// Whether there is a network namespace at this path. What may not be looked at is taken for one.
///
/// # Errors
/// When there is none, in words.
pub fn check(path: &Path) -> Result<(), String> {
    match namespace(path) {
        Err(error @ LaunchError::NoNamespace(_)) => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Opens what may be a network namespace, and gives its inode number.
pub(super) fn namespace(path: &Path) -> Result<(File, u64), LaunchError> {
    let shown = path.display();
    let none = || LaunchError::NoNamespace(format!("there is no network namespace {shown}"));
    // Without waiting for the other end of a FIFO.
    let mut how = OpenOptions::new();
    let file = how.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => none(),
        io::ErrorKind::PermissionDenied => LaunchError::Denied(format!(
            "cannot open the network namespace {shown}: {error}; for that of another user's \
             process or of a container CAP_SYS_PTRACE is needed, too: run netmon with sudo (in a \
             container, start that with --cap-add SYS_PTRACE)"
        )),
        _ => LaunchError::Failed(format!("cannot open {shown}: {error}")),
    })?;
    let on_nsfs = fstatfs(&file).is_ok_and(|system| system.filesystem_type() == NSFS_MAGIC);
    if !on_nsfs || !is_of_the_network(&file) {
        return Err(LaunchError::NoNamespace(format!("{shown} is no network namespace")));
    }
    let inode = file.metadata().map_err(|_| none())?.ino();
    Ok((file, inode))
}

/// Of the seven kinds of namespaces.
fn is_of_the_network(namespace: &File) -> bool {
    /// `NS_GET_NSTYPE` of linux/nsfs.h: ioctl_nsfs(2).
    const KIND: libc::Ioctl = 0xb703;
    // SAFETY: it takes nothing and touches no memory of ours.
    unsafe { libc::ioctl(namespace.as_raw_fd(), KIND) == libc::CLONE_NEWNET }
}

/// Why setns(2) did not go there.
pub(super) fn not_entered(path: &Path, error: Errno) -> LaunchError {
    let shown = path.display();
    match error {
        // A namespace of another kind.
        Errno::EINVAL => LaunchError::NoNamespace(format!("there is no network namespace {shown}")),
        Errno::EPERM => LaunchError::Denied(format!(
            "cannot enter the network namespace {shown}: {error}; needs CAP_SYS_ADMIN: run netmon \
             with sudo (in a container, start that with --cap-add SYS_ADMIN)"
        )),
        error => {
            LaunchError::Failed(format!("cannot enter the network namespace {shown}: {error}"))
        }
    }
}

/// A socket of the network namespace that this thread is in.
fn links() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkRoute;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    let group = 1 << (libc::RTNLGRP_LINK - 1);
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, group))?;
    Ok(socket)
}
