//! One network namespace: its interfaces, and how it is followed. Which there are: `places.rs`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ecow::EcoString;
use tokio::task::{AbortHandle, JoinHandle};

use super::post::{self, Post};
use super::{NetworkMonitor, happening};
use crate::agent::watchlist::{Change, Watched, Watchlist};
use crate::config::Settings;
use crate::model::event::{Event, EventKind};
use crate::model::link::{IfIndex, Link};
use crate::model::select::Literal;
use crate::model::snapshot::InterfaceFacts;
use crate::recovery::policy::Policy;
use crate::sources::netlink::links::{LinkNews, Links, News, Statistics};

/// Which interface of which namespace: their numbers here, which stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) space: u32,
    pub(super) key: u32,
}

/// A namespace.
pub(super) struct Space {
    pub(super) id: u32,
    /// What stands before its interfaces' names; `None`: it is the monitor's own.
    pub(super) prefix: Option<Arc<str>>,
    /// Where it is, and its inode; the latter is 0 until it was opened.
    pub(super) path: Option<PathBuf>,
    pub(super) inode: u64,
    pub(super) settings: Settings,
    pub(super) list: Watchlist<Post>,
    /// Why it is not watched. `None`: it is, or will be.
    pub(super) idle: Option<Idle>,
    /// `None` until it was opened.
    links: Option<Links>,
    news: Option<JoinHandle<()>>,
    /// Reads the kernel's own counters of those that have no process.
    counters: Option<AbortHandle>,
    /// That there are some was said.
    pub(super) limit_was_said: bool,
    /// Its name is gone, so no news will come.
    pub(super) gone: bool,
}

/// Why a namespace that is there is not watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// It is the monitor's own, of which everything that is wanted is watched already.
    Own,
    /// It could not be opened; this is why.
    Refused(String),
}

impl Drop for Space {
    fn drop(&mut self) {
        self.close();
    }
}

impl Space {
    fn new(id: u32, prefix: Option<Arc<str>>, path: Option<PathBuf>, settings: Settings) -> Self {
        Self {
            id,
            prefix,
            path,
            inode: 0,
            settings,
            list: Watchlist::new(),
            idle: None,
            links: None,
            news: None,
            counters: None,
            limit_was_said: false,
            gone: false,
        }
    }

    /// Lets go of it: a socket would keep the namespace alive.
    pub(super) fn close(&mut self) {
        self.links = None;
        self.counters.take().inspect(AbortHandle::abort);
        if let Some(news) = self.news.take() {
            news.abort();
        }
    }

    /// Reads the kernel's own counters at each tick from now on, or no longer.
    pub(super) fn count_by_kernel(
        &mut self,
        wanted: bool,
        start: impl FnOnce(Statistics) -> AbortHandle,
    ) {
        match (&self.links, &self.counters) {
            (Some(links), None) if wanted => self.counters = Some(start(links.statistics())),
            (_, Some(_)) if !wanted => drop(self.counters.take().inspect(AbortHandle::abort)),
            _ => {}
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.links.is_some() || self.gone || self.idle.is_some()
    }

    /// Its interfaces are known, and their news come.
    pub(super) const fn is_followed(&self) -> bool {
        self.links.is_some()
    }

    /// It is gone, and that was shown.
    pub(super) fn is_over(&self) -> bool {
        self.gone && self.list.items().iter().all(|item| item.live.absence_reported)
    }

    /// Whether there is something to show of each interface that can be shown.
    pub(super) fn is_known(&self) -> bool {
        let known = |item: &Watched<Post>| !item.present || item.live.is_known();
        self.list.items().iter().all(known)
    }

    pub(super) fn describe(&mut self, tick: u64, now: Instant) {
        let prefix = self.prefix.as_deref();
        for item in self.list.items_mut() {
            item.live.grow_old(now);
            post::describe(item, self.id, prefix, tick);
        }
    }

    /// The facts to show: of all that exist, and once of each that does not any more.
    pub(super) fn shown(&mut self) -> impl Iterator<Item = &InterfaceFacts> {
        self.list.items_mut().iter_mut().filter_map(|item| {
            let known = std::mem::replace(&mut item.live.absence_reported, !item.present);
            (item.present || !known).then_some(&item.live.facts)
        })
    }

    pub(super) fn name_of(&self, item: &Watched<Post>) -> EcoString {
        match &self.prefix {
            Some(prefix) => format!("{prefix}/{}", item.name).into(),
            None => item.name.clone(),
        }
    }

    /// The place in the list of the one of this key.
    pub(super) fn find_key(&self, key: u32) -> Option<usize> {
        self.list.items().iter().position(|item| item.key == key)
    }
}

impl NetworkMonitor {
    /// Watches the interfaces of its own namespace.
    pub fn watch_own(&mut self, (links, news): (Links, News), existing: &[Link]) {
        self.note_what_is_met(None, existing);
        let settings = self.settings.resolved(existing, Literal::First);
        let id = self.add_space(None, None, settings);
        self.watch_space(id, (links, news), existing, self.own);
    }

