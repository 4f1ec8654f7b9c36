//! The loop: ticks, news of interfaces, outcomes of attaching and of setting links up, signals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::collect::{self, Collector};
use super::counting::{Counting, Live, change_rules};
use super::ticker::Ticker;
use super::watchlist::{Change, Watchlist};
use crate::config::Settings;
use crate::model::accounting::Rules;
use crate::model::event::{Event, EventKind};
use crate::model::link::{IfIndex, Link};
use crate::model::snapshot::Source;
use crate::model::view::View;
use crate::recovery::link_control::{self, SetUpError};
use crate::recovery::policy::{Condition, Policy};
use crate::sinks::messages::Messages;
use crate::sinks::output::Output;
use crate::sources::ebpf::attacher::Outcome;
use crate::sources::netlink::links::{LinkNews, Links};

/// The first report waits so long at most for the programs to be attached. Until they are, the
/// kernel's own counters are shown, which are the same numbers.
const WARM_UP: Duration = Duration::from_millis(500);

/// When to end without being told to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// After so many reports.
    pub reports: Option<u64>,
    /// After so much time.
    pub duration: Option<Duration>,
}

/// Why the agent has ended.
#[derive(Debug)]
pub enum End {
    /// One of the [`Limits`].
    Limit,
    /// Stdout takes no more.
    Output(std::io::Error),
    /// What the caller waited for (a signal, by name) has come.
    Stopped(&'static str),
    /// The kernel tells no news any more.
    NoNews,
    /// There is no clock.
    Clock(std::io::Error),
}

type SetUpResult = (IfIndex, Result<(), SetUpError>);

enum Happening {
    Tick,
    News(LinkNews),
    Outcome(Outcome),
    SetUp(SetUpResult),
    End(End),
}

/// Everything that runs.
pub struct Agent {
    settings: Settings,
    links: Links,
    counting: Counting,
    list: Watchlist<Live>,
    collector: Collector,
    view: View,
    events: Vec<Event>,
    messages: Messages,
    output: Output,
    buffer: Vec<u8>,
    set_up_done: UnboundedSender<SetUpResult>,
    set_ups: UnboundedReceiver<SetUpResult>,
    recovery_denied: bool,
    /// The hook that is shown while the programs are being attached.
    attaching: Arc<str>,
    pending: usize,
}

impl Agent {
    /// Joins the parts, and asks for the interfaces that exist to be counted.
    #[must_use]
    pub fn new(
        settings: Settings,
        links: Links,
        existing: Vec<Link>,
        counting: Counting,
        messages: Messages,
        output: Output,
    ) -> Self {
        let (set_up_done, set_ups) = unbounded_channel();
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
            set_up_done,
            set_ups,
            recovery_denied: false,
            attaching: Arc::from("none yet: the programs are being attached"),
            pending: 0,
        };
        for link in existing {
            agent.list.update(link, &agent.settings);
        }
        for at in 0..agent.list.items().len() {
            agent.begin(at);
        }
        agent
    }

    /// Runs until a limit is reached, stdout is closed or `stop` is ready. The parts that have
    /// to be ended in order are given back: the output and the messages. What was attached is
    /// detached when this returns.
    pub async fn run(
        mut self,
        limits: Limits,
        stop: impl Future<Output = &'static str>,
    ) -> (End, Output, Messages) {
        let mut stop = std::pin::pin!(stop);
        let end = tokio::select! {
            name = &mut stop => End::Stopped(name),
            end = self.watch(limits) => end,
        };
        if let End::Stopped(name) = end {
            self.messages.say(&format!("{name}: ending"));
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
                happening = self.next() => happening,
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
            let happening = tokio::select! {
                biased;
                () = &mut limit => return End::Limit,
                ticked = ticker.tick() => match ticked {
                    Ok(()) => Happening::Tick,
                    Err(error) => return End::Clock(error),
                },
                happening = self.next() => happening,
            };
            if let Some(end) = self.handle(happening).await {
                return end;
            }
            if limits.reports.is_some_and(|reports| self.view.tick >= reports) {
                return End::Limit;
            }
        }
    }

    /// What happens next between ticks. Cancelling it loses nothing.
    async fn next(&mut self) -> Happening {
        let Self { links, counting, set_ups, output, .. } = self;
        tokio::select! {
            news = links.news() => news.map_or(Happening::End(End::NoNews), Happening::News),
            Some(outcome) = next_outcome(counting) => Happening::Outcome(outcome),
            Some(ended) = set_ups.recv() => Happening::SetUp(ended),
            error = output.failed() => Happening::End(End::Output(error)),
        }
    }

