//! What the agent makes of news: interfaces that come, change and go, and programs that have
//! been attached to them or not.

use std::sync::Arc;
use std::time::Instant;

use super::run::Agent;
use super::sight::Sight;
use super::upward::Upward;
use super::watchlist::Change;
use crate::model::accounting::Rules;
use crate::model::event::{Event, EventKind};
use crate::model::link::{IfIndex, Link};
use crate::model::options::Hook;
use crate::model::snapshot::Source;
use crate::recovery::policy::Policy;
use crate::sources::ebpf::attacher::Outcome;
use crate::sources::netlink::links::LinkNews;

impl Agent {
    pub(super) fn hear(&mut self, news: LinkNews) {
        match news {
            LinkNews::Is(link) => self.update(link),
            LinkNews::Gone(ifindex) => self.gone(ifindex),
            LinkNews::Lost => match self.runtime.block_on(self.links.list()) {
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

    fn update(&mut self, mut link: Link) {
        // News may be older than the XDP program that we have attached since.
        let watched = self.list.find(link.ifindex).map(|at| &self.list.items()[at].live);
        link.native_xdp |= watched.is_some_and(|live| live.native_xdp);
        self.tell_peer(&link);
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
                let refused = self.list.items()[at].live.facts.source == Source::Sysfs;
                if refused && self.counting.programs.is_some() {
                    // Perhaps it was refused because of the change of its name.
                    self.begin(at);
                }
                self.altered(at);
            }
            Some(Change::Altered(at)) => {
                self.altered(at);
                let subordinate = matches!(self.upward, Upward::Superior(_));
                if subordinate || !self.list.items()[at].link.admin_up {
                    self.recover(at, Instant::now());
                }
            }
        }
    }

    /// What counts an interface that is here now, from its first moment.
    pub(super) fn begin(&mut self, at: usize) {
        let item = &mut self.list.items_mut()[at];
        let live = &mut item.live;
        let policy =
            live.policy.get_or_insert_with(|| Policy::new(item.wanted.recover, item.named));
        policy.configure(item.wanted.recover, item.named);
        if matches!(item.wanted.hook, Hook::Xdp) {
            // The link goes while the program is being attached, before that is known here.
            policy.expect_bounce(Instant::now());
        }
        if self.recovery_denied {
            policy.deny();
        }
        live.absence_reported = false;
        live.state_is_old = true;
        live.slot = None;
        live.native_xdp = false;
        live.sight = Sight::default();
        live.facts.life = live.facts.life.wrapping_add(1);
        live.facts.counted = None;
        live.facts.source = Source::Kernel;
        live.facts.hook = Arc::clone(&self.attaching);
        let sysfs = self.counting.sysfs.as_ref();
        live.files = sysfs.and_then(|sysfs| sysfs.open(&item.name, item.link.ifindex));
        if self.counting.attach(&item.link, item.wanted.hook) {
            self.pending += 1;
        } else {
            let why = Arc::clone(&self.counting.only_sysfs);
            self.without_programs(at, &why);
        }
    }

    /// The other end of a watched veth has changed, which may change how the watched end counts.
    pub(super) fn tell_peer(&mut self, link: &Link) {
        for at in 0..self.list.items().len() {
            if let Some(peer) = &mut self.list.items_mut()[at].link.peer
                && peer.ifindex == link.ifindex
            {
                (peer.offloads, peer.native_xdp) = (link.offloads, link.native_xdp);
                self.altered(at);
            }
        }
    }

    fn altered(&mut self, at: usize) {
        let item = &mut self.list.items_mut()[at];
        item.live.state_is_old = true;
        if let Some(policy) = &mut item.live.policy {
            policy.configure(item.wanted.recover, item.named);
        }
        let rules = Rules::of(&item.link);
        if let Some(counted) = &mut item.live.facts.counted
            && counted.rules != rules
        {
            counted.change_rules(rules);
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

    pub(super) fn attached(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Swept { ifindex, filters } => {
                let name = self.list.find(ifindex).map(|at| self.list.items()[at].name.clone());
                let name = name.unwrap_or_else(|| format!("ifindex {ifindex}").into());
                let message = format!("{filters} filters of a netmon that was killed are removed");
                self.tell(Event::of(&name, EventKind::Warning, message));
            }
            Outcome::Settled => self.tell_monitoring(),
            Outcome::Looked { ifindex, finding, began } => self.looked(ifindex, finding, began),
            Outcome::Again { ifindex, result } => self.attached_again(ifindex, result),
            Outcome::Refused { ifindex, reason } => {
                self.pending = self.pending.saturating_sub(1);
                if let Some(at) = self.list.find(ifindex) {
                    self.without_programs(at, &reason);
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
        let link = item.link.clone();
        self.tell_peer(&link);
        let item = &mut self.list.items_mut()[at];
        let Some(counted) = self.counting.begin(slot, &item.link) else {
            let ifindex = item.link.ifindex;
            self.counting.detach(ifindex);
            return self.without_programs(at, "the counters cannot be read together");
        };
        tracing::debug!("{}: slot {slot}, counts as {:?}", item.name, counted.rules);
        let live = &mut item.live;
        live.native_xdp = native_xdp;
        live.slot = Some(slot);
        live.sight = Sight::begin(&counted);
        live.facts.counted = Some(counted);
        live.facts.source = Source::Ebpf;
        live.hook = hook.into();
        live.facts.hook = Arc::clone(&live.hook);
        if let Some(policy) = live.policy.as_mut().filter(|_| native_xdp) {
            policy.expect_bounce(Instant::now());
        }
        self.tell_of(at, EventKind::Counting, hook.to_owned());
    }

    /// The kernel's own counters: from sysfs, or over netlink where sysfs does not show it.
    fn without_programs(&mut self, at: usize, why: &str) {
        let live = &mut self.list.items_mut()[at].live;
        let by_netlink = live.files.is_none() && self.counting.stats.is_some();
        let (source, place) =
            if by_netlink { (Source::Kernel, "netlink") } else { (Source::Sysfs, "sysfs") };
        let hook = format!("{place} ({why})");
        live.slot = None;
        live.facts.counted = None;
        live.facts.source = source;
        live.facts.hook = hook.as_str().into();
        self.tell_of(at, EventKind::Counting, hook);
    }
}
