//! The network monitor and its interface monitors: `netmon run --workers` and what belongs to it.

use std::{fs, os::unix::net::UnixStream, path::PathBuf};

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::{Agent, AgentCommand, Finished},
    json::Interface,
    netns::Namespace,
    process,
    scratch::Scratch,
    wait,
    workers::{Listing, Worker},
};
use nix::sys::signal::Signal;

use crate::common::{NETMON, interrupt, json, monitor, netmon};

pub(crate) mod by_hand;
pub(crate) mod containers;
pub(crate) mod deaths;
pub(crate) mod end;
pub(crate) mod limits;
pub(crate) mod many;
pub(crate) mod names;
pub(crate) mod namespaces;
pub(crate) mod orders;
pub(crate) mod peers;
pub(crate) mod privileges;
pub(crate) mod recovery;
pub(crate) mod report;
pub(crate) mod socket;
pub(crate) mod stopped;

/// Where the socket of a test's network monitor lies, and so whoever has to do with that one.
struct Runtime(Scratch);

impl Runtime {
    fn new() -> Result<Self> {
        Scratch::new().map(Self)
    }

    /// In a directory that the network monitor has to make.
    fn socket(&self) -> PathBuf {
        self.0.path().join("run/netmon.sock")
    }

    fn socket_text(&self) -> String {
        self.socket().display().to_string()
    }

    /// A network monitor in a namespace, ten ticks a second.
    fn monitor<'a>(&self, namespace: &'a Namespace, arguments: &[&str]) -> AgentCommand<'a> {
        monitor(namespace, &["--workers", "--socket", &self.socket_text()]).args(arguments)
    }

    /// The same with a JSON report, started.
    fn json(&self, namespace: &Namespace, arguments: &[&str]) -> Result<Agent> {
        self.monitor(namespace, arguments).args(["--format", "json"]).start()
    }

    /// One with a JSON report where namespaces have names, and no interface is watched but those
    /// of namespaces that are asked for.
    fn json_on_host(&self, arguments: &[&str]) -> Result<Agent> {
        let command = AgentCommand::on_host(NETMON).args(["run", "--interval", "100ms"]);
        let command = command.args(["--format", "json", "--socket", &self.socket_text()]);
        command.args(arguments).start()
    }

    /// An interface monitor that nobody else starts.
    fn by_hand(&self, namespace: &Namespace, link: &str) -> Result<Agent> {
        let arguments = ["interface-monitor", "--socket", &self.socket_text(), "--", link];
        netmon(namespace, &arguments).start()
    }

    /// A connection with the network monitor, at which nobody waits for ever.
    fn connect(&self) -> Result<UnixStream> {
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(wait::PATIENCE))?;
        stream.set_write_timeout(Some(wait::PATIENCE))?;
        Ok(stream)
    }

    /// What `netmon workers` says, as JSON or as a table.
    fn ask(&self, format: &str) -> Result<Finished> {
        let arguments = ["workers", "--format", format, "--socket", &self.socket_text()];
        AgentCommand::on_host(NETMON).args(arguments).finish()
    }

    fn listing(&self) -> Result<Listing> {
        let finished = self.ask("json")?;
        ensure!(finished.code == Some(0), "{finished:?}");
        Listing::parse(&finished.stdout)
    }

    fn workers(&self) -> Result<Vec<Worker>> {
        Ok(self.listing()?.workers)
    }

    /// Waits until a worker is such.
    fn wait_for(&self, name: &str, what: &str, is: impl Fn(&Worker) -> bool) -> Result<Worker> {
        let mut seen = None;
        let found = wait::until(format!("{name} {what}"), || {
            // The monitor may not listen yet.
            seen = self.workers().ok();
            let mut workers = seen.iter().flatten();
            Ok(workers.find(|worker| worker.interface == name && is(worker)).cloned())
        });
        found.with_context(|| format!("{seen:?}"))
    }

    fn running(&self, name: &str) -> Result<Worker> {
        self.wait_for(name, "to run", Worker::is_running)
    }

    /// The process of a worker that runs.
    fn pid_of(&self, name: &str) -> Result<u32> {
        self.running(name)?.pid.context("it runs and has no process")
    }

    /// All interface monitors that obey or look for this network monitor.
    fn processes(&self) -> Result<Vec<u32>> {
        process::with_arguments(&["--launched", "--socket", &self.socket_text()])
    }

    /// Waits until no process is left, the monitor's launcher included.
    fn has_ended(&self, launcher: u32) -> Result<()> {
        wait::until_true("the end of all processes", || {
            Ok(!process::is_alive(launcher)? && self.processes()?.is_empty())
        })
        .with_context(|| format!("launcher {launcher}, others {:?}", self.processes()))
    }

    /// Nothing is left of what was made in the file system.
    fn is_empty(&self) -> Result<()> {
        let left: Vec<_> = fs::read_dir(self.0.path())?.collect::<Result<_, _>>()?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    }

    /// Ends a network monitor as Ctrl-C does, and checks that nothing is left of it.
    fn end(&self, agent: Agent) -> Result<Finished> {
        let launcher = launcher(&agent)?;
        agent.signal(Signal::SIGINT)?;
        let finished = self.end_of(agent, launcher)?;
        ensure!(finished.stderr.lines().any(|it| it == "netmon: SIGINT: ending"), "{finished:?}");
        Ok(finished)
    }

    /// Waits for a network monitor's end, at which nothing of it is left, unless it has said so:
    /// on a machine so busy that the kernel does not get done what ending takes.
    fn end_of(&self, agent: Agent, launcher: u32) -> Result<Finished> {
        process::until_its_end(agent.pid())?;
        // Before its outputs are read to their end, which those that are left would hold open.
        let left = (process::is_alive(launcher)?, self.processes()?);
        let finished = agent.finish()?;
        ensure!(finished.code == Some(0), "{finished:?}");
        if finished.stderr.contains(") has not ended yet") {
            self.has_ended(launcher)?;
        } else {
            ensure!(left == (false, vec![]), "the launcher or others are left: {left:?}");
        }
        self.is_empty()?;
        Ok(finished)
    }
}

