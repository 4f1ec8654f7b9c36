//! What takes netmon's programs off the packets' way while it runs: it notices, reports it, puts
//! them back, and no total stands still, goes back or misses anything meanwhile.

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::Agent,
    bpf::{self, Object},
    foreign::{self, Foreign, Way},
    frame,
    json::{Interface, Tick},
    netns::Namespace,
    process,
    scratch::Scratch,
    wait,
};

use crate::{
    Test,
    common::{agrees, interrupt, is_bare, json, monitor, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("tcx_programs_detached", || once("tc", &detach)),
    ("tcx_programs_detached_in_a_worker", || in_a_worker(&|_, pid| detach_all(bpf::held_by(pid)?))),
    ("a_tcx_program_in_front", || once("tc", &|namespace, _| in_front(namespace))),
    ("a_tcx_program_in_front_in_a_worker", || in_a_worker(&|namespace, _| in_front(namespace))),
    ("a_tcx_program_in_front_from_one_burst", a_burst_behind_a_tcx_program),
    ("a_tcx_program_in_front_that_goes_on", a_tcx_program_that_goes_on),
    ("a_tcx_program_that_fights_back", a_tcx_program_that_fights_back),
    ("clsact_deleted", || once("clsact", &delete_clsact)),
    ("clsact_deleted_and_made_anew", || once("clsact", &clsact_made_anew)),
    ("clsact_replaced_by_an_ingress_qdisc", clsact_replaced_by_ingress),
    ("a_clsact_filter_in_front", || once("clsact", &filters_in_front)),
    ("xdp_program_detached", || once("xdp", &detach)),
    ("what_goes_around_for_long", what_goes_around_for_long),
    ("flows_behind_a_tcx_program", flows_behind_a_tcx_program),
    ("the_text_report_goes_on", the_text_report_goes_on),
    ("an_interface_that_is_removed_is_no_loss", an_interface_that_is_removed),
];

/// What is held so that it stays attached.
type Held = Vec<Foreign>;
/// Takes netmon's programs on `nt0` off the packets' way.
type Harm = dyn Fn(&Namespace, &Agent) -> Result<Held>;

/// All links that it has, as a tool with the rights for it may.
fn detach(_: &Namespace, agent: &Agent) -> Result<Held> {
    detach_all(agent.bpf_objects()?)
}

fn detach_all(objects: Vec<Object>) -> Result<Held> {
    for object in objects {
        if let Object::Link(link) = object {
            bpf::detach(link)?;
        }
    }
    Ok(Vec::new())
}

fn in_front(namespace: &Namespace) -> Result<Held> {
    let each = [Way::Ingress, Way::Egress].into_iter();
    each.map(|way| namespace.foreign_tcx_in_front("nt0", way, foreign::TC_PASS)).collect()
}

fn delete_clsact(namespace: &Namespace, _: &Agent) -> Result<Held> {
    namespace.delete_clsact("nt0")?;
    Ok(Vec::new())
}

/// As a shaper does, whose qdisc must stay.
fn clsact_made_anew(namespace: &Namespace, _: &Agent) -> Result<Held> {
    namespace.delete_clsact("nt0")?;
    namespace.add_clsact("nt0")?;
    let each = [Way::Ingress, Way::Egress].into_iter();
    each.map(|way| namespace.foreign_clsact("nt0", way, foreign::TC_NEXT)).collect()
}

fn filters_in_front(namespace: &Namespace, _: &Agent) -> Result<Held> {
    let each = [Way::Ingress, Way::Egress].into_iter();
    each.map(|way| namespace.foreign_clsact("nt0", way, foreign::TC_PASS)).collect()
}

/// Frames both ways.
fn traffic(namespace: &Namespace, frames: u64) -> Result<()> {
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 60), frames)?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 70), frames)
}

