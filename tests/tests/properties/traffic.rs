//! Traffic: the view against a model that remembers everything by id, and filters against what
//! their words say.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::{Duration, SystemTime},
};

use netmon::model::traffic::{
    columns::{Column, FlowColumn, Value},
    facts::{FlowFacts, KernelTime},
    filter::Filter,
    protocol::{Direction, Protocol},
    selection::{By, Selection},
    sort::Sort,
    thresholds::TrafficOptions,
    view::{FlowView, TrafficView},
};
use netmon::model::{human::Units, options::Format};
use netmon::sinks::{self, traffic::Page};
use netmon_tests::traffic;
use proptest::prelude::*;

use super::config;

/// A flow at a tick: its id, its life, its bytes, and how long before the tick it began.
type Seen = (u32, u32, u64, u64);

/// Ticks: how long each takes, and which flows are there, in which order, each once.
fn ticks() -> impl Strategy<Value = Vec<(u64, Vec<Seen>)>> {
    let flow = (0..12_u32, 0..3_u32, 0..100_000_000_u64, 0..3_000_u64);
    let flows = prop::collection::vec(flow, 0..12).prop_map(|mut flows| {
        let mut ids = HashSet::new();
        flows.retain(|(id, ..)| ids.insert(*id));
        flows
    });
    prop::collection::vec((0..3_000_u64, flows), 1..12)
}

/// What is remembered of a flow.
#[derive(Clone, Copy, Default)]
struct Known {
    bytes: u64,
    average: Option<f64>,
    peak: Option<f64>,
    alert: bool,
}

/// The same as the view does, one flow at a time, by a map.
fn expect(
    known: Option<Known>,
    bytes: u64,
    window: Option<u64>,
    elapsed: Option<u64>,
) -> (Option<f64>, Known) {
    let before = known.unwrap_or_default();
    let grown = (bytes >= before.bytes).then_some(bytes as f64 - before.bytes as f64);
    let rate = match (grown, window) {
        (Some(grown), Some(window @ 1..)) => Some(grown / (window as f64 / 1_000.0)),
        _ => None,
    };
    let keep = 0.6_f64.powf(elapsed.unwrap_or(1_000) as f64 / 1_000.0);
    let average = match (before.average, rate) {
        (Some(average), Some(rate)) => Some(keep * average + (1.0 - keep) * rate),
        (average, rate) => average.or(rate),
    };
    let peak = [before.peak, rate].into_iter().flatten().reduce(f64::max);
    let alert = average.is_some_and(|average| match before.alert {
        true => average >= 8e6,
        false => average > 10e6,
    });
    (rate, Known { bytes, average, peak, alert })
}

fn near(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * a.abs().max(1.0),
        (a, b) => a == b,
    }
}

/// A word of a filter, and whether a flow has it.
type Holds = fn(&FlowView, u16) -> bool;

