//! State and counters of all interfaces of a network namespace over a netlink connection that
//! others use, too (`RTM_GETLINK` with `IFLA_STATS64`): for namespaces in which no socket of our
//! own can be opened. It takes several times as long as [`super::stats`].

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, Stats64};

use super::links::describe;
use crate::model::link::{IfIndex, LinkState};
use crate::model::snapshot::{DeviceCounters, DeviceStats};

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
pub async fn read(handle: &Handle) -> Result<Vec<LinkStats>, rtnetlink::Error> {
    let mut dump = std::pin::pin!(handle.link().get().execute());
    let mut all = Vec::new();
    while let Some(message) = dump.try_next().await? {
        all.extend(take(message));
    }
    Ok(all)
}

fn take(message: LinkMessage) -> Option<LinkStats> {
    let device = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(device(stats)),
        _ => None,
    });
    let (link, _) = describe(message)?;
    let (ifindex, admin_up, state) = (link.ifindex, link.admin_up, link.state);
    Some(LinkStats { ifindex, admin_up, state, device: device.unwrap_or_default() })
}

const fn device(stats: &Stats64) -> DeviceStats {
    DeviceStats {
        rx: DeviceCounters {
            packets: Some(stats.rx_packets),
            bytes: Some(stats.rx_bytes),
            errors: Some(stats.rx_errors),
            dropped: Some(stats.rx_dropped),
        },
        tx: DeviceCounters {
            packets: Some(stats.tx_packets),
            bytes: Some(stats.tx_bytes),
            errors: Some(stats.tx_errors),
            dropped: Some(stats.tx_dropped),
        },
    }
}
