//! Between the agent and the thread that draws: the latest tick, and every event since the last
//! look. The memory of ticks goes to and fro. Flows, which may be many, are there once: each side
//! has them while it works on them, and the other waits so long, some milliseconds; never for the
//! terminal.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use crate::model::event::Event;
use crate::model::traffic::view::{FlowView, TrafficView};
use crate::model::view::{InterfaceView, View};

/// Events that may wait for a terminal that does not take what is written; then the oldest give
/// way and are counted.
pub(super) const EVENTS: usize = 1_000;

/// What a tick looks like.
#[derive(Clone, Debug)]
pub struct Shown {
    /// See [`View::tick`].
    pub tick: u64,
    /// See [`View::time`].
    pub time: SystemTime,
    /// When it came, for differences.
    pub at: Instant,
    /// The interfaces, in the order of the report.
    pub interfaces: Vec<InterfaceView>,
    /// By process, flow and protocol; `None`: not asked for.
    pub traffic: Option<TrafficView>,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            tick: 0,
            time: SystemTime::UNIX_EPOCH,
            at: Instant::now(),
            interfaces: Vec::new(),
            traffic: None,
        }
    }
}

impl Shown {
    /// Copies a tick into the memory that is there.
    pub fn fill(&mut self, at: Instant, view: &View, traffic: Option<&TrafficView>) {
        self.fill_but_flows(at, view, traffic);
        if let (Some(mine), Some(traffic)) = (&mut self.traffic, traffic) {
            mine.flows.clone_from(&traffic.flows);
        }
    }

    fn fill_but_flows(&mut self, at: Instant, view: &View, traffic: Option<&TrafficView>) {
        self.at = at;
        self.tick = view.tick;
        self.time = view.time;
        self.interfaces.clone_from(&view.interfaces);
        match traffic {
            Some(traffic) => copy(self.traffic.get_or_insert_default(), traffic),
            None => self.traffic = None,
        }
    }
}

/// `clone_from`, which a derived `Clone` does not give: the long lists keep their memory.
/// What the model remembers for itself is not copied, and neither are flows.
fn copy(mine: &mut TrafficView, traffic: &TrafficView) {
    let TrafficView {
        elapsed,
        alerts,
        missing,
        processes,
        processes_untracked,
        flows: _,
        flow_table,
        interfaces,
        burst_width,
        drops,
        memory: _,
    } = traffic;
    (mine.elapsed, mine.alerts, mine.burst_width) = (*elapsed, *alerts, *burst_width);
    (mine.processes_untracked, mine.flow_table) = (*processes_untracked, *flow_table);
    mine.missing.clone_from(missing);
    mine.processes.clone_from(processes);
    mine.interfaces.clone_from(interfaces);
    mine.drops.clone_from(drops);
}

/// An event and its tick's time.
#[derive(Clone, Debug, PartialEq)]
pub struct Happened {
    /// Counts all events, from 0.
    pub number: u64,
    /// When.
    pub time: SystemTime,
    /// What.
    pub event: Event,
}

/// Who has the flows.
#[derive(Debug, Default, PartialEq)]
enum Flows {
    /// There are none before the first tick.
    #[default]
    Nowhere,
    /// The agent, which changes them.
    WithAgent,
    /// Nobody; `None`: they cannot be had.
    Here(Option<Vec<FlowView>>),
    /// The thread that draws.
    WithPainter,
}

