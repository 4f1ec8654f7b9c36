//! What a tick costs: CPU time of the whole process, printing included, and resident memory.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, AgentCommand};
use netmon_tests::netns::Namespace;

use crate::samples::{Compared, Row, Summary};
use crate::{Measure, Table};

/// The greatest part of the reader's CPU time that netmon may take: 1/25, in per cent.
const BOUND: f64 = 100.0 / 25.0;
/// The greatest resident memory, in MiB.
const MEMORY_BOUND: f64 = 10.0;
/// Ticks that are measured in a round.
const TICKS: u32 = 40;
/// After everything is attached, until what was done for that is over.
const SETTLE: Duration = Duration::from_millis(1_000);
const KIB_PER_MIB: f64 = 1_024.0;

/// A process that reports, and what one of its rounds gave.
struct Contender {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    /// Whether it says on stderr what counts each interface, one line each.
    announces: bool,
    microseconds: Vec<f64>,
    mebibytes: Vec<f64>,
}

pub(crate) fn measure(measure: &Measure) -> Result<Table> {
    let namespace = measure.namespace()?;
    let mut contenders = contenders(measure)?;
    for _ in 0..measure.rounds {
        for contender in &mut contenders {
            contender.round(&namespace, measure)?;
        }
    }
    let about = format!(
        "a tick of {} interfaces, CPU of the whole process and its resident memory, medians of \
         {} rounds of {TICKS} ticks every {} ms",
        measure.interfaces, measure.rounds, measure.interval
    );
    let reader = Summary::of(contenders[0].microseconds.clone()).median;
    let mut rows: Vec<_> = contenders.iter().map(|one| one.time(reader)).collect();
    rows.extend(contenders.iter().map(Contender::memory));
    Ok(Table { name: "tick", about, rows })
}

/// The reader first: it is what the others are compared to.
fn contenders(measure: &Measure) -> Result<[Contender; 3]> {
    let interval = measure.interval.to_string();
    let run = |source: &str| {
        let interval = format!("{interval}ms");
        let all = ["run", "--all", "--exclude", "lo", "--interval", &interval, "--source", source];
        all.map(str::to_owned).to_vec()
    };
    let contender = |name, program, arguments, announces| Contender {
        name,
        program,
        arguments,
        announces,
        microseconds: Vec::new(),
        mebibytes: Vec::new(),
    };
    let reader = ["reader", "--interval", &interval].map(str::to_owned).to_vec();
    let netmon = || measure.netmon.clone();
    Ok([
        contender("reader of eleven sysfs files", env::current_exe()?, reader, false),
        contender("netmon", netmon(), run("ebpf"), true),
        contender("netmon --source sysfs", netmon(), run("sysfs"), true),
    ])
}

impl Contender {
    fn round(&mut self, namespace: &Namespace, measure: &Measure) -> Result<()> {
        let nowhere: OwnedFd = File::options().write(true).open("/dev/null")?.into();
        let mut agent = AgentCommand::new(namespace, &self.program)
            .args(&self.arguments)
            .output_to(nowhere)
            .start()?;
        if self.announces {
            agent.stderr()?.wait_for("what counts each interface", |lines| {
                (lines.len() >= measure.interfaces).then_some(())
            })?;
        }
        thread::sleep(SETTLE);
        let (begin, before) = (Instant::now(), cpu_time(&agent)?);
        thread::sleep(measure.tick() * TICKS);
        let (time, used) = (begin.elapsed(), cpu_time(&agent)? - before);
        ensure!(agent.is_running()?, "{} has ended: {}", self.name, agent.stderr()?.text());
        let ticks = time.as_secs_f64() / measure.tick().as_secs_f64();
        self.microseconds.push(used.as_secs_f64() * 1e6 / ticks);
        self.mebibytes.push(agent.resident_kib()? as f64 / KIB_PER_MIB);
        agent.kill()?;
        Ok(())
    }

    fn is_the_one(&self) -> bool {
        self.name == "netmon"
    }

    fn time(&self, reader: f64) -> Row {
        let parts = self.microseconds.iter().map(|time| 100.0 * time / reader).collect();
        Row {
            name: self.name.to_owned(),
            unit: "µs a tick",
            value: Summary::of(self.microseconds.clone()),
            compared: Some(Compared {
                how: "% of the reader",
                value: Summary::of(parts),
                bound: self.is_the_one().then_some(BOUND),
            }),
        }
    }

    fn memory(&self) -> Row {
        let resident = Summary::of(self.mebibytes.clone());
        Row {
            name: format!("{}: memory", self.name),
            unit: "MiB",
            value: resident,
            compared: self.is_the_one().then_some(Compared {
                how: "MiB",
                value: resident,
                bound: Some(MEMORY_BOUND),
            }),
        }
    }
}

/// What all threads of a process have used so far, user and system (proc_pid_schedstat: the
/// first number of each thread is nanoseconds on a CPU).
fn cpu_time(agent: &Agent) -> Result<Duration> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{}/task", agent.pid()))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split(' ').next().context("an empty schedstat")?;
        sum += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}
