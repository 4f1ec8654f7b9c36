//! What a mode costs. First the untouched processes are looked at from outside (time on a CPU);
//! then, for some ticks more, their system calls are traced and the kernel's statistics of
//! programs are on, which both cost something themselves and so are left out of the first part.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::mode::{Mode, ModeError, Used};
use super::outcome::{Costs, ModeCost, ProgramCost};
use crate::sources::ebpf::run_times::{self, ProgramRuns, RunTimes};
use crate::sources::ebpf::syscalls::SyscallMeter;
use crate::sources::process;

/// Fewer packets than this say nothing about a program.
const FEWEST_PACKETS: u64 = 20;

/// The CPU time of an untouched mode.
#[must_use]
pub fn of_mode(before: Used, after: Used, interval: Duration) -> ModeCost {
    let ticks = after.ticks.saturating_sub(before.ticks).max(1) as f64;
    let cpu_us = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / ticks;
    let cpu_percent = cpu_us / interval.as_secs_f64() / 1e4;
    ModeCost { cpu_us, cpu_percent, ..ModeCost::default() }
}

/// The closer look: both modes for so many ticks, each from tick to tick of its own. Completes
/// what the untouched modes cost. `began` is called when it has.
///
/// # Errors
/// When a mode has ended. What cannot be measured is no error, but told in the costs.
pub async fn look(
    modes: [&mut Mode; 2],
    untouched: [ModeCost; 2],
    ticks: u64,
    began: impl FnOnce(),
) -> Result<Costs, ModeError> {
    let mut missing = Vec::new();
    let meter = meter().map_err(|why| missing.push(format!("system calls: {why}"))).ok();
    let run_times = RunTimes::enable()
        .map_err(|error| missing.push(format!("nanoseconds a packet: {error}")))
        .ok();
    let [ebpf, sysfs] = modes;
    let process = ebpf.process();
    let (start, before) = (Instant::now(), ours(process));
    began();
    let (ebpf, sysfs) =
        tokio::try_join!(watch(ebpf, meter.as_ref(), ticks), watch(sysfs, meter.as_ref(), ticks))?;
    let (seconds, runs) = (start.elapsed().as_secs_f64(), since(&before, &ours(process)));
    let measuring_ns = run_times.and_then(|run_times| {
        let overhead = run_times.overhead_ns();
        overhead.map_err(|error| missing.push(format!("nanoseconds a packet: {error}"))).ok()
    });
    let programs = measuring_ns.map_or_else(Vec::new, |overhead| {
        runs.iter().filter_map(|runs| program_cost(runs, overhead, seconds)).collect()
    });
    let [ebpf, sysfs] = [split(untouched[0], ebpf), split(untouched[1], sysfs)];
    Ok(Costs { ebpf, sysfs, programs, measuring_ns, missing })
}

fn meter() -> Result<RefCell<SyscallMeter>, String> {
    if !process::in_first_pid_namespace() {
        return Err("the kernel's numbers of processes are not ours (a container)".to_owned());
    }
    SyscallMeter::start().map(RefCell::new).map_err(|error| error.to_string())
}

/// What a mode did in a number of whole ticks.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    ticks: u64,
    calls: u64,
    kernel: Duration,
    cpu: Duration,
}

/// Watches a mode from the end of a tick to the end of one that comes so much later.
async fn watch(
    mode: &mut Mode,
    meter: Option<&RefCell<SyscallMeter>>,
    ticks: u64,
) -> Result<Option<Seen>, ModeError> {
    let (_, before) = mode.at_rest().await?;
    let Some(meter) = meter else {
        // The programs are timed meanwhile.
        while mode.at_rest().await?.1.ticks < before.ticks + ticks {}
        return Ok(None);
    };
    let threads = process::threads(mode.process()).unwrap_or_default();
    for thread in &threads {
        if let Err(error) = meter.borrow_mut().watch(*thread) {
            tracing::debug!("thread {thread} is not watched: {error}");
        }
    }
    let mut after = before;
    while after.ticks < before.ticks + ticks {
        after = mode.at_rest().await?.1;
    }
    let mut seen = Seen {
        ticks: after.ticks - before.ticks,
        cpu: after.cpu.saturating_sub(before.cpu),
        ..Seen::default()
    };
    for thread in threads {
        let spent = meter.borrow().read(thread).unwrap_or_default();
        seen.calls += spent.calls;
        seen.kernel += Duration::from_nanos(spent.kernel_ns);
    }
    Ok(Some(seen))
}

