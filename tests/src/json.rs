//! The JSON report: one object a tick, one line an object.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{report::Totals, traffic_json::Traffic};

/// One tick.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tick {
    /// Wall clock, in ms since 1970.
    pub time_ms: u64,
    /// Number of the tick, from 1.
    pub tick: u64,
    /// Time since the tick before; none for the first.
    pub elapsed_s: Option<f64>,
    /// How long reading the kernel's and the programs' counters took, in µs.
    pub read_us: f64,
    /// What is reported on this tick, in the order of the text report.
    pub interfaces: Vec<Interface>,
    /// What has happened since the last tick.
    pub events: Vec<Event>,
    /// Who and what the traffic is, if that was asked for.
    pub traffic: Option<Traffic>,
}

/// One interface of a tick.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Its name.
    pub interface: String,
    /// Its index in its namespace.
    pub ifindex: Option<u32>,
    /// What has been asked of it: `up` or `down`.
    pub admin_state: Option<String>,
    /// Its operational state, or `absent`.
    pub state: Option<String>,
    /// Why it is in that state.
    pub state_reason: Option<String>,
    /// What counts: `ebpf`, `kernel` or `sysfs`.
    pub source: String,
    /// What is attached, as in the line at the start.
    pub hook: Option<String>,
    /// How often the carrier came.
    pub up_count: Option<u64>,
    /// How often the carrier went.
    pub down_count: Option<u64>,
    /// Received.
    pub rx: Direction,
    /// Sent.
    pub tx: Direction,
}

/// One direction of an interface.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Direction {
    /// The report's total.
    pub bytes: Option<u64>,
    /// The report's total.
    pub packets: Option<u64>,
    /// From the kernel.
    pub dropped: Option<u64>,
    /// From the kernel.
    pub errors: Option<u64>,
    /// Since the tick before.
    pub bytes_per_s: Option<f64>,
    /// Since the tick before.
    pub packets_per_s: Option<f64>,
    /// What the stack handled since counting began.
    pub skb: Option<Pair>,
    /// What a cable would have carried since counting began.
    pub wire: Option<Pair>,
    /// The kernel's own counters.
    pub kernel: Option<Pair>,
    /// The report's totals less the kernel's own counters.
    pub drift: Option<Drift>,
}

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A difference of two counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// Packets.
    pub packets: i64,
    /// Bytes.
    pub bytes: i64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// To which interface; none: to netmon itself.
    pub interface: Option<String>,
    /// What, as one word.
    pub kind: String,
    /// What, for people.
    pub message: String,
}

impl Tick {
    /// Parses one line.
    ///
    /// # Errors
    /// When it is not such an object, has a field that is not known here, or lacks one.
    pub fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).with_context(|| format!("not a tick: {line}"))
    }

    /// An interface by its name.
    ///
    /// # Errors
    /// When this tick does not tell of it.
    pub fn interface(&self, name: &str) -> Result<&Interface> {
        let found = self.interfaces.iter().find(|interface| interface.interface == name);
        found.with_context(|| format!("no {name} in {self:?}"))
    }

    /// The names, in the report's order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.interfaces.iter().map(|interface| interface.interface.as_str()).collect()
    }
}

impl Event {
    /// Whether it happened to this interface.
    #[must_use]
    pub fn is_of(&self, interface: &str) -> bool {
        self.interface.as_deref() == Some(interface)
    }
}

impl Interface {
    /// Whether it is in this operational state.
    #[must_use]
    pub fn is(&self, state: &str) -> bool {
        self.state.as_deref() == Some(state)
    }

    /// The numbers that the text report shows.
    #[must_use]
    pub fn totals(&self) -> Totals<Option<u64>> {
        Totals {
            rx_bytes: self.rx.bytes,
            rx_dropped: self.rx.dropped,
            rx_errors: self.rx.errors,
            rx_packets: self.rx.packets,
            tx_bytes: self.tx.bytes,
            tx_dropped: self.tx.dropped,
            tx_errors: self.tx.errors,
            tx_packets: self.tx.packets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTION: &str = r#"{"bytes":7,"packets":1,"dropped":null,"errors":0,
        "bytes_per_s":7.0,"packets_per_s":null,"skb":{"packets":1,"bytes":7},"wire":null,
        "kernel":{"packets":1,"bytes":7},"drift":{"packets":0,"bytes":-4}}"#;

    fn line() -> String {
        let interface = format!(
            r#"{{"interface":"nt0","ifindex":2,"admin_state":"up","state":"up",
            "state_reason":null,"source":"ebpf","hook":"TCX in+out","up_count":1,"down_count":0,
            "rx":{DIRECTION},"tx":{DIRECTION}}}"#
        );
        let event = r#"{"interface":"nt0","kind":"set_up","message":"set up"}"#;
        format!(
            r#"{{"time_ms":1,"tick":1,"elapsed_s":0.1,"read_us":9.5,"interfaces":[{interface}],"events":[{event}]}}"#
        )
    }

    #[test]
    fn a_line_gives_its_numbers() -> Result<()> {
        let tick = Tick::parse(&line())?;
        let interface = tick.interface("nt0")?;
        assert_eq!(interface.rx.skb, Some(Pair { packets: 1, bytes: 7 }));
        assert_eq!(interface.rx.drift, Some(Drift { packets: 0, bytes: -4 }));
        assert_eq!((interface.totals().tx_bytes, interface.totals().tx_dropped), (Some(7), None));
        assert_eq!((tick.names(), tick.events.len()), (vec!["nt0"], 1));
        assert!(tick.interface("nt1").is_err());
        Ok(())
    }

    #[test]
    fn unknown_and_missing_fields_are_errors() {
        for (from, to) in [("\"tick\":1", "\"tack\":1"), ("\"tick\":1,", ""), ("\"ebpf\"", "1")] {
            let bad = line().replacen(from, to, 1);
            assert!(Tick::parse(&bad).is_err(), "{from} → {to}");
        }
    }
}
