//! What netmon is compared to: a process that every tick opens, reads and closes the eleven
//! sysfs files of each interface, and prints the report's lines from them, in one write. Or, as
//! the classic design has it, a process for each interface that does so for its own, and holds a
//! lock while it prints.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, str, thread};

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::wait;
use nix::unistd::fork;

const CLASS_NET: &str = "/sys/class/net";
/// With the labels of the report before them.
const FILES: [(&str, &str); 11] = [
    (" state:", "operstate"),
    (" up_count:", "carrier_up_count"),
    (" down_count:", "carrier_down_count"),
    ("\nrx_bytes:", "statistics/rx_bytes"),
    (" rx_dropped:", "statistics/rx_dropped"),
    (" rx_errors:", "statistics/rx_errors"),
    (" rx_packets:", "statistics/rx_packets"),
    ("\ntx_bytes:", "statistics/tx_bytes"),
    (" tx_dropped:", "statistics/tx_dropped"),
    (" tx_errors:", "statistics/tx_errors"),
    (" tx_packets:", "statistics/tx_packets"),
];

#[derive(Args)]
pub(crate) struct Reader {
    /// Between two reports.
    #[arg(long, value_name = "MILLISECONDS")]
    interval: u64,
    /// How many reports; without, until it is killed.
    #[arg(long)]
    count: Option<u64>,
    /// Leave each interface to a process of its own.
    #[arg(long)]
    each: bool,
}

type Interface = (String, Vec<PathBuf>);

impl Reader {
    /// Reports of all interfaces but `lo`.
    pub(crate) fn run(&self) -> Result<()> {
        let interfaces = interfaces()?;
        if !self.each {
            return self.report(&interfaces, None);
        }
        let interval = Duration::from_millis(self.interval);
        for (number, interface) in (0..).zip(interfaces.chunks(1)) {
            // SAFETY: this process has no other thread that could hold a lock meanwhile.
            if unsafe { fork() }?.is_child() {
                set_pdeathsig(Signal::SIGKILL)?;
                // Nobody keeps such processes in step.
                thread::sleep(interval * number / u32::try_from(interfaces.len())?);
                // What all of them can open; nothing has to be made for it. Opened by each, since
                // processes that inherit a file hold its lock together.
                return self.report(interface, Some(File::open(env::current_exe()?)?));
            }
        }
        while wait().is_ok() {}
        Ok(())
    }

    fn report(&self, interfaces: &[Interface], lock: Option<File>) -> Result<()> {
        let interval = Duration::from_millis(self.interval);
        let mut report = String::new();
        let mut next = Instant::now();
        for _ in 0..self.count.unwrap_or(u64::MAX) {
            report.clear();
            for (name, paths) in interfaces {
                write!(report, "Interface:{name}")?;
                for ((label, _), path) in FILES.iter().zip(paths) {
                    report.push_str(label);
                    add(&mut report, path)?;
                }
                report.push_str("\n\n");
            }
            lock.as_ref().map(File::lock).transpose()?;
            stdout().lock().write_all(report.as_bytes())?;
            lock.as_ref().map(File::unlock).transpose()?;
            // After a time in which it was stopped, the ticks that it missed are left out.
            while next <= Instant::now() {
                next += interval;
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }
}

/// Names, and the paths of [`FILES`].
fn interfaces() -> Result<Vec<Interface>> {
    let mut interfaces = Vec::new();
    for entry in fs::read_dir(CLASS_NET)? {
        let name = entry?.file_name().into_string().ok().context("a name is not UTF-8")?;
        if name != "lo" {
            let folder = Path::new(CLASS_NET).join(&name);
            let paths = FILES.iter().map(|(_, file)| folder.join(file)).collect();
            interfaces.push((name, paths));
        }
    }
    interfaces.sort();
    Ok(interfaces)
}

/// Opens, reads and closes one file with a system call each.
fn add(report: &mut String, path: &Path) -> Result<()> {
    let mut buffer = [0; 64];
    let length = File::open(path)
        .and_then(|mut file| file.read(&mut buffer))
        .with_context(|| format!("{}", path.display()))?;
    report.push_str(str::from_utf8(&buffer[..length])?.trim_end());
    Ok(())
}
