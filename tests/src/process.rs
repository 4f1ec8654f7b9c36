//! Processes that somebody else has started, as `/proc` shows them.

use std::{
    ffi::OsStr,
    fs, io,
    os::{
        fd::{AsFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait;

/// Its folder in `/proc`.
#[must_use]
pub fn folder(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// Sends a signal; to one that has gone is no error.
///
/// # Errors
/// When the kernel refuses.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    match kill(Pid::from_raw(i32::try_from(pid)?), signal) {
        Err(Errno::ESRCH) => Ok(()),
        other => other.with_context(|| format!("sending {signal} to {pid}")),
    }?;
    if signal == Signal::SIGSTOP { until_stopped(pid) } else { Ok(()) }
}

/// Waits until SIGSTOP has done its work: on another CPU a process runs on for a moment.
///
/// # Errors
/// When it goes on running.
pub fn until_stopped(pid: u32) -> Result<()> {
    wait::until_true("a process to be stopped", || {
        let Ok(stat) = fs::read_to_string(folder(pid).join("stat")) else { return Ok(true) };
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        Ok(matches!(state, Some('T' | 't' | 'Z' | 'X')))
    })
}

/// Waits for the end of a process and not a moment longer: what it leaves behind may go soon.
///
/// # Errors
/// When it does not end.
pub fn until_its_end(pid: u32) -> Result<()> {
    let number = libc::pid_t::try_from(pid)?;
    // SAFETY: pidfd_open(2) takes numbers; what it gives is ours.
    let process = unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_pidfd_open, number, 0))?;
        OwnedFd::from_raw_fd(i32::try_from(fd)?)
    };
    let mut ready = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let ended = poll(&mut ready, PollTimeout::try_from(wait::PATIENCE)?)?;
    ensure!(ended == 1, "process {pid} does not end");
    Ok(())
}

/// Whether there is such a process that has not ended: a zombie has.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn is_alive(pid: u32) -> Result<bool> {
    Ok(stat(pid)?.is_some_and(|stat| !matches!(stat.state, 'Z' | 'X')))
}

/// Those that it has started and that have not ended.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for other in all()? {
        if stat(other)?.is_some_and(|stat| stat.parent == pid && stat.state != 'Z') {
            children.push(other);
        }
    }
    Ok(children)
}

/// Waits until no process holds copies of descriptors that this one has closed: what another
/// thread has just forked has copies of all until it becomes another program.
///
/// # Errors
/// When one stays a copy of this process.
pub fn until_copies_are_closed() -> Result<()> {
    let program = |pid| fs::read_link(folder(pid).join("exe")).ok();
    let ours = program(std::process::id());
    for child in children(std::process::id())? {
        wait::until_true("a forked process to become a program", || Ok(program(child) != ours))?;
    }
    Ok(())
}

/// Those that were started with all of these arguments and have not ended.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn with_arguments(arguments: &[impl AsRef<OsStr>]) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for pid in all()? {
        let Some(line) = gone_is_none(fs::read(folder(pid).join("cmdline")))? else { continue };
        let has = |wanted: &OsStr| line.split(|byte| *byte == 0).any(|it| it == wanted.as_bytes());
        if arguments.iter().all(|argument| has(argument.as_ref())) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Those that run this program and have not ended.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn running(program: &Path) -> Result<Vec<u32>> {
    let runs = |pid: &u32| fs::read_link(folder(*pid).join("exe")).is_ok_and(|it| it == program);
    Ok(all()?.into_iter().filter(runs).collect())
}

fn all() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

struct Stat {
    state: char,
    parent: u32,
}

fn stat(pid: u32) -> Result<Option<Stat>> {
    let text = gone_is_none(fs::read_to_string(folder(pid).join("stat")))?;
    text.map(|text| parse(&text).with_context(|| format!("{text:?}"))).transpose()
}

/// proc_pid_stat(5): the name, in parentheses, may hold anything.
fn parse(text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some(Stat { state: fields.next()?.chars().next()?, parent: fields.next()?.parse().ok()? })
}

/// A process may go before its file is opened, or between that and the reading.
fn gone_is_none<T>(read: io::Result<T>) -> Result<Option<T>> {
    match read {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, id};

    #[test]
    fn a_name_may_hold_anything() {
        let stat = parse("17 (a) R 1 (b) S 4711 17 17").map(|stat| (stat.state, stat.parent));
        assert_eq!(stat, Some(('S', 4711)));
        assert!(parse("17 (a").is_none());
    }

    #[test]
    fn a_child_is_found_until_it_has_ended() -> Result<()> {
        // No other process has this argument.
        let argument = format!("{}.25", 1_000_000 + id());
        let mut child = Command::new("sleep").arg(&argument).spawn()?;
        let found = || with_arguments(&[argument.as_str(), "sleep"]);
        crate::wait::until_true("the program's start", || Ok(found()? == [child.id()]))?;
        assert!(is_alive(child.id())? && children(id())?.contains(&child.id()));
        signal(child.id(), Signal::SIGKILL)?;
        // A zombie, until it is waited for.
        crate::wait::until_true("its end", || Ok(!is_alive(child.id())?))?;
        assert_eq!((found()?, children(id())?.contains(&child.id())), (vec![], false));
        child.wait()?;
        assert!(!is_alive(child.id())?);
        signal(child.id(), Signal::SIGKILL)
    }
}
