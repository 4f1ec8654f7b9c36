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
use crate::model::traffic::facts::{FlowFacts, Flows, InterfaceFacts, Missing, Part, TrafficFacts};
use crate::model::traffic::options::FlowOptions;
use crate::sources::ebpf::errors::EbpfUnavailable;
use crate::sources::ebpf::mapped::MappedArray;
use crate::sources::ebpf::object::take_map;

/// Flows that are taken out at one reading: each takes a system call, and the tick has to go on.
const MOST_REMOVALS: usize = 2048;

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
    /// Flows without a packet since the reading before, and when they had their last.
    resting: Vec<(u64, FlowKey)>,
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
            resting: Vec::new(),
        })
    }

    /// An interface gets this slot: what is in it already is not the interface's.
    pub fn begin(&mut self, slot: u32) {
        self.totals.begin(slot);
    }

    /// Reads flows, and the totals of these interfaces (with slot and life) into the facts.
    pub fn read(
        &mut self,
        interfaces: impl Iterator<Item = (IfIndex, u32, u32)>,
        facts: &mut TrafficFacts,
    ) {
        facts.missing.retain(|missing| missing.part != Part::Flows);
        let mut flows = facts.flows.take().unwrap_or_default();
        let mut totals = facts.interfaces.take().unwrap_or_default();
        match self.try_read(interfaces, &mut flows, &mut totals) {
            Ok(()) => {
                facts.flows = Some(flows);
                facts.interfaces = Some(totals);
            }
            Err(error) => facts.missing.push(Missing {
                part: Part::Flows,
                why: format!("the table of flows cannot be read: {error}"),
            }),
        }
    }

    fn try_read(
        &mut self,
        interfaces: impl Iterator<Item = (IfIndex, u32, u32)>,
        flows: &mut Flows,
        totals: &mut Vec<InterfaceFacts>,
    ) -> io::Result<()> {
        let now = self.clock.now()?;
        self.totals.read(&self.clock, now, interfaces, totals);
        self.read_flows(flows)?;
        let Layout { capacity, sample, .. } = self.totals.layout;
        flows.capacity = capacity;
        flows.sample = sample;
        flows.evicted = self.evicted;
        flows.expired = self.expired;
        flows.gone = self.gone;
        flows.untracked = self.untracked();
        // What is taken out now is in the table as it was read, so it is told the next time.
        if let Err(error) = self.make_room(flows.flows.len(), now) {
            // What was read holds. Flows stay, and if that goes on new ones become `untracked`.
            tracing::debug!("a flow cannot be taken out of the table: {error}");
        }
        self.before = now;
        Ok(())
    }

    fn read_flows(&mut self, flows: &mut Flows) -> io::Result<()> {
        let Self { clock, table, ids, resting, before, .. } = self;
        let sample = self.totals.layout.sample;
        resting.clear();
        flows.flows.clear();
        ids.begin();
        table.read(|key, value| {
            let (id, life) = ids.of(key);
            if value.last < *before {
                resting.push((value.last, *key));
            }
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
        })?;
        ids.end(flows.flows.len());
        Ok(())
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
        let idle = resting.iter().filter(|(last, _)| *last < limit).count();
        let removals = idle.max(wanted).min(resting.len()).min(MOST_REMOVALS);
        if 0 < removals && removals < resting.len() {
            resting.select_nth_unstable_by_key(removals - 1, |(last, _)| *last);
        }
        let result = resting[..removals].iter().try_for_each(|(last, key)| {
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
