//! Reads it all once a tick, and takes flows out of the table that are idle or in the way.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::maps::Map;
use aya::programs::SchedClassifier;
use netmon_common::traffic::{BURSTS, FLOW_CPUS, FLOWS, FlowCpu, FlowKey, JIFFIES_PROGRAM, TOTALS};

use super::clock::JiffyClock;
use super::decode;
use super::ids::Ids;
use super::layout::Layout;
use super::table::FlowTable;
use super::totals::Totals;
use crate::model::accounting::Traffic;
use crate::model::link::IfIndex;
use crate::model::traffic::facts::{FlowFacts, Flows, Missing, Part, TrafficFacts};
use crate::model::traffic::options::FlowOptions;
use crate::sources::ebpf::errors::EbpfUnavailable;
use crate::sources::ebpf::mapped::MappedArray;
use crate::sources::ebpf::object::take_map;

/// Flows that are taken out at one reading: each takes a system call, and the tick has to go on.
const MOST_REMOVALS: usize = 2048;
/// So many are kept that might be taken out, before the older half of them is chosen.
const MOST_RESTING: usize = 2 * MOST_REMOVALS;

/// Reads what the programs count.
pub struct FlowReader {
    clock: JiffyClock,
    idle: u64,
    table: FlowTable,
    ids: Ids,
    cpus: MappedArray<FlowCpu>,
    totals: Totals,
    /// When the table was read before.
    before: u64,
    expired: u64,
    evicted: u64,
    gone: Traffic,
    resting: Resting,
    keep: bool,
}

impl FlowReader {
    /// Takes the maps out of the object, whose programs are loaded already.
    ///
    /// # Errors
    /// When something is not as it should be.
    pub(in super::super) fn new(
        ebpf: &mut Ebpf,
        options: &FlowOptions,
        layout: Layout,
    ) -> Result<Self, EbpfUnavailable> {
        let clock = start_clock(ebpf)?;
        let now = clock.now().map_err(|error| unavailable("cannot read the clock", &error))?;
        let map = map_fd(ebpf, FLOWS)?;
        let totals = mapped(ebpf, TOTALS, layout.totals())?;
        let bursts = mapped(ebpf, BURSTS, layout.buckets())?;
        Ok(Self {
            clock,
            idle: clock.jiffies(options.idle),
            table: FlowTable::new(map),
            ids: Ids::default(),
            cpus: mapped(ebpf, FLOW_CPUS, layout.cpus)?,
            totals: Totals::new(layout, totals, bursts, now),
            before: now,
            expired: 0,
            evicted: 0,
            gone: Traffic::default(),
            resting: Resting::default(),
            keep: options.keep,
        })
    }

    /// An interface gets this slot: what is in it already is not the interface's.
    pub fn begin(&mut self, slot: u32) {
        self.totals.begin(slot);
    }

    /// Reads the totals of these interfaces (with slot and life) into the facts.
    pub fn read_totals(
        &mut self,
        interfaces: impl Iterator<Item = (IfIndex, u32, u32)>,
        facts: &mut TrafficFacts,
    ) {
        facts.missing.retain(|missing| missing.part != Part::Flows);
        let mut totals = facts.interfaces.take().unwrap_or_default();
        match self.clock.now() {
            Ok(now) => {
                self.totals.read(&self.clock, now, interfaces, &mut totals);
                facts.interfaces = Some(totals);
            }
            Err(error) => set_missing(facts, &error),
        }
    }

    /// Reads flows, and hands them to `take` part by part: a table that is full is long, and is
    /// to be kept only where it is shown. Afterwards the facts have the last part, and the rest
    /// of what is known of the table. Without flows that anybody wants there is nothing to read.
    pub fn read_flows(&mut self, facts: &mut TrafficFacts, mut take: impl FnMut(&mut Flows)) {
        if !self.keep {
            facts.flows = None;
            return;
        }
        let mut flows = facts.flows.take().unwrap_or_default();
        match self.try_read(&mut flows, &mut take) {
            Ok(()) => facts.flows = Some(flows),
            Err(error) => set_missing(facts, &error),
        }
    }

    /// Reads all of it into the facts.
    pub fn read(
        &mut self,
        interfaces: impl Iterator<Item = (IfIndex, u32, u32)>,
        facts: &mut TrafficFacts,
    ) {
        self.read_totals(interfaces, facts);
        let mut all = Vec::new();
        self.read_flows(facts, |part| all.append(&mut part.flows));
        if let Some(flows) = &mut facts.flows {
            flows.flows = all;
        }
    }

    fn try_read(&mut self, flows: &mut Flows, take: &mut impl FnMut(&mut Flows)) -> io::Result<()> {
        let now = self.clock.now()?;
        let Layout { capacity, sample, .. } = self.totals.layout;
        flows.capacity = capacity;
        flows.sample = sample;
        let count = self.read_parts(flows, take)?;
        flows.evicted = self.evicted;
        flows.expired = self.expired;
        flows.gone = self.gone;
        flows.untracked = self.untracked();
        // What is taken out now is in the table as it was read, so it is told the next time.
        if let Err(error) = self.make_room(count, now) {
            // What was read holds. Flows stay, and if that goes on new ones become `untracked`.
            tracing::debug!("a flow cannot be taken out of the table: {error}");
        }
        self.before = now;
        Ok(())
    }

