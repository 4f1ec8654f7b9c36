//! Links that go down, and which of them netmon sets up again.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::Result;
use netmon_tests::{
    agent::Agent,
    frame,
    netns::Namespace,
    privileges::{Capability, Privileges},
    scratch::Scratch,
    tuntap::Layer,
    wait,
};

use crate::{
    Test,
    common::{agrees, interrupt, json, monitor, netmon, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("it_does_not_wait_for_a_tick", it_does_not_wait_for_a_tick),
    ("a_named_one_is_set_up_from_the_start", a_named_one_is_set_up_from_the_start),
    ("it_is_counted_by_each_hook_once_up", it_is_counted_by_each_hook_once_up),
    ("a_matched_one_only_after_it_was_up", a_matched_one_only_after_it_was_up),
    ("it_is_up_by_the_next_tick_but_one", it_is_up_by_the_next_tick_but_one),
    ("again_and_again", again_and_again),
    ("what_fails_is_tried_again_and_not_hammered", what_fails_is_tried_again),
    ("no_recover_leaves_it_down", no_recover_leaves_it_down),
    ("the_file_may_say_so_for_one", the_file_may_say_so_for_one),
    ("without_carrier_it_is_told_once", without_carrier_it_is_told_once),
    ("without_privilege_it_is_told_once", without_privilege_it_is_told_once),
    ("unknown_is_not_down", unknown_is_not_down),
    ("dormant_is_not_down", dormant_is_not_down),
    ("lo_is_set_up_when_named", lo_is_set_up_when_named),
    ("an_attachment_is_no_fault", an_attachment_is_no_fault),
];

/// How many ticks something that must not happen is given to happen.
const TICKS: usize = 15;

fn wait_until_up(namespace: &Namespace, link: &str) -> Result<()> {
    wait::until_true(format!("{link} to be set up"), || namespace.is_up(link))
}

fn event_kinds(agent: &Agent) -> Result<Vec<String>> {
    let events = agent.ticks()?.into_iter().flat_map(|tick| tick.events);
    Ok(events.map(|event| event.kind).collect())
}

fn a_named_one_is_set_up_from_the_start() -> Result<()> {
    let namespace = veth()?;
    namespace.set_down("nt0")?;
    let agent = json(&namespace, &["nt0"])?;
    wait_until_up(&namespace, "nt0")?;
    agent.says(&["nt0: administratively down: set up (attempt 1)"])?;
    agent.says(&["nt0: up"])?;
    let tick = agent.wait_for_tick("the event", |tick| {
        tick.events.iter().any(|event| event.kind == "set_up" && event.is_of("nt0"))
    })?;
    assert!(tick.events.iter().any(|event| event.message.contains("attempt 1")), "{tick:?}");
    agent.wait_for_tick("up", |tick| tick.interface("nt0").is_ok_and(|told| told.is("up")))?;
    agrees(&agent, &namespace, "nt0")?;
    interrupt(agent).map(drop)
}

fn it_is_counted_by_each_hook_once_up() -> Result<()> {
    for hook in ["tc", "clsact", "xdp", "xdp-generic"] {
        let namespace = veth()?;
        namespace.set_down("nt0")?;
        let agent = json(&namespace, &["nt0", "--hook", hook])?;
        agent.says_counted("nt0", "")?;
        namespace.wait_for_state("nt0", "up")?;
        namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
        namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 100), 40)?;
        let told = agrees(&agent, &namespace, "nt0")?;
        let counted = [&told.rx, &told.tx].map(|way| way.skb.unwrap_or_default().packets);
        assert_eq!(counted, [40, 30], "{hook}");
        interrupt(agent)?;
    }
    Ok(())
}

fn a_matched_one_only_after_it_was_up() -> Result<()> {
    for arguments in [["nt*"], ["--all"]] {
        let namespace = veth()?;
        namespace.add_veth("nt1", "other")?;
        namespace.set_up("other")?;
        let agent = json(&namespace, &arguments)?;
        agent.later_tick(TICKS)?;
        assert!(!namespace.is_up("nt1")?, "it has never been seen up: {arguments:?}");
        namespace.set_down("nt0")?;
        wait_until_up(&namespace, "nt0")?;
        // Now it is seen up.
        namespace.set_up("nt1")?;
        agent.wait_for_tick("nt1 up", |tick| {
            tick.interface("nt1").is_ok_and(|told| told.is("up"))
        })?;
        namespace.set_down("nt1")?;
        wait_until_up(&namespace, "nt1")?;
        interrupt(agent)?;
    }
    Ok(())
}