/// Sends a frame or two each way at a time until `is_it` holds for a tick.
fn until(
    agent: &Agent,
    namespace: &Namespace,
    what: &str,
    mut is_it: impl FnMut(&Interface) -> bool,
) -> Result<Interface> {
    let found = wait::until(what.to_owned(), || {
        traffic(namespace, 2)?;
        let tick = agent.later_tick(1)?;
        let found = tick.interfaces.into_iter().find(|it| it.interface == "nt0");
        Ok(found.filter(|it| is_it(it)))
    });
    let events = || agent.ticks().map(|ticks| ticks.into_iter().flat_map(|tick| tick.events));
    found.with_context(|| format!("{:?}", events().map(Iterator::collect::<Vec<_>>)))
}

fn counts(interface: &Interface) -> bool {
    interface.source == "ebpf"
}

/// No total has gone back from one tick to the next. (A worker on a busy machine may be late: then
/// there is none.)
fn no_step_back(ticks: &[Tick]) -> Result<()> {
    let totals = |tick: &Tick| {
        let it = tick.interfaces.iter().find(|it| it.interface == "nt0");
        let it = it.filter(|it| it.rx.packets.is_some() && it.tx.packets.is_some());
        it.map(|it| [it.rx.packets, it.rx.bytes, it.tx.packets, it.tx.bytes])
    };
    let all: Vec<_> = ticks.iter().filter_map(totals).collect();
    for pair in all.windows(2) {
        let back = pair[0].iter().zip(&pair[1]).any(|(before, now)| now < before);
        ensure!(!back, "{:?}, then {:?}", pair[0], pair[1]);
    }
    Ok(())
}

/// Whether it was said last that the interface is counted, and not that counting is lost.
fn is_counting(agent: &Agent) -> Result<bool> {
    let ticks = agent.ticks()?;
    let events = ticks.iter().flat_map(|tick| &tick.events);
    let mut last = events.filter(|it| ["counting", "counting_lost"].contains(&it.kind.as_str()));
    Ok(last.next_back().is_some_and(|event| event.kind == "counting"))
}

fn events_of(agent: &Agent, kind: &str) -> Result<Vec<String>> {
    let ticks = agent.ticks()?;
    let events = ticks.iter().flat_map(|tick| &tick.events);
    Ok(events.filter(|it| it.kind == kind).map(|event| event.message.clone()).collect())
}

/// Known traffic, harm, traffic again: the programs come back, and the totals are the kernel's own
/// all the time.
fn once(hook: &str, harm: &Harm) -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0", "--hook", hook])?;
    agent.says_counted("nt0", "")?;
    traffic(&namespace, 100)?;
    agrees(&agent, &namespace, "nt0")?;
    let held = harm(&namespace, &agent)?;
    recovers(&agent, &namespace)?;
    let others: Vec<_> = held.iter().map(|foreign| foreign.program).collect();
    interrupt(agent)?;
    let mut left = namespace.attached("nt0")?.programs();
    left.retain(|program| !others.contains(program));
    assert_eq!(left, [0; 0], "nothing of netmon's is left");
    if held.is_empty() {
        return is_bare(&namespace, "nt0");
    }
    let attached = namespace.attached("nt0")?.programs();
    ensure!(others.iter().all(|other| attached.contains(other)), "another's stays: {attached:?}");
    Ok(())
}

fn recovers(agent: &Agent, namespace: &Namespace) -> Result<()> {
    until(agent, namespace, "the loss to be noticed", |_| {
        events_of(agent, "counting_lost").is_ok_and(|events| !events.is_empty())
    })?;
    until(agent, namespace, "the programs to be back", |it| {
        // A worker's event may be here before the tick at which it happened.
        counts(it) && is_counting(agent).unwrap_or(false)
    })?;
    let before = agrees(agent, namespace, "nt0")?;
    traffic(namespace, 1_000)?;
    let after = agrees(agent, namespace, "nt0")?;
    ensure!(counts(&after), "{after:?}");
    let counted = |it: &Interface| it.rx.skb.zip(it.tx.skb).context("nothing counted");
    let ((rx, tx), (rx_after, tx_after)) = (counted(&before)?, counted(&after)?);
    assert_eq!((rx_after.packets - rx.packets, tx_after.packets - tx.packets), (1_000, 1_000));
    no_step_back(&agent.ticks()?)
}

