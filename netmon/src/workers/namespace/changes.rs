//! What becomes of the names in `/run/netns`.
//!
//! A name is mostly a file that a namespace is mounted on, after it was made; inotify(7) tells
//! of the file alone, so the kernel is asked to tell of mounts, too: mountinfo in /proc is
//! ready (POLLPRI) when any has changed (proc_pid_mountinfo(5)). A link to `/proc/PID/ns/net` is
//! a name without a mount, for which inotify is needed. Both only say when to look; the names
//! that were there at the last look say what is new. So bursts are one change, nothing has to be
//! waited for, and nothing is missed but what came and went between two looks.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{NAMES, Named, named};

/// Where the folder itself comes and goes.
const ABOVE: &str = "/run";

/// Tells when names came or went.
#[derive(Debug)]
pub struct Changes {
    mounts: AsyncFd<File>,
    files: AsyncFd<Watch>,
    last: Named,
}

/// An inotify instance.
#[derive(Debug)]
struct Watch(Inotify);

impl Changes {
    /// Starts to watch, and gives the names that there are now; each change after this is told.
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance, or the folder cannot be read.
    pub fn new() -> io::Result<(Self, Named)> {
        let mounts = File::open("/proc/thread-self/mountinfo")?;
        let files = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        // SAFETY: both are owned by what they are registered for, and stay the same until that is
        // dropped, after they were deregistered.
        let (mounts, files) = unsafe {
            (
                AsyncFd::register_with_interest(mounts, Interest::PRIORITY)?,
                AsyncFd::register_with_interest(Watch(files), Interest::READABLE)?,
            )
        };
        files.get_ref().watch();
        let last = named()?;
        Ok((Self { mounts, files, last: last.clone() }, last))
    }

    /// Waits until the names, or what they stand for, are others than the last time, and gives
    /// all of them. Cancelling it loses nothing.
    ///
    /// # Errors
    /// When they cannot be read any more.
    pub async fn next(&mut self) -> io::Result<Named> {
        loop {
            tokio::select! {
                ready = self.mounts.ready(Interest::PRIORITY) => ready?.clear_ready(),
                ready = self.files.readable() => {
                    let mut ready = ready?;
                    ready.get_inner().drain();
                    ready.clear_ready();
                }
            }
            self.files.get_ref().watch();
            let now = named()?;
            if now != self.last {
                self.last.clone_from(&now);
                return Ok(now);
            }
        }
    }
}

impl Watch {
    /// Watches the folder from now on, if it is there; one that is watched already stays so.
    fn watch(&self) {
        let come = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        let come = come | AddWatchFlags::IN_ONLYDIR;
        let go = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
        // In this order: one that is made between the two is told of by the first.
        for (folder, what) in [(ABOVE, come), (NAMES, come | go)] {
            match self.0.add_watch(Path::new(folder), what) {
                Ok(_) | Err(Errno::ENOENT) => {}
                Err(error) => tracing::debug!("{folder} is not watched: {error}"),
            }
        }
    }

    /// Takes what has been told; what it was is seen by looking.
    fn drain(&self) {
        while self.0.read_events().is_ok() {}
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
