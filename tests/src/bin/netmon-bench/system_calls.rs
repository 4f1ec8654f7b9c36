//! How many system calls a process makes: the kernel's tracepoint raw_syscalls:sys_enter, counted
//! for each of its threads by perf_event_open(2). Needs root, and a kernel with tracepoints.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::FromRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use crate::processes;

const TRACING: &str = "/sys/kernel/tracing";
/// linux/perf_event.h.
const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;
/// The second of the bits after `read_format`: threads that are started later count, too.
const INHERIT: u64 = 1 << 1;
const ANY_CPU: libc::c_int = -1;
const ANY_TASK: libc::pid_t = -1;
const FIRST_CPU: libc::c_int = 0;
const NO_GROUP: libc::c_int = -1;

/// The first 64 bytes of `struct perf_event_attr`, which is its first version.
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
}

/// Counts from its making on.
pub(crate) struct SystemCalls(Vec<File>);

impl SystemCalls {
    /// Of all threads that the process has now, and those that they start.
    pub(crate) fn of(pid: u32, tracepoint: u64) -> Result<Self> {
        let open = |task| open(task, ANY_CPU, tracepoint).context("counting system calls");
        let tasks = processes::tasks(pid)?.into_iter();
        Ok(Self(tasks.map(|task| open(task.cast_signed())).collect::<Result<_>>()?))
    }

    /// So many so far.
    pub(crate) fn count(&mut self) -> Result<u64> {
        let mut sum = 0;
        for event in &mut self.0 {
            let mut value = [0; size_of::<u64>()];
            event.read_exact(&mut value)?;
            sum += u64::from_ne_bytes(value);
        }
        Ok(sum)
    }
}

/// The number of the tracepoint at which every system call begins: see [`number_of`].
pub(crate) fn tracepoint() -> Result<u64> {
    number_of("raw_syscalls/sys_enter")
}

/// A tracepoint's number. Mounts tracefs where it is not: call it in a mount namespace of one's
/// own.
pub(crate) fn number_of(tracepoint: &str) -> Result<u64> {
    let events = Path::new(TRACING).join("events");
    let id = events.join(tracepoint).join("id");
    if !events.join("raw_syscalls").exists() {
        mount(Some("tracefs"), TRACING, Some("tracefs"), MsFlags::empty(), None::<&str>)
            .context("mounting tracefs")?;
    }
    let text = fs::read_to_string(&id).with_context(|| id.display().to_string())?;
    Ok(text.trim().parse()?)
}

/// A tracepoint as an event of a CPU, whatever runs there, for a program to be attached to.
pub(crate) fn on_first_cpu(tracepoint: u64) -> Result<File> {
    open(ANY_TASK, FIRST_CPU, tracepoint).context("opening a tracepoint")
}

fn open(task: libc::pid_t, cpu: libc::c_int, tracepoint: u64) -> io::Result<File> {
    let attributes = Attributes {
        kind: PERF_TYPE_TRACEPOINT,
        size: size_of::<Attributes>() as u32,
        config: tracepoint,
        sample_period: 0,
        sample_type: 0,
        read_format: 0,
        flags: INHERIT,
        wakeup_events: 0,
        breakpoint_type: 0,
        config1: 0,
    };
    // SAFETY: the attributes are laid out as the kernel's, say how long they are, and outlive
    // the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            task,
            cpu,
            NO_GROUP,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    // SAFETY: the kernel has just made this descriptor for us.
    Errno::result(fd).map_err(io::Error::from).map(|fd| unsafe { File::from_raw_fd(fd as i32) })
}