    /// Returns how many there are.
    fn read_parts(
        &mut self,
        flows: &mut Flows,
        take: &mut impl FnMut(&mut Flows),
    ) -> io::Result<usize> {
        let Self { clock, table, ids, resting, before, .. } = self;
        let (sample, mut count) = (flows.sample, 0);
        resting.0.clear();
        ids.begin();
        table.read(|keys, values| {
            flows.flows.clear();
            for (key, value) in keys.iter().zip(values) {
                if value.last < *before {
                    resting.add(value.last, key);
                }
                let (id, life) = ids.of(key);
                flows.flows.push(FlowFacts {
                    id,
                    life,
                    key: decode::key(key),
                    skb: decode::skb(value, sample),
                    wire: decode::wire(value, sample),
                    first: clock.time(value.first),
                    last: clock.time(value.last),
                    tcp_flags: value.tcp_flags as u8,
                    process: None,
                });
            }
            count += keys.len();
            take(flows);
        })?;
        ids.end();
        Ok(count)
    }

    /// Takes out flows that are idle for long, and where the table is nearly full those that had
    /// no packet for longest, but none that had one since the reading before.
    fn make_room(&mut self, count: usize, now: u64) -> io::Result<()> {
        let limit = now.saturating_sub(self.idle);
        let capacity = self.totals.layout.capacity as usize;
        let wanted = match count >= capacity - capacity / 16 {
            true => (count - (capacity - capacity / 4).min(count)).max(1),
            false => 0,
        };
        let mut resting = std::mem::take(&mut self.resting);
        let idle = resting.0.iter().filter(|(last, _)| *last < limit).count();
        let removals = idle.max(wanted).min(MOST_REMOVALS);
        let result = resting.oldest(removals).iter().try_for_each(|(last, key)| {
            if let Some(value) = self.table.remove(key)? {
                let carried = decode::wire(&value, self.totals.layout.sample);
                self.gone = self.gone.plus(carried);
                *(if *last < limit { &mut self.expired } else { &mut self.evicted }) += 1;
            }
            self.ids.remove(key);
            Ok(())
        });
        self.resting = resting;
        result
    }

    fn untracked(&self) -> Traffic {
        let sample = self.totals.layout.sample;
        let add = |sum: Traffic, cpu| {
            let found = self.cpus.get(cpu).unwrap_or_default().untracked;
            sum.plus(decode::scaled(found.packets, found.bytes, sample))
        };
        (0..self.cpus.length()).fold(Traffic::default(), add)
    }
}

/// Flows without a packet since the reading before, and when they had their last: of more than
/// can be taken out those that had it first.
#[derive(Default)]
struct Resting(Vec<(u64, FlowKey)>);

impl Resting {
    fn add(&mut self, last: u64, key: &FlowKey) {
        if self.0.len() >= MOST_RESTING {
            self.oldest(MOST_REMOVALS);
            self.0.truncate(MOST_REMOVALS);
        }
        self.0.push((last, *key));
    }

    /// So many of them, or all.
    fn oldest(&mut self, count: usize) -> &[(u64, FlowKey)] {
        if 0 < count && count < self.0.len() {
            self.0.select_nth_unstable_by_key(count - 1, |(last, _)| *last);
        }
        &self.0[..count.min(self.0.len())]
    }
}

fn set_missing(facts: &mut TrafficFacts, error: &io::Error) {
    facts.missing.push(Missing {
        part: Part::Flows,
        why: format!("the table of flows cannot be read: {error}"),
    });
}

fn unavailable(
    operation: &'static str,
    error: &(dyn std::error::Error + 'static),
) -> EbpfUnavailable {
    EbpfUnavailable::new(operation, error)
}

fn start_clock(ebpf: &mut Ebpf) -> Result<JiffyClock, EbpfUnavailable> {
    const OPERATION: &str = "cannot learn the kernel's time";
    let program = ebpf.program_mut(JIFFIES_PROGRAM).ok_or_else(|| EbpfUnavailable::Kernel {
        operation: "cannot use the embedded eBPF object",
        error: format!("it has no program {JIFFIES_PROGRAM}"),
    })?;
    let program: &mut SchedClassifier =
        program.try_into().map_err(|error| unavailable(OPERATION, &error))?;
    program.load().map_err(|error| unavailable(OPERATION, &error))?;
    let tick = super::clock::tick().map_err(|error| unavailable(OPERATION, &error))?;
    let clock = JiffyClock::start(program, tick)
        .map_err(|error| EbpfUnavailable::Kernel { operation: OPERATION, error })?;
    program.unload().map_err(|error| unavailable(OPERATION, &error))?;
    Ok(clock)
}

fn map_fd(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, EbpfUnavailable> {
    let (Map::HashMap(data) | Map::Array(data)) = take_map(ebpf, name)? else {
        return Err(EbpfUnavailable::Kernel {
            operation: "cannot use the embedded eBPF object",
            error: format!("{name} is of another kind"),
        });
    };
    let fd = data.fd().as_fd().try_clone_to_owned();
    fd.map_err(|error| unavailable("cannot duplicate a map", &error))
}

fn mapped<T: bytemuck::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
    length: u32,
) -> Result<MappedArray<T>, EbpfUnavailable> {
    MappedArray::new(map_fd(ebpf, name)?, length)
        .map_err(|error| unavailable("cannot map what the programs count", &error))
}
