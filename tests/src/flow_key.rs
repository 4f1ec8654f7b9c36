//! The kernel programs' reading of headers, compiled for user space, and a plain model of it.

use netmon_common::traffic::{FlowKey, IPV4, IPV6, TAGGED, class};

pub use self::kernel_side::Parsed;
use self::kernel_side::{Head, Part, parse, parse_usual};

/// The kernel programs' own file: it knows nothing of the kernel.
#[expect(unreachable_pub, reason = "it is public in its own crate")]
#[path = "../../netmon-ebpf/src/flow_key.rs"]
mod kernel_side;

struct Bytes<'a>(&'a [u8]);

struct Slice<'a>(&'a [u8]);

impl<'a> Head for Bytes<'a> {
    type Part = Slice<'a>;

    fn part(&self, offset: u32, length: u32) -> Option<Slice<'a>> {
        let (from, length) = (offset as usize, length as usize);
        assert!(length <= 40, "longer than the kernel side's room");
        self.0.get(from..from + length).map(Slice)
    }
}

impl Slice<'_> {
    fn bytes<const N: usize>(&self, at: u32) -> [u8; N] {
        let bytes = self.0.get(at as usize..).and_then(|bytes| bytes.first_chunk());
        let Some(bytes) = bytes else { panic!("{N} bytes at {at} of {}", self.0.len()) };
        assert_eq!(at as usize % N, 0, "not aligned as the kernel side's copies are");
        *bytes
    }
}

impl Part for Slice<'_> {
    fn u8(&self, at: u32) -> u8 {
        let [byte] = self.bytes(at);
        byte
    }
    fn u16(&self, at: u32) -> u16 {
        u16::from_ne_bytes(self.bytes(at))
    }
    fn u32(&self, at: u32) -> u32 {
        u32::from_ne_bytes(self.bytes(at))
    }
    fn u64(&self, at: u32) -> u64 {
        u64::from_ne_bytes(self.bytes(at))
    }
}

/// What the programs take a packet for, and whether all of its headers were there.
///
/// # Panics
/// When the parser for usual packets is of another opinion.
#[must_use]
pub fn parsed(packet: &[u8], tag: Option<u16>, link_header: bool) -> (Parsed, bool) {
    let (mut usual, mut all) = (Parsed::default(), Parsed::default());
    let is_usual = parse_usual(&Bytes(packet), tag, link_header, &mut usual).is_some();
    let is_whole = parse(&Bytes(packet), tag, link_header, &mut all).is_some();
    assert!(!is_usual || (is_whole && usual == all), "{usual:?} or {all:?}");
    (all, is_whole)
}

/// The same, as one would write it without a kernel in mind.
#[must_use]
pub fn model(packet: &[u8], tag: Option<u16>, link_header: bool) -> (Parsed, bool) {
    let mut found = Parsed { class: class::OTHER.into(), ..Parsed::default() };
    found.key.vlan = tag.map_or(0, numbered);
    let whole = network(packet, link_header, &mut found).is_some();
    (found, whole)
}

fn numbered(tag: u16) -> u16 {
    TAGGED | (tag & 0xfff)
}

fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from(bytes[at]) << 8 | u16::from(bytes[at + 1])
}

fn network(packet: &[u8], link_header: bool, found: &mut Parsed) -> Option<()> {
    if !link_header {
        let (first, _) = packet.split_at_checked(20)?;
        return match first[0] >> 4 {
            4 => four(packet, found),
            6 => six(packet, found),
            _ => Some(()),
        };
    }
    let (header, mut rest) = packet.split_at_checked(14)?;
    let mut ethertype = number(header, 12);
    for _ in 0..2 {
        if ![0x8100, 0x88a8].contains(&ethertype) {
            break;
        }
        found.key.ethertype = ethertype;
        let (tag, behind) = rest.split_at_checked(4)?;
        if found.key.vlan == 0 {
            found.key.vlan = numbered(number(tag, 0));
        }
        ethertype = number(tag, 2);
        rest = behind;
    }
    found.key.ethertype = if ethertype < 1536 { 0 } else { ethertype };
    match ethertype {
        0x0800 => four(rest, found),
        0x86dd => six(rest, found),
        0x0806 => {
            found.class = class::ARP.into();
            Some(())
        }
        _ => Some(()),
    }
}

fn address(bytes: &[u8]) -> [u64; 2] {
    let mut all = [0; 16];
    all[..bytes.len()].copy_from_slice(bytes);
    let (low, high) = all.split_at(8);
    [low, high].map(|half| u64::from_ne_bytes(half.try_into().unwrap_or_default()))
}

fn ip(found: &mut Parsed, family: u8, protocol: u8, source: &[u8], target: &[u8]) {
    let vlan = found.key.vlan;
    let (source, target) = (address(source), address(target));
    found.key = FlowKey { family, protocol, source, target, vlan, ..FlowKey::default() };
    let class = match protocol {
        6 => class::TCP,
        17 => class::UDP,
        1 => class::ICMP,
        58 => class::ICMPV6,
        132 => class::SCTP,
        47 => class::GRE,
        50 | 51 => class::IPSEC,
        4 | 41 => class::TUNNEL,
        _ if family == IPV4 => class::IPV4,
        _ => class::IPV6,
    };
    found.class = class.into();
}

fn four(packet: &[u8], found: &mut Parsed) -> Option<()> {
    let (header, _) = packet.split_at_checked(20)?;
    let words = usize::from(header[0] & 15);
    if header[0] >> 4 != 4 || words < 5 {
        return Some(());
    }
    ip(found, IPV4, header[9], &header[12..16], &header[16..20]);
    let is_first = number(header, 6).is_multiple_of(8192);
    if is_first { transport(packet, words * 4, header[9], found) } else { Some(()) }
}

fn six(packet: &[u8], found: &mut Parsed) -> Option<()> {
    const EXTENSIONS: [u8; 4] = [0, 43, 44, 60];
    let (header, mut rest) = packet.split_at_checked(40)?;
    if header[0] >> 4 != 6 {
        return Some(());
    }
    let mut next = header[6];
    ip(found, IPV6, next, &header[8..24], &header[24..40]);
    for _ in 0..6 {
        if !EXTENSIONS.contains(&next) {
            break;
        }
        let extension = rest.first_chunk::<8>()?;
        let is_fragment = next == 44;
        let length = if is_fragment { 8 } else { (usize::from(extension[1]) + 1) * 8 };
        next = extension[0];
        ip(found, IPV6, next, &header[8..24], &header[24..40]);
        if is_fragment && number(extension, 2) >= 8 {
            return Some(());
        }
        // What is not there is met when it is looked into.
        rest = rest.get(length..).unwrap_or_default();
    }
    if EXTENSIONS.contains(&next) { Some(()) } else { transport(rest, 0, next, found) }
}

fn transport(packet: &[u8], offset: usize, protocol: u8, found: &mut Parsed) -> Option<()> {
    let header = packet.get(offset..).unwrap_or_default();
    match protocol {
        6 | 17 | 132 | 136 | 33 => {
            let ports = header.first_chunk::<4>()?;
            (found.key.source_port, found.key.target_port) = (number(ports, 0), number(ports, 2));
            if protocol == 6 {
                found.tcp_flags = header.first_chunk::<14>()?[13].into();
            }
        }
        1 | 58 => {
            let [kind, code] = header.first_chunk::<2>()?;
            (found.key.source_port, found.key.target_port) = ((*kind).into(), (*code).into());
        }
        _ => {}
    }
    Some(())
}
