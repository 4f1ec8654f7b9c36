//! What flow a packet belongs to: reads its headers, and knows nothing of the kernel.
//!
//! Outermost headers only: of a tunnel (GRE, VXLAN, ESP) what it is itself. A packet that is cut
//! short or malformed is told by the last header that was whole, and is never an error.

use netmon_common::traffic::{FlowKey, IPV4, IPV6, NOT_IP, TAGGED, class};

/// A packet's bytes, from its first one.
pub trait Head {
    /// Some of them.
    type Part: Part;
    /// `length` bytes (a constant of 40 at most) from `offset` on; `None` unless all are there.
    fn part(&self, offset: u32, length: u32) -> Option<Self::Part>;
}

/// Bytes that are there. Nothing may be asked for behind them.
pub trait Part {
    /// A byte.
    fn u8(&self, at: u32) -> u8;
    /// A number as it lies in memory.
    fn u16(&self, at: u32) -> u16;
    /// A number as it lies in memory.
    fn u32(&self, at: u32) -> u32;
    /// A number as it lies in memory.
    fn u64(&self, at: u32) -> u64;
}

/// What a packet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Its flow; interface and direction are left 0.
    pub key: FlowKey,
    /// The TCP flags of this packet, if it is one.
    pub tcp_flags: u32,
    /// Of [`class`].
    pub class: u32,
}

const ETHERNET: u32 = 14;
const VLAN_TAG: u32 = 4;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021AD: u16 = 0x88a8;
/// Below is a length (IEEE 802.3).
const LEAST_ETHERTYPE: u16 = 0x0600;

const IPPROTO_HOPOPTS: u8 = 0;
const IPPROTO_ICMP: u8 = 1;
const IPPROTO_IPIP: u8 = 4;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_DCCP: u8 = 33;
const IPPROTO_IPV6: u8 = 41;
const IPPROTO_ROUTING: u8 = 43;
const IPPROTO_FRAGMENT: u8 = 44;
const IPPROTO_GRE: u8 = 47;
const IPPROTO_ESP: u8 = 50;
const IPPROTO_AH: u8 = 51;
const IPPROTO_ICMPV6: u8 = 58;
const IPPROTO_DSTOPTS: u8 = 60;
const IPPROTO_SCTP: u8 = 132;
const IPPROTO_UDPLITE: u8 = 136;

/// Tags that are read in the packet itself: 802.1ad with 802.1Q inside.
const MOST_VLAN_TAGS: u32 = 2;
/// IPv6 extension headers that are passed; RFC 8200 recommends four kinds, one of them twice.
const MOST_EXTENSIONS: u32 = 6;

/// Reads a packet into a [`Parsed`] that is its default. `tag` is the VLAN tag that was taken out of
/// it, if one was; `link_header` says whether it begins with an Ethernet header or with IP's. `None`:
/// it is cut short, and what could be read was.
#[inline(always)]
pub fn parse(
    head: &impl Head,
    tag: Option<u16>,
    link_header: bool,
    parsed: &mut Parsed,
) -> Option<()> {
    parse_as::<true>(head, tag, link_header, parsed)
}

/// The same in few instructions for a packet without VLAN tags in it and without IPv6 extension
/// headers. `None`: it has these, or is cut short, and has to be parsed anew.
#[inline(always)]
pub fn parse_usual(
    head: &impl Head,
    tag: Option<u16>,
    link_header: bool,
    parsed: &mut Parsed,
) -> Option<()> {
    parse_as::<false>(head, tag, link_header, parsed)
}

#[inline(always)]
fn parse_as<const ALL: bool>(
    head: &impl Head,
    tag: Option<u16>,
    link_header: bool,
    parsed: &mut Parsed,
) -> Option<()> {
    parsed.class = u32::from(class::OTHER);
    if let Some(tag) = tag {
        parsed.key.vlan = TAGGED | tag & 0x0fff;
    }
    if link_header {
        return ethernet::<ALL>(head, parsed);
    }
    // What both have: the verifier does not understand the check for a single byte at 0.
    match head.part(0, IPV4_HEADER)?.u8(0) >> 4 {
        4 => ipv4(head, 0, parsed),
        6 => ipv6::<ALL>(head, 0, parsed),
        _ => Some(()),
    }
}

#[inline(always)]
fn ethernet<const ALL: bool>(head: &impl Head, parsed: &mut Parsed) -> Option<()> {
    let mut ethertype = u16::from_be(head.part(0, ETHERNET)?.u16(ETHERNET - 2));
    let mut offset = ETHERNET;
    for _ in 0..MOST_VLAN_TAGS {
        if ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD {
            if !ALL {
                return None;
            }
            parsed.key.ethertype = ethertype;
            let tag = head.part(offset, VLAN_TAG)?;
            if parsed.key.vlan == 0 {
                parsed.key.vlan = TAGGED | u16::from_be(tag.u16(0)) & 0x0fff;
            }
            ethertype = u16::from_be(tag.u16(2));
            offset += VLAN_TAG;
        }
    }
    parsed.key.ethertype = if ethertype < LEAST_ETHERTYPE { 0 } else { ethertype };
    match ethertype {
        ETH_P_IP => ipv4(head, offset, parsed),
        ETH_P_IPV6 => ipv6::<ALL>(head, offset, parsed),
        ETH_P_ARP => {
            parsed.class = u32::from(class::ARP);
            Some(())
        }
        _ => Some(()),
    }
}

