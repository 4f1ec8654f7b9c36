//! How many packets a super-packet (GSO, GRO, LRO) is on the wire, and with how many more bytes.
//!
//! Each segment carries up to `gso_size` bytes of payload behind a copy of all headers, so the
//! length of the headers decides both. The kernel tells it on egress (`wire_len`) but not on
//! ingress, and `gso_segs` is 0 on ingress from virtio (measured on Linux 6.18), so the headers
//! are read here. Only super-packets take this way: its cost is shared by all their segments.

/// Reads a packet at an offset from its first byte; `None` beyond its end.
pub trait Packet {
    /// The byte at `offset`.
    fn u8_at(&self, offset: u32) -> Option<u8>;
    /// The big-endian 16-bit number at `offset`.
    fn u16_at(&self, offset: u32) -> Option<u16>;
}

/// What segmentation adds to a super-packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// Segments beyond the first.
    pub packets: u32,
    /// Bytes of the headers that these repeat.
    pub bytes: u32,
}

const ETHERNET: u32 = 14;
const VLAN_TAG: u32 = 4;
const UDP: u32 = 8;
const VXLAN: u32 = 8;
const IPV6: u32 = 40;
const IPV6_EXTENSION_UNIT: u32 = 8;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;

const IPPROTO_HOPOPTS: u8 = 0;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_ROUTING: u8 = 43;
const IPPROTO_DSTOPTS: u8 = 60;

/// IANA's port of VXLAN. A tunnel on another port is taken for plain UDP.
const VXLAN_PORT: u16 = 4789;
/// Tags that are read before the network header: 802.1ad with 802.1Q inside.
const MOST_VLAN_TAGS: u32 = 2;
/// IPv6 extension headers that are read; more are not segmented by any card known to us.
const MOST_EXTENSIONS: u32 = 2;

/// What segmentation adds to a packet of `len` bytes with `gso_size` bytes of payload a segment.
/// `None` when the headers are of a kind that is not known here (then only the skb is counted).
#[inline(always)]
pub fn extra(packet: &impl Packet, len: u32, gso_size: u32, link_header: bool) -> Option<Extra> {
    cut(headers_length(packet, link_header)?, len, gso_size)
}

/// The same for the usual packet: TCP, or UDP but for VXLAN, over IP without extension headers,
/// behind Ethernet without a tag. `packet` may know only its beginning. `None` says nothing:
/// [`extra`] knows.
#[inline(always)]
pub fn extra_usual(packet: &impl Packet, len: u32, gso_size: u32) -> Option<Extra> {
    let (transport, offset) = match packet.u16_at(ETHERNET - 2)? {
        ETH_P_IP => behind_network(packet, ETH_P_IP, ETHERNET)?,
        ETH_P_IPV6 => (packet.u8_at(ETHERNET + 6)?, ETHERNET + IPV6),
        _ => return None,
    };
    if transport == IPPROTO_UDP && packet.u16_at(offset + 2)? == VXLAN_PORT {
        return None;
    }
    cut(behind_transport(packet, transport, offset)?, len, gso_size)
}

/// A packet behind whose headers of that length the payload is cut.
#[inline(always)]
fn cut(headers: u32, len: u32, gso_size: u32) -> Option<Extra> {
    if gso_size == 0 || headers >= len {
        return None;
    }
    let more = (len - headers - 1) / gso_size;
    Some(Extra { packets: more, bytes: more * headers })
}

/// Of what the kernel has told and what the headers say, the one with more bytes: either may have
/// missed headers inside a tunnel.
#[inline(always)]
pub fn larger(told: Option<Extra>, read: Option<Extra>) -> Option<Extra> {
    match (told, read) {
        (Some(told), Some(read)) if read.bytes > told.bytes => Some(read),
        (Some(told), _) => Some(told),
        (None, read) => read,
    }
}

/// Length of everything before the payload that is cut into segments.
#[inline(always)]
fn headers_length(packet: &impl Packet, link_header: bool) -> Option<u32> {
    let (protocol, offset) = if link_header {
        behind_ethernet(packet, 0)?
    } else {
        let version = packet.u8_at(0)? >> 4;
        (if version == 6 { ETH_P_IPV6 } else { ETH_P_IP }, 0)
    };
    let (transport, offset) = behind_network(packet, protocol, offset)?;
    if transport == IPPROTO_UDP && packet.u16_at(offset + 2)? == VXLAN_PORT {
        let (protocol, offset) = behind_ethernet(packet, offset + UDP + VXLAN)?;
        let (transport, offset) = behind_network(packet, protocol, offset)?;
        return behind_transport(packet, transport, offset);
    }
    behind_transport(packet, transport, offset)
}