#[derive(Default)]
struct Inside {
    latest: Option<Shown>,
    spare: Option<Shown>,
    flows: Flows,
    /// One side has ended, and gives nothing back any more.
    closed: bool,
    events: VecDeque<Happened>,
    told: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Mailbox {
    inside: Mutex<Inside>,
    given: Condvar,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        // What is inside is whole after every statement.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the other side has given back the flows, or has ended.
    fn lock_without(&self, side: &Flows) -> MutexGuard<'_, Inside> {
        let is_away = |inside: &mut Inside| inside.flows == *side && !inside.closed;
        self.given.wait_while(self.lock(), is_away).unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the agent its flows back, to be changed.
    pub(super) fn take_back(&self, traffic: &mut TrafficView) {
        let mut inside = self.lock_without(&Flows::WithPainter);
        if let Flows::Here(flows) = std::mem::replace(&mut inside.flows, Flows::WithAgent) {
            traffic.flows = flows;
        }
    }

    /// Puts a tick in, with the flows themselves. The lock is not held while the rest is copied.
    pub(super) fn put(&self, view: &View, traffic: Option<&mut TrafficView>) {
        let mut shown = self.lock().spare.take().unwrap_or_default();
        shown.fill_but_flows(Instant::now(), view, traffic.as_deref());
        let mut inside = self.lock();
        for event in &view.events {
            if inside.events.len() == EVENTS {
                inside.events.pop_front();
            }
            let number = inside.told;
            inside.told += 1;
            inside.events.push_back(Happened { number, time: view.time, event: event.clone() });
        }
        if let Some(unread) = inside.latest.replace(shown) {
            inside.spare = Some(unread);
        }
        if inside.flows != Flows::WithPainter {
            inside.flows = Flows::Here(traffic.and_then(|traffic| traffic.flows.take()));
        }
        self.given.notify_all();
    }

    /// Takes the latest tick, if there is one, in exchange for the memory of the one before, and
    /// adds the events to `events`; and takes the flows, which are to be given back soon.
    pub(super) fn take(&self, shown: &mut Shown, events: &mut VecDeque<Happened>) -> bool {
        let mut inside = self.lock_without(&Flows::WithAgent);
        events.append(&mut inside.events);
        let latest = inside.latest.take();
        let is_new = latest.is_some();
        if let Some(latest) = latest {
            inside.spare = Some(std::mem::replace(shown, latest));
        }
        if let (Flows::Here(flows), Some(traffic)) = (&mut inside.flows, &mut shown.traffic) {
            traffic.flows = flows.take();
            inside.flows = Flows::WithPainter;
        }
        is_new
    }

    /// The thread that draws gives the flows back.
    pub(super) fn give_back(&self, shown: &mut Shown) {
        let mut inside = self.lock();
        if inside.flows == Flows::WithPainter {
            let flows = shown.traffic.as_mut().and_then(|traffic| traffic.flows.take());
            inside.flows = Flows::Here(flows);
        }
        self.given.notify_all();
    }

    /// One side has ended: the other does not wait for it any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.given.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::EventKind;
    use crate::model::traffic::samples;

    #[test]
    fn the_latest_tick_and_all_events() {
        let mailbox = Mailbox::default();
        let (mut shown, mut events) = (Shown::default(), VecDeque::new());
        assert!(!mailbox.take(&mut shown, &mut events));
        for tick in 1..=3 {
            let mut view = View::default();
            view.tick = tick;
            view.events.push(Event::own(EventKind::Warning, tick.to_string()));
            mailbox.put(&view, None);
        }
        assert!(mailbox.take(&mut shown, &mut events));
        assert_eq!(shown.tick, 3);
        let told: Vec<_> = events.iter().map(|e| (e.number, &*e.event.message)).collect();
        assert_eq!(told, [(0, "1"), (1, "2"), (2, "3")]);
        assert!(!mailbox.take(&mut shown, &mut events));
    }

    /// Whoever waits for them gets them, and none is copied.
    #[test]
    fn flows_go_to_and_fro() {
        let mailbox = Mailbox::default();
        let mut traffic = samples::view();
        let (flows, list) = (traffic.flows.clone(), traffic.flows.as_ref().map(Vec::as_ptr));
        let (mut shown, mut events) = (Shown::default(), VecDeque::new());
        mailbox.take_back(&mut traffic);
        assert_eq!(traffic.flows, flows, "nobody else had them");
        for _ in 0..3 {
            mailbox.put(&View::default(), Some(&mut traffic));
            assert_eq!(traffic.flows, None);
            assert!(mailbox.take(&mut shown, &mut events));
            let theirs = shown.traffic.as_ref().and_then(|traffic| traffic.flows.as_ref());
            assert_eq!((theirs.cloned(), theirs.map(Vec::as_ptr)), (flows.clone(), list));
            std::thread::scope(|scope| {
                scope.spawn(|| mailbox.take_back(&mut traffic));
                mailbox.give_back(&mut shown);
            });
            assert_eq!(traffic.flows, flows);
            std::thread::scope(|scope| {
                scope.spawn(|| mailbox.take(&mut shown, &mut events));
                mailbox.put(&View::default(), Some(&mut traffic));
            });
            mailbox.give_back(&mut shown);
            mailbox.take_back(&mut traffic);
            assert_eq!(traffic.flows, flows);
        }
    }

    #[test]
    fn nobody_waits_for_who_has_ended() {
        let mailbox = Mailbox::default();
        let mut traffic = samples::view();
        mailbox.put(&View::default(), Some(&mut traffic));
        let (mut shown, mut events) = (Shown::default(), VecDeque::new());
        mailbox.take(&mut shown, &mut events);
        mailbox.close();
        mailbox.take_back(&mut traffic);
        assert_eq!(traffic.flows, None);
        mailbox.take(&mut shown, &mut events);
    }

    #[test]
    fn events_are_bounded() {
        let mailbox = Mailbox::default();
        let mut view = View::default();
        view.events.push(Event::own(EventKind::Warning, ""));
        for _ in 0..EVENTS + 5 {
            mailbox.put(&view, None);
        }
        let mut events = VecDeque::new();
        mailbox.take(&mut Shown::default(), &mut events);
        assert_eq!((events.len(), events[0].number), (EVENTS, 5));
    }
}
