//! A contender with all its processes: what they have used of the CPUs, and stopping those that
//! have not their turn.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::Agent;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process and those that it has started, killed when this is dropped.
pub(crate) struct Processes {
    first: Agent,
    all: Vec<u32>,
}

impl Processes {
    /// Those that there are now.
    pub(crate) fn of(first: Agent) -> Result<Self> {
        let mut all = below(first.pid())?;
        all.push(first.pid());
        Ok(Self { first, all })
    }

    /// Stops them until they are to go on.
    pub(crate) fn stop(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets them go on.
    pub(crate) fn go_on(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.all.iter().try_for_each(|pid| {
            kill(Pid::from_raw(i32::try_from(*pid)?), signal)
                .with_context(|| format!("sending {signal} to {pid}"))
        })
    }

    /// Fails with what it said when the first one has ended.
    pub(crate) fn are_running(&mut self) -> Result<()> {
        let running = self.first.is_running()?;
        ensure!(running, "it has ended: {}", self.first.stderr()?.text());
        Ok(())
    }

    /// What all of them have used so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        self.all.iter().map(|pid| cpu_time(*pid)).sum()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        kill_below(self.first.pid());
    }
}

/// Kills all that a process has started, also what is stopped.
pub(crate) fn kill_below(pid: u32) {
    for pid in below(pid).unwrap_or_default() {
        if let Ok(pid) = i32::try_from(pid) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// What all threads of a process have used so far, user and system (proc_pid_schedstat: the
/// first number of each thread is nanoseconds on a CPU).
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    tasks(pid)?.into_iter().map(|task| thread_time(pid, task)).sum()
}

/// What one of them has used so far.
pub(crate) fn thread_time(pid: u32, task: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat"))?;
    let first = text.split(' ').next().context("an empty schedstat")?;
    Ok(Duration::from_nanos(first.parse()?))
}

/// The threads of a process.
pub(crate) fn tasks(pid: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{pid}/task");
    let tasks = numbers_in(Path::new(&path));
    tasks.with_context(|| format!("process {pid} has ended"))
}

/// All that a process has started, and what those have started, and so on.
pub(crate) fn below(pid: u32) -> Result<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in numbers_in(Path::new("/proc"))? {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![pid];
    while let Some(pid) = next.pop() {
        let children = children.get(&pid).map(Vec::as_slice).unwrap_or_default();
        found.extend_from_slice(children);
        next.extend_from_slice(children);
    }
    Ok(found)
}

/// The fourth field of proc_pid_stat; the second is a name in brackets, which may have spaces.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(1)?.parse().ok()
}

fn numbers_in(directory: &Path) -> Result<Vec<u32>> {
    let entries = fs::read_dir(directory)?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};

    use super::*;

    #[test]
    fn a_child_and_a_grandchild_are_found_and_killed() -> Result<()> {
        let mut shell = Command::new("sh").args(["-c", "sleep 600 & wait"]).spawn()?;
        netmon_tests::wait::until_true("a grandchild", || Ok(!below(shell.id())?.is_empty()))?;
        let ours = below(process::id())?;
        let grandchildren = below(shell.id())?;
        kill_below(shell.id());
        assert!(shell.wait()?.code().is_some(), "the shell ends when its child has");
        assert!(ours.contains(&shell.id()) && ours.contains(&grandchildren[0]));
        Ok(())
    }
}
