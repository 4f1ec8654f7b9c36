//! How many system calls some threads make, and how long they are in them on a CPU. For
//! `netmon compare`: while it is attached, every system call of the machine passes a program.
//! Needs BTF and CAP_PERFMON (Linux 5.8).

use aya::maps::{HashMap, MapData};
use aya::programs::{BtfTracePoint, ProgramError};
use aya::{Btf, Ebpf};
use netmon_common::{SYSCALL_PROGRAMS, THREADS, ThreadCost};

use super::errors::EbpfUnavailable;
use super::object;

/// [`ThreadCost`] as plain numbers, which aya takes as a map's value.
type Words = [u64; 3];

/// Counts until it is dropped.
pub struct SyscallMeter {
    threads: HashMap<MapData, u32, Words>,
    /// The programs and what holds them attached.
    _ebpf: Ebpf,
}

impl SyscallMeter {
    /// Loads and attaches the programs. Nothing is counted yet.
    ///
    /// # Errors
    /// Says what was refused.
    pub fn start() -> Result<Self, EbpfUnavailable> {
        let mut ebpf = object::load_small()?;
        let refused = |error: &(dyn std::error::Error + 'static)| {
            EbpfUnavailable::needing("CAP_PERFMON", "cannot trace system calls", error)
        };
        let btf = Btf::from_sys_fs().map_err(|error| refused(&error))?;
        for (name, tracepoint) in SYSCALL_PROGRAMS {
            attach(&mut ebpf, name, tracepoint, &btf).map_err(|error| refused(&error))?;
        }
        let threads = object::take_map(&mut ebpf, THREADS)?;
        let threads = threads.try_into().map_err(|error: aya::maps::MapError| refused(&error))?;
        Ok(Self { threads, _ebpf: ebpf })
    }

    /// Begins to count a thread.
    ///
    /// # Errors
    /// When there are too many.
    pub fn watch(&mut self, thread: u32) -> Result<(), aya::maps::MapError> {
        let nothing: Words = bytemuck::cast(ThreadCost::default());
        self.threads.insert(thread, nothing, 0)
    }

    /// What a thread has done since; `None` for one that is not watched.
    #[must_use]
    pub fn read(&self, thread: u32) -> Option<ThreadCost> {
        self.threads.get(&thread, 0).ok().map(bytemuck::cast)
    }
}

fn attach(ebpf: &mut Ebpf, name: &str, tracepoint: &str, btf: &Btf) -> Result<(), ProgramError> {
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    let program: &mut BtfTracePoint = program.try_into()?;
    program.load(tracepoint, btf)?;
    program.attach()?;
    Ok(())
}
