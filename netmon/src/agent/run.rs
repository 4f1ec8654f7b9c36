//! The loop: ticks, news of interfaces, outcomes of attaching and of setting links up, signals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::clock::Clock;
use super::collect::{self, Collector};
use super::counting::{Counting, Live};
use super::inbox::{End, Happening, Inbox};
use super::upward::Upward;
use super::watchlist::{Watched, Watchlist};
use crate::config::Settings;
use crate::memory;
use crate::model::event::{Event, EventKind};
use crate::model::link::Link;
use crate::model::snapshot::ATTACHING;
use crate::model::traffic::facts::Part;
use crate::privileges;
use crate::sinks::messages::Messages;
use crate::sources::netlink::links::{Links, News};

/// The first report waits so long at most for the programs to be attached. Until they are, the
/// kernel's own counters are shown, which are the same numbers.
const WARM_UP: Duration = Duration::from_millis(500);

/// The first table waits so long: it may be the only one, and what is not attached is not in it.
/// A thousand interfaces take half of it.
const ALL_ATTACHED: Duration = Duration::from_secs(60);

/// When so many interfaces are left after [`WARM_UP`], it is said that they are waited for.
const SEVERAL: usize = 8;
/// From so many interfaces on it is said that detaching takes its time.
const MANY: usize = 50;

/// When to end without being told to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// After so many reports.
    pub reports: Option<u64>,
    /// After so much time.
    pub duration: Option<Duration>,
}

/// Everything that runs.
pub struct Agent {
    pub(super) settings: Settings,
    pub(super) links: Links,
    pub(super) counting: Counting,
    pub(super) list: Watchlist<Live>,
    pub(super) collector: Collector,
    pub(super) upward: Upward,
    pub(super) messages: Messages,
    pub(super) inbox: Inbox,
    /// What runs beside the agent. Another thread drives it.
    pub(super) runtime: Handle,
    pub(super) recovery_denied: bool,
    /// The hook that is shown while the programs are being attached.
    pub(super) attaching: Arc<str>,
    pub(super) pending: usize,
    settled: bool,
}

impl Agent {
    /// Joins the parts, and asks for the interfaces that exist to be counted. Needs a tokio runtime.
    #[must_use]
    pub fn new(
        settings: Settings,
        (links, news): (Links, News),
        existing: &[Link],
        counting: Counting,
        inbox: Inbox,
        (messages, upward): (Messages, Upward),
    ) -> Self {
        inbox.hear(news);
        if let Upward::Report(report) = &upward {
            report.failure().into_iter().for_each(|failure| inbox.stop_at_failure(failure));
        }
        let mut agent = Self {
            settings,
            links,
            counting,
            list: Watchlist::new(),
            collector: Collector::default(),
            upward,
            messages,
            inbox,
            runtime: Handle::current(),
            recovery_denied: false,
            attaching: Arc::from(ATTACHING),
            pending: 0,
            settled: false,
        };
        for link in existing {
            agent.list.update(link.clone(), &agent.settings);
        }
        existing.iter().for_each(|link| agent.tell_peer(link));
        for at in 0..agent.list.items().len() {
            agent.begin(at);
        }
        agent
    }

    /// Runs until a limit is reached or something ends it. The parts that have to be ended in
    /// order are given back: where the facts went and the messages. `ending` is called first; what was
    /// attached is detached when this returns. Another thread has to drive the runtime meanwhile:
    /// see [`beside`](super::beside).
    pub fn run(mut self, limits: Limits, ending: impl FnOnce()) -> (End, Upward, Messages) {
        let end = self.watch(limits);
        ending();
        if let End::Stopped(name) = end {
            self.messages.say(&format!("{name}: ending"));
        }
        let attached = self.list.items().iter().filter(|item| item.live.slot.is_some()).count();
        if attached >= MANY {
            self.messages.say(&format!(
                "detaching from {attached} interfaces, some 25 ms each; \
                 a second Ctrl-C leaves it to the kernel"
            ));
        }
        let Self { counting, upward, messages, .. } = self;
        drop(counting);
        (end, upward, messages)
    }

    fn watch(&mut self, limits: Limits) -> End {
        if let Some(end) = self.warm_up() {
            return end;
        }
        // None: later than any clock tells.
        let limit = limits.duration.and_then(|duration| Instant::now().checked_add(duration));
        // A worker does so when it has given up the rest, too.
        if matches!(self.upward, Upward::Report(_)) {
            memory::give_back();
        }
        let mut clock = match self.clock() {
            Ok(clock) => clock,
            Err(error) => return End::Clock(error.into()),
        };
        loop {
            if self.settle() {
                // By what counts it now.
                self.tick();
            }
            let until = limit.map_or(clock.next(), |limit| limit.min(clock.next()));
            if let Some(happening) = self.inbox.wait(until) {
                if let Some(end) = self.handle(happening) {
                    return end;
                }
                continue;
            }
            if limit.is_some_and(|limit| limit <= Instant::now()) {
                return End::Limit;
            }
            self.tick();
            clock.pass(Instant::now());
            if let Upward::Report(report) = &self.upward
                && limits.reports.is_some_and(|reports| report.reports() >= reports)
            {
                return End::Limit;
            }
        }
    }

    fn clock(&mut self) -> nix::Result<Clock> {
        let interval = self.settings.interval;
        match &self.upward {
            Upward::Report(_) => Ok(Clock::start(interval)),
            Upward::Superior(_) => {
                // Until the first multiple of the interval it may be an hour.
                self.tick();
                Clock::in_step(interval)
            }
        }
    }

