//! The network monitor: knows which interfaces are wanted in which namespaces, has an interface
//! monitor for each, decides on recovery, and writes the one report. It needs no privileges: what
//! takes some, the [`launcher`](super::launcher) does.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::launcher::{Exits, Launcher};
use super::namespace::Where;
use super::socket::{Bound, SocketFile};
use crate::agent::ticker::Ticker;
use crate::agent::{End, Limits, Report};
use crate::config::Settings;
use crate::model::event::{Event, EventKind};
use crate::model::select::Selector;
use crate::model::snapshot::Tick;
use crate::sinks::messages::Messages;
use complaints::Complaints;
use missing::Met;
use peers::{Peer, PeerId};
use processes::Leaving;
use space::{Idle, Space};

mod admission;
mod complaints;
mod duty;
mod end;
mod happening;
mod limits;
mod missing;
mod peers;
mod places;
mod post;
mod processes;
mod recovery;
mod room;
mod space;
mod waiting;

use happening::Happening;

/// The first report waits so long at most for all interfaces to be watched.
const WARM_UP: Duration = Duration::from_secs(3);
/// So long after the interface monitors read the counters, all at the same instant, the report
/// is written: a part of the interval, within bounds.
const AFTER: (u32, Duration, Duration) =
    (10, Duration::from_millis(20), Duration::from_millis(100));

/// Some messages of each interface monitor.
const MOST_AT_ONCE: usize = 10_000;
/// So many different warnings are remembered.
const MOST_WARNINGS: usize = 1_000;
/// Between looks for namespaces of which nobody tells.
const LOOK: Duration = Duration::from_secs(2);

/// Interfaces in other namespaces.
pub type Elsewhere = Vec<(Where, Selector)>;

/// What it is made of.
pub struct Parts {
    /// What is wanted; the selection is that of its own namespace.
    pub settings: Settings,
    /// The inode of its own namespace.
    pub own: u64,
    /// What is wanted in other namespaces,
    pub elsewhere: Elsewhere,
    /// and what of it is not.
    pub elsewhere_excluded: Elsewhere,
    /// Where interface monitors connect to.
    pub socket: Bound,
    /// Starts them.
    pub launcher: (Launcher, Exits),
    /// What is said,
    pub messages: Messages,
    /// and reported.
    pub report: Report,
    /// The interface monitors are to log.
    pub log: bool,
}

/// Everything that runs.
pub struct NetworkMonitor {
    settings: Settings,
    elsewhere: Elsewhere,
    elsewhere_excluded: Elsewhere,
    /// Removes the socket when it is dropped.
    socket: Option<SocketFile>,
    /// For those that are started.
    socket_path: PathBuf,
    launcher: Arc<Launcher>,
    /// The launcher is gone: nothing can be started any more.
    alone: bool,
    /// Nothing is started any more.
    ending: bool,
    /// The inode of its own namespace.
    own: u64,
    spaces: Vec<Space>,
    next_space: u32,
    /// Processes that were told to end.
    leaving: Vec<Leaving>,
    /// The namespaces of those that are asked for, of which the launcher has not told yet.
    starting: Vec<u32>,
    /// What of that which was asked for was met.
    met: Met,
    /// Ticks at which there was nothing to report.
    empty: u64,
    peers: HashMap<PeerId, Peer>,
    /// When those who have said nothing are looked at next, ticks apart.
    silent_at: Option<Instant>,
    /// Of those who were refused or sent away.
    complaints: Complaints,
    report: Report,
    messages: Messages,
    log: bool,
    recovery_denied: bool,
    /// Warnings that several interface monitors have, told once; not without end.
    warned: HashSet<String>,
    ticks: u64,
    looked_at: Instant,
    sender: UnboundedSender<Happening>,
    receiver: UnboundedReceiver<Happening>,
}

impl NetworkMonitor {
    /// Joins the parts and begins to listen. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be listened on.
    pub fn new(parts: Parts) -> std::io::Result<Self> {
        let Parts {
            settings,
            own,
            elsewhere,
            elsewhere_excluded,
            socket,
            launcher: (launcher, exits),
            messages,
            report,
            log,
        } = parts;
        let (sender, receiver) = unbounded_channel();
        let Bound { listener, file } = socket;
        let socket_path = std::path::absolute(file.path())?;
        peers::accept(listener, sender.clone())?;
        happening::exits(exits, sender.clone());
        if let Some(failure) = report.failure() {
            happening::failure(failure, sender.clone());
        }
        Ok(Self {
            settings,
            elsewhere,
            elsewhere_excluded,
            socket: Some(file),
            socket_path,
            launcher: Arc::new(launcher),
            alone: false,
            ending: false,
            own,
            spaces: Vec::new(),
            next_space: 0,
            leaving: Vec::new(),
            starting: Vec::new(),
            met: Met::default(),
            empty: 0,
            peers: HashMap::new(),
            silent_at: None,
            complaints: Complaints::default(),
            report,
            messages,
            log,
            recovery_denied: false,
            warned: HashSet::new(),
            ticks: 0,
            looked_at: Instant::now(),
            sender,
            receiver,
        })
    }

