//! How long programs run, by the kernel's own statistics (`BPF_ENABLE_STATS`, Linux 5.8; needs
//! CAP_SYS_ADMIN). They cost every eBPF program of the machine two looks at the clock a run, so
//! they are on only while a [`RunTimes`] lives.

use std::os::fd::OwnedFd;
use std::time::Duration;

use aya::TestRun as _;
use aya::programs::{SchedClassifier, TestRunOptions, loaded_programs};
use aya::sys::{Stats, enable_stats};
use netmon_common::{
    EGRESS_PROGRAM, EMPTY_PROGRAM, INGRESS_PROGRAM, XDP_FRAGS_PROGRAM, XDP_PROGRAM,
};

use super::errors::EbpfUnavailable;
use super::object;

const OPERATION: &str = "cannot measure run times";
/// Runs of the empty program.
const EMPTY_RUNS: u32 = 100_000;
/// An Ethernet frame, without which the kernel runs no program of this type.
const SHORTEST_FRAME: usize = 64;
/// The kernel keeps so much of a program's name (`BPF_OBJ_NAME_LEN`, less the zero).
const LONGEST_NAME: usize = 15;

/// What a program has run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramRuns {
    /// The kernel's number.
    pub id: u32,
    /// Its name, at most 15 bytes (`BPF_OBJ_NAME_LEN`).
    pub name: String,
    /// How often.
    pub runs: u64,
    /// How long, altogether.
    pub time: Duration,
}

/// The statistics are on while this lives.
pub struct RunTimes(#[expect(dead_code, reason = "held to be closed")] OwnedFd);

impl RunTimes {
    /// Switches the statistics on.
    ///
    /// # Errors
    /// Mostly for want of privileges.
    pub fn enable() -> Result<Self, EbpfUnavailable> {
        let held = enable_stats(Stats::RunTime);
        held.map(Self).map_err(|error| EbpfUnavailable::needing("CAP_SYS_ADMIN", OPERATION, &error))
    }

    /// What the statistics themselves add to each run, in nanoseconds: what they say of a
    /// program that does nothing.
    ///
    /// # Errors
    /// When that program cannot be loaded or run.
    pub fn overhead_ns(&self) -> Result<f64, EbpfUnavailable> {
        let refused = |error: &(dyn std::error::Error + 'static)| {
            EbpfUnavailable::new("cannot run an empty program", error)
        };
        let mut ebpf = object::load_small()?;
        let program = ebpf.program_mut(EMPTY_PROGRAM).ok_or(aya::programs::ProgramError::NotLoaded);
        let program: &mut SchedClassifier =
            program.and_then(TryInto::try_into).map_err(|error| refused(&error))?;
        program.load().map_err(|error| refused(&error))?;
        let mut options = TestRunOptions::default();
        let frame: &[u8] = &[0; SHORTEST_FRAME];
        (options.data_in, options.repeat) = (Some(frame), EMPTY_RUNS);
        program.test_run(options).map_err(|error| refused(&error))?;
        let info = program.info().map_err(|error| refused(&error))?;
        let runs = info.run_count().max(1);
        Ok(info.run_time().as_nanos() as f64 / runs as f64)
    }
}

/// What every program of the machine with the name of one of our counting ones has run so far
/// while statistics were on.
///
/// # Errors
/// Mostly for want of privileges.
pub fn programs() -> Result<Vec<ProgramRuns>, EbpfUnavailable> {
    let names = [INGRESS_PROGRAM, EGRESS_PROGRAM, XDP_PROGRAM, XDP_FRAGS_PROGRAM];
    let names = names.map(|name| &name[..name.len().min(LONGEST_NAME)]);
    let mut found = Vec::new();
    for info in loaded_programs() {
        let info =
            info.map_err(|error| EbpfUnavailable::new("cannot list the programs", &error))?;
        if let Some(name) = info.name_as_str().filter(|name| names.contains(name)) {
            let (runs, time) = (info.run_count(), info.run_time());
            found.push(ProgramRuns { id: info.id(), name: name.to_owned(), runs, time });
        }
    }
    Ok(found)
}
