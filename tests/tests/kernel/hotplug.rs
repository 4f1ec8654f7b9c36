//! Interfaces that come, go, come back and change their names while netmon runs.

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::Agent,
    frame,
    json::Tick,
    kernel::said_here,
    netns::Namespace,
    report::{Block, names},
};
use nix::sys::signal::Signal;

use crate::{
    Test,
    common::{agrees, interrupt, is_bare, json, monitor, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("a_new_one_is_picked_up_under_all", || picked_up(&["--all"])),
    ("a_new_one_is_picked_up_by_a_pattern", || picked_up(&["nt*"])),
    ("what_does_not_match_is_not_picked_up", what_does_not_match_is_not_picked_up),
    ("a_new_one_stands_in_its_place", a_new_one_stands_in_its_place),
    ("a_removed_one_is_told_of_once", a_removed_one_is_told_of_once),
    ("the_last_one_may_be_removed", the_last_one_may_be_removed),
    ("a_named_one_returns", || returns(&["nt0"])),
    ("a_matched_one_returns", || returns(&["nt*"])),
    ("it_returns_by_clsact", || returns(&["nt0", "--hook", "clsact"])),
    ("it_returns_by_xdp", || returns(&["nt0", "--hook", "xdp"])),
    ("it_returns_from_sysfs", || returns(&["nt0", "--source", "sysfs"])),
    ("a_renamed_one_keeps_its_history_under_a_pattern", || renamed(&["nt*"])),
    ("a_renamed_one_keeps_its_history_when_named", || renamed(&["nt0"])),
    ("a_renamed_one_is_read_from_sysfs_on", a_renamed_one_is_read_from_sysfs_on),
    ("two_that_swap_their_names", two_that_swap_their_names),
    ("what_happens_while_it_sleeps_is_made_up_for", what_happens_while_it_sleeps),
    ("one_made_again_with_its_number_is_another", one_made_again_with_its_number),
    ("one_that_moves_away_is_gone", one_that_moves_away_is_gone),
    ("sixty_four_are_removed_at_once", sixty_four_are_removed_at_once),
    ("coming_and_going_quickly", coming_and_going_quickly),
    ("wait_awaits_a_name", || awaited("nt0")),
    ("wait_awaits_one_and_reports_the_other", wait_awaits_one_and_reports_the_other),
    ("it_returns_under_another_name_by_its_altname", it_returns_by_its_altname),
    ("wait_awaits_a_pattern", || awaited("nt*")),
];

fn has(tick: &Tick, link: &str, state: &str) -> bool {
    tick.interface(link).is_ok_and(|told| told.is(state))
}

/// Waits until a link is in this state, by a tick that comes after this call.
fn waits_for(agent: &Agent, link: &str, state: &str) -> Result<Tick> {
    let from = agent.stdout()?.count();
    agent.wait_for_tick_from(from, &format!("{link} {state}"), |tick| has(tick, link, state))
}

/// Makes a link go, and waits for the one tick that tells of it.
fn goes(agent: &Agent, link: &str, removal: impl FnOnce() -> Result<()>) -> Result<Tick> {
    let from = agent.stdout()?.count();
    removal()?;
    let what = format!("{link} absent");
    agent.wait_for_tick_from(from, &what, |tick| has(tick, link, "absent"))
}

fn picked_up(arguments: &[&str]) -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, arguments)?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.add_veth_up("nt1", "other")?;
    agent.says_counted("nt1", "TCX in+out")?;
    waits_for(&agent, "nt1", "up")?;
    namespace.send_frames("nt1", &frame::plain(frame::BROADCAST, 100), 30)?;
    let told = agrees(&agent, &namespace, "nt1")?;
    assert_eq!((told.source.as_str(), told.tx.packets), ("ebpf", Some(30)));
    interrupt(agent)?;
    is_bare(&namespace, "nt1")
}

fn what_does_not_match_is_not_picked_up() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt*", "--exclude", "*9"])?;
    agent.fresh_tick()?;
    namespace.add_veth_up("nt9", "other")?;
    namespace.add_veth_up("nt1", "other1")?;
    let tick = waits_for(&agent, "nt1", "up")?;
    assert_eq!(tick.names(), ["nt0", "nt1"]);
    assert_eq!(agent.fresh_tick()?.names(), ["nt0", "nt1"]);
    is_bare(&namespace, "nt9")?;
    is_bare(&namespace, "other")
}