/// The launcher starts the interface monitor.
fn child_of_child(pid: u32) -> Result<u32> {
    let launcher = process::children(pid)?.into_iter().next().context("no launcher")?;
    process::children(launcher)?.into_iter().next().context("no interface monitor")
}

/// The interface monitor has given up nearly all of its privileges by then.
fn in_a_worker(harm: &dyn Fn(&Namespace, u32) -> Result<Held>) -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let socket = scratch.path().join("run/netmon.sock").display().to_string();
    let agent = json(&namespace, &["--workers", "--socket", &socket, "nt0"])?;
    agent.says_counted("nt0", "")?;
    traffic(&namespace, 100)?;
    agrees(&agent, &namespace, "nt0")?;
    let worker = child_of_child(agent.pid())?;
    let held = harm(&namespace, worker)?;
    recovers(&agent, &namespace)?;
    interrupt(agent)?;
    drop(held);
    // The kernel takes its time.
    wait::until_true("nothing to be left", || Ok(is_bare(&namespace, "nt0").is_ok()))
}

/// Nothing comes after the packets that were not seen.
fn a_burst_behind_a_tcx_program() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    traffic(&namespace, 100)?;
    agrees(&agent, &namespace, "nt0")?;
    let _held = in_front(&namespace)?;
    let from = agent.ticks()?.len();
    traffic(&namespace, 1_000)?;
    agent.wait_for_tick_from(from, "the loss", |tick| {
        tick.events.iter().any(|event| event.kind == "counting_lost")
    })?;
    agent.wait_for_tick_from(from, "the programs to be back", |tick| {
        tick.events.iter().any(|event| event.kind == "counting")
    })?;
    let told = agrees(&agent, &namespace, "nt0")?;
    ensure!(counts(&told), "{told:?}");
    assert_eq!((told.rx.packets, told.tx.packets), (Some(1_100), Some(1_100)));
    interrupt(agent).map(drop)
}

/// A program in front that lets every packet go on is no reason to do anything.
fn a_tcx_program_that_goes_on() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    let front = namespace.foreign_tcx_in_front("nt0", Way::Ingress, foreign::TC_NEXT)?;
    for _ in 0..10 {
        traffic(&namespace, 100)?;
        agrees(&agent, &namespace, "nt0")?;
    }
    assert_eq!(events_of(&agent, "counting_lost")?, [""; 0]);
    assert_eq!(namespace.attached("nt0")?.tcx_ingress.first(), Some(&front.program));
    interrupt(agent).map(drop)
}

/// Whenever it is not the first it attaches another one in front.
fn a_tcx_program_that_fights_back() -> Result<()> {
    const MOST_ROUNDS: usize = 12;
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    traffic(&namespace, 100)?;
    agrees(&agent, &namespace, "nt0")?;
    let mut held: Held = Vec::new();
    let mut rounds = 0;
    until(&agent, &namespace, "netmon to leave it", |_| {
        let first = namespace.attached("nt0").map(|attached| attached.tcx_ingress.first().copied());
        let is_mine = matches!((&first, held.last()), (Ok(Some(first)), Some(mine)) if *first == mine.program);
        if !is_mine && rounds < MOST_ROUNDS {
            rounds += 1;
            held.extend(namespace.foreign_tcx_in_front("nt0", Way::Ingress, foreign::TC_PASS));
        }
        let lost = events_of(&agent, "counting_lost").unwrap_or_default();
        lost.iter().any(|message| message.contains("not attached again"))
    })?;
    let lost = events_of(&agent, "counting_lost")?;
    assert_eq!(lost.len(), 4, "three times put back, and then not any more: {lost:?}");
    // From now on it is left in peace, and the report shows the kernel's own counters.
    traffic(&namespace, 1_000)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    assert_eq!(told.source, "kernel");
    assert_eq!(namespace.attached("nt0")?.tcx_ingress.first(), held.last().map(|it| &it.program));
    no_step_back(&agent.ticks()?)?;
    interrupt(agent).map(drop)
}

