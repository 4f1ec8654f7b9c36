//! Choices that the user has, shared by the command line and the configuration file.

use std::time::Duration;

/// Where to count.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    clap::ValueEnum,
    serde::Deserialize,
    serde::Serialize,
)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Hook {
    /// The best that harms nobody: TCX, else clsact
    #[default]
    Auto,
    /// TCX in both directions (Linux 6.6), else clsact
    Tc,
    /// clsact filters in both directions, also where TCX exists
    Clsact,
    /// Native XDP for what is received, TC for what is sent
    Xdp,
    /// Generic XDP for what is received (it switches LRO off and does not restore it)
    XdpGeneric,
}

/// Where packets and bytes come from.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    clap::ValueEnum,
    serde::Deserialize,
    serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum SourceChoice {
    /// eBPF where it can run, else sysfs, with one line that says why
    #[default]
    Auto,
    /// eBPF, or an error
    Ebpf,
    /// All numbers from sysfs
    Sysfs,
}

/// How the report is written.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    clap::ValueEnum,
    serde::Deserialize,
    serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Three lines for each interface
    #[default]
    Text,
    /// One object a tick, one tick a line
    Json,
    /// One line for each interface, with a header
    Csv,
}

/// How the result of a comparison is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CompareFormat {
    /// Tables
    #[default]
    Text,
    /// One object
    Json,
}

/// The shortest time between reports.
pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// The longest time between reports.
pub const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
/// The usual time between reports.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

/// Reads a time between reports, such as `1s`, `250ms`, `1m 30s`.
///
/// # Errors
/// In words for people.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    check_interval(interval).map(|()| interval)
}

/// Whether there may be so much time between reports.
///
/// # Errors
/// In words for people.
pub fn check_interval(interval: Duration) -> Result<(), String> {
    if (SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval) {
        Ok(())
    } else {
        Err("the interval must be from 100ms to 1h".to_owned())
    }
}

/// Reads the time between the ticks of a comparison.
///
/// # Errors
/// In words for people.
pub fn parse_short_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if (SHORTEST_INTERVAL..=Duration::from_secs(10)).contains(&interval) {
        Ok(interval)
    } else {
        Err("the interval must be from 100ms to 10s".to_owned())
    }
}

/// Reads a time of any length but zero.
///
/// # Errors
/// In words for people.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("the time must not be zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error} (write it like 1s, 250ms or 2m)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_bounds_and_units() {
        assert_eq!(parse_interval("1s"), Ok(DEFAULT_INTERVAL));
        assert_eq!(parse_interval("100ms"), Ok(SHORTEST_INTERVAL));
        assert_eq!(parse_interval("1h"), Ok(LONGEST_INTERVAL));
        for wrong in ["99ms", "3601s", "0s", "1", "", "-1s", "soon"] {
            assert!(parse_interval(wrong).is_err(), "{wrong}");
        }
        assert!(parse_duration("1").unwrap_err().contains("like 1s"));
    }
}
