//! A process for each interface: netmon's interface monitors with their network monitor, against
//! the classic design's processes, which read eleven files of sysfs each and print under a lock.

use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Result, ensure};
use netmon::sources::process::proportional_memory;
use netmon_tests::agent::{Agent, AgentCommand};
use nix::sys::signal::Signal;

use crate::contenders::{self, Contender};
use crate::interfaces::Interfaces;
use crate::measure::Measure;
use crate::processes;
use crate::samples::{Bound, Row, Table, paired};

/// The bounds hold for so many interfaces.
const JUDGED: usize = 64;
/// Of what the classic design's processes take for a tick.
const HALF: Bound = Bound::AtMost(0.5);
/// The greatest proportional memory of a worker, in MiB.
const MEMORY: Bound = Bound::AtMost(1.0);
/// Until all run, in seconds.
const RUNNING: Bound = Bound::AtMost(5.0);
/// From down to up, in ticks.
const RECOVERY: Bound = Bound::AtMost(2.0);
/// More rounds of starting would take minutes.
const STARTS: usize = 3;
/// A few ticks after everything is attached.
const STEADY: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(60);
const KIB_PER_MIB: f64 = 1_024.0;
/// netmon's.
const TICK: Duration = Duration::from_secs(1);

/// Seconds, MiB, ticks.
#[derive(Default)]
struct Samples {
    running: Vec<f64>,
    memory: Vec<f64>,
    recovery: Vec<f64>,
    end: Vec<f64>,
}

pub(crate) fn measure(measure: &Measure, interfaces: &Interfaces) -> Result<Table> {
    let count = interfaces.count;
    let say = |what: &str| measure.progress.say(&format!("workers, {count} interfaces: {what}"));
    let starts = measure.rounds.min(STARTS);
    let mut samples = Samples::default();
    for number in 1..=starts {
        say(&format!("start {number} of {starts}"));
        samples.round(measure, interfaces)?;
    }
    say("starting the classic design's processes, too");
    let [mut ours, mut classic] = contenders::start_workers(&measure.netmon, interfaces)?;
    for number in 1..=measure.rounds {
        say(&format!("round {number} of {}", measure.rounds));
        for contender in [&mut ours, &mut classic] {
            contender.round(&interfaces.namespace, measure.ticks)?;
        }
    }
    let about = format!(
        "`netmon run --workers --all`; CPU time of all processes for a tick, medians of {} rounds \
         of {} ticks, one a second; the rest of {starts} starts",
        measure.rounds, measure.ticks
    );
    Ok(Table {
        name: format!("workers, {count} interfaces"),
        about,
        rows: rows(&ours, &classic, &samples, count == JUDGED),
    })
}

fn rows(ours: &Contender, classic: &Contender, samples: &Samples, judged: bool) -> Vec<Row> {
    let row = |name, unit, samples: &[f64], bound: Option<Bound>| {
        let row = Row::new(name, unit, samples);
        match bound.filter(|_| judged) {
            Some(bound) => row.bounded(samples, bound),
            None => row,
        }
    };
    let part = paired(&ours.microseconds, &classic.microseconds, |ours, classic| ours / classic);
    vec![
        Row::new(&classic.name, "µs", &classic.microseconds),
        Row::new(&ours.name, "µs", &ours.microseconds).compared(
            "of that",
            &part,
            Some(HALF).filter(|_| judged),
        ),
        row("proportional memory of the largest worker", "MiB", &samples.memory, Some(MEMORY)),
        row("until all are running", "s", &samples.running, Some(RUNNING)),
        row("a link set down, until it is up again", "ticks", &samples.recovery, Some(RECOVERY)),
        row("from SIGTERM to the end", "s", &samples.end, None),
    ]
}

impl Samples {
    fn round(&mut self, measure: &Measure, interfaces: &Interfaces) -> Result<()> {
        let begin = Instant::now();
        let mut agent = AgentCommand::new(&interfaces.namespace, &measure.netmon)
            .args(contenders::worker_arguments())
            .args(["nb0"])
            .start()?;
        interfaces.wait_until_counted(&agent)?;
        self.running.push(begin.elapsed().as_secs_f64());
        thread::sleep(STEADY);
        self.memory.push(largest(&agent)?);
        interfaces.namespace.set_down("nb0")?;
        let begin = Instant::now();
        while !interfaces.namespace.is_up("nb0")? {
            ensure!(begin.elapsed() < LONGEST, "nb0 is not set up again");
            thread::sleep(LOOK);
        }
        self.recovery.push(begin.elapsed().as_secs_f64() / TICK.as_secs_f64());
        let begin = Instant::now();
        agent.signal(Signal::SIGTERM)?;
        while agent.is_running()? {
            ensure!(begin.elapsed() < LONGEST, "netmon has not ended for {LONGEST:?}");
            thread::sleep(LOOK);
        }
        self.end.push(begin.elapsed().as_secs_f64());
        let finished = agent.finish()?;
        ensure!(finished.code == Some(0), "netmon has ended with {:?}", finished.code);
        Ok(())
    }
}

/// The memory of the largest interface monitor, in MiB.
fn largest(agent: &Agent) -> Result<f64> {
    let mut most = 0_u64;
    for pid in processes::below(agent.pid())? {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if command.contains("interface-monitor") {
            most = most.max(proportional_memory(pid)?);
        }
    }
    ensure!(most > 0, "there are no interface monitors");
    Ok(most as f64 / KIB_PER_MIB)
}

/// Where the socket of the network monitor lies: in the folder for what passes.
pub(crate) fn socket() -> String {
    env::temp_dir().join(format!("nmt-bench-{}.sock", std::process::id())).display().to_string()
}
