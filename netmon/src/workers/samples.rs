//! One of each message, with the very line that it is.

use netmon_common::{Counters, SlotCounters};

use super::protocol::*;
use crate::model::accounting::{Rule, Rules, Traffic, Unit};
use crate::model::event::EventKind;
use crate::model::link::{IfIndex, LinkState, OperState};
use crate::model::options::{Hook, SourceChoice};
use crate::model::snapshot::{Base, Counted, DeviceCounters, DeviceStats, InterfaceFacts, Source};

pub(super) fn to_monitor() -> Vec<(ToMonitor, &'static str)> {
    let ready = Ready {
        version: 1,
        interface: "eth0".to_owned(),
        ifindex: 2,
        namespace: 4_026_531_840,
        pid: 12_345,
    };
    let monitoring = Monitoring { source: Source::Ebpf, hook: "TCX in+out".to_owned() };
    let down = LinkDown {
        reason: "administratively down".to_owned(),
        admin_up: Some(false),
        state: state(OperState::Down),
    };
    let told = Told {
        kind: EventKind::SetUpFailed,
        message: "cannot read \"operstate\":\n\u{1b}[31mno".to_owned(),
    };
    let denied = LinkSet { error: Some("Operation not permitted".to_owned()), denied: true };
    vec![
        (
            ToMonitor::Ready(ready),
            r#"{"Ready":{"version":1,"interface":"eth0","ifindex":2,"namespace":4026531840,"pid":12345}}"#,
        ),
        (
            ToMonitor::Monitoring(monitoring),
            r#"{"Monitoring":{"source":"ebpf","hook":"TCX in+out"}}"#,
        ),
        (ToMonitor::Sample(Box::new(sample())), SAMPLE),
        (ToMonitor::Sample(Box::new(bare_sample())), BARE_SAMPLE),
        (
            ToMonitor::LinkDown(down),
            r#"{"Link Down":{"reason":"administratively down","admin_up":false,"state":{"operstate":"down","carrier_up_count":3,"carrier_down_count":2}}}"#,
        ),
        (
            ToMonitor::Event(told),
            r#"{"Event":{"kind":"set_up_failed","message":"cannot read \"operstate\":\n\u001b[31mno"}}"#,
        ),
        (
            ToMonitor::LinkSet(LinkSet { error: None, denied: false }),
            r#"{"Link Set":{"error":null,"denied":false}}"#,
        ),
        (
            ToMonitor::LinkSet(denied),
            r#"{"Link Set":{"error":"Operation not permitted","denied":true}}"#,
        ),
        (ToMonitor::Done(Done { ticks: u64::MAX }), r#"{"Done":{"ticks":18446744073709551615}}"#),
        (ToMonitor::List(List { version: 1 }), r#"{"List":{"version":1}}"#),
    ]
}

pub(super) fn from_monitor() -> Vec<(FromMonitor, &'static str)> {
    let orders = Orders {
        version: 1,
        interval_ns: 1_000_000_000,
        source: SourceChoice::Auto,
        hook: Hook::XdpGeneric,
        recovery: true,
        log: false,
    };
    let waiting = WorkerStatus { namespace: None, ifindex: None, pid: None, ..worker() };
    let waiting = WorkerStatus { last_message: None, last_message_ms: None, ..waiting };
    vec![
        (
            FromMonitor::Monitor(orders),
            r#"{"Monitor":{"version":1,"interval_ns":1000000000,"source":"auto","hook":"xdp-generic","recovery":true,"log":false}}"#,
        ),
        (FromMonitor::SetLinkUp {}, r#"{"Set Link Up":{}}"#),
        (
            FromMonitor::ShutDown { reason: "Ctrl-C".to_owned() },
            r#"{"Shut Down":{"reason":"Ctrl-C"}}"#,
        ),
        (
            FromMonitor::Processes(Processes { monitor: 12_300, launcher: Some(12_301) }),
            r#"{"Processes":{"monitor":12300,"launcher":12301}}"#,
        ),
        (
            FromMonitor::Workers(vec![worker(), waiting]),
            r#"{"Workers":[{"interface":"blue/eth0","namespace":"blue","ifindex":2,"pid":12345,"state":"counting","restarts":1,"last_message":"Sample","last_message_ms":230,"launched":true},{"interface":"blue/eth0","namespace":null,"ifindex":null,"pid":null,"state":"counting","restarts":1,"last_message":null,"last_message_ms":null,"launched":true}]}"#,
        ),
        (FromMonitor::Workers(Vec::new()), r#"{"Workers":[]}"#),
    ]
}

pub(super) fn worker() -> WorkerStatus {
    WorkerStatus {
        interface: "blue/eth0".to_owned(),
        namespace: Some("blue".to_owned()),
        ifindex: Some(2),
        pid: Some(12_345),
        state: "counting".to_owned(),
        restarts: 1,
        last_message: Some("Sample".to_owned()),
        last_message_ms: Some(230),
        launched: true,
    }
}

/// A tick of a busy interface.
const SAMPLE: &str = r#"{"Sample":{"tick":86401,"at_ns":123456789012345,"reading_ns":23456,"facts":{"key":7,"life":1,"ifindex":2,"name":"eth0","admin_up":true,"state":{"operstate":"up","carrier_up_count":3,"carrier_down_count":2},"source":"ebpf","hook":"TCX in+out","device":{"rx":[1234567890,1234567890123,1,2],"tx":[987654321,98765432109,3,4]},"counted":{"now":[[1234500000,1234567000000,10,660],[987600000,98765000000,20,1320]],"first":[[1,60,0,0],[2,120,0,0]],"base":{"rx":{"packets":67890,"bytes":890123},"tx":{"packets":54321,"bytes":432109},"counters":[[3,180,5,6],[4,240,7,8]]},"rules":{"rx":{"unit":"wire","bytes_per_packet":-14},"tx":{"unit":"skb","bytes_per_packet":0},"tx_is_rx":false}},"due":true}}}"#;

/// A tick of an interface that is not there.
const BARE_SAMPLE: &str = r#"{"Sample":{"tick":1,"at_ns":2,"reading_ns":3,"facts":{"key":0,"life":0,"ifindex":null,"name":"eth0","admin_up":null,"state":{"operstate":null,"carrier_up_count":null,"carrier_down_count":null},"source":"kernel","hook":"none yet: the programs are being attached","device":{"rx":[null,null,null,null],"tx":[null,null,null,null]},"counted":null,"due":false}}}"#;

pub(super) fn sample() -> Sample {
    let counters = |[packets, bytes, extra_packets, extra_bytes]: [u64; 4]| Counters {
        packets,
        bytes,
        extra_packets,
        extra_bytes,
    };
    let slot = |rx, tx| SlotCounters { rx: counters(rx), tx: counters(tx) };
    let rx = [1_234_567_890, 1_234_567_890_123, 1, 2].map(Some).into();
    let tx = [987_654_321, 98_765_432_109, 3, 4].map(Some).into();
    let counted = Counted {
        now: slot(
            [1_234_500_000, 1_234_567_000_000, 10, 660],
            [987_600_000, 98_765_000_000, 20, 1_320],
        ),
        first: slot([1, 60, 0, 0], [2, 120, 0, 0]),
        base: Base {
            rx: Traffic { packets: 67_890, bytes: 890_123 },
            tx: Traffic { packets: 54_321, bytes: 432_109 },
            counters: slot([3, 180, 5, 6], [4, 240, 7, 8]),
        },
        rules: Rules {
            rx: Rule { unit: Unit::Wire, bytes_per_packet: -14 },
            tx: Rule { unit: Unit::Skb, bytes_per_packet: 0 },
            tx_is_rx: false,
        },
    };
    let facts = InterfaceFacts {
        key: 7,
        life: 1,
        ifindex: Some(IfIndex(2)),
        name: "eth0".into(),
        admin_up: Some(true),
        state: state(OperState::Up),
        source: Source::Ebpf,
        hook: "TCX in+out".into(),
        device: DeviceStats { rx, tx },
        counted: Some(counted),
        due: true,
        ..InterfaceFacts::default()
    };
    Sample { tick: 86_401, at_ns: 123_456_789_012_345, reading_ns: 23_456, facts }
}

fn bare_sample() -> Sample {
    let facts = InterfaceFacts {
        key: 0,
        life: 0,
        ifindex: None,
        name: "eth0".into(),
        admin_up: None,
        state: LinkState::default(),
        source: Source::Kernel,
        hook: crate::model::snapshot::ATTACHING.into(),
        device: DeviceStats { rx: DeviceCounters::default(), tx: DeviceCounters::default() },
        counted: None,
        due: false,
        ..InterfaceFacts::default()
    };
    Sample { tick: 1, at_ns: 2, reading_ns: 3, facts }
}

fn state(operstate: OperState) -> LinkState {
    LinkState { operstate: Some(operstate), carrier_up_count: Some(3), carrier_down_count: Some(2) }
}
