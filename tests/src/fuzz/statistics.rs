//! `RTM_GETSTATS`: every number that is told stands in the datagram, after its interface.

use netmon::{
    fuzzing,
    model::snapshot::{DeviceCounters, DeviceStats},
};

/// The headers of the message and of the statistics.
const HEADERS: usize = 16 + 12;

pub(super) fn target(data: &[u8]) -> bool {
    // The first message's own sequence number: its answer is taken.
    let sequence = data.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
    let Ok(found) = fuzzing::statistics(data, sequence.unwrap_or_default()) else { return false };
    // One message may repeat the attribute, but not within less than its header.
    assert!(found.len() <= data.len() / 4, "{} of {} bytes", found.len(), data.len());
    for (ifindex, stats) in &found {
        assert!(holds(data, HEADERS - 8, &ifindex.0.to_ne_bytes()), "{ifindex} is not in it");
        let DeviceStats { rx, tx } = stats;
        for DeviceCounters { packets, bytes, errors, dropped } in [rx, tx] {
            for number in [packets, bytes, errors, dropped].into_iter().flatten() {
                assert!(holds(data, HEADERS, &number.to_ne_bytes()), "{number} is not in it");
            }
        }
        // The kernel appends to the structure, so the later is there only after the earlier.
        let order = [rx.packets, tx.packets, rx.bytes, tx.bytes, rx.errors, tx.errors];
        let order = order.into_iter().chain([rx.dropped, tx.dropped]).map(|n| n.is_none());
        assert!(order.is_sorted(), "{stats:?}");
    }
    !found.is_empty()
}

fn holds(data: &[u8], from: usize, wanted: &[u8]) -> bool {
    let rest = data.get(from..).unwrap_or_default();
    rest.windows(wanted.len()).any(|window| window == wanted)
}
