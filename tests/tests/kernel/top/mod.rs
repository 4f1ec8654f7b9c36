//! `netmon top` and `netmon run --traffic` from end to end: what a user sees of traffic that is
//! known, and what he is told when it cannot be had.
//!
//! Processes and drops are those of the whole machine, other tests' too: a test looks at its own.

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::{Agent, AgentCommand},
    json::Tick,
    netns::Namespace,
    peer::Peer,
    traffic_json::{Page, Traffic},
};
use nix::sys::signal::Signal;

use crate::{
    common::{FAR, monitor, netmon},
    processes::{PEER, Turn},
};

pub(crate) mod exact;
pub(crate) mod live;
pub(crate) mod memory;
pub(crate) mod off;
pub(crate) mod privileges;
pub(crate) mod tables;
pub(crate) mod wrong;

/// Runs a test in which processes are told of: where netmon stands at the kernel's functions, one
/// at a time, since each that comes or goes disturbs the others.
pub(crate) fn in_turn(test: impl FnOnce() -> Result<()>) -> Result<()> {
    let _turn = Turn::wait(false);
    test()
}

/// `netmon top` in a namespace, with these arguments.
pub(crate) fn top<'a>(namespace: &'a Namespace, arguments: &[&str]) -> AgentCommand<'a> {
    netmon(namespace, &["top"]).args(arguments)
}

/// Tables in JSON, ten a second.
pub(crate) fn pages(namespace: &Namespace, arguments: &[&str]) -> Result<Agent> {
    top(namespace, &["--format", "json", "--interval", "100ms"]).args(arguments).start()
}

/// The main job with everything in its lines, ten a second.
pub(crate) fn report(namespace: &Namespace, arguments: &[&str]) -> Result<Agent> {
    monitor(namespace, &["--all", "--format", "json", "--limit", "100000"]).args(arguments).start()
}

/// Waits for traffic in which something is found, from the first tick on. Either kind of line.
pub(crate) fn until<T>(
    agent: &Agent,
    what: &str,
    mut find: impl FnMut(&Traffic) -> Option<T>,
) -> Result<T> {
    let mut seen = 0;
    let found = agent.stdout()?.wait_for(what, |lines| {
        while let Some(line) = lines.get(seen) {
            seen += 1;
            match traffic(line) {
                Ok(traffic) => {
                    if let Some(found) = find(&traffic) {
                        return Some(Ok(found));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
        None
    });
    found.with_context(|| format!("the last: {:?}", agent.stdout().map(|it| it.all().pop())))?
}

/// What a line tells.
pub(crate) fn traffic(line: &str) -> Result<Traffic> {
    if line.contains("\"tick\":") {
        return Tick::parse(line)?.traffic.context("a tick without traffic");
    }
    Ok(Page::parse(line)?.traffic)
}

/// Starts a receiver in `there` and a sender in `here`, which waits for its turn. Gives also the
/// receiver's port.
pub(crate) fn peers(
    (here, there): (&Namespace, &Namespace),
    transport: &str,
    bytes: u64,
) -> Result<(Peer, Peer, u16)> {
    let bytes = bytes.to_string();
    let at = format!("{FAR}:0");
    let mut receiver = Peer::start(there, PEER, &["receive", transport, &at, "recv", &bytes])?;
    let port = u16::try_from(receiver.tells("port")?)?;
    let to = format!("{FAR}:{port}");
    let mut sender = Peer::start(here, PEER, &["send", transport, &to, "send", &bytes])?;
    sender.says("ready")?;
    Ok((sender, receiver, port))
}

/// Ends tables as Ctrl-C does: without a word.
pub(crate) fn end_quietly(agent: Agent) -> Result<()> {
    agent.signal(Signal::SIGINT)?;
    let finished = agent.finish()?;
    ensure!((finished.code, finished.stderr.as_str()) == (Some(0), ""), "{finished:?}");
    Ok(())
}

/// Lets the sender go, and waits until all has arrived.
pub(crate) fn send(sender: &mut Peer, receiver: &mut Peer) -> Result<()> {
    sender.go()?;
    sender.says("done")?;
    receiver.says("done").map(drop)
}
