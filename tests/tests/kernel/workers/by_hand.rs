//! Interface monitors that somebody starts by hand, or as a service.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::{Agent, AgentCommand, Finished},
    frame,
    netns::Namespace,
    privileges::Privileges,
    process, report,
    scratch::Scratch,
    wait,
    workers::Worker,
};
use nix::sys::{
    signal::Signal,
    socket::{self, Backlog},
    stat::Mode,
};
use nix::unistd::mkfifo;

use super::{Runtime, agrees, launcher};
use crate::{
    Test,
    common::{NETMON, interrupt, is_bare, json, netmon, pair, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("started_before_the_network_monitor", started_before_the_network_monitor),
    ("started_after_it_takes_the_place", started_after_it_takes_the_place),
    ("in_another_namespace", in_another_namespace),
    ("for_an_interface_that_is_wanted_later", for_an_interface_that_is_wanted_later),
    ("it_comes_back_to_the_next_network_monitor", it_comes_back_to_the_next_network_monitor),
    ("ctrl_c_ends_it_and_its_child", || ended_by(Signal::SIGINT)),
    ("sigterm_ends_it_and_its_child", || ended_by(Signal::SIGTERM)),
    ("killed_it_leaves_no_child", || ended_by(Signal::SIGKILL)),
    ("it_ends_while_it_waits", it_ends_while_it_waits),
    ("why_it_waits_is_told", why_it_waits_is_told),
    ("an_unknown_interface_is_wrong_use", an_unknown_interface_is_wrong_use),
    ("printed_reports_share_a_file", printed_reports_share_a_file),
    ("a_lock_is_a_regular_file", a_lock_is_a_regular_file),
    ("no_report_is_printed_without_the_lock", no_report_is_printed_without_the_lock),
];

/// Waits until the network monitor is served by a child of this one.
fn serves(runtime: &Runtime, name: &str, by: &Agent) -> Result<u32> {
    let is_its = |worker: &Worker| !worker.launched && worker.is_running();
    let worker = runtime.wait_for(name, "to be watched by hand", is_its)?;
    let pid = worker.pid.context("it has no process")?;
    assert_eq!(process::children(by.pid())?, [pid]);
    Ok(pid)
}

/// Waits until none but this one is left: the network monitor's own has made place.
fn alone(runtime: &Runtime, pid: u32) -> Result<()> {
    wait::until_true("one process", || Ok(runtime.processes()? == [pid]))
}

fn waits(by_hand: &Agent) -> Result<()> {
    by_hand.says(&["waiting for a network monitor at "]).map(drop)
}

fn stop(by_hand: Agent, signal: Signal) -> Result<Finished> {
    by_hand.signal(signal)?;
    let finished = by_hand.finish()?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    Ok(finished)
}

fn counts(agent: &Agent, name: &str, namespace: &Namespace, total: u64) -> Result<()> {
    let told = agrees(agent, name, namespace, "nt0")?;
    assert_eq!((told.source.as_str(), told.tx.packets), ("ebpf", Some(total)));
    Ok(())
}

fn started_before_the_network_monitor() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let by_hand = runtime.by_hand(&namespace, "nt0")?;
    waits(&by_hand)?;
    let agent = runtime.json(&namespace, &["nt0", "peer"])?;
    let pid = serves(&runtime, "nt0", &by_hand)?;
    agent.says(&[&format!("nt0: watched by process {pid}, which was started by hand")])?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    counts(&agent, "nt0", &namespace, 30)?;
    stop(by_hand, Signal::SIGTERM)?;
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

fn started_after_it_takes_the_place() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt0"])?;
    runtime.running("nt0")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    let by_hand = runtime.by_hand(&namespace, "nt0")?;
    let pid = serves(&runtime, "nt0", &by_hand)?;
    alone(&runtime, pid)?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 12)?;
    counts(&agent, "nt0", &namespace, 42)?;
    // It is as one that was launched, in everything else, too.
    namespace.set_down("nt0")?;
    namespace.wait_for_state("nt0", "up")?;
    // Without it the interface is not left alone.
    stop(by_hand, Signal::SIGTERM)?;
    runtime.wait_for("nt0", "to be watched again", |it| it.launched && it.is_running())?;
    counts(&agent, "nt0", &namespace, 42)?;
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

