//! How a network monitor ends, and that nothing of it is left: no process, no socket, no lock, no
//! program.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, ensure};
use netmon_tests::{agent::Agent, netns::Namespace, process};
use nix::sys::signal::Signal;

use super::{Runtime, launcher};
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

/// Waits for its end. Each process has said that it is done, none had to be killed, and nothing
/// is left.
fn has_ended(agent: Agent, launcher: u32, namespace: &Namespace, runtime: &Runtime) -> Result<()> {
    let finished = agent.finish()?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    runtime.has_ended(launcher)?;
    runtime.is_empty()?;
    let done = finished.stderr.lines().filter(|line| line.contains(" -> [monitor] Done (ticks: "));
    assert_eq!(done.count(), 2, "{finished:?}");
    is_bare(namespace, "nt0")?;
    is_bare(namespace, "peer")
}

fn ends(hook: &str, how: fn(&Agent, &Runtime) -> Result<()>) -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = counting(&namespace, &runtime, &["--hook", hook])?;
    let launcher = launcher(&agent)?;
    how(&agent, &runtime)?;
    has_ended(agent, launcher, &namespace, &runtime)
}

/// What detaching needs must not be given up with the rest.
fn without_recovery_clsact_is_detached() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = counting(&namespace, &runtime, &["--hook", "clsact", "--no-recover"])?;
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")?;
    is_bare(&namespace, "peer")
}

fn count_ends_it() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = counting(&namespace, &runtime, &["--count", "100"])?;
    let launcher = launcher(&agent)?;
    has_ended(agent, launcher, &namespace, &runtime)
}

fn ctrl_c_while_it_starts() -> Result<()> {
    let (namespace, runtime) = (Namespace::new()?, Runtime::new()?);
    for number in 0..8 {
        namespace.add_veth_up(&format!("a{number}"), &format!("b{number}"))?;
    }
    // When the first has connected, and when the first counts; most of the others do not yet.
    for moment in ["Ready", "[monitor] -> ", " in+out"] {
        let agent = runtime.monitor(&namespace, &["--all", "-v"]).start()?;
        agent.says(&[moment])?;
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
    let finished = agent.finish()?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(!finished.stderr.to_lowercase().contains("pipe"), "{finished:?}");
    runtime.has_ended(launcher)?;
    runtime.is_empty()?;
    is_bare(&namespace, "nt0")
}
