//! Those who are connected and watch nothing: who has not said what it is, and who waits for an
//! interface.

use std::time::{Duration, Instant};

use super::NetworkMonitor;
use super::admission::{self, Connected};
use super::complaints::Report;
use super::happening;
use super::peers::PeerId;
use crate::workers::course::Stage;

/// Who connects has to say something in so much time.
const SILENT: Duration = Duration::from_secs(10);
/// Between looks at those who have said nothing, as long as there are some.
const LOOK: Duration = Duration::from_secs(1);

impl NetworkMonitor {
    /// Who is connected.
    pub(super) fn connected(&self) -> impl Iterator<Item = Connected> {
        self.connected_but(PeerId::MAX)
    }

    /// The others.
    fn connected_but(&self, one: PeerId) -> impl Iterator<Item = Connected> {
        self.peers.iter().filter(move |(id, _)| **id != one).map(|(_, peer)| {
            let stage = match (peer.place, &peer.ready) {
                (Some(_), _) => admission::Stage::Watching,
                (None, Some(_)) => admission::Stage::Waiting,
                (None, None) => admission::Stage::New,
            };
            Connected { pid: peer.pid, stage }
        })
    }

    /// How many were started and have not come forward.
    pub(super) fn expected(&self) -> usize {
        let items = self.spaces.iter().flat_map(|space| space.list.items());
        items.filter(|item| matches!(item.live.course.stage(), Stage::Started(_))).count()
    }

    /// One who has come forward waits for an interface, if not too many do.
    pub(super) fn let_wait(&mut self, id: PeerId, why: &str) {
        let pid = self.pid(id);
        let refused = admission::wait(self.connected_but(id));
        match refused {
            Ok(()) => tracing::info!("process {pid} waits: {why}"),
            Err(refused) => self.left(id, Err(refused.to_string())),
        }
    }

    /// Reports that somebody is no good, unless that was reported of many just now.
    pub(super) fn complain(&mut self, what: String) {
        match self.complaints.report(Instant::now()) {
            Report::Yes => self.warn(what),
            Report::Last => {
                self.warn(format!("{what} (further ones are not reported for a while)"))
            }
            Report::No => tracing::debug!("{what}"),
        }
    }

    /// Those who have connected and say nothing are sent away.
    pub(super) fn send_the_silent_away(&mut self, now: Instant) {
        let silent = self.peers.iter().filter(|(_, peer)| {
            let silent = peer.ready.is_none() && peer.place.is_none();
            silent && now.saturating_duration_since(peer.since) >= SILENT
        });
        let silent: Vec<_> = silent.map(|(id, _)| *id).collect();
        for id in silent {
            let why = format!("it has not said within {} s what it is", SILENT.as_secs());
            self.left(id, Err(why));
        }
        self.look_for_the_silent(now);
    }

    /// Ticks may be an hour apart: as long as there is somebody who has said nothing, it is looked
    /// at between them.
    pub(super) fn look_for_the_silent(&mut self, now: Instant) {
        let is_due = self.silent_at.is_none_or(|at| at <= now);
        if is_due && self.connected().any(|one| one.stage == admission::Stage::New) {
            self.silent_at = Some(now + LOOK);
            happening::look_after(LOOK, self.sender.clone());
        }
    }
}