fn a_new_one_stands_in_its_place() -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.add_veth_up("nt1", "p1")?;
    namespace.add_veth_up("nt10", "p10")?;
    let agent = json(&namespace, &["nt*"])?;
    assert_eq!(agent.fresh_tick()?.names(), ["nt1", "nt10"]);
    namespace.add_veth_up("nt2", "p2")?;
    let tick = agent.wait_for_tick("nt2", |tick| tick.names().contains(&"nt2"))?;
    assert_eq!(tick.names(), ["nt1", "nt2", "nt10"]);
    Ok(())
}

fn a_removed_one_is_told_of_once() -> Result<()> {
    let namespace = veth()?;
    namespace.add_veth_up("nt1", "other")?;
    let agent = monitor(&namespace, &["nt0", "nt1"]).start()?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    let last = agent.wait_for_block(0, "thirty packets", |block| {
        block.interface == "nt0" && block.totals.tx_packets == Some(30)
    })?;
    let before = agent.blocks()?.len();
    namespace.delete("nt0")?;
    agent.says(&["nt0: gone"])?;
    let absent = agent.wait_for_block(before, "absent", |block| block.state == "absent")?;
    assert_eq!(absent.interface, "nt0");
    assert_eq!(absent.totals, last.totals, "the last known totals");
    // The other one goes on alone.
    for _ in 0..5 {
        let seen = agent.blocks()?.len();
        agent.wait_for_block(seen, "the other one", |block| block.interface == "nt1")?;
    }
    let blocks = agent.blocks()?;
    let count = |such: fn(&Block) -> bool| blocks.iter().filter(|block| such(block)).count();
    assert_eq!(count(|block| block.state == "absent"), 1);
    let end = blocks.iter().position(|block| block.state == "absent").context("gone")?;
    assert!(!names(&blocks[end + 1..]).contains(&"nt0"));
    assert_eq!(agent.times_said(&["nt0: gone"])?, 1);
    interrupt(agent).map(drop)
}

fn the_last_one_may_be_removed() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    let gone = goes(&agent, "nt0", || namespace.delete("nt0"))?;
    let told = gone.interface("nt0")?;
    assert_eq!((told.ifindex, told.admin_state.as_deref()), (None, None));
    namespace.add_veth_up("nt0", "peer")?;
    waits_for(&agent, "nt0", "up")?;
    let ticks = agent.ticks()?;
    assert_eq!(ticks.iter().filter(|tick| has(tick, "nt0", "absent")).count(), 1);
    interrupt(agent).map(drop)
}

fn returns(arguments: &[&str]) -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, arguments)?;
    let first = agent.says_counted("nt0", "")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    agrees(&agent, &namespace, "nt0")?;
    for round in 1..=2 {
        goes(&agent, "nt0", || namespace.delete("nt0"))?;
        namespace.add_veth_up("nt0", "peer")?;
        waits_for(&agent, "nt0", "up")?;
        agent.says(&["nt0: back"])?;
        // The line that says what counts comes again with each return.
        let lines = agent.stderr()?;
        lines.wait_for("attached again", |lines| {
            (lines.iter().filter(|line| **line == first).count() > round).then_some(())
        })?;
        namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 200), 20)?;
        namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 200), 10)?;
        let told = agrees(&agent, &namespace, "nt0")?;
        assert_eq!((told.tx.packets, told.rx.packets), (Some(20), Some(10)), "a new one's totals");
    }
    interrupt(agent)?;
    is_bare(&namespace, "nt0")
}

fn renamed(arguments: &[&str]) -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, arguments)?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    agrees(&agent, &namespace, "nt0")?;
    let attached = namespace.attached("nt0")?;
    namespace.rename("nt0", "nt5")?;
    agent.wait_for_tick("the new name", |tick| tick.names() == ["nt5"])?;
    namespace.send_frames("nt5", &frame::plain(frame::BROADCAST, 100), 12)?;
    let told = agrees(&agent, &namespace, "nt5")?;
    assert_eq!(told.tx.packets, Some(42));
    assert_eq!(told.tx.skb.map(|count| count.packets), Some(42), "counted on, not anew");
    assert_eq!(namespace.attached("nt5")?, attached, "attached as before");
    let ticks = agent.ticks()?;
    ensure!(ticks.iter().all(|tick| !has(tick, "nt0", "absent")), "a rename is no removal");
    ensure!(ticks.iter().all(|tick| tick.interfaces.len() == 1), "one, under either name");
    interrupt(agent)?;
    is_bare(&namespace, "nt5")
}

