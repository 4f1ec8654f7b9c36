//! Interfaces of containers, by the id that is in the name of their control group.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use netmon_tests::{agent::Agent, frame, json::Interface, netns::Namespace, wait, workers::Worker};

use super::Runtime;
use crate::{
    Test,
    common::{is_bare, json, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("one_by_the_beginning_of_its_id", one_by_the_beginning_of_its_id),
    ("one_that_is_started_again_is_followed", one_that_is_started_again_is_followed),
    ("one_whose_first_process_ends_goes_on", one_whose_first_process_ends_goes_on),
];

/// A control group as Docker makes one with systemd, removed when dropped: after the processes
/// that were put into it, which come after it in a test.
struct Container {
    folder: PathBuf,
    id: String,
}

impl Container {
    fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Other than others in its first twelve digits, by which it is called.
        let id = format!("{number:04x}{:08x}{:052x}", process::id(), 0);
        let folder = unified()?.join(format!("docker-{id}.scope"));
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { folder, id })
    }

    /// A process in it, that lives in this namespace.
    fn process(&self, namespace: &Namespace) -> Result<Agent> {
        let process = json(namespace, &["lo", "--source", "sysfs"])?;
        fs::write(self.folder.join("cgroup.procs"), process.pid().to_string())?;
        Ok(process)
    }

    fn name(&self, link: &str) -> String {
        format!("container:{}/{link}", &self.id[..12])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // A killed process leaves its group a moment after it was waited for.
        let _ = wait::until_true("an empty control group", || {
            Ok(fs::remove_dir(&self.folder).is_ok() || !self.folder.exists())
        });
    }
}

/// Where the one hierarchy of cgroups(7), version 2, is mounted.
fn unified() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let place = mount.and_then(|line| line.split(' ').nth(4)).context("no cgroup2 is mounted")?;
    Ok(Path::new(place).to_owned())
}

/// In some tick there are so many packets, sent out of `nt0` and counted by the programs.
fn counts(agent: &Agent, name: &str, packets: u64) -> Result<()> {
    let is_it = |told: &Interface| told.source == "ebpf" && told.tx.packets == Some(packets);
    let what = format!("{packets} packets of {name}");
    agent.wait_for_tick(&what, |tick| tick.interface(name).is_ok_and(is_it)).map(drop)
}

fn send(namespace: &Namespace, packets: u64) -> Result<()> {
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), packets)
}

fn one_by_the_beginning_of_its_id() -> Result<()> {
    let (namespace, runtime, container) = (veth()?, Runtime::new()?, Container::new()?);
    let _process = container.process(&namespace)?;
    let name = container.name("nt0");
    let agent = runtime.json_on_host(&[&name])?;
    agent.says_counted(&name, "TCX in+out")?;
    send(&namespace, 30)?;
    counts(&agent, &name, 30)?;
    let place = name.strip_suffix("/nt0").map(str::to_owned);
    assert_eq!(runtime.running(&name)?.namespace, place);
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

fn one_that_is_started_again_is_followed() -> Result<()> {
    let (before, after, runtime) = (veth()?, veth()?, Runtime::new()?);
    let container = Container::new()?;
    let first = container.process(&before)?;
    let name = container.name("nt0");
    let agent = runtime.json_on_host(&[&name])?;
    agent.says_counted(&name, "TCX in+out")?;
    send(&before, 30)?;
    counts(&agent, &name, 30)?;
    // Nobody looks between the end of the first and the start of the second.
    let _second = container.process(&after)?;
    first.kill()?;
    send(&after, 12)?;
    counts(&agent, &name, 12)?;
    runtime.end(agent)?;
    is_bare(&before, "nt0")?;
    is_bare(&after, "nt0")
}

fn one_whose_first_process_ends_goes_on() -> Result<()> {
    let (namespace, runtime, container) = (veth()?, Runtime::new()?, Container::new()?);
    let mut processes = [container.process(&namespace)?, container.process(&namespace)?];
    processes.sort_by_key(Agent::pid);
    let [first, _second] = processes;
    let name = container.name("nt0");
    let agent = runtime.json_on_host(&[&name])?;
    agent.says_counted(&name, "TCX in+out")?;
    first.kill()?;
    // What is started from now on has to find the namespace by the other process.
    let pid = runtime.pid_of(&name)?;
    netmon_tests::process::signal(pid, nix::sys::signal::Signal::SIGKILL)?;
    let is_next = |worker: &Worker| worker.is_running() && worker.pid != Some(pid);
    runtime.wait_for(&name, "to be watched again", is_next)?;
    send(&namespace, 30)?;
    counts(&agent, &name, 30)?;
    assert_eq!(agent.times_said(&[&format!("{name}: gone")])?, 0);
    runtime.end(agent).map(drop)
}