    async fn handle(&mut self, happening: Happening) -> Option<End> {
        match happening {
            Happening::Tick => self.tick(),
            Happening::News(news) => self.hear(news).await,
            Happening::Outcome(outcome) => self.attached(outcome),
            Happening::SetUp((ifindex, result)) => self.set_up_ended(ifindex, result),
            Happening::End(end) => return Some(end),
        }
        None
    }

    /// Collects, decides, reports.
    fn tick(&mut self) {
        let tick = self.collector.collect(&mut self.counting, &mut self.list);
        self.view.update(tick, collect::shown(&mut self.list));
        self.recover(Instant::now());
        std::mem::swap(&mut self.view.events, &mut self.events);
        self.events.clear();
        let first = self.view.tick == 1;
        crate::sinks::write(self.settings.format, &self.view, first, &mut self.buffer);
        if !self.buffer.is_empty() {
            self.output.submit(&mut self.buffer);
        }
    }

    fn recover(&mut self, now: Instant) {
        for at in 0..self.list.items().len() {
            let item = &mut self.list.items_mut()[at];
            let Some(policy) = item.live.policy.as_mut().filter(|_| item.present) else {
                continue;
            };
            let condition = Condition::of(Some(item.link.admin_up), item.live.facts.state);
            let decision = policy.observe(now, condition);
            if !decision.set_up && decision.tell.is_none() {
                continue;
            }
            let (name, ifindex) = (Arc::clone(&item.name), item.link.ifindex);
            if let Some((kind, message)) = decision.tell {
                self.tell(Event::of(&name, kind, message));
            }
            if decision.set_up {
                let (handle, done) = (self.links.handle(), self.set_up_done.clone());
                tokio::spawn(async move {
                    let result = link_control::set_up(handle, ifindex).await;
                    // The agent may have ended meanwhile.
                    let _ = done.send((ifindex, result));
                });
            }
        }
    }

    fn set_up_ended(&mut self, ifindex: IfIndex, result: Result<(), SetUpError>) {
        let Some(at) = self.list.find(ifindex) else {
            return;
        };
        let name = Arc::clone(&self.list.items()[at].name);
        match result {
            Ok(()) => {}
            Err(SetUpError::Refused(why)) => {
                let message = format!("could not be set up: {why}");
                self.tell(Event::of(&name, EventKind::SetUpFailed, message));
            }
            Err(denied @ SetUpError::Denied) => {
                let policies = self.list.items_mut().iter_mut().map(|item| &mut item.live.policy);
                policies.flatten().for_each(Policy::deny);
                if !std::mem::replace(&mut self.recovery_denied, true) {
                    let message = format!(
                        "{denied}: links that are down stay down; run netmon with sudo, \
                         or use --no-recover"
                    );
                    self.tell(Event::own(EventKind::Warning, message));
                }
            }
        }
    }

    async fn hear(&mut self, news: LinkNews) {
        match news {
            LinkNews::Is(link) => self.update(link),
            LinkNews::Gone(ifindex) => self.gone(ifindex),
            LinkNews::Lost => match self.links.list().await {
                Ok(links) => {
                    for ifindex in self.list.missing(&links) {
                        self.gone(ifindex);
                    }
                    links.into_iter().for_each(|link| self.update(link));
                }
                Err(error) => tracing::warn!("{error}"),
            },
        }
    }

    fn update(&mut self, link: Link) {
        match self.list.update(link, &self.settings) {
            None => {}
            Some(Change::Appeared(at)) => {
                self.tell_of(at, EventKind::Appeared, "appeared".to_owned());
                self.begin(at);
            }
            Some(Change::Back(at)) => {
                let ifindex = self.list.items()[at].link.ifindex;
                self.tell_of(at, EventKind::Back, format!("back (ifindex {ifindex})"));
                self.begin(at);
            }
            Some(Change::Renamed(at, old)) => {
                self.tell_of(at, EventKind::Renamed, format!("was {old} before"));
                self.altered(at);
            }
            Some(Change::Altered(at)) => self.altered(at),
        }
    }

