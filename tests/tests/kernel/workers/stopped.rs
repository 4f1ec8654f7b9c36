//! A process that is stopped: it lives, and does nothing.

use anyhow::Result;
use netmon_tests::{agent::Agent, frame, json::Tick, netns::Namespace, process, wait};
use nix::sys::signal::Signal;

use super::{
    Runtime, agrees,
    deaths::{is_not_known, no_jump_after_silence, unharmed},
    history, launcher,
};
use crate::{
    Test,
    common::{is_bare, veth},
    lifecycle::next_start,
};

pub(crate) const TESTS: &[Test] = &[
    ("its_interface_is_stale_and_the_others_are_not", its_interface_is_stale),
    ("the_end_does_not_wait_for_it", the_end_does_not_wait_for_it),
    ("its_interface_may_go", its_interface_may_go),
    ("it_does_not_hold_its_namespace", it_does_not_hold_its_namespace),
    ("a_stopped_launcher_is_no_matter_at_the_end", a_stopped_launcher),
];

/// A network monitor, and the process of `nt0`, which is stopped.
fn stopped(namespace: &Namespace, runtime: &Runtime) -> Result<(Agent, u32)> {
    let agent = runtime.json(namespace, &["nt0", "peer"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    agent.says_counted("peer", "TCX in+out")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 1000)?;
    agrees(&agent, "nt0", namespace, "nt0")?;
    agrees(&agent, "peer", namespace, "peer")?;
    let pid = runtime.pid_of("nt0")?;
    process::signal(pid, Signal::SIGSTOP)?;
    Ok((agent, pid))
}

fn is_stale(tick: &Tick) -> bool {
    tick.interface("nt0").is_ok_and(|told| is_not_known(told, "stale"))
}

fn its_interface_is_stale() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let (agent, pid) = stopped(&namespace, &runtime)?;
    let seen = agent.stdout()?.count();
    agent.wait_for_tick_from(seen, "nt0 stale", is_stale)?;
    runtime.wait_for("nt0", "to be stale", |worker| worker.state == "stale")?;
    // The others' ticks come, with their numbers of now.
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 100), 30)?;
    assert_eq!(agrees(&agent, "peer", &namespace, "peer")?.tx.packets, Some(30));
    assert!(is_stale(&agent.later_tick(10)?));
    process::signal(pid, Signal::SIGCONT)?;
    let told = agrees(&agent, "nt0", &namespace, "nt0")?;
    // What came meanwhile was counted.
    let counted = told.rx.skb.map(|count| count.packets);
    assert_eq!((told.tx.packets, counted), (Some(1000), Some(30)));
    agent.later_tick(5)?;
    no_jump_after_silence(&history(&agent, seen, "nt0")?)?;
    unharmed(&agent, seen, "peer")?;
    let worker = runtime.running("nt0")?;
    assert_eq!((worker.pid, worker.restarts), (Some(pid), 0));
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

fn the_end_does_not_wait_for_it() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let (agent, _) = stopped(&namespace, &runtime)?;
    agent.wait_for_tick("nt0 stale", is_stale)?;
    runtime.end(agent)?;
    // It could not detach by itself.
    next_start(&namespace)?;
    is_bare(&namespace, "nt0")?;
    is_bare(&namespace, "peer")
}

fn its_interface_may_go() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    namespace.add_veth_up("nt1", "other")?;
    let agent = runtime.json(&namespace, &["nt0", "nt1"])?;
    let pid = runtime.pid_of("nt0")?;
    agent.says_counted("nt1", "TCX in+out")?;
    process::signal(pid, Signal::SIGSTOP)?;
    namespace.delete("nt0")?;
    agent.says(&["nt0: gone"])?;
    // The interface is made anew while the process of the one before is still there.
    namespace.add_veth_up("nt0", "peer")?;
    let worker = runtime.wait_for("nt0", "to be watched by another", |worker| {
        worker.is_running() && worker.pid != Some(pid)
    })?;
    assert!(worker.launched);
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    let told = agrees(&agent, "nt0", &namespace, "nt0")?;
    assert_eq!((told.source.as_str(), told.tx.packets), ("ebpf", Some(30)));
    wait::until_true("the first one's end", || Ok(!process::is_alive(pid)?))?;
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

/// Whoever lives in a namespace holds it.
fn it_does_not_hold_its_namespace() -> Result<()> {
    let (goes, stays, runtime) = (Namespace::new()?, Namespace::new()?, Runtime::new()?);
    goes.add_veth_to("wns0", &stays, "wns0")?;
    let name = format!("{}/wns0", goes.name());
    let agent = runtime.json_on_host(&[&name])?;
    agent.says_counted(&name, "TCX in+out")?;
    process::signal(runtime.pid_of(&name)?, Signal::SIGSTOP)?;
    drop(goes);
    agent.says(&[&format!("{name}: gone")])?;
    wait::until_true("the end of the namespace", || Ok(stays.sysfs_links()? == ["lo"]))?;
    runtime.end(agent).map(drop)
}

fn a_stopped_launcher() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    process::signal(launcher(&agent)?, Signal::SIGSTOP)?;
    // It goes on for that.
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}
