//! The sources in use, and what is kept with each watched interface.

use std::sync::Arc;

use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

use super::inbox::Inbox;
use crate::config::Settings;
use crate::model::accounting::{Rules, Traffic};
use crate::model::link::{IfIndex, Link, LinkState};
use crate::model::options::{Hook, SourceChoice};
use crate::model::snapshot::{Base, Counted, DeviceStats, InterfaceFacts, Source};
use crate::recovery::policy::Policy;
use crate::sources::ebpf::attacher::Attacher;
use crate::sources::ebpf::counters::CounterReader;
use crate::sources::ebpf::errors::EbpfUnavailable;
use crate::sources::ebpf::object::{self, ProgramLog};
use crate::sources::netlink::links::{Links, LinksError};
use crate::sources::netlink::stats::StatsReader;
use crate::sources::sysfs::{InterfaceFiles, Sysfs};

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
    pub(super) files: Option<InterfaceFiles>,
    /// Something was heard of the interface since its state was read.
    pub(super) state_is_old: bool,
    /// `None` until the interface was first here.
    pub(super) policy: Option<Policy>,
    pub(super) absence_reported: bool,
}

impl Default for Live {
    fn default() -> Self {
        let facts = InterfaceFacts {
            key: 0,
            ifindex: None,
            name: Arc::from(""),
            admin_up: None,
            state: LinkState::default(),
            source: Source::Kernel,
            hook: Arc::from(""),
            device: DeviceStats::default(),
            counted: None,
            due: false,
        };
        Self {
            facts,
            slot: None,
            native_xdp: false,
            files: None,
            state_is_old: true,
            policy: None,
            absence_reported: false,
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

/// The sources in use.
pub struct Counting {
    pub(super) programs: Option<Programs>,
    pub(super) stats: Option<StatsReader>,
    /// `None`: it shows another network namespace.
    pub(super) sysfs: Option<Sysfs>,
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
        links: &[Link],
        log: ProgramLog,
        sysfs: Option<Sysfs>,
        inbox: &Inbox,
        after_load: impl FnOnce(),
    ) -> Result<Self, EbpfUnavailable> {
        let stats = || {
            StatsReader::new().inspect_err(|error| tracing::warn!("no RTM_GETSTATS: {error}")).ok()
        };
        let without_ebpf = |sysfs: Option<Sysfs>, unavailable: Option<EbpfUnavailable>| Self {
            programs: None,
            // Where sysfs is not ours, netlink has the same numbers, unless sysfs is insisted on.
            stats: unavailable.as_ref().filter(|_| sysfs.is_none()).and_then(|_| stats()),
            sysfs,
            only_sysfs: match unavailable {
                Some(_) => Arc::from("eBPF cannot be used"),
                None => Arc::from("as asked for"),
            },
            unavailable,
        };
        if settings.source == SourceChoice::Sysfs {
            after_load();
            return Ok(without_ebpf(sysfs, None));
        }
        let slots = object::slots_for(links.len());
        let loaded = object::load(slots, log, settings.wants_xdp());
        after_load();
        let started = loaded.and_then(|loaded| {
            let attacher = Attacher::start(loaded.programs, loaded.slots, inbox.outcomes())
                .map_err(|error| EbpfUnavailable::Kernel {
                    operation: "cannot start a thread",
                    error: error.to_string(),
                })?;
            if let Some(logger) = loaded.logger {
                show_messages(logger);
            }
            Ok(Programs { counters: loaded.counters, attacher, slots: 1 })
        });
        match started {
            Ok(programs) => {
                programs.attacher.sweep();
                let only_sysfs = Arc::from("");
                Ok(Self {
                    programs: Some(programs),
                    stats: stats(),
                    sysfs,
                    only_sysfs,
                    unavailable: None,
                })
            }
            Err(error) if settings.source == SourceChoice::Ebpf => Err(error),
            Err(error) => Ok(without_ebpf(sysfs, Some(error))),
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
    /// flight show as drift. `None`: one of them cannot be read.
    pub(super) fn begin(&mut self, slot: u32, link: &Link) -> Option<Counted> {
        let programs = self.programs.as_mut()?;
        let stats = self.stats.as_mut()?;
        programs.slots = programs.slots.max(slot + 1);
        let mut counters = programs.counters.read_slot(slot).ok()?;
        let mut base = None;
        for _ in 0..BASE_ATTEMPTS {
            let mut device = DeviceStats::default();
            let read = stats.read(&[link.ifindex], usize::MAX, |_, found| device = found);
            let after = programs.counters.read_slot(slot).ok()?;
            read.ok()?;
            base =
                Some(Base { rx: device.rx.traffic()?, tx: device.tx.traffic()?, counters: after });
            if after == counters {
                break;
            }
            counters = after;
        }
        let base = base?;
        Some(Counted { now: base.counters, first: base.counters, base, rules: Rules::of(link) })
    }
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

/// Goes on with the totals as they are under other rules.
pub(super) fn change_rules(counted: &mut Counted, rules: Rules) {
    let (rx, tx): (Traffic, Traffic) = (counted.rx().total, counted.tx().total);
    counted.base = Base { rx, tx, counters: counted.now };
    counted.rules = rules;
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
