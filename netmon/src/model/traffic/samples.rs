//! A tick of traffic with everything in it, for tests and golden files.

use std::net::IpAddr;
use std::time::Duration;

use super::facts::{
    Burst, DropFacts, FlowFacts, FlowKey, Flows, InterfaceFacts, KernelTime, Missing, Part,
    ProcessFacts, Processes, SocketTraffic, TrafficFacts,
};
use super::protocol::{Direction, Protocol};
use super::thresholds::TrafficOptions;
use super::view::TrafficView;
use crate::model::accounting::Traffic;
use crate::model::link::IfIndex;

/// Far enough from the start for whatever was first seen long ago.
const BEGIN: u64 = 10_000;

fn at(seconds: u64) -> KernelTime {
    KernelTime(Duration::from_secs(BEGIN + seconds))
}

fn traffic(packets: u64, bytes: u64) -> Traffic {
    Traffic { packets, bytes }
}

fn flow(id: u32, key: FlowKey, tick: u64, megabytes: u64) -> FlowFacts {
    let packets = megabytes * 20 * tick;
    FlowFacts {
        id,
        life: 0,
        key,
        skb: traffic(packets, packets * 50_000),
        wire: traffic(packets * 34, packets * 52_244),
        first: KernelTime(Duration::from_secs(BEGIN - 100)),
        last: KernelTime(Duration::from_millis((BEGIN + 2 * tick) * 1_000 - 250)),
        tcp_flags: 0,
        process: None,
    }
}

fn addresses(source: &str, destination: &str) -> Option<(IpAddr, IpAddr)> {
    Some((source.parse().ok()?, destination.parse().ok()?))
}

fn flows(tick: u64) -> Vec<FlowFacts> {
    let out = FlowKey {
        ifindex: IfIndex(2),
        direction: Direction::Tx,
        vlan: None,
        protocol: Protocol::Ip(6),
        addresses: addresses("10.0.0.1", "192.0.2.7"),
        ports: (50_000, 443),
    };
    let back = FlowKey {
        direction: Direction::Rx,
        addresses: addresses("192.0.2.7", "10.0.0.1"),
        ports: (443, 50_000),
        ..out
    };
    let ping = FlowKey {
        ifindex: IfIndex(3),
        direction: Direction::Rx,
        vlan: None,
        protocol: Protocol::Ip(58),
        addresses: addresses("2001:db8::1", "2001:db8::2"),
        ports: (128, 0),
    };
    let tagged = FlowKey {
        ifindex: IfIndex(11),
        vlan: Some(7),
        protocol: Protocol::Ip(17),
        addresses: addresses("172.16.0.1", "10.9.9.9"),
        ports: (5_353, 53),
        ..out
    };
    let owned = |flow| FlowFacts { process: Some(0), tcp_flags: 0x1a, ..flow };
    vec![
        owned(flow(1, out, tick, 1)),
        owned(flow(2, back, tick, 40)),
        flow(3, ping, tick, 0),
        flow(4, tagged, tick, 2),
    ]
}

fn processes(tick: u64) -> Vec<ProcessFacts> {
    let tcp = |megabytes: u64, messages: u64| SocketTraffic {
        rx_bytes: megabytes * tick * 1_000_000,
        rx_messages: messages * tick,
        tx_bytes: megabytes * tick * 1_000,
        tx_messages: tick,
    };
    let curl = ProcessFacts {
        id: 0,
        life: 3,
        pid: 101,
        started: at(0),
        name: "curl".into(),
        command: Some("curl -O https://www.example.org/a,b\"c\"\u{1b}[2J".into()),
        uid: 1000,
        user: Some("alice".into()),
        cgroup: Some("user@1000.service".into()),
        kernel_thread: false,
        alive: true,
        is_new: true,
        tcp: tcp(80, 500),
        udp: SocketTraffic { tx_bytes: 60 * tick, tx_messages: tick, ..Default::default() },
    };
    let nginx = ProcessFacts {
        id: 1,
        pid: 77,
        name: "nginx".into(),
        command: Some("nginx: worker process".into()),
        uid: 33,
        user: Some("www-data".into()),
        cgroup: Some("nginx.service".into()),
        is_new: false,
        tcp: tcp(3, 9),
        ..curl.clone()
    };
    let gone = ProcessFacts {
        id: 2,
        pid: 4_194_304,
        name: "a\nb=1,2".into(),
        command: None,
        uid: 12_345,
        user: None,
        cgroup: None,
        alive: false,
        tcp: SocketTraffic::default(),
        udp: SocketTraffic { rx_bytes: 512, rx_messages: 1, ..Default::default() },
        ..nginx.clone()
    };
    if tick < 2 { vec![curl, nginx] } else { vec![curl, nginx, gone] }
}

fn interfaces(tick: u64) -> Vec<InterfaceFacts> {
    let mut eth0 = InterfaceFacts {
        ifindex: IfIndex(2),
        life: 1,
        rx: Default::default(),
        tx: Default::default(),
    };
    eth0.rx.protocols[0] = traffic(27_200 * tick, 41_795_200 * tick);
    eth0.rx.protocols[10] = traffic(3, 180);
    eth0.rx.sizes[0] = traffic(3, 180);
    eth0.rx.sizes[5] = traffic(27_200 * tick, 41_795_200 * tick);
    let width = Duration::from_millis(4);
    eth0.rx.burst = Some(Burst { bytes: 500_000 * tick, width });
    eth0.tx.protocols[0] = traffic(680 * tick, 44_880 * tick);
    eth0.tx.sizes[1] = traffic(680 * tick, 44_880 * tick);
    let wan = InterfaceFacts { ifindex: IfIndex(11), ..eth0.clone() };
    // What comes at the second tick has no rate yet.
    if tick < 2 { vec![eth0] } else { vec![eth0, wan] }
}

pub(crate) fn facts(tick: u64) -> TrafficFacts {
    let drop = |ifindex: Option<u32>, reason: &str, packets| DropFacts {
        ifindex: ifindex.map(IfIndex),
        reason: reason.into(),
        packets,
    };
    TrafficFacts {
        now: at(2 * tick),
        missing: Vec::new(),
        flows: Some(Flows {
            flows: flows(tick),
            capacity: 16_384,
            evicted: 5,
            expired: 60,
            untracked: traffic(7, 700),
            gone: Traffic::default(),
            sample: 1,
        }),
        interfaces: Some(interfaces(tick)),
        processes: Some(Processes {
            processes: processes(tick),
            capacity: 4_096,
            untracked: 9,
            settled: true,
        }),
        drops: Some(vec![drop(Some(2), "QDISC_DROP", 8 * tick), drop(None, "NETFILTER_DROP", 3)]),
    }
}

/// The second of two ticks that are two seconds apart.
pub(crate) fn view() -> TrafficView {
    let mut view = TrafficView::default();
    let names = |ifindex: IfIndex| match ifindex.0 {
        2 => Some("eth0".into()),
        3 => Some("lo".into()),
        _ => Some(format!("eth{ifindex}").into()),
    };
    for tick in 1..=2 {
        view.update(&facts(tick), names, &TrafficOptions::default());
    }
    view
}

/// The same without anything that could be had.
pub(crate) fn nothing() -> TrafficView {
    let why = "the tracepoint is missing; Linux 6.3 has it".to_owned();
    TrafficView { missing: vec![Missing { part: Part::Processes, why }], ..TrafficView::default() }
}
