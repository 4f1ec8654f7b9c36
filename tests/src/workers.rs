//! What `netmon workers --format json` says.

use anyhow::{Context, Result};
use serde::Deserialize;

/// One interface's process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// The interface, as in the report.
    pub interface: String,
    /// Its namespace's name; none: the network monitor's own.
    pub namespace: Option<String>,
    /// Its index there.
    pub ifindex: Option<u32>,
    /// The process.
    pub pid: Option<u32>,
    /// In a word.
    pub state: String,
    /// How often it was started again.
    pub restarts: u32,
    /// The name of the last message from it.
    pub last_message: Option<String>,
    /// How long ago that was.
    pub last_message_ms: Option<u64>,
    /// Started by the network monitor, not by hand.
    pub launched: bool,
    /// The user that it is.
    pub uid: Option<u32>,
    /// CPU time.
    pub cpu_ms: Option<u64>,
    /// Proportional memory.
    pub pss_kib: Option<u64>,
    /// What it may do.
    pub capabilities: Option<Vec<String>>,
}

/// The network monitor, or its launcher.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Central {
    /// The process.
    pub pid: u32,
    /// The user that it is.
    pub uid: Option<u32>,
    /// CPU time.
    pub cpu_ms: Option<u64>,
    /// Proportional memory.
    pub pss_kib: Option<u64>,
    /// What it may do.
    pub capabilities: Option<Vec<String>>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// The network monitor.
    pub monitor: Central,
    /// What starts processes for it.
    pub launcher: Option<Central>,
    /// Those.
    pub workers: Vec<Worker>,
}

impl Listing {
    /// Parses the whole list.
    ///
    /// # Errors
    /// When it is not one, or has a field that is not known here, or lacks one.
    pub fn parse(list: &str) -> Result<Self> {
        serde_json::from_str(list).with_context(|| format!("no list of workers: {list:?}"))
    }
}

impl Worker {
    /// Whether samples come from it.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_missing_fields_are_errors() -> Result<()> {
        let good = r#"{"monitor":{"pid":15,"uid":0,"cpu_ms":1,"pss_kib":900,"capabilities":[]},
            "launcher":null,"workers":[{"interface":"blue/eth0","namespace":"blue","ifindex":2,"pid":17,
            "state":"running","restarts":1,"last_message":"Sample","last_message_ms":9,
            "launched":true,"uid":1000,"cpu_ms":3,"pss_kib":800,"capabilities":["CAP_NET_ADMIN"]}]}"#;
        let Listing { monitor, launcher, workers } = Listing::parse(good)?;
        assert_eq!((monitor.pid, launcher), (15, None));
        assert_eq!((workers[0].pid, workers[0].is_running()), (Some(17), true));
        for (from, to) in [("\"pid\"", "\"pit\""), ("\"restarts\":1,", ""), ("[{", "{")] {
            assert!(Listing::parse(&good.replacen(from, to, 1)).is_err(), "{from} → {to}");
        }
        Ok(())
    }
}
