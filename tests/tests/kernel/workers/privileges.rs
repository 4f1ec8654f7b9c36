//! Who keeps which privileges, and what there is without them.

use std::{fs, os::unix::fs::chown, path::Path};

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::{Agent, AgentCommand},
    frame,
    netns::Namespace,
    privileges::{Capability, NOBODY, Privileges, give_capabilities, held},
    process,
    scratch::Scratch,
    wait,
    workers::Worker,
};

use super::{Runtime, agrees, launcher};
use crate::{
    Test,
    common::{NETMON, interrupt, is_bare, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("what_is_not_needed_is_given_up", || given_up(&[], &[Capability::NET_ADMIN])),
    ("without_recovery_only_what_attaches_keeps_anything", || given_up(&["--no-recover"], &[])),
    ("by_hand_keeps_what_its_children_need", by_hand_keeps_what_its_children_need),
    (
        "with_file_capabilities_killed_by_hand_leaves_no_child",
        with_file_capabilities_killed_it_leaves_no_child,
    ),
    ("root_without_capabilities_reads_sysfs", root_without_capabilities_reads_sysfs),
    ("nobody_reads_sysfs", nobody_reads_sysfs),
    ("other_namespaces_need_privileges", other_namespaces_need_privileges),
];

/// What whoever attaches needs.
const FOR_WORKERS: u64 =
    Capability::NET_ADMIN.bit() | Capability::PERFMON.bit() | Capability::BPF.bit();

/// The name of the thread that attaches.
const ATTACHING: &str = "netmon-attach";

/// What a process may do is this, and no thread of it may do more, be it by exec(2).
fn may(pid: u32, expected: u64) -> Result<()> {
    let folder = process::folder(pid);
    let [_, permitted, effective, _] = held(&folder)?;
    ensure!((permitted, effective) == (expected, expected), "{pid}: {permitted:x}");
    for thread in fs::read_dir(folder.join("task"))? {
        let thread = thread?.path();
        let is_attaching = fs::read_to_string(thread.join("comm"))?.trim_end() == ATTACHING;
        // It looks after what is attached.
        let its_own = if is_attaching { Capability::NET_ADMIN.bit() } else { 0 };
        let more = held(&thread)?.into_iter().fold(0, |all, set| all | set);
        let more = more & !(expected | its_own);
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
        // Of all threads together.
        assert_eq!(told, ["CAP_NET_ADMIN"]);
    }
    let launcher = launcher(&agent)?;
    may(agent.pid(), 0)?;
    // No other namespace was asked for.
    may(launcher, FOR_WORKERS)?;
    let listing = runtime.listing()?;
    let told = listing.launcher.context("no launcher is told")?;
    assert_eq!((listing.monitor.pid, told.pid), (agent.pid(), launcher));
    assert_eq!(listing.monitor.capabilities, Some(vec![]));
    // Which may be more than none: root's files are its own.
    assert_eq!((listing.monitor.uid, told.uid), (Some(0), Some(0)));
    let names = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"].map(str::to_owned);
    assert_eq!(told.capabilities, Some(names.to_vec()));
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    let told = agrees(&agent, "nt0", &namespace, "nt0")?;
    assert_eq!((told.source.as_str(), told.tx.packets), ("ebpf", Some(30)));
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

fn by_hand_keeps_what_its_children_need() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let by_hand = runtime.by_hand(&namespace, "nt0")?;
    by_hand.says(&["waiting for a network monitor"])?;
    may(by_hand.pid(), FOR_WORKERS)?;
    let agent = runtime.json(&namespace, &["nt0", "-v"])?;
    let is_its = |worker: &Worker| !worker.launched && worker.is_running();
    let child = runtime.wait_for("nt0", "to be watched by hand", is_its)?;
    let child = child.pid.context("it has no process")?;
    agent.says(&[&format!("nt0/{child} -> [monitor] Monitoring (")])?;
    may(child, Capability::NET_ADMIN.bit())?;
    // Nor more with the threads that it has by now.
    may(by_hand.pid(), FOR_WORKERS)?;
    interrupt(by_hand)?;
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

/// The kernel forgets whose end is to end a process when that becomes a program whose file has
/// capabilities.
fn with_file_capabilities_killed_it_leaves_no_child() -> Result<()> {
    let (namespace, nobody) = (veth()?, Nobody::new()?);
    let program = nobody.home.path().join("program");
    give_capabilities(&program, FOR_WORKERS)?;
    let monitor = nobody.run(|program| AgentCommand::new(&namespace, program));
    let monitor = monitor.args(["--workers", "nt0"]).start()?;
    monitor.says_counted("nt0", "TCX in+out")?;
    let arguments = ["interface-monitor", "nt0", "--socket", &nobody.socket];
    let by_hand = AgentCommand::new(&namespace, &program).args(arguments);
    let by_hand = by_hand.privileges(Privileges::Nobody).start()?;
    monitor.says(&["nt0: watched by process ", "which was started by hand"])?;
    let children = process::children(by_hand.pid())?;
    let [child] = children[..] else { anyhow::bail!("not one child: {children:?}") };
    by_hand.kill()?;
    wait::until_true("its child's end", || Ok(!process::is_alive(child)?))?;
    interrupt(monitor).map(drop)
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