/// System calls a tick, and the kernel's part of the CPU time.
fn split(cost: ModeCost, seen: Option<Seen>) -> ModeCost {
    let Some(Seen { ticks, calls, kernel, cpu }) = seen.filter(|seen| !seen.cpu.is_zero()) else {
        return cost;
    };
    let part = (kernel.as_secs_f64() / cpu.as_secs_f64()).min(1.0);
    ModeCost {
        system_calls: Some(calls as f64 / ticks.max(1) as f64),
        kernel_us: Some(cost.cpu_us * part),
        user_us: Some(cost.cpu_us * (1.0 - part)),
        ..cost
    }
}

/// The counting programs that a process holds.
fn ours(process: u32) -> Vec<ProgramRuns> {
    let held = process::programs(process).unwrap_or_default();
    run_times::programs()
        .inspect_err(|error| tracing::debug!("{error}"))
        .unwrap_or_default()
        .into_iter()
        .filter(|program| held.contains(&program.id))
        .collect()
}

fn since(before: &[ProgramRuns], after: &[ProgramRuns]) -> Vec<ProgramRuns> {
    let first: BTreeMap<u32, &ProgramRuns> = before.iter().map(|runs| (runs.id, runs)).collect();
    let passed = |runs: &ProgramRuns| {
        let first = first.get(&runs.id)?;
        let (time, count) = (runs.time.checked_sub(first.time)?, runs.runs - first.runs);
        Some(ProgramRuns { runs: count, time, ..runs.clone() })
    };
    after.iter().filter_map(passed).collect()
}

fn program_cost(runs: &ProgramRuns, overhead_ns: f64, seconds: f64) -> Option<ProgramCost> {
    if runs.runs < FEWEST_PACKETS {
        return None;
    }
    let ns = (runs.time.as_nanos() as f64 / runs.runs as f64 - overhead_ns).max(0.0);
    let cpu_percent = ns * runs.runs as f64 / seconds / 1e7;
    Some(ProgramCost { program: runs.name.clone(), packets: runs.runs, ns, cpu_percent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_costs_its_part_of_what_was_used() {
        let used = |ms, ticks| Used { cpu: Duration::from_millis(ms), ticks };
        let cost = of_mode(used(5, 3), used(7, 13), Duration::from_secs(1));
        assert!((cost.cpu_us - 200.0).abs() < 1e-9 && (cost.cpu_percent - 0.02).abs() < 1e-9);
    }

    #[test]
    fn a_program_costs_what_is_left_without_the_measuring() {
        let runs = |runs, ns| ProgramRuns {
            id: 7,
            name: "p".into(),
            runs,
            time: Duration::from_nanos(ns),
        };
        let passed = since(&[runs(100, 1_000)], &[runs(1_100, 41_000)]);
        assert_eq!(passed, [runs(1_000, 40_000)]);
        let cost = program_cost(&passed[0], 37.0, 2.0).unwrap();
        assert_eq!((cost.packets, cost.ns), (1_000, 3.0));
        assert!((cost.cpu_percent - 0.00015).abs() < 1e-9);
        assert_eq!(program_cost(&runs(19, 1_000), 37.0, 2.0), None);
        assert_eq!(since(&[], &[runs(5, 5)]), [], "not there before");
    }
}
