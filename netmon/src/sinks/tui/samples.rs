//! Ticks made by hand, for the tests, the demonstration and the measurement: as many rows as
//! wanted, the same each time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::mailbox::Happened;
use super::screen::Screen;
use crate::model::accounting::Traffic;
use crate::model::event::{Event, EventKind};
use crate::model::link::{IfIndex, LinkState, OperState};
use crate::model::snapshot::{DeviceCounters, DeviceStats, InterfaceFacts, Source, Tick};
use crate::model::traffic::facts::{FlowKey, Missing, Part, SocketTraffic};
use crate::model::traffic::protocol::{Direction, Protocol, SIZES};
use crate::model::traffic::thresholds::Thresholds;
use crate::model::traffic::view::{
    AlertSummary, DirectionTrafficView, DropView, FlowProcess, FlowRates, FlowTable, FlowView,
    InterfaceTrafficView, Memory, ProcessView, Speed, TrafficView,
};
use crate::model::view::View;

/// A router that has so much of each.
#[derive(Debug)]
pub struct Router {
    /// Flows.
    pub flows: u32,
    /// Processes.
    pub processes: u32,
    /// The latest tick.
    pub view: View,
    /// Its traffic.
    pub traffic: TrafficView,
    interfaces: Vec<InterfaceFacts>,
    start: Instant,
    number: u64,
    told: u64,
}

/// Names that routers have, and some that nobody should have.
const INTERFACES: [&str; 8] =
    ["lo", "eth0", "eth1", "wan0", "br-lan", "wg0", "eth1.100", "veth\u{7db2}\u{8def}0"];
const PROCESSES: [&str; 8] = [
    "nginx",
    "curl",
    "sshd",
    "dnsmasq",
    "bird",
    "kworker/u8:1",
    "bad\u{1b}[2Jname",
    "\u{7db2}\u{8def}d",
];

impl Router {
    /// Before the first tick.
    #[must_use]
    pub fn new(interfaces: u32, processes: u32, flows: u32) -> Self {
        let facts = (0..interfaces).map(|index| {
            let name = INTERFACES.get(index as usize).map(|name| (*name).to_owned());
            InterfaceFacts {
                key: index,
                ifindex: Some(IfIndex(index + 1)),
                name: name.unwrap_or_else(|| format!("port{index}")).into(),
                admin_up: Some(index != 5),
                state: LinkState {
                    operstate: Some(match index {
                        0 => OperState::Unknown,
                        3 | 5 => OperState::Down,
                        _ => OperState::Up,
                    }),
                    carrier_up_count: Some(index.into()),
                    carrier_down_count: Some(u64::from(index / 2)),
                },
                source: Source::Ebpf,
                hook: "TCX in+out".into(),
                due: true,
                ..InterfaceFacts::default()
            }
        });
        Self {
            flows,
            processes,
            view: View::default(),
            traffic: TrafficView::default(),
            interfaces: facts.collect(),
            start: Instant::now(),
            number: 0,
            told: 0,
        }
    }

    /// The next tick, a second later.
    pub fn tick(&mut self) {
        self.number += 1;
        let number = self.number;
        for facts in &mut self.interfaces {
            let each = noise(facts.key, number)
                * if facts.state.operstate == Some(OperState::Down) { 0 } else { 1 };
            add(&mut facts.device, each * u64::from(facts.key + 1));
        }
        let since = Duration::from_secs(number);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + since;
        let tick =
            Tick { number, at: self.start + since, time, reading: Duration::from_micros(60) };
        self.view.update(tick, &self.interfaces);
        self.view.events.clear();
        self.tell();
        self.traffic = self.traffic();
    }

    /// Shows the latest tick, as the agent and the thread do together.
    pub fn show(&mut self, screen: &mut Screen) -> bool {
        let at = self.start + Duration::from_secs(self.number);
        screen.update(|shown, events| {
            shown.fill(at, &self.view, Some(&self.traffic));
            for event in &self.view.events {
                let (number, time) = (self.told, self.view.time);
                self.told += 1;
                events.push_back(Happened { number, time, event: event.clone() });
            }
            true
        })
    }

    fn tell(&mut self) {
        let Some(interface) = self.interfaces.get(3).map(|facts| facts.name.clone()) else {
            return;
        };
        let event = match self.number {
            1 => Event::of(&interface, EventKind::Counting, "TCX in+out"),
            2 => Event::of(&interface, EventKind::Down, "down: up but without carrier"),
            3 => Event::own(EventKind::Warning, "a word about netmon itself"),
            _ => return,
        };
        self.view.events.push(event);
    }

