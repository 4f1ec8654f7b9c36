//! How a network monitor ends, and that nothing of it is left: no process, no socket, no lock, no
//! program.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, ensure};
use netmon_tests::{agent::Agent, netns::Namespace, process, wait};
use nix::sys::signal::Signal;

use super::{Runtime, launcher, was_killed};
use crate::{
    Test,
    common::{is_bare, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("ctrl_c_in_a_terminal", || ends("auto", to_the_group)),
    ("sigterm_to_the_monitor_alone", || ends("auto", |agent, _| agent.signal(Signal::SIGTERM))),
    ("sigterm_to_every_process", || ends("clsact", to_every_process)),
    ("ctrl_c_detaches_clsact", || ends("clsact", to_the_group)),
    ("ctrl_c_detaches_xdp", || ends("xdp", to_the_group)),
    ("ctrl_c_without_recovery_detaches_clsact", without_recovery_clsact_is_detached),
    ("count_ends_it", count_ends_it),
    ("ctrl_c_while_it_starts", ctrl_c_while_it_starts),
    ("a_closed_stdout_ends_it", a_closed_stdout_ends_it),
];

/// Ctrl-C: to all processes of the job.
fn to_the_group(agent: &Agent, _: &Runtime) -> Result<()> {
    agent.signal_group(Signal::SIGINT)
}

/// As an init that ends a service does; the network monitor is the first to hear it.
fn to_every_process(agent: &Agent, runtime: &Runtime) -> Result<()> {
    let others = [vec![launcher(agent)?], runtime.processes()?].concat();
    agent.signal(Signal::SIGTERM)?;
    agent.says(&["peer/", " Shut Down"])?;
    others.into_iter().try_for_each(|pid| process::signal(pid, Signal::SIGTERM))
}

/// A network monitor with processes for both ends of a veth, which are counted.
fn counting(namespace: &Namespace, runtime: &Runtime, arguments: &[&str]) -> Result<Agent> {
    let command = runtime.monitor(namespace, &["nt0", "peer", "-v"]).args(arguments);
    let agent = command.args(["--format", "json"]).leading_a_group().start()?;
    for link in ["nt0", "peer"] {
        runtime.running(link)?;
        agent.says_counted(link, "")?;
        let attached = namespace.attached(link)?;
        ensure!(attached.programs().len() == 2, "{link}: {attached:?}");
    }
    Ok(agent)
}

/// Waits for its end. Each process has said that it is done, and nothing is left. `false`: one
/// had to be killed.
fn in_order(agent: Agent, launcher: u32, namespace: &Namespace, runtime: &Runtime) -> Result<bool> {
    let finished = runtime.end_of(agent, launcher)?;
    if was_killed(&finished) {
        return Ok(false);
    }
    let done = finished.stderr.lines().filter(|line| line.contains(" -> [monitor] Done (ticks: "));
    assert_eq!(done.count(), 2, "{finished:?}");
    is_bare(namespace, "nt0")?;
    is_bare(namespace, "peer")?;
    Ok(true)
}

/// Processes have two seconds to end in order. On a busy machine the kernel alone may need more to
/// detach; that is told, and does not happen each time.
fn try_thrice(once: impl Fn() -> Result<bool>) -> Result<()> {
    for _ in 0..3 {
        if once()? {
            return Ok(());
        }
    }
    anyhow::bail!("each time a process had to be killed")
}

fn ends(hook: &str, how: fn(&Agent, &Runtime) -> Result<()>) -> Result<()> {
    try_thrice(|| {
        let (namespace, runtime) = (veth()?, Runtime::new()?);
        let agent = counting(&namespace, &runtime, &["--hook", hook])?;
        let launcher = launcher(&agent)?;
        how(&agent, &runtime)?;
        in_order(agent, launcher, &namespace, &runtime)
    })
}

/// What detaching needs must not be given up with the rest.
fn without_recovery_clsact_is_detached() -> Result<()> {
    try_thrice(|| {
        let (namespace, runtime) = (veth()?, Runtime::new()?);
        let agent = counting(&namespace, &runtime, &["--hook", "clsact", "--no-recover"])?;
        let launcher = launcher(&agent)?;
        agent.signal(Signal::SIGINT)?;
        in_order(agent, launcher, &namespace, &runtime)
    })
}

fn count_ends_it() -> Result<()> {
    try_thrice(|| {
        let (namespace, runtime) = (veth()?, Runtime::new()?);
        let command = runtime.monitor(&namespace, &["nt0", "peer", "--count", "30"]);
        let agent = command.args(["--format", "json"]).start()?;
        let launcher = wait::until("the launcher", || Ok(launcher(&agent).ok()))?;
        let finished = runtime.end_of(agent, launcher)?;
        assert_eq!(finished.ticks()?.len(), 30);
        if was_killed(&finished) {
            return Ok(false);
        }
        is_bare(&namespace, "nt0")?;
        is_bare(&namespace, "peer")?;
        Ok(true)
    })
}

fn ctrl_c_while_it_starts() -> Result<()> {
    let (namespace, runtime) = (Namespace::new()?, Runtime::new()?);
    for number in 0..8 {
        namespace.add_veth_up(&format!("a{number}"), &format!("b{number}"))?;
    }
    // When the launcher is there and has hardly been asked, when the first has connected, and when
    // the first counts; most of the others do not yet.
    for moment in ["", "Ready", "[monitor] -> ", " in+out"] {
        let agent = runtime.monitor(&namespace, &["--all", "-v"]).start()?;
        if moment.is_empty() {
            wait::until_true("the launcher", || Ok(launcher(&agent).is_ok()))?;
        } else {
            agent.says(&[moment])?;
        }
        runtime.end(agent)?;
    }
    namespace.sysfs_links()?.iter().try_for_each(|link| is_bare(&namespace, link))
}

fn a_closed_stdout_ends_it() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let (reader, writer) = std::io::pipe()?;
    let command = runtime.monitor(&namespace, &["nt0", "peer"]).output_to(writer.into());
    let agent = command.start()?;
    // As `head -3` does.
    let mut lines = BufReader::new(reader).lines();
    for _ in 0..3 {
        lines.next().context("no report")??;
    }
    let launcher = launcher(&agent)?;
    drop(lines);
    let finished = runtime.end_of(agent, launcher)?;
    assert!(!finished.stderr.to_lowercase().contains("pipe"), "{finished:?}");
    is_bare(&namespace, "nt0")
}
