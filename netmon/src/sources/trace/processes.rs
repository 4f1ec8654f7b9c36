//! The table of processes: who is in it by the kernel's notes, what more procfs tells of those
//! that live, and when their slots are free again.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{HashMap, MapData, Stack};
use netmon_common::trace::{
    self as common, Carried, Mark, PF_KTHREAD, ProcessCounters, ProcessInfo, ProcessKey,
    SocketCounters,
};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use super::load::{take_array, take_map};
use super::proc::Proc;
use super::users::Users;
use super::{cgroup, load};
use crate::model::traffic::facts::{KernelTime, ProcessFacts, Processes, SocketTraffic};
use crate::sources::ebpf::mapped::{MappedArray, WritableArray};
use crate::sources::process;

/// How many processes are looked at in procfs in one tick (some 25 µs each); more must wait.
const LOOKS: usize = 32;
/// How far beyond the highest slot in use is looked for new ones: slots are given out from the
/// lowest on, so if none of these is used, none is further on.
const MARGIN: usize = 16;

/// [`ProcessKey`] as aya takes it.
type Key = [u64; 2];

/// All processes that have sent or received.
pub(super) struct ProcessTable {
    /// Those that were read for the last time, whose slots are not free yet.
    ended: Vec<(usize, ProcessInfo)>,
    info: WritableArray<ProcessInfo>,
    counters: WritableArray<ProcessCounters>,
    slots_by_key: HashMap<MapData, Key, u32>,
    free: Stack<MapData, u32>,
    cpus: usize,
    /// By slot; slot 0 is nobody's.
    slots: Vec<Slot>,
    newcomers: Newcomers,
    users: Users,
    proc: Option<Proc>,
    /// Splicing out of a TCP socket is counted.
    sees_splice: bool,
}

#[derive(Default)]
struct Slot {
    life: u32,
    process: Option<Known>,
}

/// Which processes are new to the network. One that was started after counting began is. One that
/// ran before may have talked then, which nobody knows: it is new only if it was silent for the
/// first while, too.
struct Newcomers {
    /// When counting began, by the clock that processes' starts are told by, in nanoseconds.
    began: u64,
    /// How long who ran before is taken for one that talked before.
    settling: Duration,
    /// Since when, by the clock of the readings.
    first_read: Option<KernelTime>,
    /// That time was over when the table was read before: who is met now was silent in it.
    settled: bool,
}

/// Who has a slot.
struct Known {
    key: ProcessKey,
    facts: ProcessFacts,
    name: [u64; 2],
    renamed: u32,
    /// Procfs is still to be asked.
    unseen: bool,
}

