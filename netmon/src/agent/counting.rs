//! The sources in use, and what is kept with each watched interface.

use std::sync::Arc;

use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

use super::inbox::Inbox;
use super::sight::Sight;
use super::traffic::{self, TrafficSources};
use crate::config::Settings;
use crate::model::accounting::Rules;
use crate::model::link::{IfIndex, Link};
use crate::model::options::{Hook, SourceChoice};
use crate::model::snapshot::{Base, Counted, DeviceStats, InterfaceFacts};
use crate::model::traffic::facts::{Missing, Part};
use crate::recovery::policy::{Condition, Policy};
use crate::sources::ebpf::attach::has_tcx;
use crate::sources::ebpf::attacher::Attacher;
use crate::sources::ebpf::counters::CounterReader;
use crate::sources::ebpf::errors::EbpfUnavailable;
use crate::sources::ebpf::object::{self, Loaded, ProgramLog};
use crate::sources::netlink::links::{Links, LinksError};
use crate::sources::netlink::stats::StatsReader;
use crate::sources::netlink::tc::TcNews;
use crate::sources::sysfs::{InterfaceFiles, Sysfs};

/// Why there are no flows with `--source sysfs`.
const NOT_IN_SYSFS: &str = "sysfs knows no flows; leave --source sysfs out";
/// Looks at sysfs before it is taken for another namespace's.
const SYSFS_LOOKS: usize = 10;
/// Attempts to read both counters while no packet passes.
const BASE_ATTEMPTS: usize = 8;
/// linux/if_arp.h: those whose packets begin with an Ethernet header.
const WITH_ETHERNET_HEADER: [u16; 2] = [1, 772];

/// What the agent keeps with a watched interface.
#[derive(Debug)]
pub(super) struct Live {
    /// What is known of it, as the view gets it.
    pub(super) facts: InterfaceFacts,
    /// Where the programs count it, if they do.
    pub(super) slot: Option<u32>,
    /// A native XDP program of ours is attached.
    pub(super) native_xdp: bool,
    /// What was attached last, in words.
    pub(super) hook: Arc<str>,
    /// Whether its programs see what passes.
    pub(super) sight: Sight,
    pub(super) files: Option<InterfaceFiles>,
    /// Something was heard of the interface since its state was read.
    pub(super) state_is_old: bool,
    /// Nothing is to be decided about its link until something is heard of it.
    pub(super) calm: bool,
    /// `None` until the interface was first here.
    pub(super) policy: Option<Policy>,
    pub(super) absence_reported: bool,
    /// What the network monitor was told of it last, if there is one.
    pub(super) told: Option<Condition>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            facts: InterfaceFacts::default(),
            slot: None,
            native_xdp: false,
            hook: Arc::from(""),
            sight: Sight::default(),
            files: None,
            state_is_old: true,
            calm: false,
            policy: None,
            absence_reported: false,
            told: None,
        }
    }
}

/// The eBPF side.
pub(super) struct Programs {
    pub(super) counters: CounterReader,
    pub(super) attacher: Attacher,
    /// One more than the highest slot that was ever in use.
    pub(super) slots: u32,
}

/// How much there is room for.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Interfaces that are counted at once.
    pub slots: u32,
    /// Interfaces that there are at the start.
    pub interfaces: usize,
}

impl Room {
    /// For these interfaces and some that come later.
    #[must_use]
    pub const fn of(interfaces: usize) -> Self {
        Self { slots: object::slots_for(interfaces), interfaces }
    }
}

/// The sources in use.
pub struct Counting {
    pub(super) programs: Option<Programs>,
    pub(super) stats: Option<StatsReader>,
    /// `None`: it shows another network namespace.
    pub(super) sysfs: Option<Sysfs>,
    /// Who and what the traffic is, if that was asked for.
    pub(super) traffic: Option<TrafficSources>,
    /// Why everything is read from sysfs, in a few words.
    pub(super) only_sysfs: Arc<str>,
    /// Why eBPF cannot be used.
    unavailable: Option<EbpfUnavailable>,
}