#[inline(always)]
fn behind_ethernet(packet: &impl Packet, offset: u32) -> Option<(u16, u32)> {
    let mut protocol = packet.u16_at(offset + ETHERNET - 2)?;
    let mut offset = offset + ETHERNET;
    for _ in 0..MOST_VLAN_TAGS {
        if protocol == ETH_P_8021Q || protocol == ETH_P_8021AD {
            protocol = packet.u16_at(offset + 2)?;
            offset += VLAN_TAG;
        }
    }
    Some((protocol, offset))
}

#[inline(always)]
fn behind_network(packet: &impl Packet, protocol: u16, offset: u32) -> Option<(u8, u32)> {
    match protocol {
        ETH_P_IP => {
            let words = u32::from(packet.u8_at(offset)? & 0x0f);
            Some((packet.u8_at(offset + 9)?, offset + words * 4))
        }
        ETH_P_IPV6 => {
            let mut next = packet.u8_at(offset + 6)?;
            let mut offset = offset + IPV6;
            for _ in 0..MOST_EXTENSIONS {
                if matches!(next, IPPROTO_HOPOPTS | IPPROTO_ROUTING | IPPROTO_DSTOPTS) {
                    next = packet.u8_at(offset)?;
                    let units = u32::from(packet.u8_at(offset + 1)?) + 1;
                    offset += units * IPV6_EXTENSION_UNIT;
                }
            }
            Some((next, offset))
        }
        _ => None,
    }
}

