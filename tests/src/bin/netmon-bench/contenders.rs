//! What a tick is measured of: netmon, its system calls alone, the readers it is compared to, and
//! other programs.

use std::env;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use netmon_tests::agent::AgentCommand;
use netmon_tests::netns::Namespace;

use crate::interfaces::Interfaces;
use crate::processes::Processes;
use crate::tick::INTERVAL;
use crate::tools::{self, TOOLS};
use crate::workers;

/// After a process has been started, until what was done for that is over.
const SETTLE: Duration = Duration::from_millis(300);

/// As often a round is begun that has no tick.
const ATTEMPTS: usize = 10;

/// What its bound says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Netmon,
    Floor,
    NetmonSysfs,
    NetmonWorkers,
    Reader,
    ReaderEach,
    Tool,
}

/// One that runs, and what its rounds gave.
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) interval: Duration,
    is_asked: bool,
    processes: Processes,
    /// CPU time of a tick, in microseconds.
    pub(crate) microseconds: Vec<f64>,
}

/// How to start one.
struct Plan {
    kind: Kind,
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    interval: Duration,
    is_asked: bool,
}

/// Starts all of them, each stopped until it has its turn; other programs if they are wanted.
pub(crate) fn start_all(
    netmon: &Path,
    interfaces: &Interfaces,
    others: bool,
) -> Result<Vec<Contender>> {
    let mut plans = plans(netmon, interfaces.count)?;
    if others {
        tools::prepare(&interfaces.namespace)?;
        plans.extend(tool_plans());
    }
    plans.into_iter().map(|plan| plan.start(interfaces)).collect()
}

/// netmon first: it is what the others are compared to. Next what it is compared to itself.
fn plans(netmon: &Path, interfaces: usize) -> Result<Vec<Plan>> {
    let milliseconds = INTERVAL.as_millis().to_string();
    let run = |kind, name: &str, source: &str| {
        let interval = format!("{milliseconds}ms");
        let all = ["run", "--all", "--exclude", "lo", "--interval", &interval, "--source", source];
        Plan::new(kind, name, netmon, &all, INTERVAL)
    };
    let itself = env::current_exe()?;
    Ok(vec![
        run(Kind::Netmon, "netmon", "ebpf"),
        Plan::new(
            Kind::Floor,
            "netmon's system calls alone",
            &itself,
            &["floor", "--interval", &milliseconds, "--interfaces", &interfaces.to_string()],
            INTERVAL,
        ),
        run(Kind::NetmonSysfs, "netmon --source sysfs", "sysfs"),
        Plan::new(
            Kind::Reader,
            "reader of eleven sysfs files, one process",
            &itself,
            &["reader", "--interval", &milliseconds],
            INTERVAL,
        ),
        Plan { name: "the same, a process for each interface".to_owned(), ..each_reader()? },
    ])
}

fn each_reader() -> Result<Plan> {
    let milliseconds = INTERVAL.as_millis().to_string();
    let arguments = ["reader", "--interval", &milliseconds, "--each"];
    let name = "a reader of eleven sysfs files for each interface";
    Ok(Plan::new(Kind::ReaderEach, name, &env::current_exe()?, &arguments, INTERVAL))
}

/// What netmon is started with to have a process for each interface.
pub(crate) fn worker_arguments() -> Vec<String> {
    let arguments =
        ["run", "--all", "--exclude", "lo", "--workers", "--max-workers", "4096", "--socket"];
    arguments.into_iter().map(str::to_owned).chain([workers::socket()]).collect()
}

/// Two that have a process for each interface, stopped: netmon and the classic design.
pub(crate) fn start_workers(netmon: &Path, interfaces: &Interfaces) -> Result<[Contender; 2]> {
    let arguments = worker_arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let name = "netmon's network monitor and its interface monitors";
    let ours = Plan::new(Kind::NetmonWorkers, name, netmon, &arguments, INTERVAL);
    Ok([ours.start(interfaces)?, each_reader()?.start(interfaces)?])
}

/// Those that are installed.
fn tool_plans() -> impl Iterator<Item = Plan> {
    TOOLS.iter().filter_map(|tool| {
        let program = tools::find(tool.program)?;
        let plan = Plan::new(Kind::Tool, tool.name, &program, tool.arguments, tool.interval);
        Some(Plan { is_asked: tool.is_asked, ..plan })
    })
}

impl Plan {
    fn new(kind: Kind, name: &str, program: &Path, arguments: &[&str], interval: Duration) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: arguments.iter().copied().map(str::to_owned).collect(),
            interval,
            is_asked: false,
        }
    }

    fn start(self, interfaces: &Interfaces) -> Result<Contender> {
        let namespace = &interfaces.namespace;
        let nowhere: OwnedFd = File::options().write(true).open("/dev/null")?.into();
        let agent = AgentCommand::new(namespace, self.program)
            .args(self.arguments)
            .output_to(nowhere)
            .start()?;
        if matches!(self.kind, Kind::Netmon | Kind::NetmonSysfs | Kind::NetmonWorkers) {
            interfaces.wait_until_counted(&agent)?;
        }
        if self.is_asked {
            tools::wait_for_answer(namespace)?;
        }
        // Those that start others have done so by now.
        thread::sleep(SETTLE);
        let processes = Processes::of(agent)?;
        processes.stop()?;
        Ok(Contender {
            kind: self.kind,
            name: self.name,
            interval: self.interval,
            is_asked: self.is_asked,
            processes,
            microseconds: Vec::new(),
        })
    }
}

impl Contender {
    /// Stops it until its next round.
    pub(crate) fn pause(&self) -> Result<()> {
        self.processes.stop().with_context(|| self.name.clone())
    }

    /// Lets it run for so many ticks, and notes what it has used.
    pub(crate) fn round(&mut self, namespace: &Namespace, ticks: u32) -> Result<()> {
        self.processes.go_on().with_context(|| format!("measuring {}", self.name))?;
        // The first tick after the pause finds nothing in the CPU's caches.
        thread::sleep(self.interval);
        let mut used = 0.0;
        // Who holds the lock of rtnetlink stops for seconds whoever asks for counters: without a
        // tick there is no figure.
        for _ in 0..ATTEMPTS {
            used = self.run_for(namespace, ticks)?;
            if used > 0.0 {
                break;
            }
        }
        self.processes.are_running().with_context(|| self.name.clone())?;
        self.pause()?;
        self.microseconds.push(used);
        Ok(())
    }

    /// CPU time of a tick, in microseconds: the mean of so many.
    fn run_for(&self, namespace: &Namespace, ticks: u32) -> Result<f64> {
        let (begin, before) = (Instant::now(), self.processes.cpu_time()?);
        if self.is_asked {
            for number in 1..=ticks {
                tools::ask(namespace)?;
                let next = begin + self.interval * number;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        } else {
            thread::sleep(self.interval * ticks);
        }
        let (time, used) = (begin.elapsed(), self.processes.cpu_time()? - before);
        let ticks = time.as_secs_f64() / self.interval.as_secs_f64();
        Ok(used.as_secs_f64() * 1e6 / ticks)
    }
}
