//! Who and what the traffic is, as JSON: what `netmon top --format json` writes, a page a line, and
//! what `netmon run --traffic` adds to each tick. The field names are those of the README.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::json::Pair;

/// A table of one tick.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Wall clock, in ms since 1970.
    pub time_ms: u64,
    /// The table.
    pub traffic: Traffic,
}

/// The tables: one of them in a page, all in a tick. `None`: not there, or not known.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the README")]
pub struct Traffic {
    pub elapsed_s: Option<f64>,
    pub alerts: Alerts,
    pub missing: Vec<Missing>,
    pub processes: Option<Vec<Process>>,
    pub processes_untracked_bytes: Option<u64>,
    pub flows: Option<Vec<Flow>>,
    pub flow_table: Option<FlowTable>,
    pub protocols: Option<Vec<Protocol>>,
    pub sizes: Option<Vec<Size>>,
    pub drops: Option<Vec<Drops>>,
    pub interfaces: Option<Vec<Interface>>,
    pub burst_width_ms: Option<f64>,
}

/// How many are above their thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the README")]
pub struct Alerts {
    pub processes: u64,
    pub flows: u64,
    pub interfaces: u64,
}

/// What cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the README")]
pub struct Missing {
    pub part: String,
    pub why: String,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the README")]
pub struct Process {
    pub pid: u32,
    pub process: String,
    pub command: Option<String>,
    pub uid: u32,
    pub user: Option<String>,
    pub cgroup: Option<String>,
    pub kernel_thread: bool,
    pub alive: bool,
    pub alert: bool,
    pub rx: Sockets,
    pub tx: Sockets,
}

/// One direction of a process's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the README")]
pub struct Sockets {
    pub bytes: u64,
    pub bytes_per_s: Option<f64>,
    pub average_bytes_per_s: Option<f64>,
    pub peak_bytes_per_s: Option<f64>,
    pub tcp: Messages,
    pub udp: Messages,
}

/// What was moved by one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the README")]
pub struct Messages {
    pub messages: u64,
    pub bytes: u64,
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the README")]
pub struct Flow {
    pub interface: String,
    pub ifindex: u32,
    pub direction: String,
    pub vlan: Option<u16>,
    pub protocol: String,
    pub source: Option<String>,
    pub source_port: Option<u16>,
    pub source_name: Option<String>,
    pub destination: Option<String>,
    pub destination_port: Option<u16>,
    pub destination_name: Option<String>,
    pub icmp_type: Option<u16>,
    pub icmp_code: Option<u16>,
    pub skb: Pair,
    pub wire: Pair,
    pub bytes_per_s: Option<f64>,
    pub average_bytes_per_s: Option<f64>,
    pub peak_bytes_per_s: Option<f64>,
    pub packets_per_s: Option<f64>,
    pub first_ago_s: f64,
    pub last_ago_s: f64,
    pub tcp_flags: Vec<String>,
    pub pid: Option<u32>,
    pub process: Option<String>,
    pub estimate: bool,
    pub alert: bool,
}

/// How the table of flows is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the README")]
pub struct FlowTable {
    pub used: u64,
    pub capacity: u64,
    pub evicted: u64,
    pub expired: u64,
    pub untracked: Pair,
    pub sample: u32,
}

/// A protocol of one direction of an interface.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the README")]
pub struct Protocol {
    pub interface: String,
    pub direction: String,
    pub protocol: String,
    pub packets: u64,
    pub bytes: u64,
    pub bytes_per_s: Option<f64>,
    pub average_bytes_per_s: Option<f64>,
    pub peak_bytes_per_s: Option<f64>,
}

/// Packets of some sizes of one direction of an interface.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the README")]
pub struct Size {
    pub interface: String,
    pub direction: String,
    pub size: String,
    pub largest_bytes: Option<u32>,
    pub packets: u64,
    pub bytes: u64,
    pub packets_per_s: Option<f64>,
}

/// Drops at an interface for one reason.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the README")]
pub struct Drops {
    pub interface: Option<String>,
    pub reason: String,
    pub packets: u64,
    pub packets_per_s: Option<f64>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the README")]
pub struct Interface {
    pub interface: String,
    pub ifindex: u32,
    pub alert: bool,
    pub rx: Direction,
    pub tx: Direction,
}

/// One direction of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the README")]
pub struct Direction {
    pub packets: u64,
    pub bytes: u64,
    pub bytes_per_s: Option<f64>,
    pub average_bytes_per_s: Option<f64>,
    pub peak_bytes_per_s: Option<f64>,
    pub burst_bytes_per_s: Option<f64>,
    pub burst_peak_bytes_per_s: Option<f64>,
}

impl Page {
    /// Parses one line.
    ///
    /// # Errors
    /// When it is not such an object, has a field that is not known here, or lacks one.
    pub fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).with_context(|| format!("not a table: {line}"))
    }
}

impl Traffic {
    /// A process by its id.
    #[must_use]
    pub fn process(&self, pid: u32) -> Option<&Process> {
        self.processes.as_ref()?.iter().find(|process| process.pid == pid)
    }

    /// The flow of an interface that goes to a port.
    #[must_use]
    pub fn flow(&self, interface: &str, direction: &str, port: u16) -> Option<&Flow> {
        self.flows.as_ref()?.iter().find(|flow| {
            (flow.interface.as_str(), flow.direction.as_str()) == (interface, direction)
                && flow.destination_port == Some(port)
        })
    }

    /// What a protocol has carried.
    #[must_use]
    pub fn protocol(&self, interface: &str, direction: &str, name: &str) -> Option<Pair> {
        let mut rows = self.protocols.as_ref()?.iter();
        let row = rows.find(|row| {
            (row.interface.as_str(), row.direction.as_str(), row.protocol.as_str())
                == (interface, direction, name)
        })?;
        Some(Pair { packets: row.packets, bytes: row.bytes })
    }

    /// An interface by its name.
    #[must_use]
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.as_ref()?.iter().find(|interface| interface.interface == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"{"time_ms":1,"traffic":{"elapsed_s":1.0,
        "alerts":{"processes":0,"flows":0,"interfaces":1},"missing":[],
        "drops":[{"interface":null,"reason":"NO_SOCKET","packets":3,"packets_per_s":1.5}]}}"#;

    #[test]
    fn a_page_gives_its_rows() -> Result<()> {
        let traffic = Page::parse(PAGE)?.traffic;
        let drops = traffic.drops.context("no drops")?;
        assert_eq!((drops.len(), drops[0].packets, traffic.alerts.interfaces), (1, 3, 1));
        assert!(traffic.flows.is_none());
        Ok(())
    }

    #[test]
    fn unknown_and_missing_fields_are_errors() {
        for (from, to) in [("\"packets\":3,", ""), ("\"reason\"", "\"because\""), ("1.5", "[]")] {
            assert!(Page::parse(&PAGE.replacen(from, to, 1)).is_err(), "{from} → {to}");
        }
    }
}