fn a_renamed_one_is_read_from_sysfs_on() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt*", "--source", "sysfs"])?;
    agent.says_counted("nt0", "sysfs (")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    agrees(&agent, &namespace, "nt0")?;
    namespace.rename("nt0", "nt5")?;
    agent.wait_for_tick("the new name", |tick| tick.names() == ["nt5"])?;
    namespace.send_frames("nt5", &frame::plain(frame::BROADCAST, 100), 12)?;
    assert_eq!(agrees(&agent, &namespace, "nt5")?.tx.packets, Some(42));
    interrupt(agent).map(drop)
}

fn two_that_swap_their_names() -> Result<()> {
    let namespace = veth()?;
    namespace.add_veth_up("nt1", "other")?;
    let agent = json(&namespace, &["nt*"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    agent.says_counted("nt1", "TCX in+out")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    namespace.send_frames("nt1", &frame::plain(frame::BROADCAST, 100), 50)?;
    namespace.rename("nt0", "between")?;
    namespace.rename("nt1", "nt0")?;
    namespace.rename("between", "nt1")?;
    agent.fresh_tick()?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 3)?;
    let (first, second) = (agrees(&agent, &namespace, "nt0")?, agrees(&agent, &namespace, "nt1")?);
    // Each has what it counted itself, under its new name.
    let counted = [first, second].map(|told| told.tx.skb.unwrap_or_default().packets);
    assert_eq!(counted, [53, 30]);
    interrupt(agent)?;
    is_bare(&namespace, "nt0")?;
    is_bare(&namespace, "nt1")
}

fn what_happens_while_it_sleeps() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["--all"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    agrees(&agent, &namespace, "nt0")?;
    agent.signal(Signal::SIGSTOP)?;
    // More news than the kernel keeps for one that does not read them.
    for number in 0..150 {
        namespace.add_veth_up("gone", "gone-too")?;
        namespace.delete("gone")?;
        if number % 50 == 0 {
            namespace.add_veth_up(&format!("new{number}"), &format!("far{number}"))?;
        }
    }
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 12)?;
    agent.signal(Signal::SIGCONT)?;
    let links = ["far0", "far50", "far100", "lo", "new0", "new50", "new100", "nt0", "peer"];
    agent.wait_for_tick("what there is now", |tick| tick.names() == links)?;
    for link in ["new0", "new50", "new100"] {
        agent.says_counted(link, "TCX in+out")?;
        assert_eq!(agrees(&agent, &namespace, link)?.source, "ebpf");
    }
    let told = agrees(&agent, &namespace, "nt0")?;
    assert_eq!(told.tx.skb.map(|count| count.packets), Some(42), "counted in its sleep");
    interrupt(agent).map(drop)
}

fn one_made_again_with_its_number() -> Result<()> {
    let namespace = Namespace::new()?;
    let make = || {
        namespace.add_veth_with_index("nt0", 4711, "peer")?;
        namespace.set_up("peer")?;
        namespace.set_up("nt0")
    };
    let frame = frame::plain(frame::BROADCAST, 100);
    make()?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "")?;
    namespace.send_frames("nt0", &frame, 10)?;
    agrees(&agent, &namespace, "nt0")?;
    // All of it between two ticks.
    agent.signal(Signal::SIGSTOP)?;
    namespace.delete("nt0")?;
    make()?;
    namespace.send_frames("nt0", &frame, 1000)?;
    agent.signal(Signal::SIGCONT)?;
    let tick = agent
        .wait_for_tick("its return", |tick| tick.events.iter().any(|event| event.kind == "back"))?;
    let told = tick.interface("nt0")?;
    assert_eq!(told.tx.packets, Some(1000));
    assert_eq!((told.tx.packets_per_s, told.rx.packets_per_s), (None, None), "{told:#?}");
    interrupt(agent).map(drop)
}

fn one_that_moves_away_is_gone() -> Result<()> {
    let (namespace, elsewhere) = (veth()?, Namespace::new()?);
    let agent = json(&namespace, &["nt0", "peer"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    goes(&agent, "nt0", || namespace.move_to("nt0", &elsewhere))?;
    elsewhere.move_to("nt0", &namespace)?;
    namespace.set_up("nt0")?;
    waits_for(&agent, "nt0", "up")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 200), 20)?;
    agrees(&agent, &namespace, "nt0")?;
    interrupt(agent)?;
    is_bare(&namespace, "nt0")
}

