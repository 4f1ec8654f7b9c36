//! The raw facts of one tick, as the sources gave them. Rates and totals are the view's matter.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ecow::EcoString;
use netmon_common::{Counters, SlotCounters};

use super::accounting::{Rules, Traffic};
use super::link::{IfIndex, LinkState};

/// The kernel's own counters of one direction. `None`: could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(from = "[Option<u64>; 4]", into = "[Option<u64>; 4]")]
pub struct DeviceCounters {
    /// `rx_packets`, `tx_packets`.
    pub packets: Option<u64>,
    /// `rx_bytes`, `tx_bytes`.
    pub bytes: Option<u64>,
    /// `rx_errors`, `tx_errors`.
    pub errors: Option<u64>,
    /// `rx_dropped`, `tx_dropped`.
    pub dropped: Option<u64>,
}

impl From<[Option<u64>; 4]> for DeviceCounters {
    fn from([packets, bytes, errors, dropped]: [Option<u64>; 4]) -> Self {
        Self { packets, bytes, errors, dropped }
    }
}

impl From<DeviceCounters> for [Option<u64>; 4] {
    fn from(counters: DeviceCounters) -> Self {
        let DeviceCounters { packets, bytes, errors, dropped } = counters;
        [packets, bytes, errors, dropped]
    }
}

impl DeviceCounters {
    /// Packets and bytes, where both are known.
    #[must_use]
    pub const fn traffic(&self) -> Option<Traffic> {
        match (self.packets, self.bytes) {
            (Some(packets), Some(bytes)) => Some(Traffic { packets, bytes }),
            _ => None,
        }
    }
}

/// The kernel's own counters of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceStats {
    /// Received.
    pub rx: DeviceCounters,
    /// Transmitted.
    pub tx: DeviceCounters,
}

/// What the programs have counted for an interface, and where that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counted {
    /// Now.
    #[serde(with = "super::slot_counters")]
    pub now: SlotCounters,
    /// When counting began (slots are used again, so this is not always zero).
    #[serde(with = "super::slot_counters")]
    pub first: SlotCounters,
    /// Where the report's totals stood at a moment, and the counters at that same moment.
    pub base: Base,
    /// How the device counts.
    pub rules: Rules,
}

/// A moment at which the report's totals and the programs' counters are both known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Base {
    /// Totals, received.
    pub rx: Traffic,
    /// Totals, transmitted.
    pub tx: Traffic,
    /// The programs' counters.
    #[serde(with = "super::slot_counters")]
    pub counters: SlotCounters,
}

/// One direction of [`Counted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedDirection {
    /// The report's total: base plus what came since, in the device's currency.
    pub total: Traffic,
    /// Since counting began, as the stack handles packets.
    pub skb: Traffic,
    /// Since counting began, as a cable carries them.
    pub wire: Traffic,
}

impl Counted {
    /// Counting begins at this base.
    #[must_use]
    pub const fn begin(base: Base, rules: Rules) -> Self {
        Self { now: base.counters, first: base.counters, base, rules }
    }

    /// Goes on with the totals as they are under other rules.
    pub fn change_rules(&mut self, rules: Rules) {
        let (rx, tx): (Traffic, Traffic) = (self.rx().total, self.tx().total);
        self.base = Base { rx, tx, counters: self.now };
        self.rules = rules;
    }

    /// Received.
    #[must_use]
    pub fn rx(&self) -> CountedDirection {
        direction(&self.now.rx, &self.first.rx, self.rx_total())
    }

    /// Transmitted.
    #[must_use]
    pub fn tx(&self) -> CountedDirection {
        direction(&self.now.tx, &self.first.tx, self.tx_total())
    }

    /// The report's total, received.
    #[must_use]
    pub const fn rx_total(&self) -> Traffic {
        let Base { rx, tx: _, counters } = &self.base;
        rx.plus(self.rules.rx.apply(&self.now.rx).since(self.rules.rx.apply(&counters.rx)))
    }

    /// The report's total, transmitted.
    #[must_use]
    pub const fn tx_total(&self) -> Traffic {
        let Base { rx: _, tx, counters } = &self.base;
        let (now, at_base) = match self.rules.tx_is_rx {
            false => (&self.now.tx, &counters.tx),
            true => (&self.now.rx, &counters.rx),
        };
        tx.plus(self.rules.tx.apply(now).since(self.rules.tx.apply(at_base)))
    }
}

fn direction(now: &Counters, first: &Counters, total: Traffic) -> CountedDirection {
    let skb = |c: &Counters| Traffic { packets: c.packets, bytes: c.bytes };
    let wire = |c: &Counters| Traffic { packets: c.wire_packets(), bytes: c.wire_bytes() };
    CountedDirection { total, skb: skb(now).since(skb(first)), wire: wire(now).since(wire(first)) }
}

/// What gives an interface's packets and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The programs in the kernel.
    Ebpf,
    /// The kernel's own counters over netlink: the programs are not attached yet.
    Kernel,
    /// The kernel's own counters in sysfs.
    Sysfs,
}

/// What is said to count an interface while the programs are being attached.
pub const ATTACHING: &str = "none yet: the programs are being attached";

