//! State and counters of all interfaces of a network namespace over a netlink connection that
//! others use, too (`RTM_GETLINK` with `IFLA_STATS64`): for namespaces in which no socket of our
//! own can be opened. It takes several times as long as [`super::stats`].

use std::io;

use super::links::{self, Statistics, describe};
use crate::model::link::{IfIndex, LinkState};
use crate::model::snapshot::DeviceStats;

/// One interface's, as the kernel has them at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStats {
    /// Its number.
    pub ifindex: IfIndex,
    /// `IFF_UP`.
    pub admin_up: bool,
    /// Its state.
    pub state: LinkState,
    /// Its counters.
    pub device: DeviceStats,
}

/// Reads those of all interfaces that exist now.
///
/// # Errors
/// When the kernel refuses the dump.
pub fn read(statistics: &Statistics) -> io::Result<Vec<LinkStats>> {
    statistics.read(take)
}

fn take(message: &[u8]) -> Option<LinkStats> {
    let device = links::statistics(message).unwrap_or_default();
    let link = describe(message)?.link;
    let (ifindex, admin_up, state) = (link.ifindex, link.admin_up, link.state);
    Some(LinkStats { ifindex, admin_up, state, device })
}
