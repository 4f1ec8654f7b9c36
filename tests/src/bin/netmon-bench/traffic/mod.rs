//! What it costs to know who and what the traffic is.

mod by_calls;
mod many;
mod monitors;
mod seen;
mod stack;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Result;
use netmon_tests::agent::{Agent, AgentCommand};
use netmon_tests::netns::Namespace;

pub(crate) use many::{Talker, measure as many};
pub(crate) use seen::measure as seen;
pub(crate) use stack::measure as stack;

/// About how long all take.
pub(crate) fn seconds(rounds: u64) -> u64 {
    rounds * stack::SECONDS + many::SECONDS + seen::SECONDS
}

/// netmon on all interfaces of a namespace but `lo`, with its JSON into nowhere, once it has said
/// what counts them.
fn run(namespace: &Namespace, netmon: &Path, arguments: &[&str]) -> Result<Agent> {
    let agent = AgentCommand::new(namespace, netmon)
        .args(["run", "--all", "--exclude", "lo", "--source", "ebpf", "--format", "json"])
        .args(arguments)
        .output_to(nowhere()?)
        .start()?;
    agent.says(&["in+out"])?;
    Ok(agent)
}

fn nowhere() -> Result<OwnedFd> {
    Ok(File::options().write(true).open("/dev/null")?.into())
}
