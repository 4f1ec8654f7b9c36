//! Who and what the traffic is: the sources that were asked for, and what they tell at each tick.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::config::TrafficSettings;
use crate::model::link::IfIndex;
use crate::model::traffic::facts::{
    FlowKey, Flows, KernelTime, Missing, Part, Processes, TrafficFacts,
};
use crate::model::traffic::options::FlowOptions;
use crate::sources::ebpf::flows::FlowReader;
use crate::sources::trace::{TraceOptions, Tracer};

/// A flow's socket is looked for so long: one that has none by then is forwarded, or is not told
/// of by the sockets' tracepoints.
const LOOK_FOR_OWNER: Duration = Duration::from_secs(10);

/// So many are looked for at a tick, since each is a system call or two.
const MOST_LOOK_UPS: usize = 300;

/// The sources and their facts.
pub(super) struct TrafficSources {
    flows: Option<FlowReader>,
    tracer: Option<Tracer>,
    facts: TrafficFacts,
    owners: Owners,
    places: Places,
}

/// Interfaces by their number, with their places in the list: each is looked for a few times a
/// tick, and so is each drop's, and there may be ten thousand.
type Places = Vec<(IfIndex, usize)>;

/// Which process has a flow's socket, by the number of the flow. The facts of flows are made anew
/// at each tick.
#[derive(Default)]
struct Owners {
    /// The life of a flow with that number, and its process.
    known: Vec<(u32, Option<u32>)>,
    /// The place of the flow at which looking goes on.
    next: usize,
    /// By number, those that have ended; room for it.
    ended: Vec<bool>,
}

/// What is asked of the programs that count, if flows are wanted.
pub(super) fn flow_options(settings: &TrafficSettings, interfaces: usize) -> Option<FlowOptions> {
    settings.wants(Part::Flows).then(|| FlowOptions {
        capacity: settings.flow_capacity,
        sample: settings.flow_sample,
        interfaces,
        ..FlowOptions::default()
    })
}

impl TrafficSources {
    /// Starts what is wanted and can be had; the rest is missing, with the reason. `None`:
    /// nothing is wanted.
    pub(super) fn start(settings: &TrafficSettings) -> Option<Self> {
        let options = TraceOptions {
            processes: settings.wants(Part::Processes),
            drops: settings.wants(Part::Drops),
            ..TraceOptions::default()
        };
        let mut facts = TrafficFacts::default();
        let tracer = (options.processes || options.drops).then(|| {
            let (tracer, missing) = Tracer::start(&options);
            facts.missing = missing;
            tracer
        });
        let wanted = !settings.parts.is_empty();
        wanted.then_some(Self {
            flows: None,
            tracer,
            facts,
            owners: Owners::default(),
            places: Places::new(),
        })
    }

    /// The programs that count tell flows apart, or do not, and why.
    pub(super) fn set_flows(&mut self, flows: Result<FlowReader, String>) {
        match flows {
            Ok(flows) => self.flows = Some(flows),
            Err(why) => self.facts.missing.push(Missing { part: Part::Flows, why }),
        }
    }

    /// The programs begin to count in a slot.
    pub(super) fn begin(&mut self, slot: u32) {
        if let Some(flows) = &mut self.flows {
            flows.begin(slot);
        }
    }

    /// Reads everything once. `interfaces` are those that the programs count: number, slot and
    /// life.
    pub(super) fn read(&mut self, interfaces: impl Iterator<Item = (IfIndex, u32, u32)>) {
        let Self { flows, tracer, facts, owners, places: _ } = self;
        facts.now = now();
        // Processes first: of one that is read as ended here, all flows are in the table by now.
        if let Some(tracer) = tracer {
            tracer.read(facts.now, facts);
        }
        if let Some(flows) = flows {
            flows.read(interfaces, facts);
        }
        if let Some(tracer) = tracer {
            // First of all: who has ended since the tick before still is asked for now.
            if let (Some(flows), Some(_)) = (&mut facts.flows, &facts.processes) {
                owners.give(flows, facts.now, |flow| tracer.owner(flow));
            }
            // Also where flows cannot be read now: the numbers of the ended go to others.
            if let Some(processes) = &facts.processes {
                owners.release(processes);
            }
            tracer.forget_ended();
        }
    }

    /// Forgets drops at interfaces that are not watched. Those without an interface stay.
    pub(super) fn keep_drops(&mut self, watched: impl Fn(IfIndex) -> bool) {
        if let Some(drops) = &mut self.facts.drops {
            drops.retain(|drops| drops.ifindex.is_none_or(&watched));
        }
    }