    /// Waits for the programs to be attached before anything is reported.
    fn warm_up(&mut self) -> Option<End> {
        let Upward::Report(report) = &self.upward else {
            return None;
        };
        let (began, all) = (Instant::now(), report.waits_for_all());
        let mut until = began + WARM_UP;
        while self.pending > 0 {
            let Some(happening) = self.inbox.wait(until) else {
                if !all || until != began + WARM_UP {
                    break;
                }
                // On a busy machine a few take their time, too, which needs no words.
                if self.pending >= SEVERAL {
                    let left = self.pending;
                    self.messages.warn(&format!("attaching to {left} interfaces, some 25 ms each"));
                }
                until = began + ALL_ATTACHED;
                continue;
            };
            if let Some(end) = self.handle(happening) {
                return Some(end);
            }
        }
        if all {
            self.tell_what_a_table_lacks();
        }
        None
    }

    /// What is not counted would look as if it carried nothing.
    fn tell_what_a_table_lacks(&self) {
        if self.counting.programs.is_none() || !self.settings.traffic.wants(Part::Flows) {
            return;
        }
        let without = self.list.items().iter().filter(|it| it.present && it.live.slot.is_none());
        for Watched { name, live, .. } in without {
            self.messages.warn(&format!("{name} is not in the tables: {}", live.facts.hook));
        }
    }

    /// Under a network monitor, once the interface is counted or never will be: gives up what
    /// only that needed, and tells the network monitor when it has. `true`: that was now.
    fn settle(&mut self) -> bool {
        if self.settled || self.pending > 0 || !matches!(self.upward, Upward::Superior(_)) {
            return false;
        }
        self.settled = true;
        let keep = privileges::of_a_worker(self.settings.recover);
        privileges::drop_all_but(&keep);
        self.runtime.spawn(async move { privileges::drop_all_but(&keep) });
        match &self.counting.programs {
            // It is told when that has given up its part, too.
            Some(programs) => programs.attacher.settle(),
            None => {
                memory::give_back();
                self.tell_monitoring();
            }
        }
        true
    }

    /// The start is over: what counts the interface, or why not the programs.
    pub(super) fn tell_monitoring(&mut self) {
        if let Upward::Superior(superior) = &mut self.upward {
            self.list.items().iter().for_each(|item| superior.monitoring(&item.live.facts));
        }
    }

    /// What happened between ticks.
    fn handle(&mut self, happening: Happening) -> Option<End> {
        match happening {
            Happening::News(news, _permit) => {
                self.hear(news);
                let nothing_left = self.list.items().iter().all(|item| !item.present);
                if nothing_left && matches!(self.upward, Upward::Superior(_)) {
                    return Some(End::Gone);
                }
            }
            Happening::Outcome(outcome) => self.attached(outcome),
            Happening::Look(ifindex) => self.look(ifindex),
            Happening::SetUp(ifindex, result) => self.set_up_ended(ifindex, result),
            Happening::SetUpOrdered(order) => self.set_up_as_ordered(&order),
            Happening::End(end) => return Some(end),
        }
        None
    }

    /// Collects, decides, reports; or hands it all upwards.
    fn tick(&mut self) {
        let tick = self.collector.collect(&mut self.counting, &mut self.list);
        if !self.collector.suspects.is_empty() {
            self.see_to_suspects();
        }
        self.tell_traffic();
        let facts = collect::shown(&mut self.list);
        match &mut self.upward {
            Upward::Report(report) => report.update(tick, facts),
            Upward::Superior(superior) => return facts.for_each(|f| superior.sample(&tick, f)),
        }
        let now = Instant::now();
        for at in 0..self.list.items().len() {
            if !self.list.items()[at].live.calm {
                self.recover(at, now);
            }
        }
        if let Upward::Report(report) = &mut self.upward {
            report.write();
        }
        self.list.forget(|live| live.absence_reported);
    }

    /// Who and what the traffic is, where that was asked for.
    fn tell_traffic(&mut self) {
        let (Some(traffic), Upward::Report(report)) =
            (&mut self.counting.traffic, &mut self.upward)
        else {
            return;
        };
        let items = self.list.items();
        let slot =
            |item: &Watched<Live>| Some((item.link.ifindex, item.live.slot?, item.live.facts.life));
        traffic.read(items.iter().filter(|item| item.present).filter_map(slot));
        let mut places = traffic.take_places();
        let present = items.iter().enumerate().filter(|(_, item)| item.present);
        places.extend(present.map(|(at, item)| (item.link.ifindex, at)));
        places.sort_unstable();
        let find = |ifindex| {
            let found = places.binary_search_by_key(&ifindex, |(number, _)| *number).ok()?;
            Some(&items[places[found].1])
        };
        traffic.keep_drops(|ifindex| find(ifindex).is_some());
        let names = |ifindex| find(ifindex).map(|item| item.name.clone());
        let options = &self.settings.traffic.options;
        let events = report.update_traffic(traffic, names, options);
        traffic.keep_places(places);
        for event in events {
            self.tell(event);
        }
    }

    pub(super) fn tell_of(&mut self, at: usize, kind: EventKind, message: String) {
        let name = self.list.items()[at].name.clone();
        self.tell(Event::of(&name, kind, message));
    }

    pub(super) fn tell(&mut self, event: Event) {
        match &mut self.upward {
            Upward::Report(report) => {
                self.messages.event(&event);
                report.tell(event);
            }
            Upward::Superior(superior) => superior.event(&event),
        }
    }
}
