//! A tick with everything in it, for the golden files.

use std::time::{Duration, Instant, SystemTime};

use ecow::EcoString;
use netmon_common::{Counters, SlotCounters};

use crate::model::accounting::{Rule, Rules, Traffic, Unit};
use crate::model::event::{Event, EventKind};
use crate::model::link::{IfIndex, LinkState, OperState};
use crate::model::snapshot::{
    Base, Counted, DeviceCounters, DeviceStats, InterfaceFacts, Source, Tick,
};
use crate::model::view::View;

fn device(packets: u64, bytes: u64) -> DeviceCounters {
    DeviceCounters { packets: Some(packets), bytes: Some(bytes), errors: Some(1), dropped: Some(2) }
}

fn counted(packets: u64) -> Counted {
    let wire = Rule { unit: Unit::Wire, bytes_per_packet: 0 };
    let direction = Counters {
        packets,
        bytes: packets * 1_000,
        extra_packets: packets / 10,
        extra_bytes: packets / 10 * 66,
    };
    Counted {
        now: SlotCounters { rx: direction, tx: Counters::default() },
        first: SlotCounters::default(),
        base: Base {
            rx: Traffic { packets: 1_000, bytes: 1_000_000 },
            tx: Traffic { packets: 7, bytes: 700 },
            counters: SlotCounters::default(),
        },
        rules: Rules { rx: wire, tx: wire, tx_is_rx: false },
    }
}

fn tick(number: u64) -> Vec<InterfaceFacts> {
    let up = LinkState {
        operstate: Some(OperState::Up),
        carrier_up_count: Some(3),
        carrier_down_count: Some(2),
    };
    let ebpf = InterfaceFacts {
        key: 0,
        life: 0,
        ifindex: Some(IfIndex(2)),
        name: "eth0".into(),
        admin_up: Some(true),
        state: up,
        source: Source::Ebpf,
        hook: "TCX in+out".into(),
        device: DeviceStats {
            rx: device(1_000 + number * 110, 1_000_000 + number * 100_660),
            tx: device(7, 700),
        },
        counted: Some(counted(number * 100)),
        due: true,
        ..InterfaceFacts::default()
    };
    let unreadable = InterfaceFacts {
        key: 1,
        life: 0,
        ifindex: Some(IfIndex(3)),
        name: "odd,name".into(),
        admin_up: None,
        state: LinkState::default(),
        source: Source::Sysfs,
        hook: "sysfs (as asked for)".into(),
        device: DeviceStats::default(),
        counted: None,
        due: true,
        ..InterfaceFacts::default()
    };
    let gone = InterfaceFacts {
        key: 2,
        life: 0,
        ifindex: (number < 2).then_some(IfIndex(9)),
        name: "tap0".into(),
        device: DeviceStats { rx: device(5, 500), tx: device(6, 600) },
        admin_up: Some(false),
        state: up,
        source: Source::Sysfs,
        hook: "sysfs (as asked for)".into(),
        counted: None,
        due: true,
        ..InterfaceFacts::default()
    };
    let not_due = InterfaceFacts { key: 3, due: false, ..ebpf.clone() };
    vec![ebpf, unreadable, gone, not_due]
}

/// What is due of the second of two ticks.
pub(crate) fn facts() -> Vec<InterfaceFacts> {
    tick(2).into_iter().filter(|facts| facts.due).collect()
}

/// The second of two ticks that are two seconds apart.
pub(crate) fn view() -> View {
    let mut view = View::default();
    let start = Instant::now();
    for number in 1..=2 {
        let at = start + Duration::from_secs(number * 2);
        let since = Duration::from_millis(1_700_000_000_000 + number * 2_000);
        let time = SystemTime::UNIX_EPOCH + since;
        view.update(Tick { number, at, time, reading: Duration::from_micros(60) }, &tick(number));
    }
    let tap: EcoString = "tap0".into();
    view.events.push(Event::of(&tap, EventKind::Gone, "gone"));
    view.events.push(Event::own(EventKind::Warning, "a word about netmon itself"));
    view
}
