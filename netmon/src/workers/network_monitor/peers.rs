//! Those who have connected: interface monitors, started by us or by hand, and whoever asks how
//! they are.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::admission;
use super::happening::Happening;
use super::post::{self, Post};
use super::space::Place;
use super::{MOST_WARNINGS, NetworkMonitor};
use crate::agent::watchlist::Watched;
use crate::model::event::{Event, EventKind};
use crate::workers::connection::{self, Hearer, Speaker};
use crate::workers::decoder::Received;
use crate::workers::peer;
use crate::workers::protocol::{self, FromMonitor, Processes, Ready, Sample, ToMonitor, Told};

/// So many messages of one may wait; no more are read before one was looked at.
const AHEAD: usize = 64;
/// So many may have connected without having been looked at.
const UNSEEN: usize = 64;
/// Between attempts to accept when that fails (too many open files).
const MOMENT: Duration = Duration::from_millis(100);

/// The number of a connection; none is used twice.
pub(super) type PeerId = u64;

/// Somebody who has connected. With this value the connection ends.
pub(super) struct Peer {
    pub(super) speaker: Speaker,
    hearing: AbortHandle,
    pub(super) pid: u32,
    /// What it has said it is, once it has.
    pub(super) ready: Option<Ready>,
    /// The interface that it watches.
    pub(super) place: Option<Place>,
    pub(super) since: Instant,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.hearing.abort();
    }
}

/// Accepts connections, as long as somebody takes them.
///
/// # Errors
/// When the listener cannot be used without waiting.
pub(super) fn accept(listener: UnixListener, sender: UnboundedSender<Happening>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    tokio::spawn(async move {
        let mut next: PeerId = 0;
        let room = Arc::new(Semaphore::new(UNSEEN));
        loop {
            // It is never closed.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let accepted = match listener.accept().await {
                Ok((stream, _)) => stream.into_std(),
                Err(error) => Err(error),
            };
            let joined = accepted.and_then(|stream| join(next, stream, permit, &sender));
            match joined {
                Ok(()) => next += 1,
                Err(error) => {
                    tracing::warn!("a connection is not taken: {error}");
                    tokio::time::sleep(MOMENT).await;
                }
            }
            if sender.is_closed() {
                return;
            }
        }
    });
    Ok(())
}

fn join(
    id: PeerId,
    stream: std::os::unix::net::UnixStream,
    permit: OwnedSemaphorePermit,
    sender: &UnboundedSender<Happening>,
) -> io::Result<()> {
    let who = peer::Peer::of(&stream)?;
    if !who.is_allowed() {
        let what = format!("process {} is user {}'s, not ours", who.pid, who.uid);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    let ends = connection::ends(stream)?;
    // At the end nobody listens any more.
    let _ = sender.send(Happening::Joined(id, ends, who, permit));
    Ok(())
}

async fn hear(id: PeerId, mut hearer: Hearer, sender: UnboundedSender<Happening>) {
    let room = Arc::new(Semaphore::new(AHEAD));
    let how = loop {
        // It is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match hearer.next().await {
            Ok(Some(message)) => {
                if sender.send(Happening::Heard(id, message, permit)).is_err() {
                    return;
                }
            }
            Ok(None) => break Ok(()),
            Err(why) => break Err(why),
        }
    };
    let _ = sender.send(Happening::Left(id, how));
}

impl NetworkMonitor {
    pub(super) fn joined(
        &mut self,
        id: PeerId,
        (hearer, mut speaker): (Hearer, Speaker),
        who: peer::Peer,
    ) {
        let (pid, since) = (who.pid, Instant::now());
        if let Err(why) = admission::join(pid, self.connected(), self.expected()) {
            let reason = why.to_string();
            self.complain(format!("process {pid} is refused: {reason}"));
            // It may not listen. With its end here the connection is closed.
            let _ = speaker.say(&FromMonitor::ShutDown { reason });
            return;
        }
        let hearing = tokio::spawn(hear(id, hearer, self.sender.clone())).abort_handle();
        self.peers.insert(id, Peer { speaker, hearing, pid, ready: None, place: None, since });
        self.look_for_the_silent(since);
    }