fn sixty_four_are_removed_at_once() -> Result<()> {
    let namespace = veth()?;
    for number in 0..32 {
        namespace.add_veth_up(&format!("a{number}"), &format!("b{number}"))?;
    }
    let agent = json(&namespace, &["nt0", "a*", "b*"])?;
    for number in 0..32 {
        agent.says_counted(&format!("b{number}"), "TCX in+out")?;
    }
    let before = agent.stdout()?.count();
    for number in 0..32 {
        namespace.delete(&format!("a{number}"))?;
    }
    agent.wait_for_tick_from(before, "only the one left", |tick| tick.names() == ["nt0"])?;
    let ticks = agent.ticks()?;
    let numbers: Vec<_> = ticks.iter().map(|tick| tick.tick).collect();
    for number in 0..32 {
        for end in ["a", "b"] {
            let link = format!("{end}{number}");
            let told = ticks.iter().filter(|tick| has(tick, &link, "absent")).count();
            assert_eq!(told, 1, "{link} in the ticks {numbers:?}");
        }
    }
    agrees(&agent, &namespace, "nt0")?;
    interrupt(agent).map(drop)
}

fn coming_and_going_quickly() -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.add_veth_up("nt0", "peer")?;
    let agent = json(&namespace, &["--all"])?;
    agent.fresh_tick()?;
    for _ in 0..30 {
        namespace.delete("nt0")?;
        namespace.add_veth_up("nt0", "peer")?;
    }
    // A last time, at a pace at which it must be seen.
    waits_for(&agent, "nt0", "up")?;
    goes(&agent, "nt0", || namespace.delete("nt0"))?;
    let counted = said_here("nt0: TCX in+out");
    let before = agent.times_said(&[&counted])?;
    namespace.add_veth_up("nt0", "peer")?;
    agent.stderr()?.wait_for("attached again", |lines| {
        let said = lines.iter().filter(|line| line.starts_with(&counted));
        (said.count() > before).then_some(())
    })?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 200), 20)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    assert_eq!((told.source.as_str(), told.tx.packets), ("ebpf", Some(20)));
    let attached = namespace.attached("nt0")?;
    assert_eq!(attached.programs().len(), 2, "once, not thirty times: {attached:?}");
    interrupt(agent)?;
    is_bare(&namespace, "nt0")
}

fn awaited(what: &str) -> Result<()> {
    let namespace = veth()?;
    namespace.delete("nt0")?;
    let agent = json(&namespace, &[what, "--wait"])?;
    agent.fresh_tick()?;
    assert!(agent.ticks()?.iter().all(|tick| tick.interfaces.iter().all(|told| told.is("absent"))));
    namespace.add_veth_up("nt0", "peer")?;
    agent.says_counted("nt0", "TCX in+out")?;
    waits_for(&agent, "nt0", "up")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 200), 20)?;
    agrees(&agent, &namespace, "nt0")?;
    interrupt(agent).map(drop)
}

fn wait_awaits_one_and_reports_the_other() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["later0", "nt0", "--wait"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 200), 20)?;
    agrees(&agent, &namespace, "nt0")?;
    namespace.add_veth_up("later0", "other")?;
    agent.says_counted("later0", "TCX in+out")?;
    let tick = waits_for(&agent, "later0", "up")?;
    assert_eq!(tick.names(), ["later0", "nt0"], "in the order asked for");
    interrupt(agent).map(drop)
}

fn it_returns_by_its_altname() -> Result<()> {
    let namespace = veth()?;
    namespace.add_altname("nt0", "uplink-to-the-world")?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    goes(&agent, "nt0", || namespace.delete("nt0"))?;
    namespace.add_veth_up("nt7", "peer")?;
    agent.fresh_tick()?;
    namespace.add_altname("nt7", "uplink-to-the-world")?;
    waits_for(&agent, "nt7", "up")?;
    namespace.send_frames("nt7", &frame::plain(frame::BROADCAST, 200), 20)?;
    assert_eq!(agrees(&agent, &namespace, "nt7")?.source, "ebpf");
    interrupt(agent)?;
    is_bare(&namespace, "nt7")
}