/// There is no place for a filter at egress then: what was asked for cannot be had.
fn clsact_replaced_by_ingress() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0", "--hook", "clsact"])?;
    agent.says_counted("nt0", "clsact in+out")?;
    traffic(&namespace, 100)?;
    agrees(&agent, &namespace, "nt0")?;
    namespace.delete_clsact("nt0")?;
    namespace.add_ingress("nt0")?;
    agent.says(&["nt0: netmon's program cannot be attached again: clsact: ", "ingress qdisc"])?;
    traffic(&namespace, 1_000)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    assert_eq!((told.source.as_str(), told.rx.packets), ("kernel", Some(1_100)));
    no_step_back(&agent.ticks()?)?;
    interrupt(agent)?;
    let left = namespace.attached("nt0")?;
    assert_eq!((left.qdiscs, left.filters_ingress), (vec!["ingress".to_owned()], Vec::new()));
    Ok(())
}

fn what_goes_around_for_long() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "")?;
    let mut socket = namespace.packet_socket("nt0")?;
    socket.bypass_qdisc()?;
    wait::until_true("the kernel's own counters", || {
        socket.send(&frame::plain(frame::BROADCAST, 200))?;
        let tick = agent.later_tick(1)?;
        Ok(tick.interface("nt0")?.source == "kernel")
    })?;
    let told = agrees(&agent, &namespace, "nt0")?;
    ensure!(told.hook.as_deref().is_some_and(|hook| hook.contains("around")), "{told:?}");
    // Packets that the programs see again.
    until(&agent, &namespace, "the programs to count again", counts)?;
    agrees(&agent, &namespace, "nt0")?;
    no_step_back(&agent.ticks()?)?;
    interrupt(agent).map(drop)
}

/// The same place in the kernel counts interfaces and flows.
fn flows_behind_a_tcx_program() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0", "--traffic=flows"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    let packets = || -> Result<u64> {
        let traffic = agent.later_tick(2)?.traffic.context("no traffic")?;
        let flows = traffic.flows.context("no flows")?;
        Ok(flows.iter().map(|flow| flow.skb.packets).sum())
    };
    traffic(&namespace, 100)?;
    wait::until_true("the flows", || Ok(packets()? >= 200))?;
    let _held = in_front(&namespace)?;
    recovers(&agent, &namespace)?;
    let before = packets()?;
    traffic(&namespace, 500)?;
    wait::until_true("more of them", || Ok(packets()? == before + 1_000))?;
    interrupt(agent).map(drop)
}

fn the_text_report_goes_on() -> Result<()> {
    let namespace = veth()?;
    let agent = monitor(&namespace, &["nt0"]).start()?;
    agent.says_counted("nt0", "")?;
    traffic(&namespace, 100)?;
    detach(&namespace, &agent)?;
    if !netmon_tests::kernel::TCX.is_here() {
        namespace.delete_clsact("nt0")?;
    }
    traffic(&namespace, 1_000)?;
    agent.says(&["nt0: ", "the kernel's own counters are reported"])?;
    agent.wait_for_block(0, "all packets", |block| {
        (block.totals.rx_packets, block.totals.tx_packets) == (Some(1_100), Some(1_100))
    })?;
    interrupt(agent).map(drop)
}

/// Its programs are detached then, too.
fn an_interface_that_is_removed() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "")?;
    traffic(&namespace, 100)?;
    namespace.delete("nt0")?;
    agent.wait_for_tick("its end", |tick| tick.events.iter().any(|event| event.kind == "gone"))?;
    agent.later_tick(5)?;
    assert_eq!(events_of(&agent, "counting_lost")?, [""; 0]);
    interrupt(agent).map(drop)
}
