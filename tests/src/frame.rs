//! Ethernet frames whose size is known because they are put together here.

use std::net::Ipv4Addr;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// To everyone on the link.
pub const BROADCAST: Mac = [0xff; 6];
/// A sender's address, administered locally, that no link of the tests has.
pub const SENDER: Mac = [0x02, 0x4e, 0x4d, 0, 0, 1];

/// Length of the header: two addresses and the type.
pub const HEADER: usize = 14;
/// Length of a VLAN tag.
pub const TAG: usize = 4;

/// "Local experimental" (IEEE 802): no protocol of the kernel takes it, none answers.
const EXPERIMENTAL: u16 = 0x88b5;
const DOT1Q: u16 = 0x8100;
const DOT1AD: u16 = 0x88a8;
const IPV4: u16 = 0x0800;
/// "Use for experimentation" (RFC 3692).
const EXPERIMENTAL_PROTOCOL: u8 = 253;
const IPV4_HEADER: usize = 20;

/// A frame of `length` bytes in all that no protocol takes.
///
/// # Panics
/// When `length` is below [`HEADER`].
#[must_use]
pub fn plain(to: Mac, length: usize) -> Vec<u8> {
    with_headers(to, &EXPERIMENTAL.to_be_bytes(), length)
}

/// As [`plain`], with an 802.1Q tag in it, which is part of `length`.
///
/// # Panics
/// When `length` is below [`HEADER`] + [`TAG`].
#[must_use]
pub fn tagged(to: Mac, vlan: u16, length: usize) -> Vec<u8> {
    let types = [DOT1Q, vlan, EXPERIMENTAL].map(u16::to_be_bytes).concat();
    with_headers(to, &types, length)
}

/// As [`plain`], with two tags in it (QinQ: 802.1ad, and 802.1Q inside), which are part of
/// `length`.
///
/// # Panics
/// When `length` is below [`HEADER`] + 2 × [`TAG`].
#[must_use]
pub fn double_tagged(to: Mac, outer: u16, inner: u16, length: usize) -> Vec<u8> {
    let types = [DOT1AD, outer, DOT1Q, inner, EXPERIMENTAL].map(u16::to_be_bytes).concat();
    with_headers(to, &types, length)
}

fn with_headers(to: Mac, types: &[u8], length: usize) -> Vec<u8> {
    let mut frame = [to.as_slice(), &SENDER, types].concat();
    assert!(length >= frame.len(), "{length} bytes do not hold the headers");
    frame.resize(length, 0x5a);
    frame
}

/// An IPv4 packet of `length` bytes without a link header, as a tun device carries them, from
/// 192.0.2.1 to 192.0.2.2, of a protocol that nobody answers.
///
/// # Panics
/// When `length` does not hold the header, or is more than a packet can have.
#[must_use]
pub fn ipv4(length: usize) -> Vec<u8> {
    ipv4_between(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2), length)
}

/// The same from one address to another.
fn ipv4_between(from: Ipv4Addr, to: Ipv4Addr, length: usize) -> Vec<u8> {
    assert!(length >= IPV4_HEADER, "{length} bytes do not hold the header");
    let Ok(total) = u16::try_from(length) else { panic!("{length} bytes are too many") };
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, EXPERIMENTAL_PROTOCOL, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.resize(length, 0x5a);
    packet
}

/// The same in an Ethernet frame of `length` bytes.
///
/// # Panics
/// When `length` does not hold the headers.
#[must_use]
pub fn ethernet_ipv4(to: Mac, length: usize) -> Vec<u8> {
    [with_headers(to, &IPV4.to_be_bytes(), HEADER), ipv4(length - HEADER)].concat()
}

/// The same from one IPv4 address to another.
///
/// # Panics
/// When `length` does not hold the headers.
#[must_use]
pub fn ethernet_ipv4_between(to: Mac, from: Ipv4Addr, target: Ipv4Addr, length: usize) -> Vec<u8> {
    let header = with_headers(to, &IPV4.to_be_bytes(), HEADER);
    [header, ipv4_between(from, target, length - HEADER)].concat()
}

/// The Internet checksum (RFC 1071).
pub(crate) fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_length_asked_for() {
        assert_eq!(plain(BROADCAST, 60).len(), 60);
        assert_eq!(plain(BROADCAST, HEADER).len(), HEADER);
        assert_eq!(ethernet_ipv4(BROADCAST, 98).len(), 98);
        assert_eq!(ipv4(40).len(), 40);
    }

    #[test]
    fn the_tag_stands_where_the_type_would() {
        let frame = tagged(BROADCAST, 5, 64);
        assert_eq!(frame.len(), 64);
        assert_eq!(frame[..6], BROADCAST);
        assert_eq!(frame[6..12], SENDER);
        assert_eq!(frame[12..18], [0x81, 0x00, 0x00, 0x05, 0x88, 0xb5]);
        let frame = double_tagged(BROADCAST, 9, 5, 64);
        assert_eq!(frame[12..22], [0x88, 0xa8, 0, 9, 0x81, 0, 0, 5, 0x88, 0xb5]);
        assert_eq!(frame.len(), 64);
    }

    #[test]
    fn a_packet_goes_between_the_addresses_asked_for() {
        let (from, target) = (Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 3));
        let frame = ethernet_ipv4_between(BROADCAST, from, target, 60);
        assert_eq!(frame.len(), 60);
        assert_eq!(frame[26..34], [10, 1, 0, 1, 10, 2, 0, 3]);
        assert_eq!(checksum(&frame[HEADER..HEADER + IPV4_HEADER]), 0);
    }

    #[test]
    fn the_checksum_makes_the_header_sum_to_zero() {
        assert_eq!(checksum(&ipv4(20)), 0);
    }
}
