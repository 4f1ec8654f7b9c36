//! The loop: ticks, news of interfaces, outcomes of attaching and of setting links up, signals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::collect::{self, Collector};
use super::counting::{Counting, Live};
use super::inbox::{End, Happening, Inbox};
use super::ticker::Ticker;
use super::watchlist::Watchlist;
use crate::config::Settings;
use crate::model::event::{Event, EventKind};
use crate::model::link::Link;
use crate::model::view::View;
use crate::sinks::messages::Messages;
use crate::sinks::output::Output;
use crate::sources::netlink::links::{Links, News};

/// The first report waits so long at most for the programs to be attached. Until they are, the
/// kernel's own counters are shown, which are the same numbers.
const WARM_UP: Duration = Duration::from_millis(500);

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
    pub(super) view: View,
    pub(super) events: Vec<Event>,
    pub(super) messages: Messages,
    pub(super) output: Output,
    pub(super) buffer: Vec<u8>,
    pub(super) inbox: Inbox,
    pub(super) recovery_denied: bool,
    /// The hook that is shown while the programs are being attached.
    pub(super) attaching: Arc<str>,
    pub(super) pending: usize,
    /// Ticks that had something to show.
    reports: u64,
}

impl Agent {
    /// Joins the parts, and asks for the interfaces that exist to be counted.
    #[must_use]
    pub fn new(
        settings: Settings,
        (links, news): (Links, News),
        existing: &[Link],
        counting: Counting,
        inbox: Inbox,
        (messages, output): (Messages, Output),
    ) -> Self {
        inbox.hear(news);
        inbox.stop_at_failure(output.failure());
        let mut agent = Self {
            settings,
            links,
            counting,
            list: Watchlist::new(),
            collector: Collector::default(),
            view: View::default(),
            events: Vec::new(),
            messages,
            output,
            buffer: Vec::new(),
            inbox,
            recovery_denied: false,
            attaching: Arc::from("none yet: the programs are being attached"),
            pending: 0,
            reports: 0,
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
    /// order are given back: the output and the messages. `ending` is called first; what was
    /// attached is detached when this returns.
    pub async fn run(mut self, limits: Limits, ending: impl FnOnce()) -> (End, Output, Messages) {
        let end = self.watch(limits).await;
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
        let Self { counting, output, messages, .. } = self;
        drop(counting);
        (end, output, messages)
    }

    async fn watch(&mut self, limits: Limits) -> End {
        let mut limit = std::pin::pin!(passed(limits.duration));
        let warm = tokio::time::Instant::now() + WARM_UP;
        while self.pending > 0 {
            let happening = tokio::select! {
                () = tokio::time::sleep_until(warm) => break,
                happening = self.inbox.receiver.recv() => happening,
            };
            if let Some(end) = self.handle(happening).await {
                return end;
            }
        }
        let ticker = match Ticker::start(self.settings.interval) {
            Ok(ticker) => ticker,
            Err(error) => return End::Clock(error),
        };
        loop {
            tokio::select! {
                biased;
                () = &mut limit => return End::Limit,
                ticked = ticker.tick() => match ticked {
                    Ok(()) => self.tick(),
                    Err(error) => return End::Clock(error),
                },
                happening = self.inbox.receiver.recv() => {
                    if let Some(end) = self.handle(happening).await {
                        return end;
                    }
                }
            }
            if limits.reports.is_some_and(|reports| self.reports >= reports) {
                return End::Limit;
            }
        }
    }

    /// What happened between ticks; the inbox is never closed, since this holds it open.
    async fn handle(&mut self, happening: Option<Happening>) -> Option<End> {
        match happening? {
            Happening::News(news) => self.hear(news).await,
            Happening::Outcome(outcome) => self.attached(outcome),
            Happening::Look(ifindex) => self.look(ifindex),
            Happening::SetUp(ifindex, result) => self.set_up_ended(ifindex, result),
            Happening::End(end) => return Some(end),
        }
        None
    }

    /// Collects, decides, reports.
    fn tick(&mut self) {
        let tick = self.collector.collect(&mut self.counting, &mut self.list);
        self.view.update(tick, collect::shown(&mut self.list));
        let now = Instant::now();
        (0..self.list.items().len()).for_each(|at| self.recover(at, now));
        std::mem::swap(&mut self.view.events, &mut self.events);
        self.events.clear();
        crate::sinks::write(self.settings.format, &self.view, &mut self.buffer);
        self.list.forget(|live| live.absence_reported);
        self.reports += u64::from(self.view.interfaces.iter().any(|interface| interface.due));
        if !self.buffer.is_empty() {
            self.output.submit(&mut self.buffer);
        }
    }

    pub(super) fn tell_of(&mut self, at: usize, kind: EventKind, message: String) {
        let name = Arc::clone(&self.list.items()[at].name);
        self.tell(Event::of(&name, kind, message));
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.messages.event(&event);
        self.events.push(event);
    }
}

async fn passed(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}