    /// Room for the places of a tick, empty.
    pub(super) fn take_places(&mut self) -> Places {
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        places
    }

    /// Keeps the room for the next tick.
    pub(super) fn keep_places(&mut self, places: Places) {
        self.places = places;
    }

    /// What was read last.
    pub(super) const fn facts(&self) -> &TrafficFacts {
        &self.facts
    }
}

impl Owners {
    /// Forgets processes that have ended: their numbers are given to others. Who shows flows knows
    /// by now whose they were.
    fn release(&mut self, processes: &Processes) {
        let Self { known, ended, next: _ } = self;
        ended.clear();
        for process in processes.processes.iter().filter(|process| !process.alive) {
            let id = process.id as usize;
            if ended.len() <= id {
                ended.resize(id + 1, false);
            }
            ended[id] = true;
        }
        if ended.is_empty() {
            return;
        }
        for (_, process) in known {
            *process = process.filter(|id| ended.get(*id as usize) != Some(&true));
        }
    }

    /// Gives flows the processes that have their sockets, and looks for those of young flows
    /// that have none yet.
    fn give(
        &mut self,
        flows: &mut Flows,
        now: KernelTime,
        look_up: impl Fn(&FlowKey) -> Option<u32>,
    ) {
        let count = flows.flows.len();
        let (begin, mut look_ups) = (self.next.min(count), 0);
        let (before, after) = flows.flows.split_at_mut(begin);
        for (place, flow) in (begin..count).zip(after).chain((0..begin).zip(before)) {
            let id = flow.id as usize;
            if self.known.len() <= id {
                self.known.resize(id + 1, (0, None));
            }
            let (life, process) = &mut self.known[id];
            if *life != flow.life {
                (*life, *process) = (flow.life, None);
            }
            let is_young = now.0.saturating_sub(flow.first.0) < LOOK_FOR_OWNER;
            if process.is_none() && is_young && look_ups < MOST_LOOK_UPS {
                look_ups += 1;
                self.next = place + 1;
                *process = look_up(&flow.key);
            }
            flow.process = *process;
        }
    }
}

/// The kernel's clock that the programs' times are by.
#[expect(clippy::expect_used, reason = "refused only for a clock that does not exist")]
fn now() -> KernelTime {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    KernelTime(Duration::from(now))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::traffic::facts::FlowFacts;
    use crate::model::traffic::samples;

    const NOW: KernelTime = KernelTime(Duration::from_secs(100));

    fn flows(count: u32, age: u64) -> Flows {
        let first = KernelTime(NOW.0.saturating_sub(Duration::from_secs(age)));
        let Some(flow) = samples::facts(1).flows.and_then(|flows| flows.flows.first().copied())
        else {
            panic!("a sample without flows");
        };
        let flow = |id| FlowFacts { id, life: 1, first, process: None, ..flow };
        Flows { flows: (0..count).map(flow).collect(), ..Flows::default() }
    }

    #[test]
    fn an_owner_stays_with_the_flow_until_it_ends() {
        let mut owners = Owners::default();
        owners.give(&mut flows(2, 1), NOW, |_| Some(7));
        let mut old = flows(2, 60);
        old.flows[1].life = 2;
        owners.give(&mut old, NOW, |_| Some(8));
        let processes: Vec<_> = old.flows.iter().map(|flow| flow.process).collect();
        assert_eq!(processes, [Some(7), None], "another flow has the second one's number");
        let mut ended = samples::facts(1).processes.unwrap_or_default();
        ended.processes.truncate(1);
        ended.processes[0].id = 7;
        ended.processes[0].alive = false;
        owners.release(&ended);
        owners.give(&mut old, NOW, |_| None);
        assert_eq!(old.flows[0].process, None);
    }

    #[test]
    fn each_gets_its_turn() {
        let mut owners = Owners::default();
        let count = MOST_LOOK_UPS as u32 + 10;
        for expected in [MOST_LOOK_UPS, MOST_LOOK_UPS] {
            let look_ups = Cell::new(0);
            let mut flows = flows(count, 1);
            owners.give(&mut flows, NOW, |_| {
                look_ups.set(look_ups.get() + 1);
                None
            });
            assert_eq!(look_ups.get(), expected);
        }
        let mut flows = flows(count, 1);
        owners.give(&mut flows, NOW, |_| Some(1));
        owners.give(&mut flows, NOW, |_| Some(1));
        assert!(flows.flows.iter().all(|flow| flow.process == Some(1)));
    }
}
