//! The launcher: the process that opens namespaces and starts interface monitors.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::unix::{fs::MetadataExt, net::UnixListener},
    path::{Path, PathBuf},
};

use anyhow::Result;
use netmon::workers::launcher::{Exits, Launcher, Reach, Start};
use netmon_tests::{netns::Namespace, privileges::Capability, process, scratch::Scratch};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::common::{NETMON, in_time, runtime};

pub(crate) mod asking;
pub(crate) mod ending;
pub(crate) mod opening;
pub(crate) mod starting;

/// What an interface monitor gets.
const HANDED_ON: u64 =
    Capability::NET_ADMIN.bit() | Capability::PERFMON.bit() | Capability::BPF.bit();

/// Runs `work` with a launcher, which has ended well after it.
fn launching<T>(work: impl AsyncFnOnce(&Launcher, &mut Exits) -> Result<T>) -> Result<T> {
    runtime()?.block_on(async {
        let (launcher, mut exits) = Launcher::start_program(Path::new(NETMON), Reach::Everywhere)?;
        let result = work(&launcher, &mut exits).await;
        in_time(launcher.end()).await??;
        result
    })
}

/// A process that does nothing, with all that the launcher has given it: an interface monitor
/// whose network monitor says nothing.
struct Idle {
    scratch: Scratch,
    monitor: UnixListener,
}

impl Idle {
    fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let monitor = UnixListener::bind(scratch.path().join("socket"))?;
        Ok(Self { scratch, monitor })
    }

    fn start(&self, namespace: Option<(PathBuf, u64)>) -> Start {
        self.start_for("lo", namespace)
    }

    fn start_for(&self, link: &str, namespace: Option<(PathBuf, u64)>) -> Start {
        Start { namespace, arguments: worker(&self.scratch.path().join("socket"), link) }
    }
}

/// What a network monitor starts an interface monitor with.
fn worker(socket: &Path, link: &str) -> Vec<OsString> {
    let mut arguments =
        ["interface-monitor", "--launched", "--socket"].map(OsString::from).to_vec();
    arguments.extend([socket.into(), "--".into(), link.into()]);
    arguments
}

fn path(namespace: &Namespace) -> PathBuf {
    Path::new("/run/netns").join(namespace.name())
}

/// A process that is killed when this is dropped: it may have nobody else to do so.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        // Gone already, if this fails.
        let _ = signal(self.0, Signal::SIGKILL);
    }
}

/// A namespace as a [`Start`] has it.
fn place(namespace: &Namespace) -> Result<(PathBuf, u64)> {
    Ok((path(namespace), fs::metadata(path(namespace))?.ino()))
}

fn proc(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// The inode number of a process's network namespace.
fn inode_of(pid: u32) -> Result<u64> {
    Ok(fs::metadata(proc(pid).join("ns/net"))?.ino())
}

fn own_inode() -> Result<u64> {
    Ok(fs::metadata("/proc/thread-self/ns/net")?.ino())
}

/// The interfaces that a process's sysfs shows.
fn sysfs_of(pid: u32) -> Result<BTreeSet<OsString>> {
    let entries = fs::read_dir(proc(pid).join("root/sys/class/net"))?;
    entries.map(|entry| Ok(entry?.file_name())).collect()
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(i32::try_from(pid)?), signal)?;
    if signal == Signal::SIGSTOP { process::until_stopped(pid) } else { Ok(()) }
}

/// A namespace as a process shows it that has all of root's capabilities: the thread that lives
/// there.
fn shown_by_a_process(namespace: &Namespace) -> Result<PathBuf> {
    let thread = namespace.run(|| Ok(nix::unistd::gettid()))?;
    Ok(PathBuf::from(format!("/proc/{}/task/{thread}/ns/net", std::process::id())))
}