/// Whether one had to be killed at the end, which is told: what needs an end in order cannot be
/// asked of that run.
fn was_killed(finished: &Finished) -> bool {
    finished.stderr.contains("has not ended in time: it is killed")
}

/// A further netmon, which removes what killed ones have left.
fn sweep(namespace: &Namespace) -> Result<()> {
    let agent = json(namespace, &["lo"])?;
    // Only after it has looked for that.
    agent.says_counted("lo", "")?;
    interrupt(agent).map(drop)
}

/// The process that starts interface monitors.
fn launcher(agent: &Agent) -> Result<u32> {
    let children = process::children(agent.pid())?;
    let [launcher] = children[..] else { anyhow::bail!("not one launcher: {children:?}") };
    Ok(launcher)
}

/// Waits for a tick that shows, under this name, the kernel's own totals of a link, on which
/// there is no traffic now, by what counts it for good: until the programs are attached, the
/// source is `kernel`. A worker's sample may come too late for its tick, so not just the next.
fn agrees(agent: &Agent, name: &str, namespace: &Namespace, link: &str) -> Result<Interface> {
    wait::until(format!("{name} with the totals of sysfs"), || {
        let witness = namespace.sysfs_totals(link)?.present();
        let told = agent.later_tick(1)?.interface(name)?.clone();
        Ok((told.totals() == witness && told.source != "kernel").then_some(told))
    })
}

/// The interface of this name in every tick so far from this one (counted from 0) on.
fn history(agent: &Agent, from: usize, name: &str) -> Result<Vec<Interface>> {
    let ticks = agent.ticks()?;
    ticks[from..].iter().map(|tick| tick.interface(name).cloned()).collect()
}
