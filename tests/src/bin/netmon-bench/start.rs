//! What a start and an end take, and how much memory netmon needs.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netmon_tests::agent::AgentCommand;
use netmon_tests::report::Block;
use nix::sys::signal::Signal;

use crate::interfaces::Interfaces;
use crate::measure::Measure;
use crate::samples::{Bound, Row, Table};

/// The bounds hold for so many interfaces.
const JUDGED: usize = 64;
/// The greatest time until the first report, in seconds.
const REPORT: Bound = Bound::AtMost(3.0);
/// The greatest resident memory, in MiB.
const MEMORY: Bound = Bound::AtMost(10.0);
/// More rounds would take minutes with a thousand interfaces.
const ROUNDS: usize = 3;
/// A few ticks after everything is attached.
const STEADY: Duration = Duration::from_secs(2);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);
const LONGEST_END: Duration = Duration::from_secs(300);
const KIB_PER_MIB: f64 = 1_024.0;

/// Seconds, and MiB.
#[derive(Default)]
struct Samples {
    report: Vec<f64>,
    attached: Vec<f64>,
    memory: Vec<f64>,
    end: Vec<f64>,
}

pub(crate) fn measure(measure: &Measure, interfaces: &Interfaces) -> Result<Table> {
    let count = interfaces.count;
    let rounds = measure.rounds.min(ROUNDS);
    let mut samples = Samples::default();
    for number in 1..=rounds {
        let what = format!("start, {count} interfaces: round {number} of {rounds}");
        measure.progress.say(&what);
        round(&mut samples, measure, interfaces)?;
    }
    let row = |name, unit, samples: &[f64], bound: Option<Bound>| {
        let row = Row::new(name, unit, samples);
        match bound.filter(|_| count == JUDGED) {
            Some(bound) => row.bounded(samples, bound),
            None => row,
        }
    };
    let rows = vec![
        row("until the first report is whole", "s", &samples.report, Some(REPORT)),
        row("until every interface has said what counts it", "s", &samples.attached, None),
        row("resident memory", "MiB", &samples.memory, Some(MEMORY)),
        row("from SIGTERM to the end", "s", &samples.end, None),
    ];
    let about = format!("`netmon run --all`, medians of {rounds} rounds");
    Ok(Table { name: format!("start, {count} interfaces"), about, rows })
}

fn round(samples: &mut Samples, measure: &Measure, interfaces: &Interfaces) -> Result<()> {
    let begin = Instant::now();
    let mut agent = AgentCommand::new(&interfaces.namespace, &measure.netmon)
        .args(["run", "--all", "--exclude", "lo"])
        .start()?;
    let lines = interfaces.count * Block::LINES;
    let report = agent
        .stdout()?
        .wait_for("the first report", |so_far| (so_far.len() >= lines).then(|| begin.elapsed()))?;
    // Either may come first: this is then an upper limit.
    interfaces.wait_until_counted(&agent)?;
    let attached = begin.elapsed();
    thread::sleep(STEADY);
    let memory = agent.resident_kib()? as f64 / KIB_PER_MIB;
    let begin = Instant::now();
    agent.signal(Signal::SIGTERM)?;
    // With many interfaces it takes longer than a test would wait.
    while agent.is_running()? {
        ensure!(begin.elapsed() < LONGEST_END, "netmon has not ended for {LONGEST_END:?}");
        thread::sleep(LOOK);
    }
    let end = begin.elapsed();
    let finished = agent.finish()?;
    ensure!(finished.code == Some(0), "netmon has ended with {:?}", finished.code);
    samples.report.push(report.as_secs_f64());
    samples.attached.push(attached.as_secs_f64());
    samples.memory.push(memory);
    samples.end.push(end.as_secs_f64());
    Ok(())
}
