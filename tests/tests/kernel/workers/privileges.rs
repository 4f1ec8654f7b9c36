//! Who keeps which privileges, and what there is without them.

use std::{fs, os::unix::fs::chown, path::Path};

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::{Agent, AgentCommand},
    frame,
    netns::Namespace,
    privileges::{Capability, NOBODY, Privileges, held},
    process,
    scratch::Scratch,
    wait,
};

use super::{Runtime, agrees};
use crate::{
    Test,
    common::{NETMON, interrupt, is_bare, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("what_is_not_needed_is_given_up", || given_up(&[], &[Capability::NET_ADMIN])),
    ("without_recovery_all_is_given_up", || given_up(&["--no-recover"], &[])),
    ("root_without_capabilities_reads_sysfs", root_without_capabilities_reads_sysfs),
    ("nobody_reads_sysfs", nobody_reads_sysfs),
    ("other_namespaces_need_privileges", other_namespaces_need_privileges),
];

/// What a process may do is this, and no thread of it may do more, be it by exec(2).
fn may(pid: u32, expected: u64) -> Result<()> {
    let folder = process::folder(pid);
    let [_, permitted, effective, _] = held(&folder)?;
    ensure!((permitted, effective) == (expected, expected), "{pid}: {permitted:x}");
    for thread in fs::read_dir(folder.join("task"))? {
        let thread = thread?.path();
        let more = held(&thread)?.into_iter().fold(0, |all, set| all | set) & !expected;
        ensure!(more == 0, "{thread:?} has more: {more:x}");
    }
    Ok(())
}

fn given_up(arguments: &[&str], kept: &[Capability]) -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &[&["nt0", "peer"], arguments].concat())?;
    let kept = kept.iter().fold(0, |all, one| all | one.bit());
    for link in ["nt0", "peer"] {
        agent.says_counted(link, "TCX in+out")?;
        may(runtime.pid_of(link)?, kept)?;
        let told = runtime.running(link)?.capabilities.context("no capabilities are told")?;
        assert_eq!(told.len(), kept.count_ones() as usize, "{told:?}");
        assert_eq!(
            told.contains(&"CAP_NET_ADMIN".to_owned()),
            kept & Capability::NET_ADMIN.bit() != 0
        );
    }
    may(agent.pid(), 0)?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    let told = agrees(&agent, "nt0", &namespace, "nt0")?;
    assert_eq!((told.source.as_str(), told.tx.packets), ("ebpf", Some(30)));
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

/// The report is there, and what is missing is told once.
fn reads_sysfs(agent: &Agent, namespace: &Namespace) -> Result<()> {
    for link in ["nt0", "peer"] {
        agent.says_counted(link, "sysfs (")?;
    }
    agent.says(&["counting without eBPF", "CAP_"])?;
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 100), 20)?;
    let told = agrees(agent, "nt0", namespace, "nt0")?;
    assert_eq!((told.source.as_str(), told.rx.packets), ("sysfs", Some(20)));
    agrees(agent, "peer", namespace, "peer")?;
    assert_eq!(agent.times_said(&["counting without eBPF"])?, 1, "{:?}", agent.stderr()?.all());
    Ok(())
}

fn root_without_capabilities_reads_sysfs() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let command = runtime.monitor(&namespace, &["nt0", "peer", "--format", "json"]);
    let agent = command.privileges(Privileges::NoCapability).start()?;
    reads_sysfs(&agent, &namespace)?;
    runtime.end(agent).map(drop)
}

/// netmon as nobody, who may use this directory.
struct Nobody {
    home: Scratch,
    socket: String,
}

impl Nobody {
    fn new() -> Result<Self> {
        let home = Scratch::new()?;
        home.copy_program(Path::new(NETMON))?;
        let run = home.path().join("run");
        fs::create_dir(&run)?;
        chown(&run, Some(NOBODY), Some(NOBODY))?;
        Ok(Self { socket: run.join("netmon.sock").display().to_string(), home })
    }

    fn run<'a>(&self, command: impl FnOnce(&Path) -> AgentCommand<'a>) -> AgentCommand<'a> {
        let arguments = ["run", "--interval", "100ms", "--format", "json", "--socket"];
        let command = command(&self.home.path().join("program")).args(arguments);
        command.args([&self.socket]).privileges(Privileges::Nobody)
    }
}

fn nobody_reads_sysfs() -> Result<()> {
    let (namespace, nobody) = (veth()?, Nobody::new()?);
    let command = nobody.run(|program| AgentCommand::new(&namespace, program));
    let agent = command.args(["--workers", "nt0", "peer"]).start()?;
    reads_sysfs(&agent, &namespace)?;
    interrupt(agent)?;
    wait::until_true("the end of all processes", || {
        Ok(process::with_arguments(&[&nobody.socket])?.is_empty())
    })?;
    ensure!(!Path::new(&nobody.socket).exists(), "the socket is left");
    Ok(())
}

fn other_namespaces_need_privileges() -> Result<()> {
    let (namespace, nobody) = (veth()?, Nobody::new()?);
    let command = nobody.run(|program| AgentCommand::on_host(program));
    let finished = command.args([format!("{}/nt0", namespace.name())]).finish()?;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
    for said in ["cannot enter the network namespace", "CAP_SYS_ADMIN", "sudo"] {
        assert!(finished.stderr.contains(said), "{finished:?}");
    }
    ensure!(!Path::new(&nobody.socket).exists(), "the socket is left");
    is_bare(&namespace, "nt0")
}
