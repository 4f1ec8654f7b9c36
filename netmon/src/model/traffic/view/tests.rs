use super::*;
use std::cell::Cell;

use crate::model::event::EventKind;
use crate::model::traffic::facts::{
    Burst, DropFacts, FlowFacts, Flows, InterfaceFacts, KernelTime, ProcessFacts, Processes,
    TrafficFacts,
};
use crate::model::traffic::protocol::Protocol;
use crate::model::traffic::thresholds::TrafficOptions;

fn at(seconds: f64) -> KernelTime {
    KernelTime(Duration::from_secs_f64(seconds))
}

fn wire(bytes: u64) -> Traffic {
    Traffic { packets: bytes / 100, bytes }
}

fn flow(id: u32, life: u32, bytes: u64, first: f64) -> FlowFacts {
    let key = FlowKey {
        ifindex: IfIndex(2),
        direction: Direction::Rx,
        vlan: None,
        protocol: Protocol::Ip(6),
        addresses: None,
        ports: (1, 2),
    };
    FlowFacts {
        id,
        life,
        key,
        skb: wire(bytes),
        wire: wire(bytes),
        first: at(first),
        last: at(first),
        tcp_flags: 0,
        process: None,
    }
}

fn process(id: u32, name: &str, bytes: u64) -> ProcessFacts {
    let traffic = SocketTraffic { rx_bytes: bytes, ..SocketTraffic::default() };
    ProcessFacts {
        id,
        life: 0,
        pid: 1000 + id,
        started: at(0.0),
        name: name.into(),
        command: Some(format!("/bin/{name} -x").into()),
        uid: 7,
        user: Some("alice".into()),
        cgroup: None,
        kernel_thread: false,
        alive: true,
        is_new: true,
        tcp: traffic,
        udp: SocketTraffic { tx_bytes: bytes, ..SocketTraffic::default() },
    }
}

fn flows(now: f64, flows: Vec<FlowFacts>) -> TrafficFacts {
    let flows = Flows { flows, capacity: 100, sample: 1, ..Flows::default() };
    TrafficFacts { now: at(now), flows: Some(flows), ..TrafficFacts::default() }
}

fn processes(now: f64, processes: Vec<ProcessFacts>) -> TrafficFacts {
    let processes = Processes { processes, settled: true, ..Processes::default() };
    TrafficFacts { now: at(now), processes: Some(processes), ..TrafficFacts::default() }
}

fn update(view: &mut TrafficView, facts: &TrafficFacts) -> Vec<String> {
    let names = |ifindex: IfIndex| (ifindex.0 == 2).then(|| "eth0".into());
    let events = view.update(facts, names, &TrafficOptions::default());
    assert!(events.iter().all(|event| event.kind == EventKind::NewProgram));
    events.into_iter().map(|event| event.message).collect()
}

fn speeds(view: &TrafficView) -> Vec<(u32, Option<f64>)> {
    view.flows.iter().flatten().map(|flow| (flow.id, flow.speed().now)).collect()
}

#[test]
fn rates_are_by_the_kernels_clock_and_begin_at_the_second_tick() {
    let mut view = TrafficView::default();
    update(&mut view, &flows(10.0, vec![flow(1, 0, 1_000, 9.0)]));
    assert_eq!(view.flows.as_deref().unwrap()[0].speed(), Speed::default());
    assert_eq!(view.elapsed, None);
    update(&mut view, &flows(12.0, vec![flow(1, 0, 3_000, 9.0)]));
    let now = &view.flows.as_deref().unwrap()[0];
    assert_eq!(now.speed(), Speed { now: Some(1e3), average: Some(1e3), peak: Some(1e3) });
    assert_eq!(now.packets_per_s(), Some(10.0));
    assert_eq!((now.first.get(), &*now.interface), (Duration::from_secs(3), "eth0"));
    assert_eq!(view.elapsed, Some(Duration::from_secs(2)));
    // A clock that stands still gives no rate and harms nothing.
    update(&mut view, &flows(12.0, vec![flow(1, 0, 3_500, 9.0)]));
    let now = &view.flows.as_deref().unwrap()[0];
    assert_eq!(now.speed(), Speed { now: None, average: Some(1e3), peak: Some(1e3) });
}

