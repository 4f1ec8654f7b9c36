//! A steady run: memory, wake-ups and system calls of a tick, while a little traffic flows and
//! an interface pair comes and goes.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, AgentCommand};
use netmon_tests::frame;

use crate::interfaces::Interfaces;
use crate::measure::Measure;
use crate::processes;
use crate::samples::{Bound, Row, Summary, Table};
use crate::system_calls::{self, SystemCalls};

/// Memory of the last tenth over that of the second, in KiB: medians.
const GROWTH: Bound = Bound::AtMost(128.0);
/// Of a tick without news: the clock's; others may hold the lock of rtnetlink for which it waits.
const WAKE_UPS: Bound = Bound::AtMost(1.5);
/// Of a tick without news: epoll_wait, read, sendto, three recvfrom, bpf, pwritev2, and the files
/// of sysfs that are read at every sixtieth tick.
const SYSTEM_CALLS: Bound = Bound::AtMost(12.0);
/// Short, so that there are many ticks.
const INTERVAL: Duration = Duration::from_millis(100);
/// A step, of which there is one sample.
const STEP: Duration = Duration::from_secs(1);
/// The longest time after which the pair comes again.
const COMES_AGAIN: Duration = Duration::from_secs(60);
/// After everything is attached.
const SETTLE: Duration = Duration::from_secs(2);
const FRAMES: u64 = 20;
const PAIR: (&str, &str) = ("nbx", "nby");

/// What is counted of a process.
struct Counts {
    system_calls: u64,
    wake_ups: u64,
    resident_kib: u64,
}

/// One sample for each step.
#[derive(Default)]
struct Samples {
    system_calls: Vec<f64>,
    wake_ups: Vec<f64>,
    resident_kib: Vec<f64>,
}

pub(crate) fn measure(measure: &Measure) -> Result<Table> {
    let mut interfaces = Interfaces::none()?;
    interfaces.grow(measure.soak_interfaces())?;
    let count = interfaces.count;
    let nowhere: OwnedFd = File::options().write(true).open("/dev/null")?.into();
    let interval = format!("{}ms", INTERVAL.as_millis());
    let mut agent = AgentCommand::new(&interfaces.namespace, &measure.netmon)
        .args(["run", "--all", "--exclude", "lo", "--interval", &interval])
        .output_to(nowhere)
        .start()?;
    interfaces.wait_until_counted(&agent)?;
    thread::sleep(SETTLE);
    let samples = run(measure, &interfaces, &agent)?;
    ensure!(agent.is_running()?, "netmon has ended: {}", agent.stderr()?.text());
    let about = format!(
        "{} of {count} interfaces every {} ms, {FRAMES} packets a second and a pair of interfaces \
         that comes and goes; a sample is of {} s",
        crate::progress::minutes(measure.soak),
        INTERVAL.as_millis(),
        STEP.as_secs()
    );
    Ok(Table { name: "soak".to_owned(), about, rows: rows(&samples) })
}

fn rows(samples: &Samples) -> Vec<Row> {
    let Samples { system_calls, wake_ups, resident_kib } = samples;
    let mean = |samples: &[f64]| [samples.iter().sum::<f64>() / samples.len() as f64];
    let tenth = resident_kib.len().div_ceil(10);
    let middle = |samples: &[f64]| Summary::of(samples).median;
    let (begin, end) = (resident_kib.chunks(tenth).nth(1), resident_kib.rchunks(tenth).next());
    let grown: Vec<_> =
        begin.zip(end).map(|(begin, end)| middle(end) - middle(begin)).into_iter().collect();
    vec![
        Row::new("system calls of a tick", "", system_calls).bounded(system_calls, SYSTEM_CALLS),
        Row::new("the same, mean of all ticks", "", &mean(system_calls)),
        Row::new("wake-ups of a tick", "", wake_ups).bounded(wake_ups, WAKE_UPS),
        Row::new("the same, mean of all ticks", "", &mean(wake_ups)),
        Row::new("resident memory", "KiB", resident_kib).compared(
            "KiB more in the last tenth than in the second",
            &grown,
            Some(GROWTH),
        ),
    ]
}

fn run(measure: &Measure, interfaces: &Interfaces, agent: &Agent) -> Result<Samples> {
    let namespace = &interfaces.namespace;
    let tracepoint = namespace.run(system_calls::tracepoint)?;
    let mut calls = SystemCalls::of(agent.pid(), tracepoint)?;
    let mut traffic = namespace.packet_socket("nb0")?;
    let frame = frame::plain(frame::BROADCAST, 64);
    let (all, mut there) = (measure.soak, false);
    let half_a_period = (all / 12).min(COMES_AGAIN / 2);
    let mut samples = Samples::default();
    let (begin, mut said) = (Instant::now(), 0);
    let mut last = (begin, Counts::of(agent, &mut calls)?);
    while begin.elapsed() < all {
        for _ in 0..FRAMES {
            traffic.send(&frame)?;
        }
        thread::sleep(STEP.saturating_sub(last.0.elapsed()));
        let halves = begin.elapsed().div_duration_f64(half_a_period) as u64;
        let wanted = halves.is_multiple_of(2);
        if wanted != there {
            there = wanted;
            if there {
                namespace.add_veth_up(PAIR.0, PAIR.1)?;
            } else {
                namespace.delete(PAIR.0)?;
            }
        }
        let now = (Instant::now(), Counts::of(agent, &mut calls)?);
        samples.add(&last, &now);
        last = now;
        let minute = begin.elapsed().as_secs() / 60;
        if minute >= said {
            measure.progress.say(&format!("soak: minute {minute} of {}", all.as_secs() / 60));
            said = minute + 1;
        }
    }
    Ok(samples)
}

impl Counts {
    fn of(agent: &Agent, calls: &mut SystemCalls) -> Result<Self> {
        Ok(Self {
            system_calls: calls.count()?,
            wake_ups: wake_ups(agent.pid())?,
            resident_kib: agent.resident_kib()?,
        })
    }
}

impl Samples {
    fn add(&mut self, (then, before): &(Instant, Counts), (at, now): &(Instant, Counts)) {
        let ticks = (*at - *then).div_duration_f64(INTERVAL);
        self.system_calls.push((now.system_calls - before.system_calls) as f64 / ticks);
        self.wake_ups.push((now.wake_ups - before.wake_ups) as f64 / ticks);
        self.resident_kib.push(now.resident_kib as f64);
    }
}

/// How often the threads of a process have waited for something.
fn wake_ups(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in processes::tasks(pid)? {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{task}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line.context("no voluntary_ctxt_switches")?.trim().parse::<u64>()?;
    }
    Ok(sum)
}
