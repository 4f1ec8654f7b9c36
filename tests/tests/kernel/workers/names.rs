//! What is named in other namespaces, and interfaces of one's own process whose names could be
//! patterns.

use anyhow::{Result, ensure};
use netmon_tests::{agent::AgentCommand, frame, json::Tick, netns::Namespace, workers::Worker};

use super::{Runtime, agrees};
use crate::{
    Test,
    common::{NETMON, netmon, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("names_like_patterns_are_watched", names_like_patterns_are_watched),
    ("by_hand_a_name_comes_before_a_pattern", by_hand_a_name_comes_before_a_pattern),
    ("in_another_namespace_too", in_another_namespace_too),
    ("a_pattern_that_matches_nothing_is_an_error", a_pattern_that_matches_nothing_is_an_error),
    ("or_is_waited_for", or_is_waited_for),
    ("what_no_namespace_has_is_told_and_counted", what_no_namespace_has_is_told_and_counted),
    ("what_is_excluded_for_nothing_is_told", what_is_excluded_for_nothing_is_told),
    ("nothing_left_in_another_namespace", nothing_left_in_another_namespace),
];

const ODD: [&str; 6] = ["eth[1]", "w*", "w?", "[lan", r"a\b", "~w]"];

fn names_like_patterns_are_watched() -> Result<()> {
    let (namespace, runtime) = (Namespace::new()?, Runtime::new()?);
    for (number, name) in ODD.iter().enumerate() {
        namespace.add_veth_up(name, &format!("eth{number}"))?;
    }
    let agent = runtime.json(&namespace, &ODD)?;
    for name in ODD {
        agent.says_counted(name, "TCX in+out")?;
    }
    namespace.send_frames("eth[1]", &frame::plain(frame::BROADCAST, 100), 30)?;
    let told = agrees(&agent, "eth[1]", &namespace, "eth[1]")?;
    assert_eq!((told.source.as_str(), told.tx.packets), ("ebpf", Some(30)));
    assert_eq!(agrees(&agent, "w*", &namespace, "w*")?.tx.packets, Some(0));
    let workers = runtime.workers()?;
    ensure!(workers.iter().all(|worker| worker.restarts == 0), "{workers:?}");
    runtime.end(agent).map(drop)
}

fn by_hand_a_name_comes_before_a_pattern() -> Result<()> {
    let (namespace, runtime) = (Namespace::new()?, Runtime::new()?);
    namespace.add_veth_up("eth[1]", "eth1")?;
    let agent = runtime.json(&namespace, &["eth[1]", "eth1"])?;
    let by_hand = runtime.by_hand(&namespace, "eth[1]")?;
    let is_by_hand = |worker: &Worker| !worker.launched && worker.is_running();
    runtime.wait_for("eth[1]", "to be watched by hand", is_by_hand)?;
    assert!(runtime.running("eth1")?.launched);
    drop(by_hand);
    runtime.end(agent)?;
    // One interface is wanted, and not those that are like a pattern.
    let arguments = ["interface-monitor", "--socket", &runtime.socket_text(), "--", "eth[0-9]"];
    let finished = netmon(&namespace, &arguments).finish()?;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    for said in ["there is no interface 'eth[0-9]'", "pattern", "eth1"] {
        assert!(finished.stderr.contains(said), "{finished:?}");
    }
    Ok(())
}

fn in_another_namespace_too() -> Result<()> {
    let (namespace, runtime) = (Namespace::new()?, Runtime::new()?);
    namespace.add_veth_up("eth[1]", "eth1")?;
    let place = namespace.name();
    for written in ["eth[1]", r"eth\[1\]"] {
        let (argument, name) = (format!("{place}/{written}"), format!("{place}/eth[1]"));
        let agent = runtime.json_on_host(&[&argument])?;
        agent.says_counted(&name, "TCX in+out")?;
        assert_eq!(agent.later_tick(1)?.names(), [name.as_str()]);
        runtime.end(agent)?;
    }
    // In namespaces that were not named an interface that is called like the pattern hides none.
    namespace.add_veth_up("eth*", "peer")?;
    let argument = format!("{}?/eth*", &place[..place.len() - 1]);
    let agent = runtime.json_on_host(&[&argument, "--exclude", &format!("{place}/eth1")])?;
    let both = ["eth*", "eth[1]"].map(|link| format!("{place}/{link}"));
    agent.wait_for_tick("both", |tick| both.iter().all(|name| tick.interface(name).is_ok()))?;
    runtime.end(agent).map(drop)
}

fn a_pattern_that_matches_nothing_is_an_error() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let argument = format!("{}/wan*", namespace.name());
    let finished = runtime.json_on_host(&[&argument, "--count", "1"])?.finish()?;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
    for said in [namespace.name(), "no interface matches 'wan*'", "nt0, peer", "--wait"] {
        assert!(finished.stderr.contains(said), "{finished:?}");
    }
    runtime.is_empty()
}

