//! Interfaces beyond the number of processes that there may be: which these are, and the kernel's
//! own counters of them, which the network monitor reads itself over the netlink connection that
//! it follows their namespace by. Like an interface monitor it reads at each tick, all of a
//! namespace at once; to set a link up it has no privilege.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

use super::NetworkMonitor;
use super::happening::Happening;
use super::post::Post;
use super::room::{self, Claim, Decision, Limit, Rank};
use super::space::{Place, Space};
use crate::agent::watchlist::Watched;
use crate::config::WorkerLimits;
use crate::sources::netlink::link_stats::{self, LinkStats};
use crate::sources::netlink::links::Statistics;
use crate::workers::course::Stage;

impl NetworkMonitor {
    /// Gives a place to those that wait for one, as far as there are places.
    pub(super) fn give_places(&mut self, now: Instant) {
        let waits = |item: &Watched<Post>| item.live.course.stage() == Stage::Queued;
        if self.ending || !self.spaces.iter().any(|space| space.list.items().iter().any(waits)) {
            return;
        }
        if self.alone {
            return self.leave_to_the_kernel();
        }
        let decision = self.decide();
        for claim in &decision.released {
            self.release(claim);
        }
        let admitted = match decision.released.is_empty() {
            true => decision,
            // One that had no process yet has left its place at once.
            false => self.decide(),
        };
        for claim in admitted.admitted {
            if let Some(post) = self.post(&claim) {
                post.course.admit(now);
            }
        }
        for (claim, limit) in admitted.refused {
            let why = why(limit, self.settings.workers);
            if let Some(post) = self.post(&claim).filter(|post| post.peer.is_none()) {
                post.without_place = Some(why);
            }
            self.say_the_limit(claim.space, limit);
        }
        self.read_what_needs_it();
    }

    /// Nobody can start a process any more.
    fn leave_to_the_kernel(&mut self) {
        let why: Arc<str> = Arc::from("netlink (no process: what starts them has ended)");
        for item in self.spaces.iter_mut().flat_map(|space| space.list.items_mut()) {
            if item.live.course.stage() == Stage::Queued && item.live.peer.is_none() {
                item.live.without_place.get_or_insert_with(|| Arc::clone(&why));
            }
        }
        self.read_what_needs_it();
    }

    fn decide(&self) -> Decision {
        let own = self.spaces.iter().find(|space| space.prefix.is_none()).map(|space| space.id);
        let (mut claims, mut orphans) = (Vec::new(), self.starting.clone());
        for space in &self.spaces {
            for item in space.list.items() {
                claims.extend(claim(space, item));
                let is_started = matches!(item.live.course.stage(), Stage::Started(_));
                if is_started
                    && item.live.pid.is_none()
                    && let Some(at) = orphans.iter().position(|id| *id == space.id)
                {
                    orphans.swap_remove(at);
                }
            }
        }
        // Those that are being started for interfaces that have gone meanwhile will have to leave.
        let leaving = self.leaving.iter().map(|leaving| leaving.space).chain(orphans);
        room::decide(self.settings.workers, own, leaving, &claims)
    }

    fn post(&mut self, claim: &Claim) -> Option<&mut Post> {
        let (at, found) = self.at(Place { space: claim.space, key: claim.key })?;
        Some(&mut self.spaces[at].list.items_mut()[found].live)
    }

    /// Another one that comes first gets its place.
    fn release(&mut self, claim: &Claim) {
        let Some(post) = self.post(claim) else {
            return;
        };
        let (peer, pid) = post.give_up_place();
        self.is_to_leave(pid, claim.space);
        if let Some(peer) = peer {
            self.shut_down(peer, "an interface that was named gets its place");
        }
    }

