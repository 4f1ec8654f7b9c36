//! One tick's facts: the hot path of the agent. Buffers are kept; with the interfaces unchanged
//! nothing is allocated.

use std::time::{Duration, Instant, SystemTime};

use super::counting::{Counting, Live};
use super::watchlist::{Watched, Watchlist};
use crate::model::link::{IfIndex, LinkState};
use crate::model::snapshot::{DeviceStats, InterfaceFacts, Source, Tick};
use crate::sources::sysfs::InterfaceFiles;

/// News tell when a link's state changes; besides, all are looked at once in so many ticks, so
/// that a driver that tells nothing is not wrong for long. All at once, because a few files each
/// tick cost a multiple: what the kernel needs for that has left the CPU's caches by then.
const LOOK_EVERY: u64 = 60;

/// A dump of the kernel's counters waits for the lock of rtnetlink, which others may hold for
/// long (a namespace that is taken down, many interfaces that are made). After one that took
/// longer than this,
const SLOW_DUMP: Duration = Duration::from_millis(100);
/// the ticks of so much time take the same numbers from sysfs, which costs six times as much and
/// waits for nobody.
const DUMP_RESTS: Duration = Duration::from_secs(6);

/// The buffers.
#[derive(Default)]
pub(super) struct Collector {
    ticks: u64,
    dump_rests_until: Option<Instant>,
    /// The interfaces to dump, and where they are in the list of this number of changes.
    wanted: Vec<IfIndex>,
    places: Vec<(IfIndex, usize)>,
    changes: u64,
    /// Places of those whose counters are suspicious.
    pub(super) suspects: Vec<usize>,
    /// Those that are not reported at every tick.
    slower: Vec<usize>,
}

impl Collector {
    /// Reads everything once, into the facts that are kept with the interfaces.
    pub(super) fn collect(&mut self, counting: &mut Counting, list: &mut Watchlist<Live>) -> Tick {
        self.ticks += 1;
        let (number, at, time) = (self.ticks, Instant::now(), SystemTime::now());
        if self.changes != list.changes() {
            self.changes = list.changes();
            self.learn(list);
        }
        self.read_kernel(counting, list);
        if let Some(programs) = &mut counting.programs {
            programs.counters.read(programs.slots);
        }
        let tick = Tick { number, at, time, reading: at.elapsed() };
        let look = tick.number.is_multiple_of(LOOK_EVERY);
        let items = list.items_mut();
        for (_, place) in &self.places {
            let item = &mut items[*place];
            read_files(item, counting, look);
            take_counters(&mut item.live, counting);
            if item.live.sight.observe(&mut item.live.facts) {
                self.suspects.push(*place);
            }
        }
        for place in &self.slower {
            let Watched { wanted, live, .. } = &mut items[*place];
            live.facts.due = (number - 1).is_multiple_of(wanted.ticks);
        }
        tick
    }

    /// What comes from the list and not from a source, after that has changed.
    fn learn(&mut self, list: &mut Watchlist<Live>) {
        list.items_mut().iter_mut().for_each(describe);
        let items = || list.items().iter().enumerate().filter(|(_, item)| item.present);
        self.places.clear();
        self.places.extend(items().map(|(place, item)| (item.link.ifindex, place)));
        self.places.sort_unstable();
        self.wanted.clear();
        self.wanted.extend(self.places.iter().map(|(ifindex, _)| *ifindex));
        self.slower.clear();
        self.slower.extend(items().filter(|(_, it)| it.wanted.ticks > 1).map(|(place, _)| place));
    }