impl ProcessTable {
    /// Takes the maps. Slots can be given out from now on.
    pub(super) fn new(
        ebpf: &mut Ebpf,
        (slots, cpus): (u32, u32),
        settling: Duration,
    ) -> Result<Self, String> {
        let wrong = |error: aya::maps::MapError| load::one_line_of(&error);
        let map = |error: std::io::Error| format!("cannot map the processes' counters: {error}");
        let info = take_array(ebpf, common::PROCESS_INFO)?;
        let counters = take_array(ebpf, common::PROCESS_COUNTERS)?;
        let (slots, cpus) = (slots as usize, cpus as usize);
        let mut free: Stack<MapData, u32> =
            take_map(ebpf, common::FREE_PROCESSES)?.try_into().map_err(wrong)?;
        for slot in (1..slots as u32).rev() {
            free.push(slot, 0).map_err(wrong)?;
        }
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100).cast_unsigned();
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(|error| error.to_string())?;
        let proc = process::proc_is_ours().then(|| Proc::new("/proc", ticks));
        // By the clock of the programs, which know nothing of time namespaces.
        let offset = proc.as_ref().map_or(0, Proc::boot_offset);
        let began =
            (Duration::from(now).as_nanos() as u64).saturating_add_signed(offset.saturating_neg());
        Ok(Self {
            ended: Vec::new(),
            info: MappedArray::writable(info.fd().as_fd(), slots as u32).map_err(map)?,
            counters: MappedArray::writable(counters.fd().as_fd(), (slots * cpus) as u32)
                .map_err(map)?,
            slots_by_key: take_map(ebpf, common::PROCESSES)?.try_into().map_err(wrong)?,
            free,
            cpus,
            slots: (0..slots).map(|_| Slot::default()).collect(),
            newcomers: Newcomers { began, settling, first_read: None, settled: false },
            users: Users::new("/etc/passwd"),
            proc,
            sees_splice: false,
        })
    }

    /// Also what goes through this function of the kernel's is counted.
    pub(super) fn sees(&mut self, function: &str) {
        self.sees_splice |= function == common::SPLICE_FUNCTIONS[0].1;
    }

    /// Whether splicing out of a TCP socket is counted.
    pub(super) fn sees_splice(&self) -> bool {
        self.sees_splice
    }

    /// Puts what there is now in the place of `into`. Who has ended is in it for the last time,
    /// and keeps its slot until [`Self::forget_ended`], or until the next reading.
    pub(super) fn read(&mut self, now: KernelTime, into: &mut Processes) {
        self.forget_ended();
        into.processes.clear();
        into.capacity = self.slots.len().saturating_sub(1) as u32;
        into.settled = true;
        into.untracked = bytes(&self.counters_of(0));
        let (mut looks, mut unused, mut slot) = (LOOKS, 0, 1);
        while slot < self.slots.len() && unused < MARGIN {
            match self.read_slot(slot, &mut looks) {
                Some(facts) => {
                    into.processes.push(facts);
                    unused = 0;
                }
                None if self.was_used(slot) => {}
                None => unused += 1,
            }
            slot += 1;
        }
        self.newcomers.have_been_read(now);
    }

    /// Gives the slots of those that have ended to others.
    pub(super) fn forget_ended(&mut self) {
        let mut ended = std::mem::take(&mut self.ended);
        for (slot, info) in ended.drain(..) {
            self.forget(slot, &info);
        }
        self.ended = ended;
    }

    /// The process of a mark, if it still is in the table.
    pub(super) fn id_of(&self, mark: Mark) -> Option<u32> {
        let key = self.slots.get(mark.slot() as usize)?.process.as_ref()?.key;
        Mark::of(key.tgid, key.started).is_same_process(mark).then(|| mark.slot())
    }

    fn was_used(&self, slot: usize) -> bool {
        self.slots[slot].life > 0
    }

    fn read_slot(&mut self, slot: usize, looks: &mut usize) -> Option<ProcessFacts> {
        let info = self.info.get(slot as u32)?;
        if info.key.tgid == 0 {
            return None;
        }
        // Who is marked as ended counts no more: what is read from now on is all of it.
        fence(Ordering::Acquire);
        let counters = self.counters_of(slot);
        self.meet(slot, &info);
        let known = self.slots[slot].process.as_mut()?;
        let ProcessCounters { tcp, udp } = &counters;
        known.facts.tcp = traffic(tcp);
        known.facts.udp = traffic(udp);
        known.facts.alive = info.ended == 0;
        if known.unseen && *looks > 0 && known.facts.alive {
            *looks -= 1;
            known.look(self.proc.as_ref());
        }
        let facts = known.facts.clone();
        if info.ended != 0 {
            self.ended.push((slot, info));
        }
        Some(facts)
    }

    /// Sees to it that the slot's process is known, by the name that it has now.
    fn meet(&mut self, slot: usize, info: &ProcessInfo) {
        let Self { slots, users, newcomers, .. } = self;
        let Slot { life, process } = &mut slots[slot];
        match process {
            Some(known) => {
                if (known.renamed, known.name) != (info.renamed, info.name) {
                    known.facts.name = name(info);
                    // It may be another program: exec(2). Of the one that it was it has the command
                    // line no more; whether it is new is for whoever remembers programs to say.
                    known.facts.command = None;
                    known.facts.is_new |= newcomers.settled;
                    known.unseen = !known.facts.kernel_thread && info.pid != 0;
                    (known.renamed, known.name) = (info.renamed, info.name);
                }
            }
            None => {
                *life += 1;
                let group: [u8; 8 * common::CGROUP_WORDS] = bytemuck::cast(info.cgroup);
                let facts = ProcessFacts {
                    id: slot as u32,
                    life: *life,
                    pid: if info.pid == 0 { info.key.tgid } else { info.pid },
                    started: KernelTime(Duration::from_nanos(info.started_monotonic)),
                    name: name(info),
                    command: None,
                    uid: info.uid,
                    user: Some(users.shown(info.uid)),
                    cgroup: cgroup::name(&text(&group)).map(Arc::from),
                    kernel_thread: info.flags & PF_KTHREAD != 0,
                    alive: true,
                    is_new: newcomers.settled || info.key.started > newcomers.began,
                    tcp: SocketTraffic::default(),
                    udp: SocketTraffic::default(),
                };
                let unseen = info.pid != 0 && !facts.kernel_thread;
                let (name, renamed) = (info.name, info.renamed);
                *process = Some(Known { key: info.key, facts, name, renamed, unseen });
            }
        }
    }

    /// Makes the slot free. First no one finds it any more, then it is emptied.
    fn forget(&mut self, slot: usize, info: &ProcessInfo) {
        self.slots[slot].process = None;
        if let Err(error) = self.slots_by_key.remove(&bytemuck::cast(info.key)) {
            tracing::debug!("the slot {slot} of a process that has ended: {error}");
        }
        for cpu in 0..self.cpus {
            self.counters.set((slot * self.cpus + cpu) as u32, ProcessCounters::default());
        }
        self.info.set(slot as u32, ProcessInfo::default());
        if let Err(error) = self.free.push(slot as u32, 0) {
            tracing::debug!("the slot {slot} is lost: {error}");
        }
    }

    fn counters_of(&self, slot: usize) -> ProcessCounters {
        let mut sum = ProcessCounters::default();
        for cpu in 0..self.cpus {
            let counters = self.counters.get((slot * self.cpus + cpu) as u32).unwrap_or_default();
            let ProcessCounters { tcp, udp } = &counters;
            for (sum, one) in [(&mut sum.tcp, tcp), (&mut sum.udp, udp)] {
                let SocketCounters { tx, rx } = one;
                for (sum, one) in [(&mut sum.tx, tx), (&mut sum.rx, rx)] {
                    let Carried { bytes, messages } = one;
                    sum.bytes = sum.bytes.wrapping_add(*bytes);
                    sum.messages = sum.messages.wrapping_add(*messages);
                }
            }
        }
        sum
    }
}

