//! The JSON report read back, as far as a comparison needs it.

use serde::Deserialize;

use crate::model::accounting::Traffic;
use crate::model::snapshot::Source;

/// A line of the JSON report. Fields that are not listed are passed over.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Tick {
    /// Wall clock before the counters were read, in ms since 1970.
    pub time_ms: u64,
    /// Number of the tick, from 1.
    pub tick: u64,
    /// Seconds since the tick before.
    pub elapsed_s: Option<f64>,
    /// Microseconds that reading the counters took.
    pub read_us: f64,
    /// What is reported.
    pub interfaces: Vec<Interface>,
}

/// One interface of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Interface {
    /// Its name.
    pub interface: String,
    /// Its number; `None`: it is gone.
    pub ifindex: Option<u32>,
    /// What gives packets and bytes.
    pub source: Source,
    /// What counts it.
    pub hook: String,
    /// Received.
    pub rx: Direction,
    /// Transmitted.
    pub tx: Direction,
}

/// One direction of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Direction {
    /// The report's total.
    pub packets: Option<u64>,
    /// The report's total.
    pub bytes: Option<u64>,
    /// Dropped, by the kernel's counters.
    pub dropped: Option<u64>,
    /// Errors, by the kernel's counters.
    pub errors: Option<u64>,
    /// Since the tick before.
    pub packets_per_s: Option<f64>,
    /// As the stack handles packets.
    pub skb: Option<Traffic>,
    /// As a cable carries them.
    pub wire: Option<Traffic>,
    /// The kernel's own counters.
    pub kernel: Option<Traffic>,
}

impl Interface {
    /// Received and transmitted.
    #[must_use]
    pub const fn ways(&self) -> [&Direction; 2] {
        [&self.rx, &self.tx]
    }
}

impl Tick {
    /// The interface with this number.
    #[must_use]
    pub fn interface(&self, ifindex: Option<u32>) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.ifindex == ifindex)
    }

    /// Reads one line.
    ///
    /// # Errors
    /// When it is not a tick.
    pub fn parse(line: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::{json, samples};

    #[test]
    fn what_the_report_writes_is_read_back() {
        let mut line = Vec::new();
        json::write(&samples::view(), &mut line);
        let tick = Tick::parse(&line).unwrap();
        assert_eq!((tick.tick, tick.read_us), (2, 60.0));
        let [ebpf, sysfs, ..] = &tick.interfaces[..] else { panic!("{tick:?}") };
        assert_eq!((&*ebpf.interface, ebpf.source), ("eth0", Source::Ebpf));
        assert_eq!(ebpf.rx.wire, Some(Traffic { packets: 220, bytes: 201_320 }));
        assert_eq!(ebpf.rx.packets_per_s, Some(55.0));
        assert_eq!(sysfs.rx, Direction::default());
    }

    #[test]
    fn what_is_no_tick_is_an_error() {
        for line in ["", "{}", "[]", r#"{"tick":-1}"#, r#"{"tick":1,"read_us":1}"#] {
            assert!(Tick::parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