    /// Ends it when a signal comes; its name is shown.
    pub fn stop_at(&self, signal: impl Future<Output = &'static str> + Send + 'static) {
        let sender = self.sender.clone();
        tokio::spawn(async move { sender.send(Happening::End(End::Stopped(signal.await))) });
    }

    /// Runs until a limit is reached or something ends it; then every interface monitor is told
    /// to end, and waited for. `ending` is called first.
    pub async fn run(mut self, limits: Limits, ending: impl FnOnce()) -> (End, Report, Messages) {
        let end = self.watch(limits).await;
        // Before a second signal can end it at once.
        self.socket = None;
        ending();
        if let End::Stopped(name) = end {
            self.messages.say(&format!("{name}: ending"));
        }
        self.end_all().await;
        (end, self.report, self.messages)
    }

    async fn watch(&mut self, limits: Limits) -> End {
        if !self.elsewhere.is_empty() {
            happening::namespaces(self.sender.clone());
        }
        self.follow_namespaces();
        self.start_due();
        let mut limit = std::pin::pin!(happening::passed(limits.duration));
        let warm = tokio::time::Instant::now() + WARM_UP;
        while !self.all_are_known() {
            let happening = tokio::select! {
                () = tokio::time::sleep_until(warm) => break,
                happening = self.receiver.recv() => happening,
            };
            if let Some(end) = self.handle(happening).await {
                return end;
            }
        }
        self.say_what_is_not_there();
        self.tick();
        let (part, least, most) = AFTER;
        let interval = self.settings.interval;
        let ticker = match Ticker::in_step(interval, (interval / part).clamp(least, most)) {
            Ok(ticker) => ticker,
            Err(error) => return End::Clock(error),
        };
        while limits.reports.is_none_or(|reports| self.report.reports() + self.empty < reports) {
            let end = tokio::select! {
                biased;
                () = &mut limit => Some(End::Limit),
                ticked = ticker.tick() => match ticked {
                    Ok(()) => self.catch_up_and_tick().await,
                    Err(error) => Some(End::Clock(error)),
                },
                happening = self.receiver.recv() => self.handle(happening).await,
            };
            if let Some(end) = end {
                return end;
            }
        }
        End::Limit
    }

    /// The inbox is never closed, since this holds it open.
    async fn handle(&mut self, happening: Option<Happening>) -> Option<End> {
        match happening? {
            Happening::News(space, news, _permit) => self.hear_news(space, news).await,
            Happening::Counters(space, read, at) => self.hear_the_kernel(space, &read, at),
            Happening::Namespaces(_permit) => self.follow_namespaces(),
            Happening::Opened(found, opened) => return self.opened(found, opened).await,
            Happening::Looked(found, looked) => self.looked(found, looked),
            Happening::Spawned(place, spawned) => {
                self.spawned(place, spawned);
                self.start_due();
            }
            Happening::Exited(exit) => self.exited(exit),
            Happening::Joined(peer, ends, who, _permit) => self.joined(peer, ends, who),
            Happening::Heard(peer, message, _permit) => self.heard(peer, message),
            Happening::Left(peer, how) => self.left(peer, how),
            Happening::Look => {
                self.start_due();
                self.look_at_processes(Instant::now());
            }
            Happening::End(end) => return Some(end),
        }
        None
    }

    /// What has come before the tick belongs to it; but nobody who talks without end delays it.
    async fn catch_up_and_tick(&mut self) -> Option<End> {
        for _ in 0..MOST_AT_ONCE {
            let Ok(happening) = self.receiver.try_recv() else { break };
            if let Some(end) = self.handle(Some(happening)).await {
                return Some(end);
            }
        }
        self.tick();
        None
    }

    /// Decides and reports.
    fn tick(&mut self) {
        self.ticks += 1;
        let (number, at, time) = (self.ticks, Instant::now(), SystemTime::now());
        for space in &mut self.spaces {
            space.describe(number, at);
        }
        let tick = Tick { number, at, time, reading: Duration::ZERO };
        self.report.update(tick, self.spaces.iter_mut().flat_map(Space::shown));
        self.recover_all(at);
        self.look_at_processes(at);
        self.report.write();
        self.empty += u64::from(self.has_nothing_to_report());
        for space in &mut self.spaces {
            space.list.forget(|post| post.absence_reported);
        }
        self.spaces.retain(|space| !space.is_over());
        self.look_at_places(at);
    }

    /// Nothing tells when a container or a process ends: it is looked for.
    fn look_at_places(&mut self, now: Instant) {
        let untold = |place: &Where| matches!(place, Where::Path(_) | Where::Container(_));
        // What is refused for now may not be so later.
        let refused = |space: &Space| matches!(space.idle, Some(Idle::Refused(_)));
        if (self.elsewhere.iter().any(|(place, _)| untold(place))
            || self.spaces.iter().any(refused))
            && now.saturating_duration_since(self.looked_at) >= LOOK
        {
            self.looked_at = now;
            self.follow_namespaces();
        }
    }

    fn all_are_known(&self) -> bool {
        self.spaces.iter().all(Space::is_known) && self.spaces.iter().all(|space| space.is_open())
    }

    fn tell(&mut self, event: Event) {
        self.messages.event(&event);
        self.report.tell(event);
    }

    fn warn(&mut self, message: String) {
        self.tell(Event::own(EventKind::Warning, message));
    }
}