#[test]
fn the_average_is_of_seconds_and_not_of_ticks() {
    let average = |ticks: u32| {
        let mut view = TrafficView::default();
        update(&mut view, &flows(1.0, vec![flow(1, 0, 0, 0.5)]));
        update(&mut view, &flows(2.0, vec![flow(1, 0, 1_000, 0.5)]));
        for tick in 1..=ticks {
            let part = f64::from(tick) / f64::from(ticks);
            let bytes = 1_000 + (6_000.0 * part) as u64;
            update(&mut view, &flows(2.0 + part, vec![flow(1, 0, bytes, 0.5)]));
        }
        view.flows.unwrap()[0].speed().average.unwrap()
    };
    // 0.6 of what was, and 0.4 of what came.
    for ticks in [1, 2, 10] {
        assert!((average(ticks) - 3_000.0).abs() < 1.0, "{} in {ticks}", average(ticks));
    }
}

#[test]
fn a_flow_that_comes_between_ticks_has_the_rate_of_the_tick() {
    let mut view = TrafficView::default();
    update(&mut view, &flows(10.0, vec![]));
    // One packet, a thousandth of a second ago, is no burst.
    update(&mut view, &flows(12.0, vec![flow(1, 0, 1_500, 11.999)]));
    assert_eq!(speeds(&view), [(1, Some(750.0))]);
    // One that was overlooked has the rate of its life.
    update(&mut view, &flows(14.0, vec![flow(1, 0, 1_500, 11.999), flow(2, 0, 8_000, 10.0)]));
    assert_eq!(speeds(&view), [(1, Some(0.0)), (2, Some(2_000.0))]);
}

#[test]
fn another_life_is_another_flow_and_going_back_is_a_gap() {
    let mut view = TrafficView::default();
    update(&mut view, &flows(1.0, vec![flow(1, 0, 9_000, 0.5)]));
    update(&mut view, &flows(2.0, vec![flow(1, 1, 9_500, 1.5)]));
    assert_eq!(speeds(&view), [(1, Some(9_500.0))], "from nothing");
    update(&mut view, &flows(3.0, vec![flow(1, 1, 9_000, 1.5)]));
    assert_eq!(speeds(&view), [(1, None)]);
    let speed = view.flows.as_deref().unwrap()[0].speed();
    assert_eq!((speed.average, speed.peak), (Some(9_500.0), Some(9_500.0)));
}

#[test]
fn entries_are_found_wherever_they_go() {
    let mut view = TrafficView::default();
    let all = |bytes: u64| (0..6).map(|id| flow(id, 0, bytes * u64::from(id), 0.5)).collect();
    let mut facts: Vec<FlowFacts> = all(100);
    update(&mut view, &flows(1.0, facts.clone()));
    facts = all(200);
    facts.reverse();
    facts.remove(2);
    update(&mut view, &flows(2.0, facts));
    let rate = |id: u32| (id, Some(100.0 * f64::from(id)));
    assert_eq!(speeds(&view), [rate(5), rate(4), rate(2), rate(1), rate(0)]);
    assert_eq!(view.flow_table.used, 5);
    // The one that was away is another, even with the same name; ids may be large.
    update(&mut view, &flows(3.0, vec![flow(3, 0, 700, 2.5), flow(u32::MAX, 0, 100, 2.5)]));
    assert_eq!(speeds(&view), [(3, Some(700.0)), (u32::MAX, Some(100.0))]);
    update(&mut view, &flows(4.0, vec![flow(3, 0, 700, 2.5), flow(u32::MAX, 0, 300, 2.5)]));
    assert_eq!(speeds(&view), [(3, Some(0.0)), (u32::MAX, Some(200.0))]);
}

#[test]
fn an_alert_comes_above_and_goes_well_below() {
    let options = TrafficOptions { alpha: 1.0, ..TrafficOptions::default() };
    let mut view = TrafficView::default();
    let mut bytes = 0;
    let mut told = Vec::new();
    for (second, megabytes) in [0, 10, 11, 10, 9, 8, 7, 9, 10, 11].into_iter().enumerate() {
        bytes += megabytes * 1_000_000;
        let facts = flows(second as f64 + 1.0, vec![flow(1, 0, bytes, 0.5)]);
        view.update(&facts, |_| None, &options);
        told.push(view.flows.as_deref().unwrap()[0].alert);
        assert_eq!(view.alerts.flows, usize::from(told[second]));
    }
    assert_eq!(told, [false, false, true, true, true, true, false, false, false, true]);
    assert_eq!(view.alerts.to_string(), "! 1 above 10 MB/s");
}

#[test]
fn a_process_has_a_rate_from_its_first_tick_on() {
    let mut view = TrafficView::default();
    update(&mut view, &processes(1.0, vec![process(0, "old", 5_000)]));
    update(&mut view, &processes(2.0, vec![process(1, "new", 700), process(0, "old", 6_000)]));
    let shown = view.processes.as_deref().unwrap();
    let rates: Vec<_> = shown.iter().map(|one| (&*one.name, one.rx.now, one.tx.now)).collect();
    assert_eq!(rates, [("new", Some(700.0), Some(700.0)), ("old", Some(1e3), Some(1e3))]);
    // Without the table nothing is known, and afterwards nothing can be compared.
    update(&mut view, &flows(3.0, vec![]));
    assert_eq!(view.processes, None);
    update(&mut view, &processes(4.0, vec![process(0, "old", 9_000)]));
    assert_eq!(view.processes.as_deref().unwrap()[0].rx, Speed::default());
}

