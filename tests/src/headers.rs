//! Packets put together header by header, for what looks into them.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::frame::{self, Mac};

/// `EtherType`s.
pub const IPV4: u16 = 0x0800;
/// See [`IPV4`].
pub const IPV6: u16 = 0x86dd;

/// An Ethernet header to everyone, with tags (type and number) in it.
#[must_use]
pub fn ethernet(tags: &[(u16, u16)], ethertype: u16) -> Vec<u8> {
    ethernet_to(frame::BROADCAST, tags, ethertype)
}

/// The same to somebody.
#[must_use]
pub fn ethernet_to(to: Mac, tags: &[(u16, u16)], ethertype: u16) -> Vec<u8> {
    let tags = tags.iter().flat_map(|(kind, number)| [*kind, *number]);
    let types = tags.chain([ethertype]).flat_map(u16::to_be_bytes);
    to.into_iter().chain(frame::SENDER).chain(types).collect()
}

/// An IPv4 packet: so many bytes of options, offset and "more fragments" as they stand in the
/// header.
#[must_use]
pub fn ipv4_with(
    (source, target): (Ipv4Addr, Ipv4Addr),
    protocol: u8,
    (options, fragment): (usize, u16),
    payload: &[u8],
) -> Vec<u8> {
    let length = 20 + options;
    let mut header = vec![0x40 | (length / 4) as u8, 0];
    header.extend(((length + payload.len()) as u16).to_be_bytes());
    header.extend([0, 1]);
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(source.octets());
    header.extend(target.octets());
    // No operation.
    header.resize(length, 1);
    let sum = frame::checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&header, payload].concat()
}

/// An IPv4 packet.
#[must_use]
pub fn ipv4(addresses: (Ipv4Addr, Ipv4Addr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(addresses, protocol, (0, 0), payload)
}

/// An IPv6 packet with extension headers: each its number, and its bytes, of which the first is
/// set to the next one's number.
#[must_use]
pub fn ipv6(
    (source, target): (Ipv6Addr, Ipv6Addr),
    extensions: &[(u8, Vec<u8>)],
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let next = |at: usize| extensions.get(at).map_or(protocol, |(number, _)| *number);
    let mut rest = Vec::new();
    for (at, (_, bytes)) in extensions.iter().enumerate() {
        rest.push(next(at + 1));
        rest.extend(&bytes[1..]);
    }
    rest.extend(payload);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((rest.len() as u16).to_be_bytes());
    packet.extend([next(0), 64]);
    packet.extend(source.octets());
    packet.extend(target.octets());
    [packet, rest].concat()
}

/// An extension header of so many bytes (a multiple of eight) but a fragment's.
#[must_use]
pub fn extension(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[1] = (length / 8 - 1) as u8;
    bytes
}

/// A fragment's extension header, its offset in bytes.
#[must_use]
pub fn fragment(offset: u16, more: bool) -> Vec<u8> {
    let [high, low] = (offset & !7 | u16::from(more)).to_be_bytes();
    vec![0, 0, high, low, 0, 0, 0, 1]
}

/// A UDP datagram, without a checksum.
#[must_use]
pub fn udp((source, target): (u16, u16), payload: usize) -> Vec<u8> {
    let mut bytes = [source, target, 8 + payload as u16, 0].map(u16::to_be_bytes).concat();
    bytes.resize(8 + payload, 0x5a);
    bytes
}

/// A TCP segment.
#[must_use]
pub fn tcp((source, target): (u16, u16), flags: u8, payload: usize) -> Vec<u8> {
    let mut bytes = [source, target, 0, 1, 0, 1].map(u16::to_be_bytes).concat();
    bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.resize(20 + payload, 0x5a);
    bytes
}
