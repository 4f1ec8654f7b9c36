//! Packet headers, as the programs in the kernel read them to tell flows apart, against a plain
//! model.
//!
//! Input: bit 0 whether there is a link header, bit 1 whether a VLAN tag was taken out (1 byte),
//! that tag (2, little endian), the packet.

use crate::flow_key::{model, parsed};

pub(super) fn target(data: &[u8]) -> bool {
    let [what, t0, t1, packet @ ..] = data else { return false };
    let tag = (what & 2 == 2).then(|| u16::from_le_bytes([*t0, *t1]));
    let link_header = what & 1 == 1;
    let (found, expected) = (parsed(packet, tag, link_header), model(packet, tag, link_header));
    assert_eq!(found, expected);
    let (found, is_whole) = found;
    assert_eq!((found.key.ifindex, found.key.direction, found.key.padding), (0, 0, 0));
    is_whole && found.key.family != 0
}