fn in_another_namespace() -> Result<()> {
    let ((here, there), runtime) = (pair()?, Runtime::new()?);
    let by_hand = runtime.by_hand(&there, "nt0")?;
    waits(&by_hand)?;
    let name = format!("{}/nt0", there.name());
    let agent = runtime.json_on_host(&[&name])?;
    let pid = serves(&runtime, &name, &by_hand)?;
    alone(&runtime, pid)?;
    here.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    assert_eq!(agrees(&agent, &name, &there, "nt0")?.rx.packets, Some(30));
    stop(by_hand, Signal::SIGTERM)?;
    runtime.end(agent)?;
    is_bare(&there, "nt0")
}

fn for_an_interface_that_is_wanted_later() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt*", "lo"])?;
    runtime.running("nt0")?;
    namespace.add_veth_up("other", "far")?;
    let by_hand = runtime.by_hand(&namespace, "other")?;
    // It comes forward for what nobody wants,
    wait::until_true("its child", || Ok(process::children(by_hand.pid())?.len() == 1))?;
    agent.later_tick(10)?;
    assert!(runtime.workers()?.iter().all(|worker| worker.interface != "other"));
    // until somebody does.
    namespace.rename("other", "nt1")?;
    let pid = serves(&runtime, "nt1", &by_hand)?;
    wait::until_true("no second one", || {
        let processes = runtime.processes()?;
        Ok(processes.len() == 3 && processes.contains(&pid))
    })?;
    stop(by_hand, Signal::SIGTERM)?;
    runtime.end(agent).map(drop)
}

fn it_comes_back_to_the_next_network_monitor() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let by_hand = runtime.by_hand(&namespace, "nt0")?;
    waits(&by_hand)?;
    let agent = runtime.json(&namespace, &["nt0"])?;
    serves(&runtime, "nt0", &by_hand)?;
    let its_launcher = launcher(&agent)?;
    interrupt(agent)?;
    // Its child ends when it has been told so, and is nobody else's to wait for.
    runtime.has_ended(its_launcher)?;
    is_bare(&namespace, "nt0")?;
    // As good as the one before that is killed.
    let agent = runtime.json(&namespace, &["nt0"])?;
    serves(&runtime, "nt0", &by_hand)?;
    agent.kill()?;
    wait::until_true("its child's end", || Ok(process::children(by_hand.pid())?.is_empty()))?;
    let agent = runtime.json(&namespace, &["nt0"])?;
    serves(&runtime, "nt0", &by_hand)?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    counts(&agent, "nt0", &namespace, 30)?;
    stop(by_hand, Signal::SIGTERM)?;
    interrupt(agent)?;
    // The directory was there already, left by the one that was killed.
    ensure!(!runtime.socket().exists(), "the socket is left");
    is_bare(&namespace, "nt0")
}

fn ended_by(signal: Signal) -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt0"])?;
    let by_hand = runtime.by_hand(&namespace, "nt0")?;
    let pid = serves(&runtime, "nt0", &by_hand)?;
    match signal {
        Signal::SIGKILL => drop(by_hand.kill()?),
        signal => {
            let finished = stop(by_hand, signal)?;
            assert!(finished.stderr.contains(&format!("netmon: {signal}: ending")), "{finished:?}");
        }
    }
    wait::until_true("its child's end", || Ok(!process::is_alive(pid)?))?;
    let next =
        runtime.wait_for("nt0", "to be watched again", |it| it.launched && it.is_running())?;
    assert_ne!(next.pid, Some(pid));
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

fn it_ends_while_it_waits() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let by_hand = runtime.by_hand(&namespace, "nt0")?;
    waits(&by_hand)?;
    stop(by_hand, Signal::SIGINT)?;
    is_bare(&namespace, "nt0")?;
    runtime.is_empty()
}

