//! What is written is read back as it was, whatever names and numbers there are.

use std::time::{Duration, Instant, SystemTime};

use netmon::{
    model::{
        accounting::{Rule, Rules, Unit},
        event::{Event, EventKind},
        link::{IfIndex, LinkState, OperState},
        options::Format,
        snapshot::{Base, Counted, DeviceCounters, DeviceStats, InterfaceFacts, Source, Tick},
        view::{DirectionView, InterfaceView, View},
    },
    sinks,
};
use netmon_tests::{csv_report, json, report, report::Totals};
use proptest::prelude::*;

use super::{
    config,
    world::{start, traffic, used_slot},
};

/// Any name that the kernel allows (net/core/dev.c, `dev_valid_name`), as far as it is text.
fn name() -> impl Strategy<Value = String> {
    let some = prop_oneof!["[^ \t\n\u{b}\u{c}\r/:\u{0}]{1,5}", "[a-z,\";'\\\\\u{1b}]{1,15}"];
    some.prop_filter("too long", |name| name.len() <= 15)
}

fn counters() -> BoxedStrategy<DeviceCounters> {
    let number = || prop::option::weighted(0.8, start());
    (number(), number(), number(), number())
        .prop_map(|(packets, bytes, errors, dropped)| DeviceCounters {
            packets,
            bytes,
            errors,
            dropped,
        })
        .boxed()
}

fn counted() -> BoxedStrategy<Counted> {
    let rule = Rule { unit: Unit::Wire, bytes_per_packet: -14 };
    let rules = Rules { rx: rule, tx: rule, tx_is_rx: false };
    (used_slot(), used_slot(), traffic(), traffic())
        .prop_map(move |(now, counters, rx, tx)| {
            let base = Base { rx, tx, counters };
            Counted { now, ..Counted::begin(base, rules) }
        })
        .boxed()
}

fn facts() -> BoxedStrategy<InterfaceFacts> {
    let numbers = (counters(), counters(), prop::option::of(counted()));
    let number = || prop::option::of(any::<u64>());
    let state = prop::option::of(prop::sample::select(vec![
        OperState::Unknown,
        OperState::NotPresent,
        OperState::LowerLayerDown,
        OperState::Up,
    ]));
    let link = (name(), prop::option::of(1..9_u32), prop::option::of(any::<bool>()), state);
    (link, numbers, number(), number(), prop::bool::weighted(0.8))
        .prop_map(|((name, ifindex, admin_up, operstate), (rx, tx, counted), ups, downs, due)| {
            InterfaceFacts {
                key: 0,
                life: 0,
                ifindex: ifindex.map(IfIndex),
                name: name.into(),
                admin_up,
                state: LinkState { operstate, carrier_up_count: ups, carrier_down_count: downs },
                source: if counted.is_some() { Source::Ebpf } else { Source::Sysfs },
                hook: "sysfs (\"as\", asked for)".into(),
                device: DeviceStats { rx, tx },
                counted,
                due,
                ..InterfaceFacts::default()
            }
        })
        .boxed()
}

/// The second of two ticks of the same interfaces with other numbers.
fn view() -> impl Strategy<Value = View> {
    let interfaces = prop::collection::vec((facts(), facts()), 0..5);
    (interfaces, any::<u32>(), 0..5_000_u64, any::<String>()).prop_map(
        |(interfaces, second, after, words)| {
            let mut view = View::default();
            let (mut first, mut then): (Vec<_>, Vec<_>) = interfaces.into_iter().unzip();
            let start = Instant::now();
            for (number, facts) in [&mut first, &mut then].into_iter().enumerate() {
                for (key, facts) in facts.iter_mut().enumerate() {
                    facts.key = key as u32;
                }
                let at = start + Duration::from_millis(number as u64 * after);
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second.into());
                view.update(
                    Tick { number: number as u64 + 1, at, time, reading: Duration::ZERO },
                    &*facts,
                );
            }
            let named = then.first().map(|facts| &facts.name);
            view.events.extend(named.map(|name| Event::of(name, EventKind::Warning, words)));
            view
        },
    )
}

