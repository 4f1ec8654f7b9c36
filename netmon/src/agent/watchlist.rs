//! Which interfaces are watched, and what becomes of them: appeared, gone, back, renamed. Pure.
//!
//! An interface is the same as before when it has the same ifindex; else, when one of ours is
//! absent, if it has that one's permanent address or an alternative name; else its name.

use std::collections::HashSet;

use ecow::EcoString;

use crate::config::{Settings, Wanted};
use crate::model::link::{IfIndex, Link};
use crate::model::natural;

/// So many absent interfaces that nobody named are remembered.
const REMEMBERED: usize = 64;

/// One watched interface. `T` is what the agent keeps with it.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    /// The same for as long as netmon runs.
    pub(crate) key: u32,
    /// Which selector it is here for: the first key of the order.
    place: usize,
    /// Its name now, or the last one.
    pub(crate) name: EcoString,
    /// As it was described last. Gone when `present` is false.
    pub(crate) link: Link,
    /// Whether it exists.
    pub(crate) present: bool,
    /// Number of changes of the list when it went.
    gone_at: u64,
    /// What is wanted of it.
    pub(crate) wanted: Wanted,
    /// Whether it was asked for by name.
    pub(crate) named: bool,
    /// The agent's.
    pub(crate) live: T,
}

/// What became of a watched interface, which is at this place in the list now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is new here.
    Appeared(usize),
    /// It was absent; it exists again, with another ifindex.
    Back(usize),
    /// It has another name; this was the old one.
    Renamed(usize, EcoString),
    /// Something else of it may have changed.
    Altered(usize),
}

/// The list, in the report's order.
#[derive(Debug)]
pub(crate) struct Watchlist<T> {
    items: Vec<Watched<T>>,
    existing: HashSet<IfIndex>,
    next_key: u32,
    changes: u64,
}