    pub(super) fn heard(&mut self, id: PeerId, message: Received<ToMonitor>) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let message = match message {
            Received::Known(message) => message,
            Received::Unknown(name) => {
                return tracing::debug!("process {}: unknown message {name:?}", peer.pid);
            }
        };
        let place = peer.place;
        // Samples, of which there are many, are shown to those who ask for still more.
        if matches!(message, ToMonitor::Sample(_)) {
            tracing::trace!("{} -> [monitor] {message}", self.title(id));
        } else {
            tracing::debug!("{} -> [monitor] {message}", self.title(id));
        }
        match message {
            ToMonitor::Ready(ready) => self.ready(id, ready),
            ToMonitor::List(_) => self.list(id),
            message => {
                let found = place.and_then(|place| self.at(place)).filter(|(at, found)| {
                    self.spaces[*at].list.items()[*found].live.peer == Some(id)
                });
                if let Some((at, found)) = found {
                    self.spaces[at].list.items_mut()[found].live.last =
                        Some((protocol::Message::name(&message), Instant::now()));
                    self.heard_of(at, found, message);
                }
            }
        }
    }

    /// What an interface monitor says of the interface that it watches.
    fn heard_of(&mut self, at: usize, found: usize, message: ToMonitor) {
        let space = &mut self.spaces[at];
        let name = space.name_of(&space.list.items()[found]);
        let item = &mut space.list.items_mut()[found];
        match message {
            ToMonitor::Sample(sample) => hear_sample(item, *sample),
            ToMonitor::Monitoring(monitoring) => {
                item.live.counted(item.wanted.hook, Instant::now());
                self.tell(Event::of(&name, EventKind::Counting, monitoring.hook));
            }
            ToMonitor::Event(Told { kind: EventKind::Warning, message }) => {
                if self.warned.len() >= MOST_WARNINGS {
                    self.warned.clear();
                }
                if self.warned.insert(message.clone()) {
                    self.tell(Event::of(&name, EventKind::Warning, message));
                }
            }
            ToMonitor::Event(Told { kind, message }) => {
                self.tell(Event::of(&name, kind, message));
            }
            ToMonitor::LinkDown(down) => {
                item.live.facts.admin_up = down.admin_up;
                item.live.facts.state = down.state;
                self.recover(at, found, Instant::now());
            }
            ToMonitor::LinkSet(set) => self.link_set(at, found, set),
            ToMonitor::Done(_) | ToMonitor::Ready(_) | ToMonitor::List(_) => {}
        }
    }

    pub(super) fn left(&mut self, id: PeerId, how: Result<(), String>) {
        let title = self.title(id);
        let Some(mut peer) = self.peers.remove(&id) else {
            return;
        };
        if let Err(why) = &how {
            // It may listen still.
            let _ = peer.speaker.say(&FromMonitor::ShutDown { reason: why.clone() });
            self.complain(format!("{title} is sent away: {why}"));
        }
        let Some((at, found)) = peer.place.and_then(|place| self.at(place)) else {
            return;
        };
        let item = &mut self.spaces[at].list.items_mut()[found];
        if item.live.peer != Some(id) {
            return;
        }
        let by_hand = item.live.by_hand;
        item.live.lose();
        if by_hand && item.present {
            item.live.course.want();
            self.take_one_who_waits(at, found);
            self.start_due();
        } else if self.alone {
            item.live.pid = None;
            item.live.course.leave();
            let name = self.spaces[at].name_of(&self.spaces[at].list.items()[found]);
            let message = "its interface monitor has ended, and nobody can start another one";
            self.tell(Event::of(&name, EventKind::Warning, message));
        } else if how.is_err()
            && let Some(pid) = item.live.pid
        {
            // It is ours, and of no use any more. Its end is told by the launcher.
            super::processes::kill(pid);
        }
    }

    /// Tells somebody to end.
    pub(super) fn shut_down(&mut self, id: PeerId, why: &str) {
        self.say(id, &FromMonitor::ShutDown { reason: why.to_owned() });
    }

    pub(super) fn say(&mut self, id: PeerId, message: &FromMonitor) {
        tracing::debug!("[monitor] -> {} {message}", self.title(id));
        if let Some(peer) = self.peers.get_mut(&id)
            && let Err(error) = peer.speaker.say(message)
        {
            // Its other end will end, too.
            tracing::debug!("{} cannot be told: {error}", self.title(id));
        }
    }

    /// Answers `netmon workers`.
    fn list(&mut self, id: PeerId) {
        let now = Instant::now();
        let mut workers = Vec::new();
        for space in &self.spaces {
            for item in space.list.items() {
                let mut status = post::status(item, space.prefix.as_deref(), now);
                let peer = item.live.peer.and_then(|peer| self.peers.get(&peer));
                // One that was started for it may not have ended yet.
                status.pid = peer.map(|peer| peer.pid).or(status.pid).filter(|pid| *pid != 0);
                workers.push(status);
            }
        }
        let mut bytes = Vec::new();
        let launcher = (!self.alone).then(|| self.launcher.process());
        let processes = Processes { monitor: std::process::id(), launcher };
        let printed = protocol::print(&FromMonitor::Processes(processes), &mut bytes)
            .and_then(|()| protocol::print_workers(&workers, &mut bytes));
        if let (Ok(()), Some(peer)) = (printed, self.peers.get_mut(&id))
            && let Err(error) = peer.speaker.say_bytes(&bytes)
        {
            // Asked again and again, the answers would be kept for it.
            self.left(id, Err(error.to_string()));
        }
    }

    /// Says what those who read slowly have not taken yet.
    pub(super) fn say_the_rest(&mut self) {
        let mut given_up = Vec::new();
        for (id, peer) in &mut self.peers {
            if let Err(error) = peer.speaker.flush() {
                given_up.push((*id, error.to_string()));
            }
        }
        given_up.into_iter().for_each(|(id, why)| self.left(id, Err(why)));
    }

    /// Where this interface is now.
    pub(super) fn at(&self, place: Place) -> Option<(usize, usize)> {
        let at = self.spaces.iter().position(|space| space.id == place.space)?;
        Some((at, self.spaces[at].find_key(place.key)?))
    }

    pub(super) fn pid(&self, id: PeerId) -> u32 {
        self.peers.get(&id).map_or(0, |peer| peer.pid)
    }

    /// `eth0/12345`, as the conversation shows it.
    fn title(&self, id: PeerId) -> String {
        let pid = self.pid(id);
        let place = self.peers.get(&id).and_then(|peer| peer.place);
        match place.and_then(|place| self.at(place)) {
            Some((at, found)) => {
                let space = &self.spaces[at];
                format!("{}/{pid}", space.name_of(&space.list.items()[found]))
            }
            None => format!("process {pid}"),
        }
    }
}

fn hear_sample(item: &mut Watched<Post>, sample: Sample) {
    if sample.facts.ifindex != Some(item.link.ifindex) || !item.present {
        return;
    }
    let now = Instant::now();
    let clock = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let clock = clock.map(Duration::from).unwrap_or_default();
    let age = clock.saturating_sub(Duration::from_nanos(sample.at_ns));
    item.live.hear(sample, now.checked_sub(age).unwrap_or(now));
}