/// Why nothing is known of an interface that another process watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The process is not running (yet, or any more).
    NotRunning,
    /// It is running, and does not answer.
    Stale,
}

/// The facts of one interface.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct InterfaceFacts {
    /// Which of the watched interfaces; the same for as long as netmon runs.
    pub key: u32,
    /// Another number when the counters are another device's, or begin anew: then nothing is said
    /// of what came since the tick before.
    pub life: u32,
    /// Its number; `None` when it does not exist now.
    pub ifindex: Option<IfIndex>,
    /// Its name now, or the last one.
    pub name: EcoString,
    /// `IFF_UP`.
    pub admin_up: Option<bool>,
    /// Its state.
    pub state: LinkState,
    /// What gives packets and bytes.
    pub source: Source,
    /// What counts it, in words (`TCX in+out`).
    pub hook: Arc<str>,
    /// The kernel's own counters.
    pub device: DeviceStats,
    /// What the programs counted.
    pub counted: Option<Counted>,
    /// Whether this tick is one at which the interface is reported.
    pub due: bool,
    /// When the counters were read; `None`: at the tick.
    #[serde(skip)]
    pub read_at: Option<Instant>,
    /// `None`: the facts are known.
    #[serde(skip)]
    pub silence: Option<Silence>,
}

/// Nothing is known yet.
impl Default for InterfaceFacts {
    fn default() -> Self {
        Self {
            key: 0,
            life: 0,
            ifindex: None,
            name: EcoString::new(),
            admin_up: None,
            state: LinkState::default(),
            source: Source::Kernel,
            hook: Arc::from(""),
            device: DeviceStats::default(),
            counted: None,
            due: false,
            read_at: None,
            silence: None,
        }
    }
}

/// A tick. The facts of the interfaces go with it, in the order of the report; they stay where
/// they are kept and are changed there, since copying them was a tenth of a tick.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// Its number, from 1.
    pub number: u64,
    /// When, for differences.
    pub at: Instant,
    /// When, for people.
    pub time: SystemTime,
    /// How long reading the kernel's and the programs' counters took, both together: what passes
    /// meanwhile may be in one and not in the other.
    pub reading: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::accounting::{Rule, Unit};

    fn counters(packets: u64, bytes: u64, extra_packets: u64, extra_bytes: u64) -> Counters {
        Counters { packets, bytes, extra_packets, extra_bytes }
    }

    #[test]
    fn totals_go_on_from_the_kernels() {
        let wire = Rule { unit: Unit::Wire, bytes_per_packet: -14 };
        let skb = Rule { unit: Unit::Skb, bytes_per_packet: 0 };
        let first = SlotCounters { rx: counters(5, 500, 0, 0), tx: counters(1, 60, 0, 0) };
        let base = Base {
            rx: Traffic { packets: 1_000, bytes: 90_000 },
            tx: Traffic { packets: 2, bytes: 200 },
            counters: first,
        };
        let now = SlotCounters { rx: counters(15, 10_500, 4, 264), tx: counters(4, 360, 7, 70) };
        let counted =
            Counted { now, first, base, rules: Rules { rx: wire, tx: skb, tx_is_rx: false } };
        assert_eq!(
            counted.rx(),
            CountedDirection {
                total: Traffic { packets: 1_014, bytes: 90_000 + 10_264 - 14 * 14 },
                skb: Traffic { packets: 10, bytes: 10_000 },
                wire: Traffic { packets: 14, bytes: 10_264 },
            }
        );
        assert_eq!(counted.tx().total, Traffic { packets: 5, bytes: 500 });
        assert_eq!(counted.tx().wire, Traffic { packets: 10, bytes: 370 });
    }

    #[test]
    fn what_loopback_says_it_sent_is_what_it_received() {
        let rule = Rule { unit: Unit::Skb, bytes_per_packet: -14 };
        let now = SlotCounters { rx: counters(10, 1_000, 0, 0), tx: counters(4, 900, 6, 84) };
        let counted = Counted {
            now,
            first: SlotCounters::default(),
            base: Base::default(),
            rules: Rules { rx: rule, tx: rule, tx_is_rx: true },
        };
        assert_eq!(counted.tx().total, counted.rx().total);
        assert_eq!(counted.tx().skb, Traffic { packets: 4, bytes: 900 });
        assert_eq!(counted.tx().wire, Traffic { packets: 10, bytes: 984 });
    }

    #[test]
    fn a_base_below_what_was_counted_is_right() {
        // The device's counters were reset to zero, and then a base was taken.
        let rules = Rules {
            rx: Rule { unit: Unit::Skb, bytes_per_packet: -14 },
            tx: Rule { unit: Unit::Skb, bytes_per_packet: 0 },
            tx_is_rx: false,
        };
        let seen = SlotCounters { rx: counters(900, 90_000, 0, 0), ..SlotCounters::default() };
        let base = Base { counters: seen, ..Base::default() };
        let counted = Counted { now: seen, first: SlotCounters::default(), base, rules };
        assert_eq!(counted.rx().total, Traffic::default());
    }
}
