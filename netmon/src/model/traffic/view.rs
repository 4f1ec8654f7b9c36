//! What a tick's traffic looks like to those who show it: rates, averages, peaks, alerts.
//! [`TrafficView::update`] takes a tick in.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ecow::EcoString;

use super::facts::{FlowKey, Missing, SocketTraffic};
use super::protocol::{Direction, ProtocolClass, SIZES};
use super::thresholds::Thresholds;
use crate::model::accounting::Traffic;
use crate::model::human;
use crate::model::link::IfIndex;

mod entries;
mod flow;
mod memory;
mod names;
mod places;
mod programs;
mod speed;
mod update;

pub use flow::{Age, FlowRates};
pub use memory::Memory;
pub use update::Update;

/// Bytes per second over time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Speed {
    /// Since the tick before; `None` at a gap: at first, and when the counter went back.
    pub now: Option<f64>,
    /// Exponential moving average; `None` before the first `now`.
    pub average: Option<f64>,
    /// The highest `now` since the start.
    pub peak: Option<f64>,
}

/// The sum of both directions, as far as they are known.
pub(crate) fn both(rx: Option<f64>, tx: Option<f64>) -> Option<f64> {
    rx.zip(tx).map_or(rx.or(tx), |(rx, tx)| Some(rx + tx))
}

/// One process.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessView {
    /// See [`super::facts::ProcessFacts::id`].
    pub id: u32,
    /// See [`super::facts::ProcessFacts::life`].
    pub life: u32,
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Its command line.
    pub command: Option<Arc<str>>,
    /// User id.
    pub uid: u32,
    /// Its user's name, if there is one.
    pub user: Option<Arc<str>>,
    /// Its systemd unit, container or control group.
    pub cgroup: Option<Arc<str>>,
    /// Whether it is the kernel's own.
    pub kernel_thread: bool,
    /// `false`: it has ended.
    pub alive: bool,
    /// TCP.
    pub tcp: SocketTraffic,
    /// UDP.
    pub udp: SocketTraffic,
    /// Received, bytes per second.
    pub rx: Speed,
    /// Sent, bytes per second.
    pub tx: Speed,
    /// Above the threshold.
    pub alert: bool,
}

/// One flow. There may be many, so it is small.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowView {
    /// See [`super::facts::FlowFacts::id`].
    pub id: u32,
    /// See [`super::facts::FlowFacts::life`].
    pub life: u32,
    /// What tells it apart.
    pub key: FlowKey,
    /// The interface's name, or its number where no name is known.
    pub interface: EcoString,
    /// As the stack handles packets.
    pub skb: Traffic,
    /// As a cable carries them.
    pub wire: Traffic,
    /// Bytes and packets on the wire, per second.
    pub rates: FlowRates,
    /// How long ago its first packet was seen.
    pub first: Age,
    /// How long ago its last packet was seen.
    pub last: Age,
    /// TCP flags seen.
    pub tcp_flags: u8,
    /// The process that has its socket, or had it when it ended.
    pub process: Option<Arc<FlowProcess>>,
    /// Numbers are scaled from a sample.
    pub estimate: bool,
    /// Above the threshold.
    pub alert: bool,
}

/// The process that has a flow's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowProcess {
    /// See [`ProcessView::id`].
    pub id: u32,
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub name: Arc<str>,
}

/// One direction of an interface.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DirectionTrafficView {
    /// The sum of all protocols.
    pub total: Traffic,
    /// Wire bytes per second of all protocols.
    pub speed: Speed,
    /// Totals by protocol, with wire bytes per second.
    pub protocols: [(Traffic, Speed); ProtocolClass::ALL.len()],
    /// Totals by size, with wire packets per second.
    pub sizes: [(Traffic, Option<f64>); SIZES],
    /// The fullest moment since the tick before, in bytes per second.
    pub burst: Option<f64>,
    /// The highest burst since the start, in bytes per second.
    pub burst_peak: Option<f64>,
}

