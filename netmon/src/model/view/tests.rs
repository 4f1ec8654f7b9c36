use super::*;
use crate::model::link::{LinkState, OperState};
use crate::model::snapshot::DeviceStats;

fn facts(key: u32, ifindex: Option<u32>, rx_packets: Option<u64>) -> InterfaceFacts {
    let rx = DeviceCounters {
        packets: rx_packets,
        bytes: rx_packets.map(|packets| packets * 100),
        errors: Some(0),
        dropped: None,
    };
    InterfaceFacts {
        key,
        life: 0,
        ifindex: ifindex.map(IfIndex),
        name: format!("eth{key}").into(),
        admin_up: Some(true),
        state: LinkState {
            operstate: Some(OperState::Up),
            carrier_up_count: Some(1),
            carrier_down_count: Some(0),
        },
        source: Source::Sysfs,
        hook: "sysfs".into(),
        device: DeviceStats { rx, tx: DeviceCounters::default() },
        counted: None,
        due: true,
        ..InterfaceFacts::default()
    }
}

struct Ticks {
    view: View,
    start: Instant,
}

impl Ticks {
    fn new() -> Self {
        Self { view: View::default(), start: Instant::now() }
    }

    fn at(&mut self, seconds: u64, interfaces: Vec<InterfaceFacts>) -> &View {
        let at = self.start + Duration::from_secs(seconds);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        self.view
            .update(Tick { number: seconds + 1, at, time, reading: Duration::ZERO }, &interfaces);
        &self.view
    }
}

#[test]
fn rates_need_two_ticks_and_no_step_back() {
    let mut ticks = Ticks::new();
    assert_eq!(ticks.at(0, vec![facts(0, Some(2), Some(10))]).interfaces[0].rx.rate, None);
    let view = ticks.at(2, vec![facts(0, Some(2), Some(30))]);
    assert_eq!(view.interfaces[0].rx.rate, Some(Rate { packets: 10.0, bytes: 1_000.0 }));
    assert_eq!(view.interfaces[0].tx.rate, None, "absent is not zero");
    let view = ticks.at(3, vec![facts(0, Some(2), Some(5))]);
    assert_eq!(view.interfaces[0].rx.rate, None, "a reset gives a gap");
    let view = ticks.at(4, vec![facts(0, Some(2), Some(6))]);
    assert_eq!(view.interfaces[0].rx.rate.map(|rate| rate.packets), Some(1.0));
}

#[test]
fn what_is_not_known_is_not_shown_and_begins_anew() {
    let silent =
        InterfaceFacts { silence: Some(Silence::NotRunning), ..facts(1, Some(7), Some(10)) };
    let mut from_the_start = Ticks::new();
    let shown = &from_the_start.at(0, vec![silent]).interfaces[0];
    assert_eq!((shown.state, shown.ifindex), (Some("unknown"), Some(IfIndex(7))));
    let mut ticks = Ticks::new();
    ticks.at(0, vec![facts(1, Some(7), Some(10))]);
    for (silence, state) in [(Silence::NotRunning, "unknown"), (Silence::Stale, "stale")] {
        let silent = InterfaceFacts { silence: Some(silence), ..facts(1, Some(7), Some(10)) };
        let shown = &ticks.at(1, vec![silent]).interfaces[0];
        assert_eq!((shown.state, shown.up_count), (Some(state), None));
        assert_eq!((shown.rx, shown.tx), Default::default());
        assert_eq!(shown.ifindex, Some(IfIndex(7)), "it exists");
    }
    let rx = ticks.at(2, vec![facts(1, Some(7), Some(30))]).interfaces[0].rx;
    assert_eq!((rx.packets, rx.rate), (Some(30), None), "nothing is known of the time between");
}

#[test]
fn a_rate_is_by_the_time_of_reading() {
    let mut ticks = Ticks::new();
    let start = ticks.start;
    let read = |packets, after: u64| {
        let read_at = Some(start + Duration::from_secs(after));
        vec![InterfaceFacts { read_at, ..facts(1, Some(7), Some(packets)) }]
    };
    let rate = |view: &View| view.interfaces[0].rx.rate.map(|rate| rate.packets);
    assert_eq!(rate(ticks.at(1, read(10, 0))), None);
    assert_eq!(rate(ticks.at(2, read(30, 2))), Some(10.0));
    assert_eq!(rate(ticks.at(3, read(30, 2))), None, "the same facts are no new ones");
}

#[test]
fn absent_keeps_the_last_totals_and_a_new_device_gives_a_gap() {
    let mut ticks = Ticks::new();
    ticks.at(0, vec![facts(0, Some(2), Some(10))]);
    let view = ticks.at(1, vec![facts(0, None, None)]);
    assert_eq!(view.interfaces[0].state, Some(ABSENT));
    assert_eq!(view.interfaces[0].rx.packets, Some(10));
    let view = ticks.at(2, vec![facts(0, Some(9), Some(50))]);
    assert_eq!(view.interfaces[0].rx.packets, Some(50));
    assert_eq!(view.interfaces[0].rx.rate, None, "another device's counter");
    let view = ticks.at(3, vec![facts(0, Some(10), Some(70))]);
    assert_eq!(view.interfaces[0].rx.rate, None, "re-created between two ticks");
}

#[test]
fn order_follows_the_snapshot_and_history_the_key() {
    let mut ticks = Ticks::new();
    ticks.at(0, vec![facts(0, Some(2), Some(0)), facts(1, Some(3), Some(0))]);
    let view = ticks.at(
        1,
        vec![facts(2, Some(4), Some(9)), facts(1, Some(3), Some(7)), facts(0, Some(2), Some(5))],
    );
    let shown: Vec<_> = view
        .interfaces
        .iter()
        .map(|view| (view.key, view.rx.rate.map(|rate| rate.packets)))
        .collect();
    assert_eq!(shown, [(2, None), (1, Some(7.0)), (0, Some(5.0))]);
    assert_eq!(ticks.at(2, vec![facts(1, Some(3), Some(7))]).interfaces.len(), 1);
}

#[test]
fn a_slower_interface_gets_the_rate_of_its_own_interval() {
    let mut ticks = Ticks::new();
    ticks.at(0, vec![facts(0, Some(2), Some(0))]);
    let skipped = InterfaceFacts { due: false, ..facts(0, Some(2), Some(40)) };
    let view = ticks.at(1, vec![skipped]);
    assert_eq!(view.interfaces[0].rx.packets, Some(0));
    let view = ticks.at(4, vec![facts(0, Some(2), Some(80))]);
    assert_eq!(view.interfaces[0].rx.rate.map(|rate| rate.packets), Some(20.0));
}