    /// The kernel's own counters of all interfaces that are not read from sysfs.
    fn read_kernel(&mut self, counting: &mut Counting, list: &mut Watchlist<Live>) {
        let has_sysfs = counting.sysfs.is_some();
        let Some(stats) = &mut counting.stats else {
            return;
        };
        let began = Instant::now();
        let rests = has_sysfs && self.dump_rests_until.is_some_and(|until| began < until);
        if rests && read_kernel_in_sysfs(list) {
            return;
        }
        let existing = list.existing();
        let (places, items) = (&self.places, list.items_mut());
        // The kernel dumps in order of the ifindex, so the next is most often the right one.
        let mut next = 0;
        let read = stats.read(&self.wanted, existing, |ifindex, device| {
            if places.get(next).is_none_or(|(wanted, _)| *wanted != ifindex) {
                match places.binary_search_by_key(&ifindex, |(wanted, _)| *wanted) {
                    Ok(found) => next = found,
                    Err(_) => return,
                }
            }
            items[places[next].1].live.facts.device = device;
            next += 1;
        });
        if let Err(error) = read {
            // Such as EOPNOTSUPP before Linux 4.7.
            tracing::debug!("RTM_GETSTATS: {error}; sysfs in its place");
            read_kernel_in_sysfs(list);
        }
        if began.elapsed() > SLOW_DUMP {
            tracing::debug!("RTM_GETSTATS took {:?}; sysfs for a while", began.elapsed());
            self.dump_rests_until = Some(Instant::now() + DUMP_RESTS);
        }
    }
}

/// The same numbers from sysfs. `false` when it does not have those of all.
fn read_kernel_in_sysfs(list: &mut Watchlist<Live>) -> bool {
    let mut has_all = true;
    for item in list.items_mut().iter_mut().filter(|item| item.present) {
        let Live { facts, files, .. } = &mut item.live;
        if facts.source != Source::Sysfs {
            read_device(facts, files);
            has_all &= facts.device.rx.packets.is_some();
        }
    }
    has_all
}

/// One that was removed, of which the news have not come yet, keeps what was last read of it.
fn read_device(facts: &mut InterfaceFacts, files: &mut Option<InterfaceFiles>) {
    match files {
        None => facts.device = DeviceStats::default(),
        Some(files) => facts.device = files.statistics().unwrap_or(facts.device),
    }
}

/// The facts to show: of all that exist, and once of each that does not any more.
pub(super) fn shown(list: &mut Watchlist<Live>) -> impl Iterator<Item = &InterfaceFacts> {
    list.items_mut().iter_mut().filter_map(|item| {
        let known = std::mem::replace(&mut item.live.absence_reported, !item.present);
        (item.present || !known).then_some(&item.live.facts)
    })
}

/// What the programs have counted.
fn take_counters(live: &mut Live, counting: &Counting) {
    if let (Some(slot), Some(counted), Some(programs)) =
        (live.slot, &mut live.facts.counted, &counting.programs)
        && let Some(now) = programs.counters.slot(slot)
    {
        counted.now = now;
    }
}

fn read_files(item: &mut Watched<Live>, counting: &Counting, look: bool) {
    let Watched { link, live, .. } = item;
    let Live { facts, files, state_is_old, calm, .. } = live;
    let only_sysfs = counting.programs.is_none() && counting.stats.is_none();
    if *state_is_old || look || only_sysfs {
        let read = files.as_ref().map(|files| files.link_state()).unwrap_or_default();
        facts.state = if only_sysfs { read } else { or_netlink(read, link.state) };
        (*state_is_old, *calm) = (false, false);
    }
    if facts.source == Source::Sysfs {
        read_device(facts, files);
    }
}

/// What sysfs does not show (it belongs to another namespace) netlink has told.
fn or_netlink(sysfs: LinkState, netlink: LinkState) -> LinkState {
    LinkState {
        operstate: sysfs.operstate.or(netlink.operstate),
        carrier_up_count: sysfs.carrier_up_count.or(netlink.carrier_up_count),
        carrier_down_count: sysfs.carrier_down_count.or(netlink.carrier_down_count),
    }
}

/// The facts that come from the list and not from a source.
fn describe(item: &mut Watched<Live>) {
    let Watched { key, name, link, present, live, .. } = item;
    let facts = &mut live.facts;
    facts.key = *key;
    facts.ifindex = present.then_some(link.ifindex);
    facts.name.clone_from(name);
    facts.admin_up = present.then_some(link.admin_up);
    // Those that are reported less often are seen to at every tick.
    facts.due = true;
}
