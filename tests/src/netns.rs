//! Network namespaces of the tests' own.
//!
//! Each has a thread that lives in it, with a mount namespace of its own where a fresh sysfs is
//! mounted over `/sys` (the host's would go on showing the host's interfaces). Sockets made and
//! processes started on that thread belong to the namespace. Minimum kernel: any with namespaces.

use std::{
    fmt, fs,
    fs::File,
    io::ErrorKind,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    process,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

/// Where `ip netns` and others look for namespaces by name.
const NAMES: &str = "/run/netns";
/// What every name begins with.
const PREFIX: &str = "nmt-";
const NO_DATA: Option<&str> = None;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace `nmt-<pid>-<n>`, without IPv6 (whose own packets would spoil the counts)
/// and with `lo` down. It goes when this value is dropped, with the links in it.
pub struct Namespace {
    name: String,
    handle: Option<OwnedFd>,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Makes a namespace.
    ///
    /// # Errors
    /// When the kernel refuses: mostly for want of root.
    pub fn new() -> Result<Self> {
        static SWEEP: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        SWEEP.call_once(|| sweep(Path::new(NAMES)));

        let name = format!("{PREFIX}{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(NAMES).join(&name);
        let (jobs, work) = mpsc::channel::<Job>();
        let (ready, made) = mpsc::channel();
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            if ready.send(enter_new(&path)).is_ok() {
                work.into_iter().for_each(|job| job());
            }
        })?;
        // From here on the guard cleans up whatever has been made.
        let mut namespace = Self { name, handle: None, jobs: Some(jobs), thread: Some(thread) };
        namespace.handle = Some(made.recv()?.context("making a network namespace")?);
        Ok(namespace)
    }

    /// Its name in `/run/netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace itself, for moving links into it.
    ///
    /// # Errors
    /// Never for a namespace that [`Namespace::new`] gave.
    pub fn handle(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.handle.as_ref().context("a namespace that was not made")?.as_fd())
    }

    /// Runs `work` on the thread that lives in the namespace, and waits for it. A panic in it is
    /// a panic here.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn run<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T> + Send + 'static,
    {
        let (reply, answer) = mpsc::channel();
        let job: Job = Box::new(move || {
            // The asker waits for the answer; if it is gone, so is the need for one.
            let _ = reply.send(catch_unwind(AssertUnwindSafe(work)));
        });
        let jobs = self.jobs.as_ref().context("a namespace that was not made")?;
        jobs.send(job).map_err(|_| anyhow!("the thread of {} has ended", self.name))?;
        match answer.recv()? {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Mounts an empty tmpfs over a directory, as the namespace's own thread and the processes
    /// started there see it: what was in it can no longer be read.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn hide(&self, directory: impl Into<PathBuf>) -> Result<()> {
        let directory = directory.into();
        self.run(move || {
            mount(Some("tmpfs"), &directory, Some("tmpfs"), MsFlags::empty(), NO_DATA)
                .with_context(|| format!("hiding {}", directory.display()))
        })
    }

    /// Undoes [`Namespace::hide`].
    ///
    /// # Errors
    /// When nothing is mounted there.
    pub fn unhide(&self, directory: impl Into<PathBuf>) -> Result<()> {
        let directory = directory.into();
        self.run(move || Ok(umount2(&directory, MntFlags::MNT_DETACH)?))
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Namespace").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panics have been given to those who asked.
            let _ = thread.join();
        }
        forget(&Path::new(NAMES).join(&self.name));
    }
}

/// Takes the calling thread into a network and a mount namespace of its own, the former under
/// the name `path`, and returns the former.
fn enter_new(path: &Path) -> Result<OwnedFd> {
    fs::create_dir_all(NAMES)?;
    File::create_new(path).with_context(|| format!("making {}", path.display()))?;
    unshare(CloneFlags::CLONE_NEWNET).context("a new network namespace")?;
    mount(Some("/proc/thread-self/ns/net"), path, NO_DATA, MsFlags::MS_BIND, NO_DATA)
        .context("naming the network namespace")?;
    let handle = File::open(path)?;
    unshare(CloneFlags::CLONE_NEWNS).context("a new mount namespace")?;
    mount(NO_DATA, "/", NO_DATA, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NO_DATA)
        .context("making the mounts private")?;
    // The copies of other tests' names would hold their namespaces.
    for entry in fs::read_dir(NAMES)?.flatten() {
        let _ = umount2(&entry.path(), MntFlags::MNT_DETACH);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("sysfs"), "/sys", Some("sysfs"), flags, NO_DATA).context("a fresh sysfs")?;
    for interfaces in ["all", "default"] {
        let switch = format!("/proc/sys/net/ipv6/conf/{interfaces}/disable_ipv6");
        match fs::write(&switch, "1") {
            Err(error) if error.kind() == ErrorKind::NotFound => {} // A kernel without IPv6.
            other => other.with_context(|| format!("writing {switch}"))?,
        }
    }
    Ok(handle.into())
}

/// Removes a name. What is not there needs no removal, and the rest cannot be helped here.
fn forget(path: &Path) {
    let _ = umount2(path, MntFlags::MNT_DETACH);
    let _ = fs::remove_file(path);
}

/// Removes the names of this process's namespaces, for when a signal ends it: the guards do not
/// run then. The namespaces go with their threads. Gives the names.
pub fn forget_ours() -> Vec<PathBuf> {
    let entries = fs::read_dir(NAMES).into_iter().flatten().flatten();
    let ours = entries
        .filter(|entry| entry.file_name().to_str().and_then(owner) == Some(process::id()))
        .map(|entry| entry.path());
    ours.inspect(|path| forget(path)).collect()
}

/// Removes the names that killed test processes have left.
fn sweep(names: &Path) {
    let Ok(entries) = fs::read_dir(names) else {
        return;
    };
    for entry in entries.flatten() {
        let owner = entry.file_name().to_str().and_then(owner);
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            forget(&entry.path());
        }
    }
}

/// The process id in a name of ours.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_in_the_name() {
        assert_eq!(owner("nmt-4711-0"), Some(4711));
        for name in ["nmt-4711", "nmt--1", "nmt-x-1", "other-4711-0", ""] {
            assert_eq!(owner(name), None, "{name}");
        }
    }

    #[test]
    fn only_what_the_dead_have_left_is_swept() -> Result<()> {
        let scratch = crate::scratch::Scratch::new()?;
        // No process has this number: it is more than pid_max can be.
        let dead = format!("nmt-{}-0", u32::MAX);
        let living = format!("nmt-{}-0", process::id());
        for name in [dead.as_str(), living.as_str(), "other"] {
            scratch.write(name, "")?;
        }
        sweep(scratch.path());
        let left = fs::read_dir(scratch.path())?.flatten();
        let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, [living.as_str(), "other"]);
        Ok(())
    }
}
