//! What the queueing disciplines dropped (`RTM_GETQDISC`): packets that the programs at egress
//! have counted and the device never saw.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcStats2};

use crate::model::link::IfIndex;

/// Those that cut super-packets up before the device sees them (net/sched/sch_*.c,
/// `skb_gso_segment`).
const CUTTING: [&str; 4] = ["tbf", "cake", "netem", "taprio"];

/// An interface's queueing disciplines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// The root's handle; another one counts anew.
    pub root: u32,
    /// Packets dropped by the root; wraps at 32 bits (`struct gnet_stats_queue`).
    pub drops: u32,
    /// Packets that filters at ingress and egress have dropped, by the clsact qdisc's count.
    pub filtered: u32,
    /// Packets that wait now.
    pub waiting: u32,
    /// One of them cuts super-packets up.
    pub cuts: bool,
}

impl Queue {
    /// Packets that came to an end here since `before`. `None` when the root was replaced: then
    /// nobody knows.
    #[must_use]
    pub const fn dropped_since(&self, before: &Self) -> Option<u64> {
        if self.root != before.root || self.filtered < before.filtered {
            return None;
        }
        let (drops, filtered) =
            (self.drops.wrapping_sub(before.drops), self.filtered - before.filtered);
        Some(drops as u64 + filtered as u64)
    }
}

/// Of every interface that has any.
///
/// # Errors
/// When the kernel refuses the dump.
pub async fn queues(handle: &Handle) -> Result<HashMap<IfIndex, Queue>, rtnetlink::Error> {
    let mut dump = std::pin::pin!(handle.qdisc().get().execute());
    let mut queues = HashMap::new();
    while let Some(message) = dump.try_next().await? {
        take(&message, &mut queues);
    }
    Ok(queues)
}

/// What one message of a dump tells.
pub(crate) fn take(message: &TcMessage, queues: &mut HashMap<IfIndex, Queue>) {
    let Ok(ifindex) = u32::try_from(message.header.index) else {
        return;
    };
    let queue = queues.entry(IfIndex(ifindex)).or_default();
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => queue.cuts |= CUTTING.contains(&kind.as_str()),
            TcAttribute::Stats2(statistics) => {
                let counts = statistics.iter().find_map(|statistic| match statistic {
                    TcStats2::Queue(counts) => Some(counts),
                    _ => None,
                });
                match counts {
                    Some(counts) if message.header.parent == TcHandle::ROOT => {
                        queue.root = message.header.handle.into();
                        (queue.drops, queue.waiting) = (counts.drops, counts.qlen);
                    }
                    Some(counts) if message.header.parent == TcHandle::CLSACT => {
                        queue.filtered = counts.drops;
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}