    pub(super) fn add_space(
        &mut self,
        prefix: Option<&str>,
        path: Option<PathBuf>,
        of: Settings,
    ) -> u32 {
        let id = self.next_space;
        self.next_space += 1;
        let space = Space::new(id, prefix.map(Arc::from), path, of);
        let place = self.spaces.partition_point(|other| other.prefix <= space.prefix);
        self.spaces.insert(place, space);
        id
    }

    pub(super) fn watch_space(
        &mut self,
        id: u32,
        with: (Links, News),
        existing: &[Link],
        inode: u64,
    ) {
        let Some(at) = self.spaces.iter().position(|space| space.id == id) else {
            return;
        };
        let space = &mut self.spaces[at];
        space.inode = inode;
        space.links = Some(with.0);
        space.news = Some(happening::news(id, with.1, self.sender.clone()));
        for link in existing {
            self.update(at, link.clone(), true);
        }
        self.start_due();
    }

    pub(super) async fn hear_news(&mut self, space: u32, news: LinkNews) {
        let Some(at) = self.spaces.iter().position(|s| s.id == space && !s.gone) else {
            return;
        };
        match news {
            LinkNews::Is(link) => self.update(at, link, false),
            LinkNews::Gone(ifindex) => self.gone(at, ifindex, "the interface is gone"),
            LinkNews::Lost => {
                let Some(links) = &self.spaces[at].links else {
                    return;
                };
                match links.list().await {
                    Ok(links) => {
                        for ifindex in self.spaces[at].list.missing(&links) {
                            self.gone(at, ifindex, "the interface is gone");
                        }
                        links.into_iter().for_each(|link| self.update(at, link, false));
                    }
                    Err(error) => tracing::warn!("{error}"),
                }
            }
        }
        self.start_due();
    }

    fn update(&mut self, at: usize, link: Link, from_the_start: bool) {
        let space = &mut self.spaces[at];
        let change = space.list.update(link, &space.settings);
        let begins = matches!(change, Some(Change::Appeared(_) | Change::Back(_)));
        let (place, event) = match change {
            None => return,
            Some(Change::Altered(place)) => (place, None),
            Some(Change::Appeared(place)) if from_the_start => (place, None),
            Some(Change::Appeared(place)) => {
                (place, Some((EventKind::Appeared, "appeared".to_owned())))
            }
            Some(Change::Back(place)) => {
                let ifindex = space.list.items()[place].link.ifindex;
                (place, Some((EventKind::Back, format!("back (ifindex {ifindex})"))))
            }
            Some(Change::Renamed(place, old)) => {
                (place, Some((EventKind::Renamed, format!("was {old} before"))))
            }
        };
        let item = &mut space.list.items_mut()[place];
        let policy = Policy::new(item.wanted.recover, item.named);
        item.live.policy.get_or_insert(policy).configure(item.wanted.recover, item.named);
        if begins {
            item.live.begin();
        }
        let name = space.name_of(&space.list.items()[place]);
        if let Some((kind, message)) = event {
            self.tell(Event::of(&name, kind, message));
        }
        if begins {
            self.take_one_who_waits(at, place);
        }
    }

    pub(super) fn gone(&mut self, at: usize, ifindex: IfIndex, why: &str) {
        let space = &mut self.spaces[at];
        let Some(place) = space.list.remove(ifindex) else {
            return;
        };
        let post = &mut space.list.items_mut()[place].live;
        post.course.leave();
        if let Some(policy) = &mut post.policy {
            policy.absent();
        }
        let (peer, pid) = (post.peer.take(), post.pid.take());
        let (name, id) = (space.name_of(&space.list.items()[place]), space.id);
        self.is_to_leave(pid, id);
        if let Some(peer) = peer {
            self.shut_down(peer, why);
        }
        self.tell(Event::of(&name, EventKind::Gone, "gone"));
    }
}
