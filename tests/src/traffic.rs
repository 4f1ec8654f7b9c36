//! Traffic that is made up: views with some of everything, for the tests of what shows them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use ecow::EcoString;
use netmon::model::{
    accounting::Traffic,
    link::IfIndex,
    traffic::{
        facts::{
            DropFacts, FlowFacts, FlowKey, Flows, KernelTime, ProcessFacts, Processes,
            SocketTraffic, TrafficFacts,
        },
        names::Names,
        protocol::{Direction, Protocol},
        thresholds::TrafficOptions,
        view::TrafficView,
    },
};

/// The names of a few services.
#[must_use]
pub fn names() -> Names {
    Names::parse("https 443/tcp\nhttps 443/udp\ndomain 53/udp\n", "tcp 6\nudp 17\nospf 89\n")
}

/// The name of an interface.
#[must_use]
pub fn interface(ifindex: IfIndex) -> Option<EcoString> {
    (ifindex.0 < 9).then(|| format!("eth{ifindex}").into())
}

/// A process that has sent and received `bytes`.
#[must_use]
pub fn process(id: u32, life: u32, bytes: u64) -> ProcessFacts {
    let traffic = SocketTraffic { rx_bytes: bytes, tx_bytes: bytes / 2, ..Default::default() };
    let name = ["curl", "nginx", "ssh d", "\u{1b}[2J"][id as usize % 4];
    ProcessFacts {
        id,
        life,
        pid: 100 + id,
        started: KernelTime::default(),
        name: name.into(),
        command: (!id.is_multiple_of(3)).then(|| format!("/bin/{name} --number {id}").into()),
        uid: 1_000 * (id % 2),
        user: id.is_multiple_of(2).then(|| "root".into()),
        cgroup: Some(format!("{name}.service").into()),
        kernel_thread: false,
        alive: true,
        is_new: false,
        tcp: traffic,
        udp: SocketTraffic::default(),
    }
}

/// What tells a flow apart, different for different numbers.
#[must_use]
pub fn key(number: u32) -> FlowKey {
    let small = (number % 251) as u8;
    let addresses: Option<(IpAddr, IpAddr)> = match number % 5 {
        0 => None,
        1 => {
            let host = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
            Some((host(u16::from(small)).into(), host(1).into()))
        }
        _ => Some((Ipv4Addr::new(10, 0, 0, small).into(), Ipv4Addr::new(192, 0, 2, 7).into())),
    };
    let protocol = match (number % 5, number % 3) {
        (0, _) => Protocol::Ethernet(0x0806),
        (1, 0) => Protocol::Ip(58),
        (_, 1) => Protocol::Ip(6),
        _ => Protocol::Ip(17),
    };
    FlowKey {
        ifindex: IfIndex(1 + number % 11),
        direction: if number.is_multiple_of(2) { Direction::Rx } else { Direction::Tx },
        vlan: number.is_multiple_of(7).then_some(7),
        protocol,
        addresses,
        ports: (40_000 + u16::from(small), [443, 53, 22][number as usize % 3]),
    }
}

/// A flow that has carried `bytes` since `first`.
#[must_use]
pub fn flow(id: u32, life: u32, bytes: u64, first: KernelTime) -> FlowFacts {
    let traffic = Traffic { packets: bytes.div_ceil(1_000), bytes };
    FlowFacts {
        id,
        life,
        key: key(id),
        skb: traffic,
        wire: traffic,
        first,
        last: first,
        tcp_flags: 2,
        process: (!id.is_multiple_of(4)).then_some(id % 4),
    }
}

/// Facts with the flows and processes given.
#[must_use]
pub fn facts(
    now: Duration,
    flows: Vec<FlowFacts>,
    processes: Vec<ProcessFacts>,
    drops: Vec<DropFacts>,
) -> TrafficFacts {
    TrafficFacts {
        now: KernelTime(now),
        missing: Vec::new(),
        flows: Some(Flows { flows, capacity: 100, sample: 1, ..Flows::default() }),
        interfaces: None,
        processes: Some(Processes { processes, settled: true, ..Processes::default() }),
        drops: Some(drops),
    }
}

/// Two seconds of some of everything.
#[must_use]
pub fn view() -> TrafficView {
    let mut view = TrafficView::default();
    for second in 1..=2 {
        let bytes = |id: u32| u64::from(id) * 1_000_000 * second;
        let flows = (0..30).map(|id| flow(id, 0, bytes(id), KernelTime::default())).collect();
        let processes = (0..8).map(|id| process(id, 0, bytes(id))).collect();
        let reasons = ["NETFILTER_DROP", "QDISC_DROP"];
        let drops = (0..6).map(|number| DropFacts {
            ifindex: (number > 1).then_some(IfIndex(number)),
            reason: reasons[number as usize % 2].into(),
            packets: bytes(number),
        });
        let facts = facts(Duration::from_secs(second), flows, processes, drops.collect());
        view.update(&facts, interface, &TrafficOptions::default());
    }
    view
}
