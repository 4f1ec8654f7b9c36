//! Starting an interface monitor: in its namespace, with a sysfs of it, and with just the
//! capabilities that it needs.
//!
//! As in `ip netns exec` there is a mount namespace of its own, where a fresh sysfs is mounted
//! over `/sys`: the old one shows the interfaces of the namespace that it was mounted in.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::SigSet;

use super::open::{namespace, not_entered};
use super::{LaunchError, NETMON, Start};
use crate::privileges;

const NO_DATA: Option<&str> = None;

/// The C library keeps small pieces that were freed for each thread, and with them the pages they
/// lie on: half a megabyte of what loading the programs took (mallopt(3) cannot set this one).
pub(crate) const LITTLE_MEMORY: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");

/// Starts netmon and gives its process id.
pub(super) fn start(wanted: Start) -> Result<u32, LaunchError> {
    let namespace = wanted.namespace.map(|(path, inode)| same(path, inode)).transpose()?;
    let failed = |error: io::Error| LaunchError::Failed(format!("cannot start netmon: {error}"));
    // Only a number comes back from the child by itself.
    let (mut told, mut tell) = io::pipe().map_err(failed)?;
    let mut command = Command::new(NETMON);
    command.arg0("netmon").args(wanted.arguments).stdin(Stdio::null());
    command.env(LITTLE_MEMORY.0, LITTLE_MEMORY.1);
    // SAFETY: the launcher has one thread, so the child may do all that the launcher may.
    unsafe {
        command.pre_exec(move || {
            prepare(namespace.as_ref()).map_err(|error| {
                // Whoever reads it gets it whole: a pipe holds 4 KiB at least.
                let _ = serde_json::to_vec(&error).map(|error| tell.write_all(&error));
                io::Error::from_raw_os_error(libc::ECANCELED)
            })
        });
    }
    let started = command.spawn();
    // With it goes our copy of the end of the pipe that is written.
    drop(command);
    started.map(|child| child.id()).map_err(|error| {
        let mut why = Vec::new();
        let _ = told.read_to_end(&mut why);
        serde_json::from_slice(&why).unwrap_or_else(|_| failed(error))
    })
}

/// The namespace at this path, if it is the one with this inode number.
fn same(path: PathBuf, inode: u64) -> Result<(PathBuf, File), LaunchError> {
    let (file, found) = namespace(&path)?;
    if found != inode {
        let shown = path.display();
        let text = format!("the network namespace {shown} is not the one that it was");
        return Err(LaunchError::NoNamespace(text));
    }
    Ok((path, file))
}

/// What is done in the child before it becomes netmon.
fn prepare(namespace: Option<&(PathBuf, File)>) -> Result<(), LaunchError> {
    // What the launcher does not heed is for this process to hear.
    SigSet::empty()
        .thread_set_mask()
        .map_err(|error| LaunchError::Failed(format!("cannot let signals through: {error}")))?;
    if let Some((path, file)) = namespace {
        setns(file, CloneFlags::CLONE_NEWNET).map_err(|error| not_entered(path, error))?;
        mount_sysfs()?;
    }
    let failed = |error| LaunchError::Failed(format!("cannot give up privileges: {error}"));
    privileges::hand_on(&privileges::FOR_WORKERS).map_err(failed)
}

fn mount_sysfs() -> Result<(), LaunchError> {
    let failed = |what: &'static str| {
        move |error: Errno| LaunchError::Failed(format!("cannot {what}: {error}"))
    };
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("make a mount namespace"))?;
    // What is mounted here goes nowhere else. Names of namespaces that are removed outside go here,
    // too: the kernel detaches what is mounted on a file that is removed, wherever (fs/namei.c,
    // vfs_unlink).
    mount(NO_DATA, "/", NO_DATA, MsFlags::MS_REC | MsFlags::MS_SLAVE, NO_DATA)
        .map_err(failed("separate the mounts"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("sysfs"), Path::new("/sys"), Some("sysfs"), flags, NO_DATA)
        .map_err(failed("mount sysfs"))
}