/// An interface's traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct InterfaceTrafficView {
    /// Which.
    pub ifindex: IfIndex,
    /// See [`super::facts::InterfaceFacts::life`].
    pub life: u32,
    /// Its name, or its number where no name is known.
    pub interface: EcoString,
    /// Received.
    pub rx: DirectionTrafficView,
    /// Transmitted.
    pub tx: DirectionTrafficView,
    /// Wire bytes per second of both directions are above the threshold.
    pub alert: bool,
}

impl InterfaceTrafficView {
    /// One direction.
    #[must_use]
    pub const fn direction(&self, direction: Direction) -> &DirectionTrafficView {
        match direction {
            Direction::Rx => &self.rx,
            Direction::Tx => &self.tx,
        }
    }
}

/// Drops of an interface for one reason.
#[derive(Clone, Debug, PartialEq)]
pub struct DropView {
    /// The interface; `None` where the packet had none.
    pub ifindex: Option<IfIndex>,
    /// Its name, or its number where no name is known; `None` where the packet had none.
    pub interface: Option<EcoString>,
    /// Why.
    pub reason: Arc<str>,
    /// How many.
    pub packets: u64,
    /// Per second, since the tick before.
    pub packets_per_s: Option<f64>,
}

/// How the table of flows is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FlowTable {
    /// Flows in it.
    pub used: usize,
    /// How many it can hold.
    pub capacity: u32,
    /// Taken out since the start to make room.
    pub evicted: u64,
    /// Taken out since the start because they were idle.
    pub expired: u64,
    /// What belonged to no flow because it was full.
    pub untracked: Traffic,
    /// One packet in so many is looked at.
    pub sample: u32,
}

/// How many are above their threshold, for a footer: `! 2 above 10 MB/s`, or `ok`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AlertSummary {
    /// Processes.
    pub processes: usize,
    /// Flows.
    pub flows: usize,
    /// Interfaces.
    pub interfaces: usize,
    /// What they are above.
    pub thresholds: Thresholds,
}

impl AlertSummary {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.processes + self.flows + self.interfaces
    }
}

impl fmt::Display for AlertSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processes, flows, interfaces, thresholds } = *self;
        let above = [
            (processes, thresholds.process),
            (flows, thresholds.flow),
            (interfaces, thresholds.interface),
        ];
        let mut separator = "! ";
        for (place, (_, threshold)) in above.iter().enumerate() {
            let same = |(_, other): &&(usize, f64)| other == threshold;
            let count: usize = above.iter().filter(same).map(|(count, _)| count).sum();
            // Those of one threshold are told together, at the first of them.
            if count > 0 && above[..place].iter().find(same).is_none() {
                write!(f, "{separator}{count} above {}", human::limit(*threshold))?;
                separator = ", ";
            }
        }
        if self.total() == 0 { f.write_str("ok") } else { Ok(()) }
    }
}

/// Everything. What cannot be had is `None`, and in `missing`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrafficView {
    /// Since the tick before, by the kernel's clock; `None` at the first.
    pub elapsed: Option<Duration>,
    /// How much is above its threshold.
    pub alerts: AlertSummary,
    /// What cannot be had, and why.
    pub missing: Vec<Missing>,
    /// Processes, in the order of the facts, which means nothing.
    pub processes: Option<Vec<ProcessView>>,
    /// Bytes of processes that found the table full.
    pub processes_untracked: u64,
    /// Flows, in the order of the facts, which means nothing.
    pub flows: Option<Vec<FlowView>>,
    /// How their table is.
    pub flow_table: FlowTable,
    /// Interfaces, in the order of the facts.
    pub interfaces: Option<Vec<InterfaceTrafficView>>,
    /// How long the moments are that bursts are looked for in.
    pub burst_width: Option<Duration>,
    /// Drops.
    pub drops: Option<Vec<DropView>>,
    /// What the next update needs, and nobody else.
    pub memory: Memory,
}

#[cfg(test)]
mod tests;
