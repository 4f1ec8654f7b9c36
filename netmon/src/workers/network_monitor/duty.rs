//! Who watches which interface: interface monitors that come forward are given one, wait, or are
//! sent away.

use std::time::Instant;

use super::NetworkMonitor;
use super::peers::PeerId;
use super::post::Post;
use super::space::{Place, Space};
use crate::agent::watchlist::Watched;
use crate::model::event::{Event, EventKind};
use crate::workers::course::Stage;
use crate::workers::protocol::{FromMonitor, Orders, Ready, VERSION};

impl NetworkMonitor {
    pub(super) fn ready(&mut self, id: PeerId, ready: Ready) {
        if !super::processes::is_there(self.pid(id)) {
            // Of one that we had started the end may have been told already: it is nobody's any
            // more, and not one that was started by hand.
            return;
        }
        let (found, ifindex) = (self.place_for(id, &ready), ready.ifindex);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.ready = Some(ready);
        }
        match found {
            _ if self.leaving.iter().any(|leaving| leaving.pid == self.pid(id)) => {
                self.shut_down(id, "its interface is gone");
            }
            // It has found another one of that name: names were changed while it was started.
            Some((at, place)) if self.spaces[at].list.items()[place].link.ifindex.0 != ifindex => {
                self.shut_down(id, "its interface has another name now");
            }
            // Somebody was faster by hand.
            Some((at, place))
                if self.is_watched_by_hand(at, place)
                    && self.spaces[at].list.items()[place].live.pid == Some(self.pid(id)) =>
            {
                self.shut_down(id, "its interface is watched by another");
            }
            // Of two that were started by hand the second waits until the first is gone.
            Some((at, found)) if self.is_watched_by_hand(at, found) => {
                let name = self.spaces[at].name_of(&self.spaces[at].list.items()[found]);
                self.let_wait(id, &format!("{name} is watched by another"));
            }
            Some((at, found)) => self.take(id, at, found),
            None => self.let_wait(id, "its interface is not wanted"),
        }
    }

    fn is_watched_by_hand(&self, at: usize, found: usize) -> bool {
        let post = &self.spaces[at].list.items()[found].live;
        post.by_hand && post.peer.is_some()
    }

    /// The interface that it is for, if that is wanted: the one that it was started for, else the
    /// one that it says, of which a namespace with two names has two.
    fn place_for(&self, id: PeerId, ready: &Ready) -> Option<(usize, usize)> {
        let pid = self.pid(id);
        let find = |is_it: &dyn Fn(&Space, &Watched<Post>) -> bool| {
            self.spaces.iter().enumerate().filter(|(_, space)| space.is_followed()).find_map(
                |(at, space)| {
                    let mut items = space.list.items().iter();
                    let found = items.position(|item| item.present && is_it(space, item))?;
                    Some((at, found))
                },
            )
        };
        let said = |space: &Space, item: &Watched<Post>| {
            (space.inode, item.link.ifindex.0) == (ready.namespace, ready.ifindex)
        };
        find(&|_, item| item.live.pid == Some(pid))
            .or_else(|| find(&|space, item| said(space, item) && item.live.peer.is_none()))
            .or_else(|| find(&said))
    }

    /// It watches this interface from now on; who did so before is told to end.
    fn take(&mut self, id: PeerId, at: usize, found: usize) {
        let pid = self.pid(id);
        let space = &mut self.spaces[at];
        let (space_id, settings) = (space.id, space.settings.clone());
        let name = space.name_of(&space.list.items()[found]);
        let item = &mut space.list.items_mut()[found];
        let place = Place { space: space_id, key: item.key };
        let started = matches!(item.live.course.stage(), Stage::Started(_));
        let by_hand = match item.live.pid {
            Some(ours) => ours != pid,
            None => !started,
        };
        let before = item.live.peer.take();
        // Ours is not wanted any more; if it has not come forward, nobody can tell it.
        let ours = if by_hand { item.live.pid.take() } else { None };
        let orphan = ours.filter(|_| before.is_none());
        item.live.take(id, by_hand, item.wanted.hook, Instant::now());
        let orders = Orders {
            version: VERSION,
            interval_ns: settings.interval.as_nanos() as u64,
            source: settings.source,
            hook: item.wanted.hook,
            recovery: item.wanted.recover,
            log: self.log,
        };
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.place = Some(place);
        }
        if let Some(before) = before {
            self.shut_down(before, "another one was started for its interface");
        }
        self.is_to_leave(ours, space_id);
        if let Some(orphan) = orphan {
            super::processes::kill(orphan);
        }
        if by_hand {
            let message = format!("watched by process {pid}, which was started by hand");
            self.tell(Event::of(&name, EventKind::Counting, message));
        }
        self.say(id, &FromMonitor::Monitor(orders));
    }

    /// Somebody may have come forward for the interface before it was wanted.
    pub(super) fn take_one_who_waits(&mut self, at: usize, found: usize) {
        let space = &self.spaces[at];
        let ifindex = space.list.items()[found].link.ifindex.0;
        let waits = self.peers.iter().find(|(_, peer)| {
            let right = |ready: &Ready| (ready.namespace, ready.ifindex) == (space.inode, ifindex);
            peer.place.is_none() && peer.ready.as_ref().is_some_and(right)
        });
        if let Some(id) = waits.map(|(id, _)| *id) {
            self.take(id, at, found);
        }
    }
}
