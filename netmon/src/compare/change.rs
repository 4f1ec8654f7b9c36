//! Two results of different runs, side by side. Pure.

use std::path::Path;

use serde::Serialize;

use super::outcome::{Compared, Direction, ModeCost, Outcome, Setting, VERSION};

/// A result has some 2 KiB for each interface.
const LONGEST: u64 = 64 << 20;

/// Why an earlier result cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EarlierError {
    /// The file.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which.
        path: String,
        /// The system's answer.
        error: std::io::Error,
    },
    /// What is in it.
    #[error("{path} is no result of `netmon compare --format json`: {error}")]
    Content {
        /// Which.
        path: String,
        /// What is wrong.
        error: String,
    },
}

/// Reads a result back.
///
/// # Errors
/// When the file cannot be read, or is no result.
pub fn read(path: &Path) -> Result<Outcome, EarlierError> {
    let name = || path.display().to_string();
    let text = read_file(path).map_err(|error| EarlierError::Read { path: name(), error })?;
    parse(&text).map_err(|error| EarlierError::Content { path: name(), error })
}

/// A regular file that is not too long to be a result.
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let about = std::fs::metadata(path)?;
    if !about.is_file() || about.len() > LONGEST {
        let why = "it is no file, or too long for a result";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, why));
    }
    std::fs::read(path)
}

/// Reads a result.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse(text: &[u8]) -> Result<Outcome, String> {
    /// Another version may have all else otherwise.
    #[derive(serde::Deserialize)]
    struct OfVersion {
        version: u32,
    }
    let wrong = |error: serde_json::Error| error.to_string();
    let OfVersion { version } = serde_json::from_slice(text).map_err(wrong)?;
    if version != VERSION {
        return Err(format!("it is of version {version}, and this netmon reads {VERSION}"));
    }
    let outcome: Outcome = serde_json::from_slice(text).map_err(wrong)?;
    if outcome.setting.duration_s > 0.0 {
        return Ok(outcome);
    }
    Err("its duration is not above zero".to_owned())
}

/// What changed from an earlier result to a later one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changes {
    /// How the earlier one was made.
    pub before: Setting,
    /// What was not the same, so that figures may not be comparable.
    pub differs: Vec<String>,
    /// The figures that both have.
    pub figures: Vec<Change>,
}

/// A figure of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Which.
    pub what: String,
    /// Earlier.
    pub before: f64,
    /// Later.
    pub now: f64,
}

impl Change {
    /// How many times the earlier one the later one is; `None` where that was 0.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.before != 0.0).then(|| self.now / self.before)
    }
}

/// Compares two results.
#[must_use]
pub fn changes(before: &Outcome, now: &Outcome) -> Changes {
    let mut figures = Vec::new();
    let mut add = |what: String, before: Option<f64>, now: Option<f64>| {
        if let (Some(before), Some(now)) = (before, now) {
            figures.push(Change { what, before, now });
        }
    };
    for interface in &now.interfaces {
        let same = |other: &&Compared| other.interface == interface.interface;
        if let Some(earlier) = before.interfaces.iter().find(same) {
            let seconds = [before.setting.duration_s, now.setting.duration_s];
            add_interface([earlier, interface], seconds, &mut add);
        }
    }
    let modes = [("eBPF", &before.cost.ebpf, &now.cost.ebpf)];
    for (mode, before, now) in
        modes.into_iter().chain([("sysfs", &before.cost.sysfs, &now.cost.sysfs)])
    {
        add_mode(mode, before, now, &mut add);
    }
    for program in &now.cost.programs {
        let same = before.cost.programs.iter().find(|other| other.program == program.program);
        let what = format!("{}: ns a packet", program.program);
        add(what, same.map(|earlier| earlier.ns), Some(program.ns));
    }
    Changes { before: before.setting.clone(), differs: differs(before, now), figures }
}