    /// Once for each namespace: it decides how many interfaces it has.
    fn say_the_limit(&mut self, space: u32, limit: Limit) {
        let Some(space) = self.spaces.iter_mut().find(|other| other.id == space) else {
            return;
        };
        if std::mem::replace(&mut space.limit_was_said, true) {
            return;
        }
        let place = space.prefix.as_ref().map_or_else(String::new, |name| format!("in {name}: "));
        let WorkerLimits { per_namespace, in_all } = self.settings.workers;
        let reached = match limit {
            Limit::PerNamespace => {
                format!("{per_namespace} in a namespace, --max-workers-per-namespace")
            }
            Limit::InAll => format!("{in_all} in all, --max-workers"),
        };
        self.warn(format!(
            "{place}there are more interfaces than processes to watch them ({reached}): the \
             others are counted by the kernel's own counters, and links of theirs that are down \
             stay down"
        ));
    }

    /// Has the kernel's counters read where there is somebody without a process.
    fn read_what_needs_it(&mut self) {
        let (interval, sender) = (self.settings.interval, &self.sender);
        for space in &mut self.spaces {
            let wanted =
                space.list.items().iter().any(|item| item.present && item.live.needs_the_kernels());
            let id = space.id;
            space.count_by_kernel(wanted, |statistics| {
                read_on(id, statistics, interval, sender.clone())
            });
        }
    }

    /// Takes in what was read.
    pub(super) fn hear_the_kernel(&mut self, space: u32, read: &[LinkStats], at: Instant) {
        let Some(space) = self.spaces.iter_mut().find(|other| other.id == space) else {
            return;
        };
        let find = |ifindex| {
            let found = read.binary_search_by_key(&ifindex, |stats| stats.ifindex);
            found.ok().map(|found| &read[found])
        };
        for item in space.list.items_mut() {
            if item.present
                && item.live.needs_the_kernels()
                && let Some(stats) = find(item.link.ifindex)
            {
                item.live.hear_the_kernel(stats, at);
            }
        }
        self.read_what_needs_it();
    }
}

/// What an interface claims. `None`: nothing.
fn claim(space: &Space, item: &Watched<Post>) -> Option<Claim> {
    let Watched { key, named, present, live, .. } = item;
    let has = live.pid.is_some() || live.course.has_a_place() && !live.by_hand;
    let wants = live.course.stage() == Stage::Queued;
    let rank = match (named, &space.prefix) {
        (true, _) => Rank::Named,
        (false, None) => Rank::Own,
        (false, Some(_)) => Rank::Other,
    };
    let claim = Claim { space: space.id, key: *key, rank, has };
    (*present && (has || wants)).then_some(claim)
}

/// What is shown to count it.
fn why(limit: Limit, limits: WorkerLimits) -> Arc<str> {
    let WorkerLimits { per_namespace, in_all } = limits;
    match limit {
        Limit::PerNamespace => {
            format!("netlink (no process: --max-workers-per-namespace {per_namespace})").into()
        }
        Limit::InAll => format!("netlink (no process: --max-workers {in_all})").into(),
    }
}

/// Reads the counters of a namespace's interfaces now, and at each tick as interface monitors do.
fn read_on(
    space: u32,
    statistics: Statistics,
    interval: Duration,
    sender: UnboundedSender<Happening>,
) -> AbortHandle {
    let reading = tokio::spawn(async move {
        loop {
            let at = Instant::now();
            match link_stats::read(&statistics) {
                Ok(mut read) => {
                    read.sort_unstable_by_key(|stats| stats.ifindex);
                    if sender.send(Happening::Counters(space, read, at)).is_err() {
                        return;
                    }
                }
                Err(error) => tracing::debug!("no counters over netlink: {error}"),
            }
            tokio::time::sleep(until_next(interval)).await;
        }
    });
    reading.abort_handle()
}

/// How long it is until the next multiple of the interval on the kernel's monotonic clock.
fn until_next(interval: Duration) -> Duration {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    let passed = now.as_nanos() % interval.as_nanos().max(1);
    interval.saturating_sub(Duration::from_nanos(u64::try_from(passed).unwrap_or_default()))
}