#[inline(always)]
fn behind_transport(packet: &impl Packet, transport: u8, offset: u32) -> Option<u32> {
    match transport {
        IPPROTO_TCP => Some(offset + u32::from(packet.u8_at(offset + 12)? >> 4) * 4),
        IPPROTO_UDP => Some(offset + UDP),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl Packet for Bytes {
        fn u8_at(&self, offset: u32) -> Option<u8> {
            self.0.get(offset as usize).copied()
        }
        fn u16_at(&self, offset: u32) -> Option<u16> {
            Some(u16::from(self.u8_at(offset)?) << 8 | u16::from(self.u8_at(offset + 1)?))
        }
    }

    fn ethernet(tags: &[u16], protocol: u16) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        for tag in tags {
            bytes.extend(tag.to_be_bytes());
            bytes.extend([0, 7]);
        }
        bytes.extend(protocol.to_be_bytes());
        bytes
    }

    fn ipv4(words: u8, protocol: u8) -> Vec<u8> {
        let mut bytes = vec![0; usize::from(words) * 4];
        bytes[0] = 0x40 | words;
        bytes[9] = protocol;
        bytes
    }

    fn ipv6(extensions: &[(u8, u8)], transport: u8) -> Vec<u8> {
        let mut bytes = vec![0; 40];
        bytes[0] = 0x60;
        bytes[6] = extensions.first().map_or(transport, |first| first.0);
        for (at, (_, units)) in extensions.iter().enumerate() {
            let next = extensions.get(at + 1).map_or(transport, |next| next.0);
            let mut extension = vec![0; (usize::from(*units) + 1) * 8];
            extension[0] = next;
            extension[1] = *units;
            bytes.extend(extension);
        }
        bytes
    }

    fn tcp(words: u8) -> Vec<u8> {
        let mut bytes = vec![0; usize::from(words) * 4];
        bytes[12] = words << 4;
        bytes
    }

    fn udp(port: u16) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        bytes
    }

    #[test]
    fn headers_of_every_known_kind() {
        let vxlan = [ethernet(&[], ETH_P_IP), ipv4(5, 17), udp(4789), vec![0; 8]].concat();
        let cases: Vec<(&str, bool, Vec<Vec<u8>>, Option<u32>)> = vec![
            ("tcp over ipv4", true, vec![ethernet(&[], ETH_P_IP), ipv4(5, 6), tcp(8)], Some(66)),
            ("ipv4 options", true, vec![ethernet(&[], ETH_P_IP), ipv4(15, 6), tcp(5)], Some(94)),
            ("udp", true, vec![ethernet(&[], ETH_P_IP), ipv4(5, 17), udp(53)], Some(42)),
            ("ipv6", true, vec![ethernet(&[], ETH_P_IPV6), ipv6(&[], 6), tcp(5)], Some(74)),
            (
                "ipv6 with two extensions",
                true,
                vec![ethernet(&[], ETH_P_IPV6), ipv6(&[(0, 0), (60, 1)], 17), udp(1)],
                Some(14 + 40 + 8 + 16 + 8),
            ),
            (
                "two tags in the packet",
                true,
                vec![ethernet(&[0x88a8, 0x8100], ETH_P_IP), ipv4(5, 6), tcp(5)],
                Some(62),
            ),
            ("no link header", false, vec![ipv6(&[], 6), tcp(8)], Some(72)),
            (
                "vxlan",
                true,
                vec![vxlan, ethernet(&[], ETH_P_IP), ipv4(5, 6), tcp(8)],
                Some(50 + 66),
            ),
            ("arp", true, vec![ethernet(&[], 0x0806), vec![0; 28]], None),
            ("sctp", true, vec![ethernet(&[], ETH_P_IP), ipv4(5, 132), vec![0; 40]], None),
            ("cut in the tcp header", true, vec![ethernet(&[], ETH_P_IP), ipv4(5, 6)], None),
            ("empty", true, vec![], None),
        ];
        let mut usual_ones = Vec::new();
        for (name, link_header, parts, expected) in cases {
            let packet = Bytes(parts.concat());
            assert_eq!(headers_length(&packet, link_header), expected, "{name}");
            // Usual are those with Ethernet, no tag, no extension and no tunnel.
            if let Some(usual) = extra_usual(&packet, 1000, 100).filter(|_| link_header) {
                assert_eq!(Some(usual), extra(&packet, 1000, 100, link_header), "{name}");
                usual_ones.push(name);
            }
        }
        assert_eq!(usual_ones, ["tcp over ipv4", "ipv4 options", "udp", "ipv6"]);
    }

    #[test]
    fn segments_and_their_headers() {
        let headers = [ethernet(&[], ETH_P_IP), ipv4(5, 6), tcp(8)].concat();
        let packet = Bytes(headers);
        let of = |payload: u32, gso_size: u32| extra(&packet, 66 + payload, gso_size, true);
        assert_eq!(of(1448, 1448), Some(Extra { packets: 0, bytes: 0 }));
        assert_eq!(of(1449, 1448), Some(Extra { packets: 1, bytes: 66 }));
        assert_eq!(of(2896, 1448), Some(Extra { packets: 1, bytes: 66 }));
        assert_eq!(of(65160, 1448), Some(Extra { packets: 44, bytes: 44 * 66 }));
        assert_eq!(extra_usual(&packet, 65_226, 1448), of(65_160, 1448));
        assert_eq!(of(0, 1448), None, "no payload at all");
        assert_eq!(of(100, 0), None, "not a super-packet");
    }

    #[test]
    fn the_one_that_knows_more_headers_is_taken() {
        let extra = |packets, bytes| Some(Extra { packets, bytes });
        // VXLAN on Linux 6.1, which knows the outer Ethernet and IPv4 header only.
        assert_eq!(larger(extra(2, 2 * 34), extra(2, 2 * 116)), extra(2, 2 * 116));
        // A tunnel that is not known here.
        assert_eq!(larger(extra(2, 2 * 124), extra(2, 2 * 42)), extra(2, 2 * 124));
        assert_eq!(larger(extra(2, 2 * 66), None), extra(2, 2 * 66));
        assert_eq!(larger(None, extra(2, 2 * 66)), extra(2, 2 * 66));
        assert_eq!(larger(None, None), None);
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut state = 0x9e37_79b9_u32;
        for round in 0..20_000_u32 {
            let bytes = (0..round % 120)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect::<Vec<_>>();
            let len = bytes.len() as u32;
            let packet = Bytes(bytes);
            for link_header in [true, false] {
                let gso_size = 1 + round % 1500;
                let found = extra(&packet, len, gso_size, link_header);
                assert!(found.is_none_or(|extra| extra.packets <= len));
                let usual = extra_usual(&packet, len, gso_size).filter(|_| link_header);
                assert!(usual.is_none() || usual == found, "{usual:?} {found:?}");
            }
        }
    }
}