fn it_is_up_by_the_next_tick_but_one() -> Result<()> {
    let namespace = veth()?;
    // Ticks slow enough for a busy machine: what counts here is how many.
    let arguments = ["run", "nt0", "--interval", "500ms", "--format", "json"];
    let agent = netmon(&namespace, &arguments).start()?;
    agent.says_counted("nt0", "TCX in+out")?;
    agent.fresh_tick()?;
    let seen = agent.ticks()?.len();
    namespace.set_down("nt0")?;
    // The tick that may be under way now, the next, and the next but one.
    agent.later_tick(3)?;
    let states: Vec<_> = agent.ticks()?[seen..]
        .iter()
        .map(|tick| Ok(tick.interface("nt0")?.admin_state.clone()))
        .collect::<Result<_>>()?;
    assert_eq!(states[2].as_deref(), Some("up"), "{states:?}");
    agent.says(&["nt0: administratively down: set up (attempt 1)"])?;
    namespace.wait_for_state("nt0", "up")?;
    let told = agrees(&agent, &namespace, "nt0")?;
    let state = namespace.sysfs_state("nt0")?;
    assert_eq!((told.up_count, told.down_count), (Some(state.up_count), Some(state.down_count)));
    assert_eq!(state.down_count, 2, "as veth begins with one");
    interrupt(agent).map(drop)
}

fn again_and_again() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0"])?;
    agent.fresh_tick()?;
    for attempt in 1..=3 {
        namespace.set_down("nt0")?;
        wait_until_up(&namespace, "nt0")?;
        agent.says(&["nt0: administratively down: set up", &format!("(attempt {attempt})")])?;
    }
    interrupt(agent).map(drop)
}

fn what_fails_is_tried_again() -> Result<()> {
    let namespace = veth()?;
    namespace.add_vxlan("vx0", Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST)?;
    namespace.set_down("vx0")?;
    // Who has its port keeps it from being set up.
    let holder = namespace.run(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4789))?))?;
    let agent = json(&namespace, &["vx0", "nt0"])?;
    agent.says(&["vx0: ", "attempt 1"])?;
    agent.later_tick(25)?;
    let attempts = event_attempts(&agent, "vx0")?;
    assert!((1..=3).contains(&attempts), "{attempts} in 2.5 s: at 0, 1 and 3 s");
    assert!(!namespace.is_up("vx0")?);
    drop(holder);
    wait_until_up(&namespace, "vx0")?;
    agrees(&agent, &namespace, "nt0")?;
    interrupt(agent).map(drop)
}

/// How many attempts to set a link up have been told.
fn event_attempts(agent: &Agent, link: &str) -> Result<usize> {
    let events = agent.ticks()?.into_iter().flat_map(|tick| tick.events);
    let own = events.filter(|event| event.is_of(link));
    Ok(own.filter(|event| event.message.contains("(attempt ")).count())
}

fn no_recover_leaves_it_down() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0", "--no-recover"])?;
    agent.fresh_tick()?;
    namespace.set_down("nt0")?;
    let tick = agent.later_tick(TICKS)?;
    let told = tick.interface("nt0")?;
    assert_eq!((told.admin_state.as_deref(), told.state.as_deref()), (Some("down"), Some("down")));
    assert!(!namespace.is_up("nt0")?);
    assert!(!event_kinds(&agent)?.contains(&"set_up".to_owned()));
    interrupt(agent).map(drop)
}

fn the_file_may_say_so_for_one() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    namespace.add_veth_up("nt1", "other")?;
    let config =
        "interfaces = [\"nt0\", \"nt1\"]\n[[interface]]\nmatch = \"nt1\"\nrecover = false\n";
    let config = scratch.write("netmon.toml", config)?;
    let agent = json(&namespace, &["--config", &config.to_string_lossy()])?;
    agent.fresh_tick()?;
    namespace.set_down("nt1")?;
    namespace.set_down("nt0")?;
    wait_until_up(&namespace, "nt0")?;
    agent.later_tick(TICKS)?;
    assert!(!namespace.is_up("nt1")?);
    interrupt(agent).map(drop)
}

fn without_carrier_it_is_told_once() -> Result<()> {
    let namespace = veth()?;
    namespace.set_down("peer")?;
    namespace.wait_for_state("nt0", "lowerlayerdown")?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says(&["nt0: up but without carrier (", "): nothing to set"])?;
    let tick = agent.later_tick(TICKS)?;
    let told = tick.interface("nt0")?;
    assert_eq!(told.admin_state.as_deref(), Some("up"));
    assert!(told.is("lowerlayerdown"), "{told:?}");
    assert!(told.state_reason.as_ref().is_some_and(|reason| !reason.is_empty()), "{told:?}");
    assert_eq!(agent.times_said(&["without carrier"])?, 1);
    assert!(!event_kinds(&agent)?.contains(&"set_up".to_owned()), "nothing was set");
    // It comes and goes again: told of again.
    namespace.set_up("peer")?;
    agent.wait_for_tick("up", |tick| tick.interface("nt0").is_ok_and(|told| told.is("up")))?;
    namespace.set_down("peer")?;
    agent.stderr()?.wait_for("being told again", |lines| {
        let told = lines.iter().filter(|line| line.contains("without carrier"));
        (told.count() == 2).then_some(())
    })?;
    interrupt(agent).map(drop)
}