impl Counting {
    /// Loads the programs, if they are wanted and can be had. Needs a tokio runtime.
    ///
    /// # Errors
    /// When eBPF is insisted on and cannot be had.
    pub fn start(
        settings: &Settings,
        room: Room,
        log: ProgramLog,
        sysfs: Option<Sysfs>,
        inbox: &Inbox,
        after_load: impl FnOnce(),
    ) -> Result<Self, EbpfUnavailable> {
        let mut traffic = TrafficSources::start(&settings.traffic);
        let loaded = match settings.source {
            SourceChoice::Sysfs => None,
            SourceChoice::Auto | SourceChoice::Ebpf => {
                Some(load(settings, room, log, traffic.as_mut()))
            }
        };
        after_load();
        let started = loaded.map(|loaded| loaded.and_then(|loaded| run(loaded, inbox)));
        match started {
            Some(Ok(programs)) => {
                if settings.wants_clsact() || !has_tcx() {
                    look_at_news(&programs.attacher);
                }
                programs.attacher.sweep();
                Ok(Self { traffic, ..Self::by_programs(programs, sysfs) })
            }
            Some(Err(error)) if settings.source == SourceChoice::Ebpf => Err(error),
            other => {
                let unavailable = other.and_then(Result::err);
                if let Some(traffic) = &mut traffic
                    && settings.traffic.wants(Part::Flows)
                {
                    let why = unavailable.as_ref().map(ToString::to_string);
                    traffic.set_flows(Err(why.unwrap_or_else(|| NOT_IN_SYSFS.to_owned())));
                }
                Ok(Self { traffic, ..Self::without_programs(sysfs, unavailable) })
            }
        }
    }

    fn by_programs(programs: Programs, sysfs: Option<Sysfs>) -> Self {
        Self {
            programs: Some(programs),
            stats: stats_reader(),
            sysfs,
            traffic: None,
            only_sysfs: Arc::from(""),
            unavailable: None,
        }
    }

    fn without_programs(sysfs: Option<Sysfs>, unavailable: Option<EbpfUnavailable>) -> Self {
        // Where sysfs is not ours, netlink has the same numbers, unless sysfs is insisted on.
        let by_netlink = unavailable.is_some() && sysfs.is_none();
        Self {
            programs: None,
            stats: by_netlink.then(stats_reader).flatten(),
            sysfs,
            traffic: None,
            only_sysfs: match unavailable {
                Some(_) => Arc::from("eBPF cannot be used"),
                None => Arc::from("as asked for"),
            },
            unavailable,
        }
    }

    /// Whether sysfs shows another network namespace.
    #[must_use]
    pub const fn sysfs_is_foreign(&self) -> bool {
        self.sysfs.is_none()
    }

    /// Why eBPF is not used although it was wanted, and what to do about it.
    #[must_use]
    pub const fn unavailable(&self) -> Option<&EbpfUnavailable> {
        self.unavailable.as_ref()
    }

    /// What was asked for of who and what the traffic is and cannot be had, and why.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        self.traffic.as_ref().map_or(&[], |traffic| &traffic.facts().missing)
    }

    /// Asks for an interface to be counted. `false`: nobody to ask.
    pub(super) fn attach(&self, link: &Link, hook: Hook) -> bool {
        let Some(programs) = &self.programs else {
            return false;
        };
        let link_header = WITH_ETHERNET_HEADER.contains(&link.hardware_type);
        programs.attacher.attach(link.ifindex, hook, link_header);
        true
    }

    /// Ends the counting of an interface.
    pub(super) fn detach(&self, ifindex: IfIndex) {
        if let Some(programs) = &self.programs {
            programs.attacher.detach(ifindex);
        }
    }

    /// Joins what the programs count to what the kernel has counted so far. Both are read while
    /// no packet passes between, if that can be had in a few attempts; else the packets in
    /// flight show as drift. `None`: the kernel's cannot be read.
    pub(super) fn begin(&mut self, slot: u32, link: &Link) -> Option<Counted> {
        if let Some(traffic) = &mut self.traffic {
            traffic.begin(slot);
        }
        self.base(slot, link)
    }

    /// The same for an interface whose programs were attached again.
    pub(super) fn base(&mut self, slot: u32, link: &Link) -> Option<Counted> {
        let programs = self.programs.as_mut()?;
        let stats = self.stats.as_mut()?;
        programs.slots = programs.slots.max(slot + 1);
        let mut counters = programs.counters.now(slot)?;
        let mut base = None;
        for _ in 0..BASE_ATTEMPTS {
            let mut device = DeviceStats::default();
            let read = stats.read(&[link.ifindex], usize::MAX, |_, found| device = found);
            let after = programs.counters.now(slot)?;
            read.ok()?;
            base =
                Some(Base { rx: device.rx.traffic()?, tx: device.tx.traffic()?, counters: after });
            if after == counters {
                break;
            }
            counters = after;
        }
        Some(Counted::begin(base?, Rules::of(link)))
    }
}