impl Newcomers {
    fn have_been_read(&mut self, now: KernelTime) {
        let first = *self.first_read.get_or_insert(now);
        self.settled = now.0.saturating_sub(first.0) >= self.settling;
    }
}

impl Known {
    /// Asks procfs. What it does not tell stays as the kernel has told it.
    fn look(&mut self, proc: Option<&Proc>) {
        self.unseen = false;
        let Some(look) = proc.and_then(|proc| proc.look(self.facts.pid, self.key.started)) else {
            return;
        };
        self.facts.command = look.command.map(Arc::from);
        if let Some(cgroup) = look.cgroup {
            self.facts.cgroup = Some(Arc::from(cgroup));
        }
    }
}

fn traffic(counters: &SocketCounters) -> SocketTraffic {
    let SocketCounters { tx, rx } = counters;
    SocketTraffic {
        tx_bytes: tx.bytes,
        tx_messages: tx.messages,
        rx_bytes: rx.bytes,
        rx_messages: rx.messages,
    }
}

fn bytes(counters: &ProcessCounters) -> u64 {
    let ProcessCounters { tcp, udp } = counters;
    let sum = |it: &SocketCounters| it.tx.bytes.wrapping_add(it.rx.bytes);
    sum(tcp).wrapping_add(sum(udp))
}

fn name(info: &ProcessInfo) -> Arc<str> {
    let bytes: [u8; 16] = bytemuck::cast(info.name);
    Arc::from(text(&bytes))
}

/// Up to the first zero. What would change a terminal becomes a space.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]);
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