#[test]
fn a_flow_has_its_process() {
    let mut view = TrafficView::default();
    let facts = |now: f64, owner: Option<u32>, name: &str| TrafficFacts {
        processes: processes(now, vec![process(8, "x", 1), process(9, name, 1)]).processes,
        ..flows(now, vec![FlowFacts { process: owner, ..flow(1, 0, 1, 0.5) }])
    };
    let owner = |view: &TrafficView| {
        let owner = view.flows.as_deref().unwrap()[0].process.clone()?;
        Some((owner.pid, owner.name.to_string()))
    };
    update(&mut view, &facts(1.0, Some(9), "sh"));
    assert_eq!(owner(&view), Some((1009, "sh".to_owned())));
    update(&mut view, &facts(2.0, Some(9), "curl"));
    assert_eq!(owner(&view), Some((1009, "curl".to_owned())));
    // What has ended stays what it was, whoever has its number now.
    for gone in [Some(10), None] {
        update(&mut view, &facts(3.0, gone, "other"));
        assert_eq!(owner(&view), Some((1009, "curl".to_owned())));
    }
    // Another flow with its number has nothing of it.
    let mut other = facts(4.0, None, "other");
    other.flows.as_mut().unwrap().flows[0].life = 1;
    update(&mut view, &other);
    assert_eq!(owner(&view), None);
}

#[test]
fn a_program_is_told_once_and_only_when_it_is_new() {
    let mut view = TrafficView::default();
    let old = ProcessFacts { is_new: false, ..process(0, "sshd", 1) };
    let kernel = ProcessFacts { kernel_thread: true, ..process(5, "kworker/0:1", 1) };
    let mut early = processes(1.0, vec![old.clone(), process(1, "curl", 1)]);
    early.processes.as_mut().unwrap().settled = false;
    assert_eq!(update(&mut view, &early), [""; 0]);
    let curl = "curl (pid 1001, user alice) talks to the network for the first time";
    let facts = |now| processes(now, vec![old.clone(), process(1, "curl", 1), kernel.clone()]);
    assert_eq!(update(&mut view, &facts(2.0)), [curl]);
    assert_eq!(update(&mut view, &facts(3.0)), [""; 0]);
    // Started again; and another daemon of those that ran before.
    let again = processes(4.0, vec![process(2, "curl", 1), process(3, "sshd", 1)]);
    assert_eq!(update(&mut view, &again), [""; 0]);
    // Another program in the same process: by exec(2).
    let exec = |name: &str, is_new| ProcessFacts { is_new, ..process(2, name, 1) };
    let told = update(&mut view, &processes(4.3, vec![exec("wget", true)]));
    assert_eq!(told, [curl.replace("1001", "1002").replace("curl", "wget")]);
    assert_eq!(update(&mut view, &processes(4.4, vec![exec("curl", true)])), [""; 0]);
    assert_eq!(update(&mut view, &processes(4.5, vec![exec("early", false)])), [""; 0]);
    // Another command line is another program; what is not a word is not obeyed.
    let other = ProcessFacts { command: Some("/bin/curl -y".into()), ..process(4, "curl", 1) };
    let odd = ProcessFacts { user: None, ..process(6, "\u{1b}[2J", 1) };
    let told = update(&mut view, &processes(5.0, vec![other, odd]));
    assert_eq!(told[0], curl.replace("1001", "1004"));
    assert!(told[1].starts_with(r"\u{1b}[2J (pid 1006, user 7) "), "{told:?}");
}

#[test]
fn many_new_programs_are_told_by_their_number() {
    let mut view = TrafficView::default();
    let many = |count: u32| (0..count).map(|id| process(id, &format!("p{id}"), 1)).collect();
    let told = update(&mut view, &processes(1.0, many(9_000)));
    assert_eq!(told.len(), 17);
    assert_eq!(told[16], "8984 more programs talk to the network for the first time");
    assert!(view.memory.programs.remembered() <= 8_192);
    // The last are remembered, so nothing is told when they come again.
    let last = ProcessFacts { id: 9_100, ..process(8_999, "p8999", 1) };
    assert_eq!(update(&mut view, &processes(2.0, vec![last])), [""; 0]);
}

