//! The programs' counters for serde: two arrays of four, since netmon-common is plain data of the
//! kernel's, and names would be most of what is written.

use netmon_common::{Counters, SlotCounters};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(
    counters: &SlotCounters,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let SlotCounters { rx, tx } = counters;
    [rx, tx]
        .map(|counters| {
            let Counters { packets, bytes, extra_packets, extra_bytes } = counters;
            [packets, bytes, extra_packets, extra_bytes]
        })
        .serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SlotCounters, D::Error> {
    let [rx, tx] = <[[u64; 4]; 2]>::deserialize(deserializer)?.map(
        |[packets, bytes, extra_packets, extra_bytes]| Counters {
            packets,
            bytes,
            extra_packets,
            extra_bytes,
        },
    );
    Ok(SlotCounters { rx, tx })
}