fn stats_reader() -> Option<StatsReader> {
    StatsReader::new()
        .inspect_err(|error| {
            tracing::warn!("the kernel's counters (RTM_GETSTATS) cannot be read: {error}")
        })
        .ok()
}

/// The programs that are wanted; those that only count where the kernel takes no others.
fn load(
    settings: &Settings,
    Room { slots, interfaces }: Room,
    log: ProgramLog,
    traffic: Option<&mut TrafficSources>,
) -> Result<Loaded, EbpfUnavailable> {
    let xdp = settings.wants_xdp();
    let (Some(traffic), Some(options)) =
        (traffic, traffic::flow_options(&settings.traffic, interfaces))
    else {
        return object::load(slots, log, xdp, None);
    };
    match object::load(slots, log, xdp, Some(&options)) {
        Ok(Loaded { flows: Some(flows), counters, slots, programs, logger }) => {
            traffic.set_flows(Ok(flows));
            Ok(Loaded { flows: None, counters, slots, programs, logger })
        }
        Ok(loaded) => Ok(loaded),
        Err(refused) => {
            let loaded = object::load(slots, log, xdp, None)?;
            traffic.set_flows(Err(refused.to_string()));
            Ok(loaded)
        }
    }
}

/// Starts what attaches the programs.
fn run(loaded: Loaded, inbox: &Inbox) -> Result<Programs, EbpfUnavailable> {
    let Loaded { counters, slots, programs, logger, flows: _ } = loaded;
    let attacher = Attacher::start(programs, slots, inbox.outcomes()).map_err(|error| {
        EbpfUnavailable::Kernel { operation: "cannot start a thread", error: error.to_string() }
    })?;
    if let Some(logger) = logger {
        show_messages(logger);
    }
    Ok(Programs { counters, attacher, slots: 1 })
}

/// A filter of clsact goes with its qdisc, which shapers of all kinds replace: what is told of
/// filters and qdiscs has what is attached there looked at.
fn look_at_news(attacher: &Attacher) {
    let Some(looker) = attacher.looker() else {
        return;
    };
    let mut news = match TcNews::subscribe() {
        Ok(news) => news,
        Err(error) => return tracing::debug!("no news of qdiscs: {error}"),
    };
    tokio::spawn(async move {
        let mut goes_on = true;
        while goes_on {
            let heard = news.next(|ifindex| goes_on &= looker.look(ifindex)).await;
            goes_on &= heard.is_ok();
        }
    });
}

/// sysfs, if it shows this network namespace. Interfaces that come or go between the two looks
/// make them differ, too, so a difference counts only when it lasts.
///
/// # Errors
/// When the interfaces cannot be listed.
pub async fn own_sysfs(links: &Links) -> Result<Option<Sysfs>, LinksError> {
    let sysfs = Sysfs::default();
    for _ in 0..SYSFS_LOOKS {
        if sysfs.shows(&links.list().await?) {
            return Ok(Some(sysfs));
        }
    }
    Ok(None)
}

/// Shows the programs' messages as they come, for as long as the runtime lives.
fn show_messages(logger: EbpfLogger<&'static dyn log::Log>) {
    // SAFETY: the logger owns its descriptor, always gives the same one, and closes it only
    // when it is dropped, which AsyncFd does after it has deregistered it.
    let registered =
        unsafe { AsyncFd::register_with_interest(logger, tokio::io::Interest::READABLE) };
    let mut logger = match registered {
        Ok(logger) => logger,
        Err(error) => return tracing::debug!("no messages of the programs: {error}"),
    };
    tokio::spawn(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
}
