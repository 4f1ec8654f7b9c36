//! One tick's facts: the hot path of the agent. Buffers are kept; with the interfaces unchanged
//! nothing is allocated.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::counting::{Counting, Live, Method};
use super::watchlist::{Watched, Watchlist};
use crate::model::link::{IfIndex, LinkState};
use crate::model::snapshot::{Counted, InterfaceFacts, Snapshot};

/// News tell when a link's state changes; besides, each is looked at once in so many ticks, so
/// that a driver that tells nothing is not wrong for long.
const LOOK_EVERY: u64 = 16;

/// The buffers.
pub(super) struct Collector {
    snapshot: Snapshot,
    wanted: Vec<IfIndex>,
    places: Vec<(IfIndex, usize)>,
}

impl Collector {
    pub(super) fn new() -> Self {
        let snapshot = Snapshot {
            tick: 0,
            at: Instant::now(),
            time: SystemTime::UNIX_EPOCH,
            interfaces: Vec::new(),
        };
        Self { snapshot, wanted: Vec::new(), places: Vec::new() }
    }

    /// Reads everything once.
    pub(super) fn collect(
        &mut self,
        counting: &mut Counting,
        list: &mut Watchlist<Live>,
    ) -> &Snapshot {
        self.snapshot.tick += 1;
        self.snapshot.at = Instant::now();
        self.snapshot.time = SystemTime::now();
        self.read_kernel(counting, list);
        let programs_read = self.read_programs(counting);
        let tick = self.snapshot.tick;
        self.snapshot.interfaces.clear();
        for (place, item) in list.items_mut().iter_mut().enumerate() {
            if !item.present && item.live.absence_reported {
                continue;
            }
            let look = (tick + place as u64).is_multiple_of(LOOK_EVERY);
            if item.present {
                read_files(item, counting, look);
            }
            let counted = match &mut item.live.method {
                Method::Programs { slot, counted } => {
                    refresh(counted, *slot, counting, programs_read);
                    Some(*counted)
                }
                Method::Kernel | Method::Sysfs => None,
            };
            self.snapshot.interfaces.push(facts(item, counted, tick));
            item.live.absence_reported = !item.present;
        }
        &self.snapshot
    }

    /// The kernel's own counters of all interfaces that are not read from sysfs.
    fn read_kernel(&mut self, counting: &mut Counting, list: &mut Watchlist<Live>) {
        let Some(stats) = &mut counting.stats else {
            return;
        };
        self.wanted.clear();
        self.places.clear();
        for (place, item) in list.items().iter().enumerate() {
            if item.present && !matches!(item.live.method, Method::Sysfs) {
                self.wanted.push(item.link.ifindex);
                self.places.push((item.link.ifindex, place));
            }
        }
        self.places.sort_unstable();
        let existing = list.existing();
        let (places, items) = (&self.places, list.items_mut());
        let read = stats.read(&self.wanted, existing, |ifindex, device| {
            if let Ok(at) = places.binary_search_by_key(&ifindex, |(ifindex, _)| *ifindex) {
                items[places[at].1].live.device = device;
            }
        });
        if let Err(error) = read {
            tracing::debug!("RTM_GETSTATS: {error}");
            places.iter().for_each(|(_, place)| items[*place].live.device = Default::default());
        }
    }

    fn read_programs(&self, counting: &mut Counting) -> bool {
        let Some(programs) = &mut counting.programs else {
            return false;
        };
        programs
            .counters
            .read(programs.slots)
            .inspect_err(|error| tracing::warn!("cannot read the programs' counters: {error}"))
            .is_ok()
    }
}

fn refresh(counted: &mut Counted, slot: u32, counting: &Counting, programs_read: bool) {
    if programs_read
        && let Some(programs) = &counting.programs
        && let Some(now) = programs.counters.slot(slot)
    {
        counted.now = now;
    }
}

fn read_files(item: &mut Watched<Live>, counting: &Counting, look: bool) {
    let Watched { link, live, .. } = item;
    let Live { method, files, state, state_is_old, device, .. } = live;
    let pure_sysfs = counting.programs.is_none();
    if *state_is_old || look || pure_sysfs {
        let read = files.as_ref().map(|files| files.link_state()).unwrap_or_default();
        *state = if pure_sysfs { read } else { or_netlink(read, link.state) };
        *state_is_old = false;
    }
    if matches!(method, Method::Sysfs) {
        *device = files.as_mut().map(|files| files.statistics()).unwrap_or_default();
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

fn facts(item: &Watched<Live>, counted: Option<Counted>, tick: u64) -> InterfaceFacts {
    let Watched { key, name, link, present, wanted, live, .. } = item;
    InterfaceFacts {
        key: *key,
        ifindex: present.then_some(link.ifindex),
        name: Arc::clone(name),
        admin_up: Some(link.admin_up),
        state: live.state,
        source: live.method.source(),
        hook: Arc::clone(&live.hook),
        device: live.device,
        counted,
        due: !present || (tick - 1).is_multiple_of(wanted.ticks),
    }
}
