//! One interface monitor: watches one interface as its network monitor orders, tells it each
//! tick's facts, and sets the link up when told to.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::connection::{self, Hearer, Speaker};
use super::decoder::Received;
use super::namespace;
use super::peer;
use super::protocol::{
    Done, FromMonitor, LinkDown, LinkSet, Monitoring, Orders, Ready, Sample, ToMonitor, Told,
    VERSION,
};
use crate::agent::{self, End, Superior};
use crate::model::event::{Event, EventKind};
use crate::model::link::{Link, LinkState};
use crate::model::snapshot::{InterfaceFacts, Tick};
use crate::recovery::link_control::SetUpError;

/// How long the end waits for the network monitor to take the last message.
const LAST_MESSAGE: Duration = Duration::from_secs(1);

/// A connection over which the orders have come.
pub struct Session {
    orders: Orders,
    hearer: Hearer,
    speaker: Arc<Mutex<Spoken>>,
}

/// Why there are no orders.
#[derive(Debug, thiserror::Error)]
pub enum NoOrders {
    /// There is nobody to connect to.
    #[error(transparent)]
    Connect(#[from] peer::ConnectError),
    /// The connection broke, or what came is not of the protocol.
    #[error("the network monitor has not said what to do: {0}")]
    Broken(String),
    /// It does not want this interface monitor.
    #[error("the network monitor has sent this one away: {0}")]
    SentAway(String),
}

/// Connects, says Ready, and waits for the orders. Needs a tokio runtime.
///
/// # Errors
/// See [`NoOrders`].
pub async fn report_for_duty(path: &Path, link: &Link) -> Result<Session, NoOrders> {
    let broken = |error: io::Error| NoOrders::Broken(error.to_string());
    let (hearer, mut speaker) = connection::ends(peer::connect(path)?).map_err(broken)?;
    let ready = Ready {
        version: VERSION,
        interface: link.name.to_string(),
        ifindex: link.ifindex.0,
        namespace: namespace::own().map_err(broken)?,
        pid: std::process::id(),
    };
    speaker.say(&ToMonitor::Ready(ready)).map_err(broken)?;
    let (hearer, first) = hearer.first::<FromMonitor>().await.map_err(NoOrders::Broken)?;
    match first {
        FromMonitor::Monitor(orders) => {
            let speaker = Arc::new(Mutex::new(Spoken { speaker: Some(speaker), ticks: 0 }));
            Ok(Session { orders, hearer, speaker })
        }
        FromMonitor::ShutDown { reason } => Err(NoOrders::SentAway(reason)),
        other => Err(NoOrders::Broken(format!("it said \"{other}\" first"))),
    }
}

impl Session {
    /// What the network monitor wants.
    #[must_use]
    pub const fn orders(&self) -> &Orders {
        &self.orders
    }

    /// The two ways: what the agent tells, and the orders that come in while it runs.
    pub fn start(self, orders: agent::Orders) -> (Box<dyn Superior>, Farewell) {
        let Self { hearer, speaker, .. } = self;
        tokio::spawn(async move {
            let mut told = None;
            let heard = hearer
                .hear(|message| match message {
                    Received::Known(FromMonitor::SetLinkUp {}) => {
                        orders.set_link_up();
                        true
                    }
                    Received::Known(FromMonitor::ShutDown { reason }) => {
                        told = Some(reason);
                        false
                    }
                    other => {
                        tracing::debug!("not expected from the network monitor: {other:?}");
                        true
                    }
                })
                .await;
            orders.end(match (told, heard) {
                (Some(reason), _) => End::Ordered(reason),
                (None, Ok(())) => End::Alone("the network monitor is gone".to_owned()),
                (None, Err(why)) => End::Alone(format!("the network monitor: {why}")),
            });
        });
        (Box::new(Subordinate { speaker: Arc::clone(&speaker) }), Farewell(speaker))
    }
}

/// What is left to say at the end.
pub struct Farewell(Arc<Mutex<Spoken>>);

impl Farewell {
    /// Says Done, and waits a little until that is taken.
    pub async fn say(self) {
        let (speaker, ticks) = {
            let mut spoken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (spoken.speaker.take(), spoken.ticks)
        };
        let Some(mut speaker) = speaker else {
            return;
        };
        if speaker.say(&ToMonitor::Done(Done { ticks })).is_ok() {
            // Nobody to tell when the network monitor is gone by now.
            let _ = tokio::time::timeout(LAST_MESSAGE, speaker.finish()).await;
        }
    }
}

struct Spoken {
    speaker: Option<Speaker>,
    ticks: u64,
}

struct Subordinate {
    speaker: Arc<Mutex<Spoken>>,
}

impl Subordinate {
    fn with(&self, say: impl FnOnce(&mut Speaker) -> io::Result<()>) {
        let mut spoken = self.speaker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(speaker) = &mut spoken.speaker
            && let Err(error) = say(speaker)
        {
            // The hearing end will notice, too, and end the agent.
            tracing::debug!("the network monitor cannot be told: {error}");
            spoken.speaker = None;
        }
    }

    fn say(&self, message: &ToMonitor) {
        self.with(|speaker| speaker.say(message));
    }
}

impl Superior for Subordinate {
    fn monitoring(&mut self, facts: &InterfaceFacts) {
        let (source, hook) = (facts.source, facts.hook.to_string());
        self.say(&ToMonitor::Monitoring(Monitoring { source, hook }));
    }

    fn sample(&mut self, tick: &Tick, facts: &InterfaceFacts) {
        let late = tick.at.elapsed();
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        let sample = ToMonitor::Sample(Box::new(Sample {
            tick: tick.number,
            at_ns: now.saturating_sub(late).as_nanos() as u64,
            reading_ns: tick.reading.as_nanos() as u64,
            facts: facts.clone(),
        }));
        self.with(|speaker| speaker.say_if_heard(&sample).map(drop));
        self.speaker.lock().unwrap_or_else(PoisonError::into_inner).ticks = tick.number;
    }

    fn event(&mut self, event: &Event) {
        let Event { kind, message, .. } = event;
        // What counts is told when the start is over; what becomes of the interface the monitor
        // sees for itself.
        let known = [
            EventKind::Counting,
            EventKind::Gone,
            EventKind::Back,
            EventKind::Appeared,
            EventKind::Renamed,
        ];
        if !known.contains(kind) {
            self.say(&ToMonitor::Event(Told { kind: *kind, message: message.clone() }));
        }
    }

    fn link_down(&mut self, admin_up: bool, state: LinkState, reason: &'static str) {
        let (reason, admin_up) = (reason.to_owned(), Some(admin_up));
        self.say(&ToMonitor::LinkDown(LinkDown { reason, admin_up, state }));
    }

    fn link_set(&mut self, result: &Result<(), SetUpError>) {
        let error = result.as_ref().err();
        let denied = matches!(error, Some(SetUpError::Denied));
        let error = error.map(ToString::to_string);
        self.say(&ToMonitor::LinkSet(LinkSet { error, denied }));
    }
}
