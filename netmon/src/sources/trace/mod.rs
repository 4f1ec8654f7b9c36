//! Who sends and receives, and why packets are dropped: from tracepoints, which see all network
//! namespaces. Each part can be missing for itself, and says why:
//!
//! | part | least kernel | without |
//! |---|---|---|
//! | processes, owners of sockets | 6.3 (`sock_send_length`); before, one that lets programs stand at the ends of its functions (fexit) | nothing else tells exactly |
//! | drops by reason | 5.17 | the interfaces' own counters stay |
//!
//! Loading needs CAP_BPF and CAP_PERFMON, and the kernel's BTF. Reading needs no privileges (CAP_BPF
//! before Linux 5.19).

pub mod btf;
pub mod cgroup;
mod drops;
mod load;
pub mod offsets;
mod owners;
pub mod proc;
mod processes;
pub mod users;

use std::time::Duration;

use aya::Ebpf;
use netmon_common::trace as common;

use crate::model::traffic::facts::{FlowKey, KernelTime, Missing, TrafficFacts};
use drops::DropTable;
use owners::Owners;
use processes::ProcessTable;

/// What to look at, and how much room there is for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// Processes and the owners of sockets.
    pub processes: bool,
    /// Drops.
    pub drops: bool,
    /// How many processes are told apart at a time; 65,534 at most.
    pub process_capacity: u32,
    /// How many sockets have a known owner; of more, the least recently used are forgotten.
    pub owner_capacity: u32,
    /// How many pairs of interface and reason drops are counted for; one is for all others.
    pub drop_capacity: u32,
    /// How long a process that ran before the start is taken for one that talked before, too,
    /// when it talks: which sockets were in use is not known.
    pub settling: Duration,
}

/// What talks all the time has talked by then.
const SETTLING: Duration = Duration::from_secs(10);

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            processes: true,
            drops: true,
            process_capacity: common::PROCESSES_DEFAULT - 1,
            owner_capacity: common::OWNERS_DEFAULT,
            drop_capacity: common::DROPS_MOST,
            settling: SETTLING,
        }
    }
}

/// The programs in the kernel and what they found. Dropping it takes them out.
pub struct Tracer {
    processes: Option<ProcessTable>,
    owners: Option<Owners>,
    drops: Option<DropTable>,
    /// The programs and what holds them attached.
    _ebpf: Option<Ebpf>,
}

impl Tracer {
    /// Loads and attaches what is wanted and can be had, and says what cannot.
    #[must_use]
    pub fn start(options: &TraceOptions) -> (Self, Vec<Missing>) {
        let load::Loaded { ebpf, processes, owners, drops, missing } = load::load(options);
        (Self { processes, owners, drops, _ebpf: ebpf }, missing)
    }

    /// Reads what there is now. Who has ended still owns his flows until [`Self::forget_ended`], or
    /// until the next reading.
    pub fn read(&mut self, now: KernelTime, facts: &mut TrafficFacts) {
        facts.now = now;
        if let Some(processes) = &mut self.processes {
            processes.read(now, facts.processes.get_or_insert_default());
        }
        if let Some(drops) = &mut self.drops {
            drops.read(facts.drops.get_or_insert_default());
        }
    }

    /// Those that were read as ended own nothing any more, and others get their numbers.
    pub fn forget_ended(&mut self) {
        if let Some(processes) = &mut self.processes {
            processes.forget_ended();
        }
    }

    /// Whether what processes splice out of TCP sockets is counted: by a program at the end of a
    /// function, which not every kernel allows.
    #[must_use]
    pub fn sees_splice(&self) -> bool {
        self.processes.as_ref().is_some_and(ProcessTable::sees_splice)
    }

    /// The process that has the socket of a flow ([`crate::model::traffic::facts::ProcessFacts::id`]),
    /// as far as it has sent or received on it already. A system call or a few: not for every
    /// flow at every tick. Sockets of other network namespaces than the agent's are not asked for.
    #[must_use]
    pub fn owner(&self, flow: &FlowKey) -> Option<u32> {
        let mark = self.owners.as_ref()?.mark(flow)?;
        self.processes.as_ref()?.id_of(mark)
    }
}