fn add_interface(
    [before, now]: [&Compared; 2],
    seconds: [f64; 2],
    add: &mut impl FnMut(String, Option<f64>, Option<f64>),
) {
    /// Of a direction that was looked at for so many seconds.
    type Figure = fn(&Direction, f64) -> Option<f64>;
    const FIGURES: [(&str, Figure); 5] = [
        ("packets", |direction, _| Some(direction.packets_per_s)),
        ("bytes", |direction, _| Some(direction.bytes_per_s)),
        ("dropped", |direction, seconds| Some(direction.dropped? as f64 / seconds)),
        ("errors", |direction, seconds| Some(direction.errors? as f64 / seconds)),
        ("unexplained", |direction, seconds| Some(direction.unexplained.packets as f64 / seconds)),
    ];
    let [was, is] = seconds;
    for (direction, later) in now.directions() {
        let same = before.directions().find(|(other, _)| *other == direction);
        let Some((_, earlier)) = same else { continue };
        for (name, figure) in FIGURES {
            let what = format!("{} {direction}: {name} a second", now.interface);
            add(what, figure(earlier, was), figure(later, is));
        }
    }
}

fn add_mode(
    mode: &str,
    before: &ModeCost,
    now: &ModeCost,
    add: &mut impl FnMut(String, Option<f64>, Option<f64>),
) {
    let ModeCost { cpu_us, user_us, kernel_us, system_calls, cpu_percent: _ } = *now;
    let mut add =
        |what: &str, earlier, later| add(format!("{mode}: {what} a tick"), earlier, later);
    add("CPU µs", Some(before.cpu_us), Some(cpu_us));
    add("user µs", before.user_us, user_us);
    add("kernel µs", before.kernel_us, kernel_us);
    add("system calls", before.system_calls, system_calls);
}

fn differs(before: &Outcome, now: &Outcome) -> Vec<String> {
    let Setting { time_ms: _, netmon, kernel, cpus, hook, interval_s, duration_s: _, ticks: _ } =
        &now.setting;
    let earlier = &before.setting;
    let mut differs = Vec::new();
    let mut add = |what: &str, before: &dyn ToString, now: &dyn ToString| {
        let (before, now) = (before.to_string(), now.to_string());
        if before != now {
            differs.push(format!("{what}: {before} before, {now} now"));
        }
    };
    add("netmon", &earlier.netmon, netmon);
    add("kernel", &earlier.kernel, kernel);
    add("CPUs", &earlier.cpus, cpus);
    add("--hook", &earlier.hook, hook);
    add("seconds between ticks", &earlier.interval_s, interval_s);
    let names = |outcome: &Outcome| -> String {
        let names: Vec<&str> = outcome.interfaces.iter().map(|one| &*one.interface).collect();
        names.join(" ")
    };
    add("interfaces", &names(before), &names(now));
    differs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::text::samples;

    #[test]
    fn a_result_is_read_back_as_it_was() {
        let outcome = samples::outcome();
        let text = serde_json::to_vec(&outcome).unwrap();
        assert_eq!(parse(&text).unwrap(), outcome);
    }

    #[test]
    fn what_is_no_result_is_refused_with_the_reason() {
        assert!(parse(b"{}").unwrap_err().contains("version"));
        assert!(parse(br#"{"version": 2, "other": 1}"#).unwrap_err().contains("version 2"));
        let later = Outcome { version: 2, ..samples::outcome() };
        let error = parse(&serde_json::to_vec(&later).unwrap()).unwrap_err();
        assert!(error.contains("version 2"), "{error}");
        let error = read(Path::new("/nowhere/before.json")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/before.json"));
    }

    #[test]
    fn only_what_both_have_is_compared() {
        let before = samples::outcome();
        let mut now = samples::outcome();
        now.cost.ebpf.cpu_us *= 2.0;
        now.cost.sysfs.user_us = None;
        now.setting.kernel = "6.12.1".into();
        now.interfaces.remove(1);
        let changes = changes(&before, &now);
        let of = |what: &str| changes.figures.iter().find(|change| change.what == what);
        assert_eq!(of("eBPF: CPU µs a tick").unwrap().ratio(), Some(2.0));
        assert_eq!(of("wan0 rx: packets a second").unwrap().ratio(), Some(1.0));
        assert_eq!(of("wan0 rx: unexplained a second").unwrap().ratio(), None, "0 before");
        assert!(of("sysfs: user µs a tick").is_none() && of("lan0 rx: packets a second").is_none());
        assert_eq!(
            changes.differs,
            ["kernel: 6.18.0 before, 6.12.1 now", "interfaces: wan0 lan0 wg0 before, wan0 wg0 now"]
        );
    }
}