fn without_privilege_it_is_told_once() -> Result<()> {
    let namespace = veth()?;
    let privileges = Privileges::Without(&[Capability::NET_ADMIN]);
    let command = monitor(&namespace, &["nt0", "--format", "json"]);
    let agent = command.privileges(privileges).start()?;
    agent.fresh_tick()?;
    let before = agent.times_said(&["CAP_NET_ADMIN"])?;
    namespace.set_down("nt0")?;
    agent.later_tick(TICKS)?;
    assert!(!namespace.is_up("nt0")?, "it could not be set up");
    let said = agent.times_said(&["CAP_NET_ADMIN"])? - before;
    assert_eq!(said, 1, "{}", agent.stderr()?.text());
    // The report goes on, with the right numbers.
    namespace.set_up("nt0")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 5)?;
    agrees(&agent, &namespace, "nt0")?;
    interrupt(agent).map(drop)
}

fn unknown_is_not_down() -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.set_up("lo")?;
    let _tap = namespace.add_tuntap("tap0", Layer::Ethernet)?;
    let mut agent = json(&namespace, &["lo", "tap0"])?;
    let tick = agent.later_tick(TICKS)?;
    assert!(tick.interface("lo")?.is("unknown"));
    let kinds = event_kinds(&agent)?;
    assert!(kinds.iter().all(|kind| kind == "counting"), "{kinds:?}");
    assert_eq!(agent.times_said(&["set up"])?, 0);
    assert!(agent.is_running()?);
    interrupt(agent).map(drop)
}

fn dormant_is_not_down() -> Result<()> {
    let namespace = veth()?;
    namespace.set_down("peer")?;
    namespace.wait_for_state("nt0", "lowerlayerdown")?;
    namespace.set_dormant("nt0")?;
    namespace.set_up("peer")?;
    namespace.wait_for_state("nt0", "dormant")?;
    let agent = json(&namespace, &["nt0"])?;
    let tick = agent.later_tick(TICKS)?;
    assert!(tick.interface("nt0")?.is("dormant"));
    let kinds = event_kinds(&agent)?;
    assert!(kinds.iter().all(|kind| kind == "counting"), "{kinds:?}");
    interrupt(agent).map(drop)
}

/// The news of it are heeded, not the next tick, which is an hour away.
fn it_does_not_wait_for_a_tick() -> Result<()> {
    let namespace = veth()?;
    let arguments = ["run", "nt0", "--interval", "1h", "--format", "json"];
    let agent = netmon(&namespace, &arguments).start()?;
    agent.says_counted("nt0", "")?;
    agent.wait_for_tick("the only one", |_| true)?;
    for _ in 0..3 {
        namespace.set_down("nt0")?;
        wait_until_up(&namespace, "nt0")?;
    }
    agent.says(&["nt0: administratively down: set up (attempt 3)"])?;
    interrupt(agent).map(drop)
}

fn lo_is_set_up_when_named() -> Result<()> {
    let namespace = Namespace::new()?;
    assert!(!namespace.is_up("lo")?, "a new namespace's lo is down");
    let agent = json(&namespace, &["lo"])?;
    wait_until_up(&namespace, "lo")?;
    agent.wait_for_tick("unknown", |tick| {
        tick.interface("lo").is_ok_and(|told| told.is("unknown"))
    })?;
    agent.later_tick(TICKS)?;
    let set = event_kinds(&agent)?.into_iter().filter(|kind| kind == "set_up").count();
    assert_eq!(set, 1);
    interrupt(agent).map(drop)
}

fn an_attachment_is_no_fault() -> Result<()> {
    for hook in ["tc", "clsact", "xdp", "xdp-generic"] {
        let namespace = veth()?;
        let agent = json(&namespace, &["nt0", "peer", "--hook", hook])?;
        agent.says_counted("nt0", "")?;
        agent.says_counted("peer", "")?;
        agent.later_tick(5)?;
        let kinds = event_kinds(&agent)?;
        assert!(!kinds.contains(&"set_up".to_owned()), "{hook}: {kinds:?}");
        interrupt(agent)?;
    }
    Ok(())
}
