//! How large the segments of a super-packet are.

use crate::segments::Extra;

/// The sizes of all segments but the last, and of the last one, of a packet that
/// has `bytes` on the wire, `tag` of each a VLAN tag that was taken out. Where the numbers do not fit (headers that nobody knows), all but the
/// last are of one size, and nothing is lost.
#[inline(always)]
pub fn split(bytes: u32, extra: Extra, tag: u32, gso_size: u32) -> (u32, u32) {
    let further = if extra.packets == 0 { 1 } else { extra.packets };
    // The first segment's tag is in `extra`, too.
    let headers = extra.bytes.saturating_sub(tag) / further;
    let full = gso_size.saturating_add(headers);
    match bytes.checked_sub(full.saturating_mul(further)) {
        Some(last) if 0 < last && last <= full => (full, last),
        _ => {
            let full = bytes.checked_div(further.wrapping_add(1)).unwrap_or(0);
            (full, bytes - full * further)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a super-packet with so many bytes of headers and payload.
    fn super_packet(headers: u32, payload: u32, gso_size: u32, tag: u32) -> (u32, u32, u32) {
        let packets = payload.div_ceil(gso_size) - 1;
        let bytes = packets * headers + tag * (packets + 1);
        let wire = headers + payload + bytes;
        let (full, last) = split(wire, Extra { packets, bytes }, tag, gso_size);
        assert_eq!(full * packets + last, wire, "nothing is lost");
        (packets, full, last)
    }

    #[test]
    fn segments_are_full_but_for_the_last() {
        assert_eq!(super_packet(66, 65_160, 1448, 0), (44, 1514, 1514));
        assert_eq!(super_packet(66, 1449, 1448, 0), (1, 1514, 67));
        assert_eq!(super_packet(42, 10_500, 1000, 0), (10, 1042, 542));
        for further in 1..8 {
            let tagged = super_packet(66, further * 1000 + 1, 1000, 4);
            assert_eq!(tagged, (further, 1070, 71), "{further}");
        }
    }

    #[test]
    fn what_does_not_fit_loses_nothing() {
        for (bytes, packets, extra, gso_size) in
            [(3000, 2, 0, 5000), (100, 7, 70, 0), (1, 1, 0, 0), (5, 9, 0, 1), (0, 0, 0, 0)]
        {
            let (full, last) = split(bytes, Extra { packets, bytes: extra }, 0, gso_size);
            assert_eq!(full * packets.max(1) + last, bytes);
        }
        let huge = Extra { packets: u32::MAX - 1, bytes: u32::MAX };
        split(u32::MAX, huge, 4, u32::MAX);
    }
}
