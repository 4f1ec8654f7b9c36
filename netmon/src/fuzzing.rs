//! The parsers of outside input that are private otherwise, for the fuzz targets (tests/src/fuzz).
//! No interface for others: it changes with what it reaches.

use std::collections::HashMap;
use std::io;

use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;

use crate::cli::prompt;
use crate::model::link::{IfIndex, Link, OperState};
use crate::model::select::Selector;
use crate::model::snapshot::DeviceStats;
use crate::sources::netlink::queues::Queue;
use crate::sources::netlink::xdp_features::{self, Devices};
use crate::sources::netlink::{links, queues, stats};
use crate::sources::sysfs;

/// The names that these answers to the prompt give, where every name that can be is taken.
///
/// # Errors
/// What the user is told.
pub fn prompt(mut answers: &[u8], interactive: bool) -> Result<Vec<String>, String> {
    let check = |name: &str| Selector::parse(name).map(drop).map_err(|error| error.to_string());
    prompt::ask(&mut answers, &mut io::sink(), interactive, check)
        .map_err(|error| error.to_string())
}

/// The counters in one datagram of an `RTM_GETSTATS` dump.
///
/// # Errors
/// The error that the kernel tells in it.
pub fn statistics(datagram: &[u8], sequence: u32) -> io::Result<Vec<(IfIndex, DeviceStats)>> {
    let mut all = Vec::new();
    stats::part_of_dump(datagram, sequence, &mut |ifindex, stats| all.push((ifindex, stats)))?;
    Ok(all)
}

/// What a datagram of generic netlink says: the number of the family, or which interfaces do
/// native XDP.
///
/// # Errors
/// The error that the kernel tells in it.
pub fn xdp_features(datagram: &[u8]) -> io::Result<(Option<u16>, Devices)> {
    xdp_features::decode(datagram)
}

/// The interfaces that a datagram of rtnetlink describes, each with its name as it stands there.
#[must_use]
pub fn links(datagram: &[u8]) -> Vec<(Link, Vec<u8>)> {
    links::described(datagram).map(|it| (it.link, it.name.to_vec())).collect()
}

/// The queueing disciplines that a datagram of rtnetlink describes.
#[must_use]
pub fn queues(datagram: &[u8]) -> HashMap<IfIndex, Queue> {
    let mut found = HashMap::new();
    each_message(datagram, |message| {
        if let RouteNetlinkMessage::NewQueueDiscipline(queue) = message {
            queues::take(&queue, &mut found);
        }
    });
    found
}

fn each_message(datagram: &[u8], mut take: impl FnMut(RouteNetlinkMessage)) {
    let mut rest = datagram;
    while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
        let length = (message.header.length as usize).next_multiple_of(4);
        if let NetlinkPayload::InnerMessage(message) = message.payload {
            take(message);
        }
        match rest.get(length..) {
            Some(further) if length > 0 => rest = further,
            _ => break,
        }
    }
}

/// The number in a file of sysfs with this content.
#[must_use]
pub fn sysfs_number(content: &[u8]) -> Option<u64> {
    sysfs::number(sysfs::word(content)?)
}

/// The operational state in a file of sysfs with this content.
#[must_use]
pub fn sysfs_state(content: &[u8]) -> Option<OperState> {
    OperState::parse(sysfs::word(content)?)
}
