//! Links that go down under a worker: it tells, the network monitor decides, and it does.

use anyhow::Result;
use netmon_tests::{agent::Agent, frame, netns::Namespace, wait, workers::Worker};

use super::{Runtime, agrees};
use crate::{
    Test,
    common::{is_bare, netmon, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("it_is_set_up_again", it_is_set_up_again),
    ("the_heir_of_a_name_is_anothers", the_heir_of_a_name_is_anothers),
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

/// How fast is the benchmark's matter.
fn it_is_set_up_again() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.set_down("nt0")?;
    is_set_up_again(&agent, "nt0", &namespace)?;
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

/// A name that another interface gets: the process of the first stays with the first.
fn the_heir_of_a_name_is_anothers() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt0"])?;
    let first = runtime.pid_of("nt0")?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.rename("nt0", "old0")?;
    runtime.wait_for("old0", "to keep its process", |worker| worker.pid == Some(first))?;
    namespace.add_veth("nt0", "peer0")?;
    // It was asked for by name, so it is brought up, by its own process.
    let heir = runtime.wait_for("nt0", "to run", Worker::is_running)?;
    assert_ne!(heir.pid, Some(first));
    wait::until_true("nt0 to be set up", || namespace.is_up("nt0"))?;
    for link in ["nt0", "old0"] {
        wait::until_true(format!("{link} to be counted once"), || {
            Ok(namespace.attached(link)?.programs().len() == 2)
        })?;
    }
    namespace.set_down("nt0")?;
    wait::until_true("nt0 to be set up again", || namespace.is_up("nt0"))?;
    agent.later_tick(5)?;
    for what in ["old0: administratively down", "old0: up but without carrier"] {
        assert_eq!(agent.times_said(&[what])?, 0, "{what}: that was nt0");
    }
    assert_eq!(namespace.attached("nt0")?.programs().len(), 2, "by one process");
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")?;
    is_bare(&namespace, "old0")
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