fn words() -> Vec<(&'static str, Holds)> {
    fn ends(flow: &FlowView) -> Vec<IpAddr> {
        flow.key
            .addresses
            .iter()
            .flat_map(|(source, destination)| [*source, *destination])
            .collect()
    }
    fn ports(flow: &FlowView) -> bool {
        matches!(flow.key.protocol, Protocol::Ip(6 | 17))
    }
    vec![
        ("port:#", |flow, n| ports(flow) && [flow.key.ports.0, flow.key.ports.1].contains(&n)),
        ("sport:#", |flow, n| ports(flow) && flow.key.ports.0 == n),
        ("dport:#-", |flow, n| ports(flow) && flow.key.ports.1 >= n),
        ("port:https", |flow, _| ports(flow) && flow.key.ports.1 == 443),
        ("dir:rx", |flow, _| flow.key.direction == Direction::Rx),
        ("proto:tcp", |flow, _| flow.key.protocol == Protocol::Ip(6)),
        ("proto:arp", |flow, _| flow.key.protocol == Protocol::Ethernet(0x0806)),
        ("proto:1*", |_, _| false),
        ("if:eth1", |flow, _| flow.key.ifindex.0 == 1),
        ("if:eth*", |flow, _| flow.key.ifindex.0 < 9),
        ("vlan:7", |flow, _| flow.key.vlan.is_some()),
        ("pid:101", |flow, _| flow.process.as_ref().is_some_and(|process| process.pid == 101)),
        ("proc:GIN", |flow, _| flow.process.as_ref().is_some_and(|process| process.pid % 4 == 1)),
        ("10.0.0.0/28", |flow, _| {
            ends(flow)
                .iter()
                .any(|end| matches!(end, IpAddr::V4(end) if end.to_bits() >> 4 == 0x0a0_0000))
        }),
        ("2001:db8::/32", |flow, _| ends(flow).iter().any(IpAddr::is_ipv6)),
        ("dst:192.0.2.7", |flow, _| ends(flow).last().is_some_and(IpAddr::is_ipv4)),
        ("reason:X", |_, _| true),
        ("port:", |_, _| true),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn flows_are_what_a_map_by_id_says(ticks in ticks()) {
        let mut view = TrafficView::default();
        let mut known: HashMap<(u32, u32), Known> = HashMap::new();
        let mut now = 10_000_u64;
        let mut previous: Option<u64> = None;
        for (time, flows) in ticks {
            now += time;
            let at = |before: u64| KernelTime(Duration::from_millis(now - before));
            let made: Vec<FlowFacts> = flows
                .iter()
                .map(|(id, life, bytes, before)| traffic::flow(*id, *life, *bytes, at(*before)))
                .collect();
            let processes = (0..4).map(|id| traffic::process(id, 0, 0)).collect();
            let facts = traffic::facts(Duration::from_millis(now), made, processes, Vec::new());
            view.update(&facts, traffic::interface, &TrafficOptions::default());

            // A clock that stands still has no tick before.
            let elapsed = previous.map(|previous| now - previous).filter(|elapsed| *elapsed > 0);
            let shown = view.flows.as_deref().unwrap_or_default();
            prop_assert_eq!(shown.len(), flows.len());
            let mut left = HashMap::new();
            for (shown, (id, life, bytes, before)) in shown.iter().zip(&flows) {
                prop_assert_eq!((shown.id, shown.life), (*id, *life));
                let old = known.get(&(*id, *life)).copied();
                let window = match old {
                    Some(_) => elapsed,
                    None => elapsed.map(|elapsed| elapsed.max(*before)),
                };
                let (rate, new) = expect(old, *bytes, window, elapsed);
                prop_assert!(near(shown.speed().now, rate), "{:?} and {:?}", shown.speed(), rate);
                prop_assert!(near(shown.speed().average, new.average), "{:?}", shown.speed());
                prop_assert!(near(shown.speed().peak, new.peak), "{:?}", shown.speed());
                prop_assert_eq!(shown.alert, new.alert);
                let owner = shown.process.as_ref().map(|process| process.pid);
                prop_assert_eq!(owner, (!id.is_multiple_of(4)).then_some(100 + id % 4));
                left.insert((*id, *life), new);
            }
            prop_assert_eq!(view.alerts.flows, left.values().filter(|known| known.alert).count());
            known = left;
            previous = Some(now);
        }
    }

    #[test]
    fn filters_show_what_their_words_say(
        chosen in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 0..6_u16), 0..4),
    ) {
        let names = traffic::names();
        let view = traffic::view();
        let words = words();
        let mut text = String::new();
        let mut meant = Vec::new();
        for (index, negated, number) in chosen {
            let (word, holds) = *index.get(&words);
            let number = [443, 53, 22, 40_001, 40_004, 1][usize::from(number)];
            let sign = if negated { "!" } else { "" };
            text += &format!(" {sign}{}", word.replace('#', &number.to_string()));
            // Unfinished words and those of other tables say nothing, negated or not.
            let says = !["reason:X", "port:"].contains(&word);
            meant.push((holds, number, negated && says));
        }
        let filter = Filter::parse(&text, &names);
        prop_assert_eq!(&filter.errors, &[]);
        for flow in view.flows.iter().flatten() {
            let shown = filter.shows::<FlowColumn>(flow, &names);
            let expected =
                meant.iter().all(|(holds, number, negated)| holds(flow, *number) != *negated);
            prop_assert_eq!(shown, expected, "{} with {:?}", text, flow);
        }
    }

    #[test]
    fn sorting_does_not_depend_on_the_order_before(
        column in 0..FlowColumn::ALL.len(),
        reversed in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let names = traffic::names();
        let view = traffic::view();
        let sort = Sort { column: FlowColumn::ALL[column], reversed };
        let selection = Selection::default();
        let flows = view.flows.unwrap_or_default();
        let ids = |rows: &[FlowView]| -> Vec<u32> {
            selection.of(rows, &sort, &names).iter().map(|row| row.id).collect()
        };
        let mut shuffled = flows.clone();
        shuffled.sort_by_key(|flow| (u64::from(flow.id) + 1).wrapping_mul(seed | 1).rotate_left(29));
        prop_assert_eq!(ids(&flows), ids(&shuffled));
        // What is not known is last.
        let known = |id: &u32| !matches!(
            sort.column.value(&flows[*id as usize], &names),
            Value::Absent
        );
        prop_assert!(ids(&flows).iter().map(known).is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn any_name_is_written_and_obeyed_by_no_terminal(name in ".{1,15}", command in prop::option::of(any::<String>())) {
        let mut process = traffic::process(0, 0, 5);
        process.name = name.as_str().into();
        process.command = command.as_deref().map(Into::into);
        let mut view = TrafficView::default();
        let facts = traffic::facts(Duration::from_secs(1), Vec::new(), vec![process], Vec::new());
        view.update(&facts, traffic::interface, &TrafficOptions::default());
        let (names, selection) = (traffic::names(), Selection::default());
        let written = |format| {
            let page = Page {
                view: &view,
                order: By::Process.into(),
                selection: &selection,
                names: &names,
                units: Units::default(),
                time: SystemTime::UNIX_EPOCH,
            };
            let mut buffer = Vec::new();
            sinks::traffic::write(format, &page, &mut buffer);
            String::from_utf8(buffer)
        };
        let text = written(Format::Text)?;
        prop_assert_eq!(text.lines().count(), 3, "header, process, note: {:?}", text);
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{:?}", text);

        let json: serde_json::Value = serde_json::from_str(&written(Format::Json)?)?;
        let process = &json["traffic"]["processes"][0];
        prop_assert_eq!(process["process"].as_str(), Some(&*name));
        prop_assert_eq!(process["command"].as_str(), command.as_deref());

        let csv = sinks::traffic::csv::header(By::Process) + &written(Format::Csv)?;
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let at = |column: &str, header: &csv::StringRecord| header.iter().position(|c| c == column);
        let header = reader.headers()?.clone();
        let record = reader.records().next().transpose()?.unwrap_or_default();
        let field = |column: &str| at(column, &header).and_then(|at| record.get(at));
        prop_assert_eq!(field("process"), Some(&*name));
        prop_assert_eq!(field("command"), Some(command.as_deref().unwrap_or_default()));
        prop_assert_eq!(field("bytes_per_s"), Some(""));
    }
}