    fn traffic(&self) -> TrafficView {
        let processes: Vec<_> = (0..self.processes).map(|id| process(id, self.number)).collect();
        let flows: Vec<_> = (0..self.flows).map(|id| self.flow(id)).collect();
        let interfaces: Vec<_> =
            self.interfaces.iter().map(|facts| interface(facts, self.number)).collect();
        TrafficView {
            elapsed: Some(Duration::from_secs(1)),
            alerts: AlertSummary {
                processes: processes.iter().filter(|process| process.alert).count(),
                flows: flows.iter().filter(|flow| flow.alert).count(),
                interfaces: interfaces.iter().filter(|interface| interface.alert).count(),
                thresholds: Thresholds::default(),
            },
            missing: Vec::new(),
            processes: Some(processes),
            processes_untracked: 0,
            flow_table: FlowTable {
                used: flows.len(),
                capacity: 65_536,
                sample: 1,
                ..FlowTable::default()
            },
            flows: Some(flows),
            interfaces: Some(interfaces),
            burst_width: Some(Duration::from_millis(4)),
            drops: Some(self.drops()),
            memory: Memory::default(),
        }
    }

    fn flow(&self, id: u32) -> FlowView {
        let number = self.number;
        let place = id as usize % self.interfaces.len().max(1);
        let six = id % 5 == 4;
        let ends = if six {
            let host = |part: u32| {
                IpAddr::from(Ipv6Addr::from(
                    0x2001_0db8_u128 << 96 | u128::from(part) << 64 | u128::from(part * 77),
                ))
            };
            (host(id + 1), host(id + 2))
        } else {
            let host = |part: u32| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + part));
            (host(id % 250 + 1), host(id + 260))
        };
        let protocol = [6, 6, 17, 6, 6, 1][id as usize % 6];
        let rate = 4e7 / f64::from(id + 1) * (1.0 + noise(id, number) as f64 / 1e7);
        FlowView {
            id,
            life: 1,
            key: FlowKey {
                ifindex: IfIndex(place as u32 + 1),
                direction: if id.is_multiple_of(2) { Direction::Rx } else { Direction::Tx },
                vlan: (id % 7 == 6).then_some(100),
                protocol: if id % 11 == 10 {
                    Protocol::Ethernet(0x88cc)
                } else {
                    Protocol::Ip(protocol)
                },
                addresses: (id % 11 != 10).then_some(ends),
                ports: if protocol == 1 { (8, 0) } else { (443, (40_000 + id % 20_000) as u16) },
            },
            interface: self.interfaces.get(place).map_or("1".into(), |facts| facts.name.clone()),
            skb: Traffic { packets: 10 * number, bytes: rate as u64 * number },
            wire: Traffic { packets: 12 * number, bytes: rate as u64 * number },
            rates: FlowRates::new(
                Speed { now: Some(rate), average: Some(rate * 0.9), peak: Some(rate * 1.5) },
                Some(rate / 900.0),
            ),
            first: Duration::from_secs(number + u64::from(id)).into(),
            last: Duration::from_millis(u64::from(id % 50) * 100).into(),
            tcp_flags: if protocol == 6 { 0x1a } else { 0 },
            process: (id.is_multiple_of(3) && self.processes > 0).then(|| {
                let id = id % self.processes;
                Arc::new(FlowProcess { id, pid: 1_000 + id, name: name(id) })
            }),
            estimate: false,
            alert: rate > Thresholds::DEFAULT,
        }
    }

    fn drops(&self) -> Vec<DropView> {
        let reasons = ["NETFILTER_DROP", "NO_SOCKET", "QDISC_DROP", "UNHANDLED_PROTO"];
        let drops = reasons.iter().zip(1_u32..).map(|(reason, index)| {
            let facts = self.interfaces.get(index as usize).filter(|_| index < 4);
            DropView {
                ifindex: facts.and_then(|facts| facts.ifindex),
                interface: facts.map(|facts| facts.name.clone()),
                reason: (*reason).into(),
                packets: self.number * u64::from(100 / index),
                packets_per_s: Some(if index == 3 { 0.0 } else { f64::from(100 / index) }),
            }
        });
        drops.collect()
    }

    /// Full tables, and a sample instead of all packets.
    pub fn fill_tables(&mut self) {
        self.traffic.flow_table = FlowTable {
            used: 65_536,
            capacity: 65_536,
            evicted: 1_234,
            expired: 99,
            untracked: Traffic { packets: 5_000, bytes: 6_000_000 },
            sample: 64,
        };
        self.traffic.processes_untracked = 7_000_000;
        self.traffic.flows.iter_mut().flatten().for_each(|flow| flow.estimate = true);
    }

    /// As where nothing of it can be had.
    pub fn lose_traffic(&mut self) {
        let missing = |part, why: &str| Missing { part, why: why.to_owned() };
        self.traffic = TrafficView {
            missing: vec![
                missing(Part::Processes, "needs Linux 6.3 or later, this is 6.1"),
                missing(
                    Part::Flows,
                    "needs CAP_BPF; run netmon as root, or give it the capability",
                ),
                missing(
                    Part::Drops,
                    "the tracepoint skb:kfree_skb has no reason before Linux 5.17",
                ),
            ],
            ..TrafficView::default()
        };
    }
}

