//! The network monitor's Unix socket: where it lies, and how it comes and goes. Its folder is the
//! directory's matter, and who may talk over it the peer's.

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;

use super::directory::Directory;
use super::peer::{self, Peer};

/// The longest path that a socket's address takes (unix(7): 108 bytes with the zero at the end).
const LONGEST_PATH: usize = 107;

/// Another monitor that starts or ends has the lock for less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);
/// At the end little is lost without the lock.
const LAST_PATIENCE: Duration = Duration::from_millis(100);

/// Why there can be no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// No runtime directory.
    #[error(
        "there is no runtime directory for the socket ($XDG_RUNTIME_DIR): choose a place with \
         --socket PATH"
    )]
    NoDefault,
    /// The kernel takes no such address.
    #[error(
        "the socket's path may have {LONGEST_PATH} bytes, and this has {length}: {path}: choose a \
         shorter one with --socket PATH"
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// The path of a directory.
    #[error("{path} names no file: choose one with --socket PATH")]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// More than the last directory is missing.
    #[error("there is no directory {path}: make it, or choose another place with --socket PATH")]
    NoDirectory {
        /// The directory above the one that would be made.
        path: PathBuf,
    },
    /// Somebody's link.
    #[error("{path} is a symbolic link, which is not followed: choose a place with --socket PATH")]
    SymbolicLink {
        /// The link.
        path: PathBuf,
    },
    /// A file where the directory should be.
    #[error("{path} is no directory: choose another place with --socket PATH")]
    NotADirectory {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else's directory.
    #[error(
        "the directory {path} belongs to user {owner}, and must belong to user {us}, who runs \
         this: remove it, or choose another place with --socket PATH"
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// We.
        us: u32,
    },
    /// Others could put a socket of theirs into it.
    #[error("others may write into the directory {path} (mode {mode:o}): chmod 700 {path}")]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Somebody has held the lock for long.
    #[error(
        "another process has locked the directory {path}: choose another place with --socket PATH"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Never removed, whatever it is.
    #[error(
        "{path} is there, and is no socket: remove it, or choose another place with --socket PATH"
    )]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// Somebody listens there.
    #[error(
        "a network monitor listens at {path} already{}: end it, or choose another place with \
         --socket PATH",
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
        /// Who, if that can be known.
        pid: Option<u32>,
    },
    /// The kernel refuses.
    #[error("cannot {doing} {path}: {why}{}", advice(.why))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The reason.
        why: io::Error,
    },
}

impl SocketError {
    pub(super) fn io(doing: &'static str, path: &Path, why: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), why: why.into() }
    }
}

fn advice(why: &io::Error) -> &'static str {
    use io::ErrorKind;
    match why.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            ": choose a place that may be written, with --socket PATH"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            ": free some of it, or choose another place with --socket PATH"
        }
        _ => "",
    }
}

/// Where the socket is when nobody says.
///
/// # Errors
/// When there is no runtime directory.
pub fn default_path() -> Result<PathBuf, SocketError> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    default_below(runtime, geteuid().as_raw())
}

fn default_below(runtime: Option<PathBuf>, user: u32) -> Result<PathBuf, SocketError> {
    // One that `su` or `sudo` has left us is another user's, and would go with their session.
    let ours = |path: &PathBuf| {
        path.is_absolute() && fs::metadata(path).is_ok_and(|found| found.uid() == user)
    };
    // root's is the same for a login and for a service.
    let system = (user == 0).then(|| PathBuf::from("/run"));
    let directory = system.or(runtime.filter(ours)).ok_or(SocketError::NoDefault)?;
    Ok(directory.join("netmon/netmon.sock"))
}

/// A socket that is listened at.
#[derive(Debug)]
pub struct Bound {
    /// Does not block.
    pub listener: UnixListener,
    /// To be kept for as long.
    pub file: SocketFile,
}

/// The socket's file. It goes with this value, and so does the directory if it was made for it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
    directory: Directory,
}

/// Which file it is. File systems use an inode's number again at once, but not the time.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    created: Option<SystemTime>,
}

impl From<Metadata> for Identity {
    fn from(found: Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino(), created: found.created().ok() }
    }
}

impl SocketFile {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let locked = self.directory.lock(LAST_PATIENCE);
        let is_ours = fs::symlink_metadata(&self.path).map(Identity::from);
        if is_ours.is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
        if locked.is_err() {
            tracing::debug!("{} was removed without its lock", self.path.display());
        }
    }
}

/// Listens at a path. Its directory is made if it is missing (the last of them only). A socket
/// at which nobody listens any more is replaced.
///
/// # Errors
/// When somebody listens there, or the place is not fit; in words for people.
pub fn bind(path: &Path) -> Result<Bound, SocketError> {
    let ours = default_path().is_ok_and(|default| default == path);
    bind_in(path, ours)
}

/// `ours`: the directory has to be netmon's own.
fn bind_in(path: &Path, ours: bool) -> Result<Bound, SocketError> {
    let length = path.as_os_str().len();
    if length > LONGEST_PATH {
        return Err(SocketError::TooLong { path: path.to_owned(), length });
    }
    if path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(SocketError::NoName { path: path.to_owned() });
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = Directory::open_locked(parent, ours, PATIENCE)?;
    make_room(path)?;
    let bound = listen(path, directory)?;
    bound.file.directory.unlock();
    Ok(bound)
}

/// Sees to it that there is nothing at the path.
fn make_room(path: &Path) -> Result<(), SocketError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(SocketError::io("look at", path, why)),
    };
    if found.is_symlink() {
        return Err(SocketError::SymbolicLink { path: path.to_owned() });
    }
    if !found.is_socket() {
        return Err(SocketError::NotASocket { path: path.to_owned() });
    }
    let in_use = |pid| Err(SocketError::InUse { path: path.to_owned(), pid });
    match peer::connect_now(path) {
        Ok(stream) => in_use(Peer::of(&stream).ok().map(|peer| peer.pid)),
        // It listens, and as many wait as may.
        Err(Errno::EAGAIN) => in_use(None),
        Err(Errno::ECONNREFUSED) => {
            fs::remove_file(path).map_err(|why| SocketError::io("replace", path, why))
        }
        Err(why) => Err(SocketError::io("ask who listens at", path, why)),
    }
}

fn listen(path: &Path, directory: Directory) -> Result<Bound, SocketError> {
    use nix::sys::socket;
    let failed = |why: Errno| SocketError::io("make the socket", path, why);
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket =
        socket::socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed)?;
    // The file is made with the socket's own mode (net/unix/af_unix.c, unix_bind_bsd). A umask
    // would be that of all threads.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR).map_err(failed)?;
    let address = UnixAddr::new(path).map_err(failed)?;
    socket::bind(socket.as_raw_fd(), &address).map_err(failed)?;
    let found = fs::symlink_metadata(path).map_err(|why| SocketError::io("find", path, why))?;
    let file = SocketFile { path: path.to_owned(), identity: found.into(), directory };
    // All workers may come at once.
    socket::listen(&socket, Backlog::MAXALLOWABLE).map_err(failed)?;
    Ok(Bound { listener: UnixListener::from(socket), file })
}

#[cfg(test)]
mod tests;