#[inline(always)]
fn ipv4(head: &impl Head, offset: u32, parsed: &mut Parsed) -> Option<()> {
    let header = head.part(offset, IPV4_HEADER)?;
    let first = header.u8(0);
    let length = u32::from(first & 0x0f) * 4;
    if first >> 4 != 4 || length < IPV4_HEADER {
        return Some(());
    }
    let protocol = header.u8(9);
    parsed.key.family = IPV4;
    parsed.key.ethertype = 0;
    parsed.key.protocol = protocol;
    parsed.key.source[0] = in_front(header.u32(12));
    parsed.key.target[0] = in_front(header.u32(16));
    parsed.class = class_of(protocol, class::IPV4);
    if u16::from_be(header.u16(6)) & 0x1fff != 0 {
        return Some(());
    }
    transport(head, offset + length, protocol, parsed)
}

#[inline(always)]
fn ipv6<const ALL: bool>(head: &impl Head, offset: u32, parsed: &mut Parsed) -> Option<()> {
    let header = head.part(offset, IPV6_HEADER)?;
    if header.u8(0) >> 4 != 6 {
        return Some(());
    }
    let mut protocol = header.u8(6);
    parsed.key.family = IPV6;
    parsed.key.ethertype = 0;
    parsed.key.source = [header.u64(8), header.u64(16)];
    parsed.key.target = [header.u64(24), header.u64(32)];
    let mut offset = offset + IPV6_HEADER;
    let whole = if !is_extension(protocol) {
        Some(true)
    } else if ALL {
        extensions(head, &mut offset, &mut protocol)
    } else {
        None
    };
    parsed.key.protocol = protocol;
    parsed.class = class_of(protocol, class::IPV6);
    if whole? { transport(head, offset, protocol, parsed) } else { Some(()) }
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(protocol, IPPROTO_HOPOPTS | IPPROTO_ROUTING | IPPROTO_FRAGMENT | IPPROTO_DSTOPTS)
}

/// Passes the extension headers. `Some(false)`: what follows is not the transport's header.
#[inline(always)]
fn extensions(head: &impl Head, offset: &mut u32, protocol: &mut u8) -> Option<bool> {
    for _ in 0..MOST_EXTENSIONS {
        if !is_extension(*protocol) {
            return Some(true);
        }
        let extension = head.part(*offset, 8)?;
        let fragment = *protocol == IPPROTO_FRAGMENT;
        *protocol = extension.u8(0);
        if !fragment {
            *offset += (u32::from(extension.u8(1)) + 1) * 8;
            continue;
        }
        if u16::from_be(extension.u16(2)) & 0xfff8 != 0 {
            return Some(false);
        }
        *offset += 8;
    }
    Some(!is_extension(*protocol))
}

#[inline(always)]
fn transport(head: &impl Head, offset: u32, protocol: u8, parsed: &mut Parsed) -> Option<()> {
    match protocol {
        IPPROTO_TCP | IPPROTO_UDP | IPPROTO_SCTP | IPPROTO_UDPLITE | IPPROTO_DCCP => {
            let ports = head.part(offset, 4)?;
            parsed.key.source_port = u16::from_be(ports.u16(0));
            parsed.key.target_port = u16::from_be(ports.u16(2));
            if protocol == IPPROTO_TCP {
                parsed.tcp_flags = u32::from(head.part(offset + 12, 2)?.u8(1));
            }
        }
        IPPROTO_ICMP | IPPROTO_ICMPV6 => {
            let kind = head.part(offset, 2)?;
            parsed.key.source_port = u16::from(kind.u8(0));
            parsed.key.target_port = u16::from(kind.u8(1));
        }
        _ => {}
    }
    Some(())
}

/// The class of each protocol over IP; [`class::OTHER`] where that goes by the version of IP. A table
/// since a packet has one look-up instead of many comparisons, and so has the verifier.
static CLASSES: [u8; 256] = {
    let mut classes = [class::OTHER; 256];
    classes[IPPROTO_TCP as usize] = class::TCP;
    classes[IPPROTO_UDP as usize] = class::UDP;
    classes[IPPROTO_ICMP as usize] = class::ICMP;
    classes[IPPROTO_ICMPV6 as usize] = class::ICMPV6;
    classes[IPPROTO_SCTP as usize] = class::SCTP;
    classes[IPPROTO_GRE as usize] = class::GRE;
    classes[IPPROTO_ESP as usize] = class::IPSEC;
    classes[IPPROTO_AH as usize] = class::IPSEC;
    classes[IPPROTO_IPIP as usize] = class::TUNNEL;
    classes[IPPROTO_IPV6 as usize] = class::TUNNEL;
    classes
};

#[inline(always)]
fn class_of(protocol: u8, other: u8) -> u32 {
    u32::from(match CLASSES[usize::from(protocol)] {
        class::OTHER => other,
        class => class,
    })
}

/// Four bytes in memory with four zeros behind them.
#[inline(always)]
fn in_front(bytes: u32) -> u64 {
    let [a, b, c, d] = bytes.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
}

const _: () = assert!(NOT_IP == 0, "what a key begins as");