fn why_it_waits_is_told() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let program = scratch.copy_program(Path::new(NETMON))?;
    let socket = scratch.path().join("netmon.sock");
    let listener = UnixListener::bind(&socket)?;
    let path = socket.display().to_string();
    let arguments = ["interface-monitor", "nt0", "--socket", &path];
    let start = |privileges| {
        let command = AgentCommand::new(&namespace, &program).args(arguments);
        command.privileges(privileges).start()
    };
    fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
    let denied = start(Privileges::Nobody)?;
    denied.says(&["not permitted to talk with the network monitor at ", &path, "; waiting"])?;
    stop(denied, Signal::SIGTERM)?;
    // As many wait as may: one more than this says.
    socket::listen(&listener, Backlog::new(0)?)?;
    let _waiting = UnixStream::connect(&socket)?;
    let busy = start(Privileges::Full)?;
    busy.says(&["takes no connections now; waiting"])?;
    stop(busy, Signal::SIGTERM).map(drop)
}

fn an_unknown_interface_is_wrong_use() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    for wrong in ["nt1", "nt*", "a/b/nt0", ""] {
        let finished = runtime.by_hand(&namespace, wrong)?.finish()?;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
    }
    Ok(())
}

fn printed_reports_share_a_file() -> Result<()> {
    const REPORTS: usize = 20;
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    namespace.add_veth_up("nt1", "peer1")?;
    let links = ["nt0", "nt1", "peer", "peer1"];
    let lock = scratch.path().join("lock").display().to_string();
    let file = File::create_new(scratch.path().join("report"))?;
    let count = REPORTS.to_string();
    let print = |link| {
        let arguments = ["interface-monitor", link, "--print", "--lock", &lock];
        let command = netmon(&namespace, &arguments).args(["-i", "100ms", "-n", &count]);
        command.output_to(file.try_clone()?.into()).start()
    };
    let agents: Vec<_> = links.into_iter().map(print).collect::<Result<_>>()?;
    for agent in agents {
        let finished = agent.finish()?;
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
    let blocks = report::parse(&fs::read_to_string(scratch.path().join("report"))?)?;
    let mut counts = BTreeMap::new();
    for block in &blocks {
        *counts.entry(block.interface.as_str()).or_insert(0) += 1;
    }
    assert_eq!(counts, links.map(|link| (link, REPORTS)).into());
    is_bare(&namespace, "nt0")
}

fn a_lock_is_a_regular_file() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let (link, fifo) = (scratch.path().join("link"), scratch.path().join("fifo"));
    symlink(scratch.path().join("elsewhere"), &link)?;
    mkfifo(&fifo, Mode::S_IRWXU)?;
    // Somebody at the other end of it, for whom nobody is to wait either.
    let _reader = File::options().read(true).write(true).open(&fifo)?;
    for (lock, why) in [(&link, "it is a symbolic link"), (&fifo, "it is no regular file")] {
        let lock = lock.display().to_string();
        let arguments = ["interface-monitor", "nt0", "--print", "--lock", &lock];
        let finished = netmon(&namespace, &arguments).finish()?;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
        assert!(finished.stderr.contains(why) && finished.stderr.contains(&lock), "{finished:?}");
    }
    assert!(!scratch.path().join("elsewhere").exists());
    Ok(())
}

fn no_report_is_printed_without_the_lock() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let path = scratch.write("lock", "")?;
    let lock = File::open(&path)?;
    lock.lock()?;
    let path = path.display().to_string();
    let arguments = ["interface-monitor", "nt0", "--print", "--lock", &path, "-i", "100ms"];
    let agent = netmon(&namespace, &arguments).start()?;
    agent.says_counted("nt0", "TCX in+out")?;
    json(&namespace, &["lo"])?.later_tick(10)?;
    let (stdout, held) = (agent.stdout()?.text(), process::is_alive(agent.pid())?);
    ensure!(held && stdout.is_empty(), "{stdout}");
    lock.unlock()?;
    agent.wait_for_block(2, "reports", |block| block.interface == "nt0")?;
    interrupt(agent)?;
    is_bare(&namespace, "nt0")
}
