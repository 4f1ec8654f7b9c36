//! Who and what the traffic is: the sources that were asked for, and what they tell at each tick.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::config::TrafficSettings;
use crate::memory;
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

/// No process has this number.
const NOBODY: u32 = u32::MAX;

/// Which process has a flow's socket, by the number of the flow. The facts of flows are made anew
/// at each tick.
#[derive(Default)]
struct Owners {
    /// The life of a flow with that number, and its process, or [`NOBODY`].
    known: Vec<(u32, u32)>,
    /// The place of the flow at which looking began in this reading.
    from: usize,
    /// The place at which it goes on in the next one; 0: all had their turn.
    next: usize,
    /// The place of the next flow of this reading.
    place: usize,
    /// How many were looked for in this reading.
    look_ups: usize,
    /// By number, those that have ended; room for it.
    ended: Vec<bool>,
}

/// What is asked of the programs that count, if flows are wanted.
pub(super) fn flow_options(settings: &TrafficSettings, interfaces: usize) -> Option<FlowOptions> {
    settings.wants(Part::Flows).then(|| FlowOptions {
        capacity: settings.flow_capacity,
        sample: settings.flow_sample,
        keep: settings.keep_flows,
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
        if !settings.parts.is_empty() {
            memory::give_back_large_parts();
        }
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

    /// Reads everything once, but flows. `interfaces` are those that the programs count: number,
    /// slot and life.
    pub(super) fn read(&mut self, interfaces: impl Iterator<Item = (IfIndex, u32, u32)>) {
        let Self { flows, tracer, facts, owners: _, places: _ } = self;
        facts.now = now();
        // Processes first: of one that is read as ended here, all flows are in the table later.
        if let Some(tracer) = tracer {
            tracer.read(facts.now, facts);
        }
        if let Some(flows) = flows {
            flows.read_totals(interfaces, facts);
        }
    }

    /// Reads flows, and hands them to `take` part by part, with the processes that have their
    /// sockets.
    pub(super) fn read_flows(&mut self, mut take: impl FnMut(&Flows)) {
        let Self { flows, tracer, facts, owners, places: _ } = self;
        let (now, has_processes) = (facts.now, facts.processes.is_some());
        owners.begin();
        if let Some(flows) = flows {
            flows.read_flows(facts, |part| {
                // First of all: who has ended since the tick before still is asked for now.
                if let Some(tracer) = tracer.as_ref().filter(|_| has_processes) {
                    owners.give(part, now, |flow| tracer.owner(flow));
                }
                take(part);
            });
        }
        if let Some(tracer) = tracer {
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
        let Self { known, ended, .. } = self;
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
            if ended.get(*process as usize) == Some(&true) {
                *process = NOBODY;
            }
        }
    }

    /// A reading of all flows begins.
    fn begin(&mut self) {
        // Where it was not said where to go on, all had their turn.
        self.from = std::mem::take(&mut self.next);
        (self.place, self.look_ups) = (0, 0);
    }

    /// Gives flows the processes that have their sockets, and looks for those of young flows
    /// that have none yet. The flows are a part of a reading.
    fn give(
        &mut self,
        flows: &mut Flows,
        now: KernelTime,
        look_up: impl Fn(&FlowKey) -> Option<u32>,
    ) {
        for flow in &mut flows.flows {
            let id = flow.id as usize;
            if self.known.len() <= id {
                self.known.resize(id + 1, (0, NOBODY));
            }
            let (life, process) = &mut self.known[id];
            if *life != flow.life {
                (*life, *process) = (flow.life, NOBODY);
            }
            let is_young = now.0.saturating_sub(flow.first.0) < LOOK_FOR_OWNER;
            if *process == NOBODY && is_young && self.place >= self.from {
                if self.look_ups < MOST_LOOK_UPS {
                    self.look_ups += 1;
                    *process = look_up(&flow.key).unwrap_or(NOBODY);
                } else if self.next == 0 {
                    self.next = self.place;
                }
            }
            self.place += 1;
            flow.process = (*process != NOBODY).then_some(*process);
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
        owners.begin();
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
        for expected in [MOST_LOOK_UPS, 10, MOST_LOOK_UPS] {
            let look_ups = Cell::new(0);
            owners.begin();
            owners.give(&mut flows(count, 1), NOW, |_| {
                look_ups.set(look_ups.get() + 1);
                None
            });
            assert_eq!(look_ups.get(), expected);
        }
        let mut flows = flows(count, 1);
        for _ in 0..2 {
            owners.begin();
            owners.give(&mut flows, NOW, |_| Some(1));
        }
        assert!(flows.flows.iter().all(|flow| flow.process == Some(1)));
    }
}