impl<T: Default> Watchlist<T> {
    /// An empty list.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { items: Vec::new(), existing: HashSet::new(), next_key: 0, changes: 0 }
    }

    /// All that are watched.
    #[must_use]
    pub(crate) fn items(&self) -> &[Watched<T>] {
        &self.items
    }

    /// All that are watched, to change what the agent keeps with them.
    pub(crate) fn items_mut(&mut self) -> &mut [Watched<T>] {
        &mut self.items
    }

    /// Another number after anything of this list has changed but what the agent keeps in it.
    #[must_use]
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// How many interfaces there are in the namespace, watched or not.
    #[must_use]
    pub(crate) fn existing(&self) -> usize {
        self.existing.len()
    }

    /// The place of an interface that exists.
    #[must_use]
    pub(crate) fn find(&self, ifindex: IfIndex) -> Option<usize> {
        self.items.iter().position(|item| item.present && item.link.ifindex == ifindex)
    }

    /// Takes in the description of an interface. `None`: it is not wanted.
    pub(crate) fn update(&mut self, link: Link, settings: &Settings) -> Option<Change> {
        self.changes += 1;
        self.existing.insert(link.ifindex);
        if let Some(at) = self.find(link.ifindex) {
            return Some(self.alter(at, link, settings));
        }
        let selection = &settings.selection;
        if selection.excludes(&link) {
            return None;
        }
        let absent = self.same_before(&link);
        let place = match absent {
            Some(at) => self.items[at].place,
            None => selection.place_of(&link)?,
        };
        let wanted = settings.wanted(&link);
        if let Some(at) = absent {
            let item = &mut self.items[at];
            item.present = true;
            item.wanted = wanted;
            item.name = link.name.clone();
            item.link = link;
            return Some(Change::Back(self.settle(at)));
        }
        let item = Watched {
            key: self.next_key,
            place,
            name: link.name.clone(),
            named: selection.is_named(&link),
            link,
            present: true,
            gone_at: 0,
            wanted,
            live: T::default(),
        };
        self.next_key += 1;
        self.items.push(item);
        Some(Change::Appeared(self.settle(self.items.len() - 1)))
    }

    /// Takes in that an interface is gone. `None`: it was not watched.
    pub(crate) fn remove(&mut self, ifindex: IfIndex) -> Option<usize> {
        self.changes += 1;
        self.existing.remove(&ifindex);
        let at = self.find(ifindex)?;
        self.items[at].present = false;
        self.items[at].gone_at = self.changes;
        Some(at)
    }

    /// Forgets those that went longest ago, if many are absent: on a host of containers they never
    /// return. Those that were named are remembered, and those that are not `reported` yet.
    pub(crate) fn forget(&mut self, reported: impl Fn(&T) -> bool) {
        let forgettable = |item: &Watched<T>| !item.present && !item.named && reported(&item.live);
        let mut gone: Vec<u64> = Vec::new();
        if self.items.len() > self.existing.len() + REMEMBERED {
            gone.extend(self.items.iter().filter(|i| forgettable(i)).map(|item| item.gone_at));
        }
        if gone.len() > REMEMBERED {
            gone.sort_unstable();
            let last = gone[gone.len() - REMEMBERED];
            self.items.retain(|item| !forgettable(item) || item.gone_at >= last);
            self.changes += 1;
        }
    }

    /// The absent one that this is again: by name, else by an alternative name, else by a
    /// permanent address that no other has (ports of a switch and tunnels share theirs).
    fn same_before(&self, link: &Link) -> Option<usize> {
        let absent = |is_same: &dyn Fn(&Link) -> bool| {
            self.items.iter().position(|item| !item.present && is_same(&item.link))
        };
        let address = link.permanent_address.as_ref();
        let has_address = |before: &Link| before.permanent_address.as_ref() == address;
        absent(&|before| before.name == link.name)
            .or_else(|| absent(&|before| before.altnames.iter().any(|n| link.altnames.contains(n))))
            .or_else(|| {
                let bearers = self.items.iter().filter(|item| has_address(&item.link)).count();
                (address.is_some() && bearers == 1).then(|| absent(&has_address))?
            })
    }

    /// Those of ours that exist no more, when these do.
    #[must_use]
    pub(crate) fn missing(&self, links: &[Link]) -> Vec<IfIndex> {
        let now: HashSet<IfIndex> = links.iter().map(|link| link.ifindex).collect();
        self.existing.difference(&now).copied().collect()
    }

    fn alter(&mut self, at: usize, link: Link, settings: &Settings) -> Change {
        let item = &mut self.items[at];
        item.wanted = settings.wanted(&link);
        item.named |= settings.selection.is_named(&link);
        let old = std::mem::replace(&mut item.link, link);
        if let (Some(peer), Some(before)) = (&mut item.link.peer, &old.peer) {
            peer.native_xdp = before.native_xdp;
        }
        if old.name == item.link.name {
            return Change::Altered(at);
        }
        item.name = item.link.name.clone();
        Change::Renamed(self.settle(at), old.name)
    }

    /// Moves one to where it belongs in the order.
    fn settle(&mut self, at: usize) -> usize {
        let item = self.items.remove(at);
        let to = self.items.partition_point(|other| {
            (other.place.cmp(&item.place))
                .then_with(|| natural::compare(&other.name, &item.name))
                .is_lt()
        });
        self.items.insert(to, item);
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;

    fn link(ifindex: u32, name: &str) -> Link {
        Link::sample(ifindex, name)
    }

    struct Trial {
        list: Watchlist<()>,
        settings: Settings,
    }

    impl Trial {
        fn new(interfaces: &[&str]) -> Self {
            let interfaces = interfaces.iter().map(ToString::to_string).collect();
            let flags = Layer { interfaces, ..Layer::default() };
            let settings = Layer::settings(flags, Layer::default()).unwrap();
            Self { list: Watchlist::new(), settings }
        }

        fn update(&mut self, link: Link) -> Option<Change> {
            self.list.update(link, &self.settings)
        }

        fn names(&self) -> Vec<&str> {
            self.list.items().iter().map(|item| &*item.name).collect()
        }
    }

    #[test]
    fn order_is_as_asked_and_natural_within_a_pattern() {
        let mut trial = Trial::new(&["wan", "eth*", "lo"]);
        for (ifindex, name) in [(1, "lo"), (5, "eth10"), (4, "eth2"), (9, "wan"), (7, "other")] {
            trial.update(link(ifindex, name));
        }
        assert_eq!(trial.names(), ["wan", "eth2", "eth10", "lo"]);
        assert_eq!(trial.list.existing(), 5);
        assert!(trial.list.items()[0].named && !trial.list.items()[1].named);
    }

    #[test]
    fn a_rename_keeps_the_interface_whatever_the_name() {
        let mut trial = Trial::new(&["eth*"]);
        trial.update(link(2, "eth0"));
        trial.update(link(3, "eth1"));
        let key = trial.list.items()[0].key;
        let change = trial.update(link(2, "wan9"));
        assert_eq!(change, Some(Change::Renamed(1, "eth0".into())));
        assert_eq!(trial.names(), ["eth1", "wan9"]);
        assert_eq!(trial.list.items()[1].key, key);
        assert_eq!(trial.update(link(8, "eth0")), Some(Change::Appeared(0)), "another device");
    }

    #[test]
    fn gone_and_back_is_the_same_one() {
        let mut trial = Trial::new(&["eth0"]);
        trial.update(link(2, "eth0"));
        assert_eq!(trial.list.remove(IfIndex(2)), Some(0));
        assert_eq!(trial.list.remove(IfIndex(2)), None);
        assert!(!trial.list.items()[0].present);
        assert_eq!(trial.update(link(7, "eth1")), None);
        assert_eq!(trial.update(link(9, "eth0")), Some(Change::Back(0)));
        assert_eq!(trial.list.find(IfIndex(9)), Some(0));
        assert_eq!(trial.list.items()[0].key, 0);
    }

    #[test]
    fn a_card_that_returns_under_another_name_is_known_by_its_address() {
        let mut trial = Trial::new(&["usb0"]);
        let card = |ifindex, name| Link {
            permanent_address: Some(vec![2, 0, 0, 0, 0, 1]),
            ..link(ifindex, name)
        };
        trial.update(card(2, "usb0"));
        trial.list.remove(IfIndex(2));
        assert_eq!(trial.update(card(3, "eth5")), Some(Change::Back(0)));
        assert_eq!(trial.names(), ["eth5"]);
    }

    #[test]
    fn a_shared_address_tells_nothing_and_what_is_excluded_stays_out() {
        let mut trial = Trial::new(&["lan*"]);
        let port = |ifindex, name| Link {
            permanent_address: Some(vec![2, 0, 0, 0, 0, 1]),
            altnames: vec!["side".to_owned()],
            ..link(ifindex, name)
        };
        trial.update(Link { altnames: Vec::new(), ..port(2, "lan1") });
        trial.update(Link { altnames: Vec::new(), ..port(3, "lan2") });
        trial.list.remove(IfIndex(2));
        assert_eq!(trial.update(port(4, "x9")), None, "lan2 has that address, too");
        let mut trial = Trial::new(&["lan*"]);
        trial.settings.selection.excluded = vec![crate::model::select::Selector::Name("n0".into())];
        trial.update(port(2, "lan1"));
        trial.list.remove(IfIndex(2));
        assert_eq!(trial.update(port(3, "n0")), None, "excluded");
    }

    #[test]
    fn the_absent_are_forgotten_at_last_unless_they_were_named() {
        let mut trial = Trial::new(&["eth0", "veth*"]);
        trial.update(link(1, "eth0"));
        trial.list.remove(IfIndex(1));
        for ifindex in 2..200 {
            trial.update(link(ifindex, &format!("veth{ifindex}")));
            trial.list.remove(IfIndex(ifindex));
            trial.list.forget(|()| true);
        }
        assert!(trial.list.items().len() <= 2 * REMEMBERED + 1);
        assert!(trial.names().contains(&"eth0") && trial.names().contains(&"veth199"));
        let before = trial.list.items().len();
        trial.list.forget(|()| false);
        assert_eq!(trial.list.items().len(), before, "not before they were reported");
    }

    #[test]
    fn lost_news_show_as_missing() {
        let mut trial = Trial::new(&["eth*"]);
        for ifindex in 2..5 {
            trial.update(link(ifindex, &format!("eth{ifindex}")));
        }
        let mut missing = trial.list.missing(&[link(3, "eth3")]);
        missing.sort();
        assert_eq!(missing, [IfIndex(2), IfIndex(4)]);
    }
}
