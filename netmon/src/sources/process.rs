//! What another process uses, from procfs.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use caps::{CapSet, Capability};

/// The ids of a process's threads.
///
/// # Errors
/// When there is no such process.
pub fn threads(process: u32) -> io::Result<Vec<u32>> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task"))?;
    let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    Ok(ids.collect())
}

/// The ids of the eBPF programs that a process holds open (`/proc/PID/fdinfo`).
///
/// # Errors
/// When there is no such process, or it is not ours to look into.
pub fn programs(process: u32) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for file in std::fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        // One that was closed meanwhile has nothing to tell.
        let info = std::fs::read_to_string(file?.path()).unwrap_or_default();
        let id = info.lines().find_map(|line| line.strip_prefix("prog_id:"));
        ids.extend(id.and_then(|id| id.trim().parse::<u32>().ok()));
    }
    Ok(ids)
}

/// The time on a CPU, user and kernel, of all threads that live now, to the nanosecond
/// (`/proc/PID/task/TID/schedstat`, first number; `sum_exec_runtime`). For a thread that runs
/// right now it is up to a scheduler tick old.
///
/// # Errors
/// When there is no such process, or a kernel without `CONFIG_SCHED_INFO`.
pub fn cpu_time(process: u32) -> io::Result<Duration> {
    let mut sum = None;
    for thread in threads(process)? {
        // A thread that has ended meanwhile has no file any more; without any there is no figure.
        let path = format!("/proc/{process}/task/{thread}/schedstat");
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        let first = text.split(' ').next().and_then(|number| number.trim().parse::<u64>().ok());
        sum = Some(sum.unwrap_or(0) + first.ok_or(io::ErrorKind::InvalidData)?);
    }
    sum.map(Duration::from_nanos).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The memory of a process in KiB, where what several share counts in parts
/// (`/proc/PID/smaps_rollup`, `Pss`).
///
/// # Errors
/// When there is no such process, or it is not ours to look into.
pub fn proportional_memory(process: u32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The user that a process is: its effective user id (the owner of `/proc/PID`, also of a process
/// that is not dumpable: proc(5)).
///
/// # Errors
/// When there is no such process.
pub fn user(process: u32) -> io::Result<u32> {
    Ok(std::fs::metadata(format!("/proc/{process}"))?.uid())
}

/// What a process may do, by what each of its threads may: they need not be the same.
///
/// # Errors
/// When there is no such process.
pub fn capabilities(process: u32) -> io::Result<HashSet<Capability>> {
    let mut all: Option<HashSet<Capability>> = None;
    for thread in threads(process)? {
        // One that has ended meanwhile may do nothing.
        let held = caps::read(Some(thread.cast_signed()), CapSet::Permitted);
        if let Ok(held) = held {
            all.get_or_insert_default().extend(held);
        }
    }
    all.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Whether /proc shows the processes by the numbers that they have for us.
#[must_use]
pub fn proc_is_ours() -> bool {
    let shown = std::fs::read_link("/proc/self").ok();
    shown.and_then(|path| path.to_str()?.parse().ok()) == Some(std::process::id())
}

/// Whether the kernel's own numbers of processes are ours: not in a container's PID namespace.
#[must_use]
pub fn in_first_pid_namespace() -> bool {
    /// include/linux/proc_ns.h: PROC_PID_INIT_INO.
    const FIRST: &str = "pid:[4026531836]";
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not our own: threads of other tests end meanwhile, and their time is gone with them.
    #[test]
    fn the_time_of_a_busy_process_grows() {
        let mut busy = std::process::Command::new("sh");
        let mut busy = busy.args(["-c", "while :; do :; done"]).spawn().unwrap();
        let id = busy.id();
        let before = cpu_time(id);
        let grown = |before: &Duration| cpu_time(id).is_ok_and(|now| now > *before);
        let mut looks = (0..6_000).map(|_| std::thread::sleep(Duration::from_millis(10)));
        let seen = before.as_ref().is_ok_and(|before| looks.any(|()| grown(before)));
        let ids = threads(id);
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(seen, "{before:?}");
        assert_eq!(ids.unwrap(), [id]);
    }

    #[test]
    fn nobody_is_an_error() {
        assert!(cpu_time(u32::MAX).is_err());
    }
}
