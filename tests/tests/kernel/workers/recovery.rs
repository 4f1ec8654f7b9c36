//! Links that go down under a worker: it tells, the network monitor decides, and it does.

use anyhow::Result;
use netmon_tests::{agent::Agent, frame, netns::Namespace, wait};

use super::{Runtime, agrees};
use crate::{
    Test,
    common::{is_bare, netmon, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("it_is_up_by_the_next_tick_but_one", it_is_up_by_the_next_tick_but_one),
    ("it_does_not_wait_for_a_tick", it_does_not_wait_for_a_tick),
    ("a_named_one_is_set_up_from_the_start", a_named_one_is_set_up_from_the_start),
    ("one_of_another_namespace_is_set_up", one_of_another_namespace_is_set_up),
    ("no_recover_leaves_it_down", no_recover_leaves_it_down),
];

fn is_set_up_again(agent: &Agent, name: &str, namespace: &Namespace) -> Result<()> {
    agent.says(&[&format!("{name}: administratively down: set up (attempt 1)")])?;
    agent.says(&[&format!("{name}: up")])?;
    namespace.wait_for_state("nt0", "up")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    let told = agrees(agent, name, namespace, "nt0")?;
    let state = namespace.sysfs_state("nt0")?;
    assert_eq!((told.up_count, told.down_count), (Some(state.up_count), Some(state.down_count)));
    Ok(())
}

fn it_is_up_by_the_next_tick_but_one() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    // Ticks slow enough for a busy machine: what counts here is how many.
    let socket = runtime.socket_text();
    let arguments = ["run", "--workers", "--socket", &socket, "nt0", "--interval", "1s"];
    let agent = netmon(&namespace, &arguments).args(["--format", "json"]).start()?;
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
    is_set_up_again(&agent, "nt0", &namespace)?;
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

fn it_does_not_wait_for_a_tick() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let socket = runtime.socket_text();
    let arguments = ["run", "--workers", "--socket", &socket, "nt0", "--interval", "1h"];
    let agent = netmon(&namespace, &arguments).start()?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.set_down("nt0")?;
    wait::until_true("nt0 to be set up", || namespace.is_up("nt0"))?;
    runtime.end(agent).map(drop)
}

fn a_named_one_is_set_up_from_the_start() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    namespace.set_down("nt0")?;
    let agent = runtime.json(&namespace, &["nt0"])?;
    is_set_up_again(&agent, "nt0", &namespace)?;
    agent.wait_for_tick("the event", |tick| {
        tick.events.iter().any(|event| event.kind == "set_up" && event.is_of("nt0"))
    })?;
    runtime.end(agent).map(drop)
}

fn one_of_another_namespace_is_set_up() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let name = format!("{}/nt0", namespace.name());
    let agent = runtime.json_on_host(&[&name])?;
    agent.says_counted(&name, "TCX in+out")?;
    namespace.set_down("nt0")?;
    is_set_up_again(&agent, &name, &namespace)?;
    runtime.end(agent).map(drop)
}

fn no_recover_leaves_it_down() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt0", "--no-recover"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.set_down("nt0")?;
    agent.wait_for_tick("nt0 down", |tick| {
        tick.interface("nt0").is_ok_and(|told| told.admin_state.as_deref() == Some("down"))
    })?;
    agent.later_tick(15)?;
    assert!(!namespace.is_up("nt0")?);
    assert_eq!(agent.times_said(&["set up"])?, 0);
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}
