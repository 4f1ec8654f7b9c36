//! What procfs tells of a living process beyond what the kernel's programs have written down.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

use super::cgroup;

/// As much of a command line as is kept.
const COMMAND: u64 = 512;
/// More than any of the other files has.
const MOST: u64 = 16 * 1024;

/// What was found of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Its command line, arguments separated by a space.
    pub command: Option<String>,
    /// Its control group, as [`cgroup::name`] calls it.
    pub cgroup: Option<String>,
}

/// A procfs that numbers processes as the agent does.
#[derive(Debug)]
pub struct Proc {
    root: PathBuf,
    /// Nanoseconds in a tick of `/proc/PID/stat`.
    tick_ns: u64,
    /// See [`boot_offset`].
    offset_ns: i64,
}

impl Proc {
    /// One that is mounted there. `ticks` are those of a second (`sysconf(_SC_CLK_TCK)`).
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, ticks: u64) -> Self {
        let root = root.into();
        // A kernel without time namespaces has no such file.
        let offsets = std::fs::read_to_string(root.join("self/timens_offsets"));
        let offset_ns = boot_offset(&offsets.unwrap_or_default());
        Self { root, tick_ns: 1_000_000_000 / ticks.max(1), offset_ns }
    }

    /// See [`boot_offset`].
    #[must_use]
    pub const fn boot_offset(&self) -> i64 {
        self.offset_ns
    }

    /// Looks at the process `pid` that was started `started` nanoseconds after the boot by the
    /// kernel's own clock; `None`
    /// when it has gone, or another one has its id by now, or it may not be looked at (hidepid).
    #[must_use]
    pub fn look(&self, pid: u32, started: u64) -> Option<Look> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // The folder stays this process's, whoever gets its id.
        let folder = open(&self.root.join(pid.to_string()), flags, Mode::empty()).ok()?;
        let stat = read(&folder, "stat", MOST).ok()?;
        if start_ticks(&stat)? != started.saturating_add_signed(self.offset_ns) / self.tick_ns {
            return None;
        }
        let command = read(&folder, "cmdline", COMMAND).ok().and_then(|line| command(&line));
        let groups = read(&folder, "cgroup", MOST).ok();
        let cgroup =
            groups.and_then(|groups| cgroup::name_of_process(&String::from_utf8_lossy(&groups)));
        Some(Look { command, cgroup })
    }
}

fn read(folder: &OwnedFd, name: &str, most: u64) -> io::Result<Vec<u8>> {
    let file = openat(folder, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut content = Vec::with_capacity(1024);
    File::from(file).take(most).read_to_end(&mut content)?;
    Ok(content)
}

/// proc_pid_stat(5), field 22. The name, in parentheses, may hold anything.
#[must_use]
pub fn start_ticks(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// proc_pid_cmdline(5): arguments end with a zero; none for a kernel thread. What would change a
/// terminal or break a line becomes a space.
#[must_use]
pub fn command(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    let text: String =
        text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// How much later than the kernel's clock of the time since the boot this process's is, in
/// nanoseconds, by the text of `/proc/self/timens_offsets` (time_namespaces(7)): `/proc/PID/stat`
/// tells starts by the clock of who reads it.
#[must_use]
pub fn boot_offset(offsets: &str) -> i64 {
    let offset = offsets.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        // Before Linux 5.7 the clocks were numbers.
        words.next().filter(|clock| matches!(*clock, "boottime" | "7"))?;
        let (seconds, nanos): (i64, i64) =
            (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
    });
    offset.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_may_hold_anything() {
        let rest = (3..=52).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(start_ticks(format!("17 (a) b) (c) {rest}\n").as_bytes()), Some(22));
        assert_eq!(start_ticks(b"17 (a) R 1 2"), None);
        assert_eq!(start_ticks(b""), None);
    }

    #[test]
    fn a_command_line_is_one_line() {
        assert_eq!(command(b"cat\0a b\0\x1b[2J\n\0").as_deref(), Some("cat a b  [2J"));
        assert_eq!(command(b"\0\0"), None);
        assert_eq!(command(b""), None);
    }

    #[test]
    fn clocks_of_a_time_namespace() {
        let text = "monotonic           3         0\nboottime      -86400 500000000\n";
        assert_eq!(boot_offset(text), -86_399_500_000_000);
        assert_eq!(boot_offset("1 3 0\n7 9 1\n"), 9_000_000_001);
        assert_eq!(boot_offset("monotonic 0 0\nboottime x 0\n"), 0);
        assert_eq!(boot_offset(""), 0);
    }

    #[test]
    fn we_find_ourselves_and_nobody_else() -> io::Result<()> {
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?;
        let proc = Proc::new("/proc", ticks.unwrap_or(100).cast_unsigned());
        let stat = std::fs::read("/proc/self/stat")?;
        let started = start_ticks(&stat).unwrap_or_default() * proc.tick_ns;
        let us = std::process::id();
        assert!(proc.look(us, started).is_some_and(|look| look.command.is_some()));
        assert_eq!(proc.look(us, started + proc.tick_ns), None, "another start, another process");
        assert_eq!(proc.look(u32::MAX, started), None);
        Ok(())
    }
}