#[test]
fn interfaces_have_totals_bursts_and_lives() {
    let mut view = TrafficView::default();
    let facts = |now: f64, life: u32, bytes: u64, burst: u64| {
        let mut one = InterfaceFacts {
            ifindex: IfIndex(2),
            life,
            rx: Default::default(),
            tx: Default::default(),
        };
        one.rx.protocols[0] = wire(bytes);
        one.rx.protocols[1] = wire(2 * bytes);
        one.rx.sizes[3] = wire(bytes);
        let width = Duration::from_millis(4);
        one.rx.burst = (burst > 0).then_some(Burst { bytes: burst, width });
        TrafficFacts { now: at(now), interfaces: Some(vec![one]), ..TrafficFacts::default() }
    };
    update(&mut view, &facts(1.0, 0, 10_000, 0));
    update(&mut view, &facts(2.0, 0, 14_000, 4_000));
    let shown = &view.interfaces.as_deref().unwrap()[0];
    assert_eq!((&*shown.interface, shown.rx.total), ("eth0", wire(42_000)));
    assert_eq!(shown.rx.protocols[1], (wire(28_000), shown.rx.protocols[1].1));
    assert_eq!(shown.rx.protocols[1].1.now, Some(8e3));
    assert_eq!(shown.rx.speed.now, Some(12e3));
    assert_eq!(shown.rx.sizes[3], (wire(14_000), Some(40.0)));
    assert_eq!((shown.rx.burst, shown.rx.burst_peak), (Some(1e6), Some(1e6)));
    assert_eq!(view.burst_width, Some(Duration::from_millis(4)));
    update(&mut view, &facts(3.0, 1, 20_000, 400));
    let shown = &view.interfaces.as_deref().unwrap()[0];
    assert_eq!((shown.rx.speed.now, shown.rx.sizes[3].1), (None, None), "another life");
    assert_eq!((shown.rx.burst, shown.rx.burst_peak), (Some(1e5), Some(1e6)));
    update(&mut view, &facts(4.0, 1, 20_000_000, 0));
    assert_eq!(view.alerts.interfaces, 1);
    let shown = &view.interfaces.as_deref().unwrap()[0];
    assert_eq!((shown.rx.burst, shown.alert), (None, true));
}

#[test]
fn drops_have_rates() {
    let mut view = TrafficView::default();
    let one = |ifindex: Option<u32>, reason: &str, packets: u64| DropFacts {
        ifindex: ifindex.map(IfIndex),
        reason: reason.into(),
        packets,
    };
    let facts = |now: f64, drops: Vec<DropFacts>| TrafficFacts {
        now: at(now),
        drops: Some(drops),
        ..TrafficFacts::default()
    };
    update(&mut view, &facts(1.0, vec![one(Some(2), "A", 5), one(Some(3), "A", 1)]));
    let later = vec![one(None, "B", 8), one(Some(3), "A", 1), one(Some(2), "A", 25)];
    update(&mut view, &facts(3.0, later));
    let shown: Vec<_> = view.drops.iter().flatten().collect();
    let shown: Vec<_> = shown
        .iter()
        .map(|drop| (drop.interface.as_deref(), &*drop.reason, drop.packets_per_s))
        .collect();
    let expected =
        [(None, "B", Some(4.0)), (Some("3"), "A", Some(0.0)), (Some("eth0"), "A", Some(10.0))];
    assert_eq!(shown, expected);
}

#[test]
fn names_are_asked_for_once_a_tick_and_followed() {
    let (asked, name) = (Cell::new(0), Cell::new("eth0"));
    let names = |_| {
        asked.set(asked.get() + 1);
        (!name.get().is_empty()).then(|| name.get().into())
    };
    let mut view = TrafficView::default();
    let facts = |now| flows(now, (0..100).map(|id| flow(id, 0, 0, 0.5)).collect());
    let mut shown = |now: f64| {
        view.update(&facts(now), names, &TrafficOptions::default());
        assert_eq!(asked.take(), 1);
        view.flows.as_deref().unwrap()[99].interface.to_string()
    };
    assert_eq!(shown(1.0), "eth0");
    name.set("wan");
    assert_eq!(shown(2.0), "wan");
    name.set("");
    assert_eq!(shown(3.0), "wan", "what has gone keeps its name");
}

#[test]
fn alerts_in_words() {
    let mut alerts = AlertSummary::default();
    assert_eq!(alerts.to_string(), "ok");
    (alerts.processes, alerts.interfaces) = (1, 1);
    assert_eq!(alerts.to_string(), "! 2 above 10 MB/s");
    alerts.flows = 3;
    alerts.thresholds.interface = 125e6;
    assert_eq!(alerts.to_string(), "! 4 above 10 MB/s, 1 above 125 MB/s");
}