/// Facts, and the view of a tick at which each interface existed, and of the next, at which that
/// is as they say.
fn facts_and_view() -> impl Strategy<Value = (Vec<InterfaceFacts>, View)> {
    prop::collection::vec(facts(), 0..5).prop_map(|mut facts| {
        let (mut view, at) = (View::default(), Instant::now());
        (0..).zip(&mut facts).for_each(|(key, facts)| facts.key = key);
        let mut existing = facts.clone();
        existing.iter_mut().for_each(|facts| facts.ifindex = Some(IfIndex(1)));
        for (number, facts) in [(1, &existing), (2, &facts)] {
            let (time, reading) = (SystemTime::UNIX_EPOCH, Duration::ZERO);
            view.update(Tick { number, at, time, reading }, facts);
        }
        (facts, view)
    })
}

fn written(view: &View, write: impl FnOnce(&View, &mut Vec<u8>)) -> String {
    let mut buffer = Vec::new();
    write(view, &mut buffer);
    String::from_utf8_lossy(&buffer).into_owned()
}

fn totals(view: &InterfaceView) -> Totals<Option<u64>> {
    let (rx, tx): (&DirectionView, &DirectionView) = (&view.rx, &view.tx);
    Totals {
        rx_bytes: rx.bytes,
        rx_dropped: rx.dropped,
        rx_errors: rx.errors,
        rx_packets: rx.packets,
        tx_bytes: tx.bytes,
        tx_dropped: tx.dropped,
        tx_errors: tx.errors,
        tx_packets: tx.packets,
    }
}

/// What must be in every format, in its order.
type Row = (String, Option<u64>, Option<u64>, Totals<Option<u64>>);

fn rows(view: &View) -> Vec<Row> {
    let due = view.interfaces.iter().filter(|interface| interface.due);
    due.map(|it| (it.name.to_string(), it.up_count, it.down_count, totals(it))).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_text_report_is_strictly_what_a_view_would_show((facts, view) in facts_and_view()) {
        let due = |facts: &&InterfaceFacts| facts.due;
        let text = written(&view, |_, buffer| {
            facts.iter().filter(due).for_each(|facts| sinks::report::write(facts, buffer));
        });
        let blocks = report::parse(&text);
        prop_assert!(blocks.is_ok(), "{:?}", blocks);
        let blocks = blocks.unwrap_or_default();
        let states: Vec<&str> = blocks.iter().map(|block| block.state.as_str()).collect();
        let shown = view.interfaces.iter().filter(|interface| interface.due);
        let shown: Vec<&str> = shown.map(|interface| interface.state.unwrap_or("-")).collect();
        prop_assert_eq!(states, shown);
        let read: Vec<Row> = blocks
            .into_iter()
            .map(|block| (block.interface, block.up_count, block.down_count, block.totals))
            .collect();
        prop_assert_eq!(read, rows(&view));
    }

    #[test]
    fn json_is_one_line_with_the_known_fields(view in view()) {
        let text = written(&view, sinks::json::write);
        prop_assert!(text.ends_with('\n') && text.matches('\n').count() == 1, "{}", text);
        // Unknown and missing fields are errors.
        let tick = json::Tick::parse(&text);
        prop_assert!(tick.is_ok(), "{:?}", tick);
        let Ok(tick) = tick else { unreachable!() };
        let read: Vec<Row> = tick
            .interfaces
            .iter()
            .map(|it| (it.interface.clone(), it.up_count, it.down_count, it.totals()))
            .collect();
        prop_assert_eq!(read, rows(&view));
        let messages: Vec<&String> = tick.events.iter().map(|event| &event.message).collect();
        let expected: Vec<&String> = view.events.iter().map(|event| &event.message).collect();
        prop_assert_eq!(messages, expected);
        let due = view.interfaces.iter().filter(|interface| interface.due);
        for (read, shown) in tick.interfaces.iter().zip(due) {
            for (read, shown) in [(&read.rx, &shown.rx), (&read.tx, &shown.tx)] {
                prop_assert_eq!(read.drift.is_some(), shown.drift.is_some());
                prop_assert_eq!(read.packets_per_s.is_some(), shown.rate.is_some());
            }
        }
    }

    #[test]
    fn csv_has_a_row_for_each_interface(view in view()) {
        let text = [sinks::header(Format::Csv), &written(&view, sinks::csv::write)].concat();
        let read = csv_report::parse(&text);
        prop_assert!(read.is_ok(), "{:?}", read);
        let read: Vec<Row> = read
            .unwrap_or_default()
            .into_iter()
            .map(|row| {
                let totals = row.totals();
                (row.interface, row.up_count, row.down_count, totals)
            })
            .collect();
        prop_assert_eq!(read, rows(&view));
    }
}