fn or_is_waited_for() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let argument = format!("{}/wan*", namespace.name());
    let agent = runtime.json_on_host(&[&argument, "--wait", "--count", "1"])?;
    agent.says(&[&format!("waiting for '{argument}'")])?;
    agent.wait_for_tick("an empty one", |tick| tick.interfaces.is_empty())?;
    agent.later_tick(3)?;
    namespace.add_veth_up("wan0", "other")?;
    let finished = agent.finish()?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let name = format!("{}/wan0", namespace.name());
    assert_eq!(finished.ticks()?.last().map(Tick::names), Some(vec![name.as_str()]));
    Ok(())
}

/// Containers come and go, so that is no error.
fn what_no_namespace_has_is_told_and_counted() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let argument = format!("{}*/wan*", namespace.name());
    let run = ["run", "--interval", "100ms", "--socket", &runtime.socket_text(), &argument];
    let command = AgentCommand::on_host(NETMON).args(run);
    let finished = command.args(["--count", "3"]).finish()?;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""), "{finished:?}");
    let said = format!("nothing matches '{argument}' now; waiting for it");
    assert_eq!(finished.stderr.matches(&said).count(), 1, "{finished:?}");
    let finished = runtime.json_on_host(&[&argument, "--count", "3"])?.finish()?;
    assert_eq!(finished.ticks()?.len(), 3);
    // Nor is a namespace that is not there.
    let argument = "nmt-there-is-none*/*";
    let finished = runtime.json_on_host(&[argument, "--count", "2"])?.finish()?;
    assert_eq!((finished.code, finished.ticks()?.len()), (Some(0), 2), "{finished:?}");
    assert!(finished.stderr.contains(&format!("nothing matches '{argument}' now")));
    Ok(())
}

fn what_is_excluded_for_nothing_is_told() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let place = namespace.name();
    let nothing = format!("{place}/wan9");
    let arguments = [&format!("{place}/*"), "--exclude", &nothing, "--exclude"];
    let agent = runtime.json_on_host(&[&arguments[..], &[&format!("{place}/peer")]].concat())?;
    agent.says(&[&format!("--exclude '{nothing}' matches nothing now")])?;
    agent.wait_for_tick("the rest", |tick| {
        tick.names() == [format!("{place}/lo"), format!("{place}/nt0")]
    })?;
    assert_eq!(agent.times_said(&["matches nothing now"])?, 1);
    runtime.end(agent).map(drop)
}

fn nothing_left_in_another_namespace() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let (all, nt0) = (format!("{}/nt*", namespace.name()), format!("{}/nt0", namespace.name()));
    let finished = runtime.json_on_host(&[&all, "--exclude", &nt0, "--count", "1"])?.finish()?;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
    assert!(finished.stderr.contains("after --exclude"), "{finished:?}");
    // Nothing that comes could help.
    assert!(!finished.stderr.contains("--wait"), "{finished:?}");
    Ok(())
}
