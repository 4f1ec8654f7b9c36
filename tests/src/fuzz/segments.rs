//! Packet headers, as the programs in the kernel read them on receive: what is said to be added
//! is what cutting the payload adds.
//!
//! Input: whether there is a link header (1 byte), the payload of a segment (2), the packet's
//! length beyond what is given of it (3), all little endian; then the packet's first bytes.

use self::kernel_side::{Extra, Packet, extra, extra_usual, larger};

/// The kernel programs' own file: it knows nothing of the kernel.
#[expect(unreachable_pub, reason = "it is public in its own crate")]
#[cfg_attr(test, expect(clippy::type_complexity, reason = "its tests, which the crate allows"))]
#[path = "../../../netmon-ebpf/src/segments.rs"]
mod kernel_side;

/// The kernel makes none longer (`GSO_MAX_SIZE`, linux/netdevice.h).
const LONGEST: u32 = 8 * 65_535;

struct Bytes<'a>(&'a [u8]);

impl Packet for Bytes<'_> {
    fn u8_at(&self, offset: u32) -> Option<u8> {
        self.0.get(offset as usize).copied()
    }

    fn u16_at(&self, offset: u32) -> Option<u16> {
        let bytes = self.0.get(offset as usize..offset as usize + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

/// What the programs add for a super-packet, packets and bytes: by its headers, or by what the kernel
/// has told, whichever is more.
#[must_use]
pub fn added(
    packet: &[u8],
    gso_size: u32,
    link_header: bool,
    told: Option<(u32, u32)>,
) -> (u32, u32) {
    let read = extra(&Bytes(packet), packet.len() as u32, gso_size, link_header);
    let told = told.map(|(packets, bytes)| Extra { packets, bytes });
    let Extra { packets, bytes } = larger(told, read).unwrap_or_default();
    (packets, bytes)
}

pub(super) fn target(data: &[u8]) -> bool {
    let [link_header, s0, s1, l0, l1, l2, packet @ ..] = data else { return false };
    let gso_size = u32::from(u16::from_le_bytes([*s0, *s1]));
    let further = u32::from_le_bytes([*l0, *l1, *l2, 0]);
    let len = (packet.len() as u32).saturating_add(further).min(LONGEST);
    let (packet, link_header) = (Bytes(packet), link_header & 1 == 1);
    let read = extra(&packet, len, gso_size, link_header);
    let usual = extra_usual(&packet, len, gso_size).filter(|_| link_header);
    assert!(usual.is_none() || usual == read, "the usual way says {usual:?}, the whole {read:?}");
    let Some(Extra { packets, bytes }) = read else { return false };
    assert!(gso_size > 0, "cut into nothing");
    if packets == 0 {
        assert_eq!(bytes, 0, "nothing is cut");
        return true;
    }
    assert_eq!(bytes % packets, 0, "each segment has the same headers");
    let headers = bytes / packets;
    assert!(headers >= 14 || !link_header, "no headers of {headers} bytes");
    // All segments but the last are full, and the last is not empty.
    let payload = len.checked_sub(headers);
    let segments = payload.map(|payload| payload.div_ceil(gso_size));
    assert_eq!(segments, Some(packets + 1), "{payload:?} bytes of payload by {gso_size}");
    true
}
