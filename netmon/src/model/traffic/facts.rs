//! The raw facts of one tick about who and what, as the sources gave them: totals since counting
//! began. What is `None` or absent is not known.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::protocol::{Direction, Protocol, ProtocolClass, SIZES};
use crate::model::accounting::Traffic;
use crate::model::link::IfIndex;

/// A moment by the kernel's `CLOCK_MONOTONIC`: time since the boot, sleep left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelTime(pub Duration);

/// Which part of the facts.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    clap::ValueEnum,
    serde::Deserialize,
    serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Flows, protocols, sizes and bursts
    Flows,
    /// Processes
    Processes,
    /// Dropped packets, with the reason
    Drops,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Flows, Self::Processes, Self::Drops];

    /// What it is called in settings and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Processes => "processes",
            Self::Drops => "drops",
        }
    }
}

/// A part that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Missing {
    /// Which.
    pub part: Part,
    /// Why, and what to do, in words.
    pub why: String,
}

/// Everything that is known at a tick. The sources change it in place.
#[derive(Clone, Debug, Default)]
pub struct TrafficFacts {
    /// When it was read.
    pub now: KernelTime,
    /// What cannot be had, and why.
    pub missing: Vec<Missing>,
    /// Flows. The order means nothing.
    pub flows: Option<Flows>,
    /// Exact totals of each interface that the programs count.
    pub interfaces: Option<Vec<InterfaceFacts>>,
    /// Processes. The order means nothing.
    pub processes: Option<Processes>,
    /// Drops, for each interface and reason.
    pub drops: Option<Vec<DropFacts>>,
}

/// The table of flows.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    /// Those that are in it now.
    pub flows: Vec<FlowFacts>,
    /// How many it can hold.
    pub capacity: u32,
    /// How many were taken out since the start to make room for others.
    pub evicted: u64,
    /// How many were taken out since the start because they were idle.
    pub expired: u64,
    /// What belonged to no flow because the table was full, as a cable carries it.
    pub untracked: Traffic,
    /// What the flows that were taken out had carried, as a cable carries it. With what is in the
    /// table and what is untracked it is all traffic.
    pub gone: Traffic,
    /// One packet in so many is looked at (1: all). Numbers are already scaled.
    pub sample: u32,
}

/// What tells flows apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The interface whose hook saw it.
    pub ifindex: IfIndex,
    /// Received or transmitted there.
    pub direction: Direction,
    /// The outer VLAN's number, if tagged.
    pub vlan: Option<u16>,
    /// The outermost protocol over IP, or what it is instead.
    pub protocol: Protocol,
    /// Source and destination; `None` where it is not IP.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// Source and destination port. ICMP: type and code. Else, and in fragments behind the
    /// first: 0.
    pub ports: (u16, u16),
}

/// One flow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlowFacts {
    /// A small number that is this flow's for as long as it is in the table, and may be another's
    /// later, with another `life`.
    pub id: u32,
    /// See `id`.
    pub life: u32,
    /// What tells it apart.
    pub key: FlowKey,
    /// As the stack handles packets.
    pub skb: Traffic,
    /// As a cable carries them.
    pub wire: Traffic,
    /// When its first packet was seen.
    pub first: KernelTime,
    /// When its last packet was seen, to about 4 ms.
    pub last: KernelTime,
    /// Every TCP flag that was seen (RFC 9293: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE
    /// 64, CWR 128).
    pub tcp_flags: u8,
    /// The process that has its socket, if that is known and in the table of processes: see
    /// [`ProcessFacts::id`]. What was once said of a flow holds for its life, also when the process
    /// has ended and this is `None` again.
    pub process: Option<u32>,
}

/// Exact totals of an interface.
#[derive(Clone, Debug, PartialEq)]
pub struct InterfaceFacts {
    /// Which.
    pub ifindex: IfIndex,
    /// Another number when its counters begin anew.
    pub life: u32,
    /// Received.
    pub rx: DirectionFacts,
    /// Transmitted.
    pub tx: DirectionFacts,
}

/// One direction of [`InterfaceFacts`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DirectionFacts {
    /// By protocol, as a cable carries them, in the order of [`ProtocolClass::ALL`].
    pub protocols: [Traffic; ProtocolClass::ALL.len()],
    /// By size, as a cable carries them; see [`super::protocol::SIZE_ENDS`].
    pub sizes: [Traffic; SIZES],
    /// The fullest moment since the tick before.
    pub burst: Option<Burst>,
}

/// The fullest moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// Bytes in it, as a cable carries them.
    pub bytes: u64,
    /// How long it is: the resolution.
    pub width: Duration,
}

impl Burst {
    /// Bytes per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / self.width.as_secs_f64()
    }
}

/// The table of processes.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    /// Those that are in it now: every process that has sent or received since the start and
    /// lives, and those that ended since the tick before.
    pub processes: Vec<ProcessFacts>,
    /// How many it can hold.
    pub capacity: u32,
    /// Bytes of processes that found it full, sent and received.
    pub untracked: u64,
    /// Processes that were running and knew the network already when counting began: these are
    /// no new programs.
    pub settled: bool,
}

/// One process.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessFacts {
    /// A small number that is this process's for as long as it is in the table, and may be
    /// another's later, with another `life`.
    pub id: u32,
    /// See `id`.
    pub life: u32,
    /// Process id (`tgid`), as the agent's namespace numbers it.
    pub pid: u32,
    /// When it was started.
    pub started: KernelTime,
    /// Its name (`comm`, 15 bytes at most), as it was when it last sent or received.
    pub name: Arc<str>,
    /// Its command line, arguments separated by a space; `None` once it was gone too fast.
    pub command: Option<Arc<str>>,
    /// User id, of the agent's user namespace.
    pub uid: u32,
    /// Its user's name, or the number where it has none.
    pub user: Option<Arc<str>>,
    /// Its systemd unit, container or control group, in a few characters.
    pub cgroup: Option<Arc<str>>,
    /// Whether it is the kernel's own.
    pub kernel_thread: bool,
    /// `false`: it has ended.
    pub alive: bool,
    /// It talks for the first time since counting began: it was not running then, or was silent
    /// for the first while, or has become another program since.
    pub is_new: bool,
    /// What its TCP sockets carried.
    pub tcp: SocketTraffic,
    /// What its UDP sockets carried.
    pub udp: SocketTraffic,
}

/// Payload that went through sockets, headers not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketTraffic {
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Messages sent (system calls, datagrams).
    pub tx_messages: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Messages received.
    pub rx_messages: u64,
}

/// Packets that the kernel dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropFacts {
    /// The interface; `None` where the packet had none, or another namespace's.
    pub ifindex: Option<IfIndex>,
    /// The kernel's name of the reason (`NETFILTER_DROP`, `QDISC_DROP`, …).
    pub reason: Arc<str>,
    /// How many.
    pub packets: u64,
}
