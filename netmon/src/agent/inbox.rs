//! What happens between ticks comes in through one channel, from tasks and threads that wait for
//! it. So a tick wakes the agent and nothing else: asking each source every time whether it has
//! something cost more than reading the counters. The agent waits for the channel itself, with the
//! next tick as the limit: a runtime's timers and readiness are code that has left the CPU's caches
//! by the next tick.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::link::IfIndex;
use crate::recovery::link_control::SetUpError;
use crate::sources::ebpf::attacher::Outcome;
use crate::sources::netlink::links::{LinkNews, News};

/// News that may wait for the agent. What comes meanwhile waits in the kernel's buffer, which has
/// an end.
const MOST_NEWS: usize = 1024;

/// Why the agent has ended.
#[derive(Debug)]
pub enum End {
    /// One of the [`super::Limits`].
    Limit,
    /// Stdout takes no more.
    Output(std::io::Error),
    /// A signal, by name.
    Stopped(&'static str),
    /// The kernel tells no news any more.
    NoNews,
    /// There is no clock.
    Clock(std::io::Error),
    /// The interface is gone, and there is no other.
    Gone,
    /// The network monitor has said so, and why.
    Ordered(String),
    /// What was asked for is not there.
    Wrong(String),
    /// The network monitor is gone, or cannot be talked to.
    Alone(String),
}

/// Something that happens between ticks.
#[derive(Debug)]
pub(super) enum Happening {
    /// News of an interface; more may come when the permit is dropped.
    News(LinkNews, OwnedSemaphorePermit),
    /// The programs were attached to an interface, or not.
    Outcome(Outcome),
    /// The next attempt to set an interface up may be due.
    Look(IfIndex),
    /// An interface was set up, or not.
    SetUp(IfIndex, Result<(), SetUpError>),
    /// The network monitor wants the link set up. Until this value is dropped, it cannot want it once
    /// more.
    SetUpOrdered(Arc<()>),
    /// The agent is to end.
    End(End),
}

/// The channel.
pub struct Inbox {
    pub(super) sender: Sender<Happening>,
    receiver: Receiver<Happening>,
}

impl Default for Inbox {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }
}

impl Inbox {
    /// Waits for what happens next. `None`: it is `until`, whatever else has happened.
    pub(super) fn wait(&self, until: Instant) -> Option<Happening> {
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        // It is never closed: this holds it open.
        self.receiver.recv_timeout(left).ok()
    }

    /// Ends the agent when a signal comes; its name is shown. Needs a tokio runtime.
    pub fn stop_at(&self, signal: impl Future<Output = &'static str> + Send + 'static) {
        self.end_at(async { End::Stopped(signal.await) });
    }

    /// Ends the agent when stdout takes no more.
    pub(super) fn stop_at_failure(
        &self,
        failure: impl Future<Output = std::io::Error> + Send + 'static,
    ) {
        self.end_at(async { End::Output(failure.await) });
    }

    /// Ends the agent, and sets the link up, as a network monitor orders.
    #[must_use]
    pub fn orders(&self) -> Orders {
        Orders(self.sender.clone(), Arc::new(()))
    }

    fn end_at(&self, end: impl Future<Output = End> + Send + 'static) {
        let sender = self.sender.clone();
        tokio::spawn(async move { sender.send(Happening::End(end.await)) });
    }

    /// Hands on the news of interfaces.
    pub(super) fn hear(&self, mut news: News) {
        let sender = self.sender.clone();
        let room = Arc::new(Semaphore::new(MOST_NEWS));
        tokio::spawn(async move {
            while let Ok(permit) = Arc::clone(&room).acquire_owned().await
                && let Some(news) = news.next().await
            {
                if sender.send(Happening::News(news, permit)).is_err() {
                    return;
                }
            }
            // Nobody listens any more when this fails.
            let _ = sender.send(Happening::End(End::NoNews));
        });
    }

    /// What the attaching thread calls with what it did.
    pub(super) fn outcomes(&self) -> impl Fn(Outcome) + Send + 'static {
        let sender = self.sender.clone();
        move |outcome| {
            // At the end nobody listens any more.
            let _ = sender.send(Happening::Outcome(outcome));
        }
    }
}

/// A way for a network monitor's orders to come in. At the end nobody listens any more. The second
/// value is the order to set the link up: whoever is told to does it once, however often it was
/// ordered meanwhile.
pub struct Orders(Sender<Happening>, Arc<()>);

impl Orders {
    /// Sets the link up, unless that is being done.
    pub fn set_link_up(&self) {
        if Arc::strong_count(&self.1) == 1 {
            let _ = self.0.send(Happening::SetUpOrdered(Arc::clone(&self.1)));
        }
    }

    /// Ends the agent.
    pub fn end(&self, end: End) {
        let _ = self.0.send(Happening::End(end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_ordered_again_and_again_waits_once() {
        let inbox = Inbox::default();
        let orders = inbox.orders();
        let next = || inbox.wait(Instant::now() + Duration::from_millis(1));
        for _ in 0..2 {
            (0..1_000).for_each(|_| orders.set_link_up());
            let Some(Happening::SetUpOrdered(order)) = inbox.receiver.try_recv().ok() else {
                panic!("it was not ordered");
            };
            // It is being done.
            orders.set_link_up();
            assert!(next().is_none());
            drop(order);
        }
    }
}
