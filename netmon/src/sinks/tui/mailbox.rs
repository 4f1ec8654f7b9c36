//! Between the agent and the thread that draws: the latest tick, and every event since the last
//! look. Neither side ever waits for the other; the memory of ticks goes to and fro.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use crate::model::event::Event;
use crate::model::traffic::view::TrafficView;
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
/// What the model remembers for itself is not copied.
fn copy(mine: &mut TrafficView, traffic: &TrafficView) {
    let TrafficView {
        elapsed,
        alerts,
        missing,
        processes,
        processes_untracked,
        flows,
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
    mine.flows.clone_from(flows);
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

#[derive(Default)]
struct Inside {
    latest: Option<Shown>,
    spare: Option<Shown>,
    events: VecDeque<Happened>,
    told: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Mailbox(Mutex<Inside>);

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        // What is inside is whole after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a tick in. The lock is not held while it is copied.
    pub(super) fn put(&self, view: &View, traffic: Option<&TrafficView>) {
        let mut shown = self.lock().spare.take().unwrap_or_default();
        shown.fill(Instant::now(), view, traffic);
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
    }

    /// Takes the latest tick, if there is one, in exchange for the memory of the one before, and
    /// adds the events to `events`.
    pub(super) fn take(&self, shown: &mut Shown, events: &mut VecDeque<Happened>) -> bool {
        let mut inside = self.lock();
        events.append(&mut inside.events);
        let Some(latest) = inside.latest.take() else { return false };
        inside.spare = Some(std::mem::replace(shown, latest));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::EventKind;

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