/// The same each time, from 0 to ten million.
fn noise(seed: u32, number: u64) -> u64 {
    let mixed = (u64::from(seed) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 31).wrapping_mul(0x94d0_49bb_1331_11eb) >> 40 & 0xff_ffff
}

fn add(device: &mut DeviceStats, bytes: u64) {
    let more = |counters: &mut DeviceCounters, bytes: u64| {
        counters.bytes = Some(counters.bytes.unwrap_or_default() + bytes);
        counters.packets = Some(counters.packets.unwrap_or_default() + bytes / 800);
        counters.errors = Some(counters.errors.unwrap_or_default() + u64::from(bytes % 97 == 1));
        counters.dropped = Some(counters.dropped.unwrap_or_default() + u64::from(bytes % 7 == 1));
    };
    more(&mut device.rx, bytes);
    more(&mut device.tx, bytes / 3);
}

fn name(id: u32) -> Arc<str> {
    PROCESSES.get(id as usize).map_or_else(|| format!("worker{id}").into(), |name| (*name).into())
}

fn process(id: u32, number: u64) -> ProcessView {
    let rate = 3e7 / f64::from(id * id + 1) + noise(id, number) as f64 / 100.0;
    let speed =
        |rate: f64| Speed { now: Some(rate), average: Some(rate * 0.8), peak: Some(rate * 2.0) };
    let sockets = |part: u64| SocketTraffic {
        tx_bytes: rate as u64 * number / part,
        tx_messages: number * 3,
        rx_bytes: rate as u64 * number / part / 4,
        rx_messages: number * 2,
    };
    ProcessView {
        id,
        life: 1,
        pid: 1_000 + id,
        name: name(id),
        command: (id != 1).then(|| format!("/usr/sbin/{} --option {id}", name(id)).into()),
        uid: id % 4 * 33,
        user: (id % 4 != 3).then(|| ["root", "www-data", "_apt"][id as usize % 3].into()),
        cgroup: (id % 5 != 4).then(|| format!("{}.service", name(id)).into()),
        kernel_thread: id == 5,
        alive: id != 2,
        tcp: sockets(1),
        udp: if id.is_multiple_of(2) { SocketTraffic::default() } else { sockets(10) },
        rx: speed(rate / 4.0),
        tx: speed(rate),
        alert: rate * 1.25 * 0.8 > Thresholds::DEFAULT,
    }
}

fn interface(facts: &InterfaceFacts, number: u64) -> InterfaceTrafficView {
    let bytes = |counters: &DeviceCounters| counters.bytes.unwrap_or_default();
    let direction = |bytes: u64| {
        let now = noise(facts.key, number) as f64;
        let speed = Speed { now: Some(now), average: Some(now), peak: Some(1.6e7) };
        let mut view = DirectionTrafficView {
            total: Traffic { packets: bytes / 800, bytes },
            speed,
            burst: Some(now * 3.0),
            burst_peak: Some(5e7),
            ..DirectionTrafficView::default()
        };
        for (index, parts) in [(0, 70), (1, 20), (2, 1), (3, 1), (10, 1)] {
            let part = Traffic { packets: bytes / 80_000 * parts, bytes: bytes / 100 * parts };
            let speed = Speed { now: Some(now / 100.0 * parts as f64), ..Speed::default() };
            view.protocols[index] = (part, speed);
        }
        for index in 0..SIZES {
            let packets = bytes / 800 / (index as u64 + 1);
            view.sizes[index] = (Traffic { packets, bytes: packets * 64 }, Some(now / 900.0));
        }
        view
    };
    InterfaceTrafficView {
        ifindex: facts.ifindex.unwrap_or_default(),
        life: 1,
        interface: facts.name.clone(),
        rx: direction(bytes(&facts.device.rx)),
        tx: direction(bytes(&facts.device.tx)),
        alert: facts.key == 4,
    }
}