    /// What counts an interface that is here now, from its first moment.
    fn begin(&mut self, at: usize) {
        let item = &mut self.list.items_mut()[at];
        let live = &mut item.live;
        let policy =
            live.policy.get_or_insert_with(|| Policy::new(item.wanted.recover, item.named));
        if self.recovery_denied {
            policy.deny();
        }
        live.absence_reported = false;
        live.state_is_old = true;
        live.slot = None;
        live.facts.counted = None;
        live.facts.source = Source::Kernel;
        live.facts.hook = Arc::clone(&self.attaching);
        live.files = self.counting.sysfs.open(&item.name, item.link.ifindex);
        let foreign = live.files.is_none();
        if self.counting.attach(&item.link, item.wanted.hook) {
            self.pending += 1;
            if foreign {
                let message = "sysfs shows another network namespace: netlink tells its state";
                self.tell_of(at, EventKind::Warning, message.to_owned());
            }
        } else {
            let why = Arc::clone(&self.counting.only_sysfs);
            self.from_sysfs(at, &why);
        }
    }

    fn altered(&mut self, at: usize) {
        let item = &mut self.list.items_mut()[at];
        item.live.state_is_old = true;
        let rules = Rules::of(&item.link);
        if let Some(counted) = &mut item.live.facts.counted
            && counted.rules != rules
        {
            change_rules(counted, rules);
        }
    }

    fn gone(&mut self, ifindex: IfIndex) {
        let Some(at) = self.list.remove(ifindex) else {
            return;
        };
        self.counting.detach(ifindex);
        let live = &mut self.list.items_mut()[at].live;
        live.policy.as_mut().map(Policy::absent);
        live.files = None;
        self.tell_of(at, EventKind::Gone, "gone".to_owned());
    }

    fn attached(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Swept { ifindex, filters } => {
                let name =
                    self.list.find(ifindex).map(|at| Arc::clone(&self.list.items()[at].name));
                let name = name.unwrap_or_else(|| format!("ifindex {ifindex}").into());
                let message = format!("{filters} filters of a netmon that was killed are removed");
                self.tell(Event::of(&name, EventKind::Warning, message));
            }
            Outcome::Refused { ifindex, reason } => {
                self.pending = self.pending.saturating_sub(1);
                if let Some(at) = self.list.find(ifindex) {
                    self.from_sysfs(at, &reason);
                }
            }
            Outcome::Attached { ifindex, slot, hook, native_xdp } => {
                self.pending = self.pending.saturating_sub(1);
                match self.list.find(ifindex) {
                    Some(at) => self.counts(at, slot, &hook, native_xdp),
                    None => self.counting.detach(ifindex),
                }
            }
        }
    }

    /// The programs count from now on.
    fn counts(&mut self, at: usize, slot: u32, hook: &str, native_xdp: bool) {
        let item = &mut self.list.items_mut()[at];
        item.link.native_xdp |= native_xdp;
        let Some(counted) = self.counting.begin(slot, &item.link) else {
            let ifindex = item.link.ifindex;
            self.counting.detach(ifindex);
            return self.from_sysfs(at, "the counters cannot be read together");
        };
        let live = &mut item.live;
        live.slot = Some(slot);
        live.facts.counted = Some(counted);
        live.facts.source = Source::Ebpf;
        live.facts.hook = hook.into();
        if let Some(policy) = live.policy.as_mut().filter(|_| native_xdp) {
            policy.expect_bounce(Instant::now());
        }
        self.tell_of(at, EventKind::Counting, hook.to_owned());
    }

    fn from_sysfs(&mut self, at: usize, why: &str) {
        let hook = format!("sysfs ({why})");
        let item = &mut self.list.items_mut()[at];
        item.live.facts.source = Source::Sysfs;
        item.live.facts.hook = hook.as_str().into();
        self.tell_of(at, EventKind::Counting, hook);
    }

    fn tell_of(&mut self, at: usize, kind: EventKind, message: String) {
        let name = Arc::clone(&self.list.items()[at].name);
        self.tell(Event::of(&name, kind, message));
    }

    fn tell(&mut self, event: Event) {
        self.messages.event(&event);
        self.events.push(event);
    }
}

async fn next_outcome(counting: &mut Counting) -> Option<Outcome> {
    match &mut counting.programs {
        Some(programs) => programs.outcomes.recv().await,
        None => std::future::pending().await,
    }
}

async fn passed(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}
