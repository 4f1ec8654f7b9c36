//! What happens between ticks comes in through one channel, as it does in the agent.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::peers::PeerId;
use super::places::Found;
use super::space::Place;
use crate::agent::End;
use crate::sources::netlink::link_stats::LinkStats;
use crate::sources::netlink::links::{LinkNews, News};
use crate::workers::connection::{Hearer, Speaker};
use crate::workers::decoder::Received;
use crate::workers::launcher::{Exit, Exits, LaunchError, Opened};
use crate::workers::namespace::Changes;
use crate::workers::peer;
use crate::workers::protocol::ToMonitor;

/// News of one namespace that may wait. What comes meanwhile waits in the kernel's buffer, which
/// has an end.
const MOST_NEWS: usize = 256;
/// Between attempts to see what cannot be seen.
const MOMENT: Duration = Duration::from_secs(1);

/// Something that happened.
pub(super) enum Happening {
    /// News of an interface in the namespace of this number; more may come when the permit is
    /// dropped.
    News(u32, LinkNews, OwnedSemaphorePermit),
    /// State and counters of a namespace's interfaces were read at this time.
    Counters(u32, Vec<LinkStats>, Instant),
    /// Namespaces have come or gone; this is not said again until the permit is dropped.
    Namespaces(OwnedSemaphorePermit),
    /// A namespace was looked into, or not.
    Opened(Found, Result<Opened, LaunchError>),
    /// It was seen which namespace is there now, or not.
    Looked(Found, Result<u64, LaunchError>),
    /// An interface monitor was started, or not.
    Spawned(Place, Result<u32, LaunchError>),
    /// A process that was started has ended; `None`: nobody will be told of that any more.
    Exited(Option<Exit>),
    /// Somebody has connected (and one more may when the permit is dropped),
    Joined(PeerId, (Hearer, Speaker), peer::Peer, OwnedSemaphorePermit),
    /// has said something, and may say more when the permit is dropped,
    Heard(PeerId, Received<ToMonitor>, OwnedSemaphorePermit),
    /// and is gone, in order or not.
    Left(PeerId, Result<(), String>),
    /// An interface monitor may be due to be started.
    Look,
    /// It is to end.
    End(End),
}

type Sender = UnboundedSender<Happening>;

/// Hands on which processes have ended.
pub(super) fn exits(mut exits: Exits, sender: Sender) {
    tokio::spawn(async move {
        loop {
            let exit = exits.next().await;
            let last = exit.is_none();
            if sender.send(Happening::Exited(exit)).is_err() || last {
                return;
            }
        }
    });
}

/// Ends it when stdout takes no more.
pub(super) fn failure(failure: impl Future<Output = io::Error> + Send + 'static, sender: Sender) {
    tokio::spawn(async move { sender.send(Happening::End(End::Output(failure.await))) });
}

/// Hands on that namespaces came or went.
pub(super) fn namespaces(sender: Sender) {
    tokio::spawn(async move {
        let mut changes = match Changes::new() {
            Ok((changes, _)) => changes,
            Err(error) => return tracing::warn!("namespaces that come are not seen: {error}"),
        };
        let mut blind = false;
        let room = Arc::new(Semaphore::new(1));
        // What came before there was somebody to tell.
        while let Ok(permit) = Arc::clone(&room).acquire_owned().await
            && sender.send(Happening::Namespaces(permit)).is_ok()
        {
            let seen = changes.next().await;
            if let Err(error) = &seen {
                // Too many open files, which may pass.
                if !std::mem::replace(&mut blind, true) {
                    tracing::warn!("namespaces that come are not seen for now: {error}");
                }
                tokio::time::sleep(MOMENT).await;
            }
            blind &= seen.is_err();
        }
    });
}

/// Hands on the news of a namespace's interfaces, until it is aborted.
pub(super) fn news(space: u32, mut news: News, sender: Sender) -> tokio::task::JoinHandle<()> {
    let room = Arc::new(Semaphore::new(MOST_NEWS));
    tokio::spawn(async move {
        while let Ok(permit) = Arc::clone(&room).acquire_owned().await
            && let Some(news) = news.next().await
        {
            if sender.send(Happening::News(space, news, permit)).is_err() {
                return;
            }
        }
    })
}

/// Looks again after this time.
pub(super) fn look_after(delay: Duration, sender: Sender) {
    tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        sender.send(Happening::Look)
    });
}

/// Completes after this time, or never.
pub(super) async fn passed(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}
