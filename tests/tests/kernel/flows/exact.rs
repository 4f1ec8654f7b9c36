//! Each kind of packet, to the packet and to the byte, in both directions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use netmon::model::traffic::options::FlowOptions;
use netmon::model::traffic::protocol::{Direction, Protocol, ProtocolClass, SIZES};
use netmon_tests::{frame, headers, wait};

use super::{Watch, class_of, everything, packets, sum};
use crate::{Test, common::veth};

pub(crate) const TESTS: &[Test] =
    &[("every_kind_of_packet", every_kind_of_packet), ("every_size", every_size)];

/// A packet, and what it must be told as.
pub(super) struct Kind {
    name: &'static str,
    pub(super) frame: Vec<u8>,
    protocol: Protocol,
    class: ProtocolClass,
    addresses: Option<(IpAddr, IpAddr)>,
    ports: (u16, u16),
    vlan: Option<u16>,
    tcp_flags: u8,
}

impl Kind {
    fn other(name: &'static str, ethertype: u16, frame: Vec<u8>) -> Self {
        Self {
            name,
            frame,
            protocol: Protocol::Ethernet(ethertype),
            class: ProtocolClass::Other,
            addresses: None,
            ports: (0, 0),
            vlan: None,
            tcp_flags: 0,
        }
    }

    fn ip(name: &'static str, protocol: u8, class: ProtocolClass, frame: Vec<u8>) -> Self {
        Self { protocol: Protocol::Ip(protocol), class, ..Self::other(name, 0, frame) }
    }

    const fn ports(mut self, source: u16, target: u16) -> Self {
        self.ports = (source, target);
        self
    }

    const fn vlan(mut self, number: u16) -> Self {
        self.vlan = Some(number);
        self
    }
}

/// Each kind gets addresses of its own, by its number.
fn four(number: u8) -> (Ipv4Addr, Ipv4Addr) {
    (Ipv4Addr::new(192, 0, 2, number), Ipv4Addr::new(198, 51, 100, 1))
}

fn six(number: u8) -> (Ipv6Addr, Ipv6Addr) {
    let address = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 1, 2, 3, last);
    (address(number.into()), address(0xffff))
}

/// An IPv4 packet in a frame with these tags.
fn over_four(mut kind: Kind, number: u8, tags: &[(u16, u16)], packet: &[u8]) -> Kind {
    let (source, target) = four(number);
    kind.addresses = Some((source.into(), target.into()));
    kind.frame = [&headers::ethernet(tags, headers::IPV4), packet].concat();
    kind
}

fn over_six(mut kind: Kind, number: u8, tags: &[(u16, u16)], packet: &[u8]) -> Kind {
    let (source, target) = six(number);
    kind.addresses = Some((source.into(), target.into()));
    kind.frame = [&headers::ethernet(tags, headers::IPV6), packet].concat();
    kind
}

/// One of every kind.
pub(super) fn kinds() -> Vec<Kind> {
    let mut kinds = over_ipv4();
    kinds.extend(over_ipv6());
    kinds.extend(not_ip());
    kinds
}

fn over_ipv4() -> Vec<Kind> {
    use ProtocolClass::{Gre, Icmp, Ipsec, Ipv4, Sctp, Tcp, Tunnel, Udp};
    const MORE: u16 = 0x2000;
    let udp = headers::udp((1000, 53), 30);
    let inner = headers::ipv4(four(99), 17, &udp);
    let vxlan =
        [vec![8, 0, 0, 0, 0, 0, 7, 0], headers::ethernet(&[], headers::IPV4), inner.clone()];
    let mut outer = headers::udp((5555, 4789), 0);
    outer.extend(vxlan.concat());
    let plain = |name, protocol, class, number, payload: &[u8]| {
        let packet = headers::ipv4(four(number), protocol, payload);
        over_four(Kind::ip(name, protocol, class, Vec::new()), number, &[], &packet)
    };
    let with = |name, number, tags: &[(u16, u16)], how, payload: &[u8]| {
        let packet = headers::ipv4_with(four(number), 17, how, payload);
        over_four(Kind::ip(name, 17, Udp, Vec::new()), number, tags, &packet)
    };
    let mut syn = plain("tcp syn", 6, Tcp, 1, &headers::tcp((40_000, 443), 0xc2, 0));
    syn.ports = (40_000, 443);
    syn.tcp_flags = 0xc2;
    vec![
        syn,
        plain("udp", 17, Udp, 2, &udp).ports(1000, 53),
        plain("icmp echo", 1, Icmp, 3, &[8, 0, 0, 0, 0, 1, 0, 1]).ports(8, 0),
        plain("sctp", 132, Sctp, 4, &headers::tcp((7, 9), 0, 0)).ports(7, 9),
        plain("gre", 47, Gre, 5, &[vec![0, 0, 8, 0], inner.clone()].concat()),
        plain("vxlan", 17, Udp, 6, &outer).ports(5555, 4789),
        plain("esp", 50, Ipsec, 7, &[0x5a; 40]),
        plain("ah", 51, Ipsec, 8, &[0x5a; 40]),
        plain("ip in ip", 4, Tunnel, 9, &inner),
        plain("experimental", 253, Ipv4, 10, &[0x5a; 40]),
        plain("tcp cut behind the ports", 6, Tcp, 11, &[0, 1, 0, 2, 9, 9]).ports(1, 2),
        plain("udp cut in the ports", 17, Udp, 12, &[0, 1, 0]),
        with("options", 13, &[], (40, 0), &udp).ports(1000, 53),
        with("first fragment", 14, &[], (0, MORE), &udp).ports(1000, 53),
        with("later fragment", 15, &[], (0, MORE | 7), &udp),
        with("last fragment", 16, &[], (8, 14), &udp),
        with("tag", 17, &[(0x8100, 0x6005)], (0, 0), &udp).ports(1000, 53).vlan(5),
        with("tag of number 0", 18, &[(0x8100, 0)], (0, 0), &udp).ports(1000, 53).vlan(0),
        with("two tags", 19, &[(0x88a8, 9), (0x8100, 5)], (4, 0), &udp).ports(1000, 53).vlan(9),
    ]
}

fn over_ipv6() -> Vec<Kind> {
    use ProtocolClass::{Icmpv6, Ipv6, Tcp, Tunnel, Udp};
    let udp = headers::udp((1000, 53), 30);
    let (hop, routing) = ((0, headers::extension(8)), (43, headers::extension(24)));
    let options = (60, headers::extension(16));
    let with = |name, protocol, class, number, extensions: &[(u8, Vec<u8>)], payload: &[u8]| {
        let packet = headers::ipv6(six(number), extensions, protocol, payload);
        over_six(Kind::ip(name, protocol, class, Vec::new()), number, &[], &packet)
    };
    let (first, later) = ((44, headers::fragment(0, true)), (44, headers::fragment(1480, false)));
    let mut tcp = with("tcp over ipv6", 6, Tcp, 1, &[], &headers::tcp((443, 40_000), 0x19, 5))
        .ports(443, 40_000);
    tcp.tcp_flags = 0x19;
    let packet = headers::ipv6(six(2), &[], 17, &udp);
    let tagged = over_six(Kind::ip("tag, ipv6", 17, Udp, Vec::new()), 2, &[(0x8100, 7)], &packet);
    let all = [hop.clone(), options.clone(), routing, first, options.clone()];
    let many = vec![options; 6];
    vec![
        tcp,
        tagged.ports(1000, 53).vlan(7),
        with("icmpv6", 58, Icmpv6, 3, &[], &[135, 0, 0, 0, 0, 0, 0, 0]).ports(135, 0),
        with("hop by hop", 17, Udp, 4, std::slice::from_ref(&hop), &udp).ports(1000, 53),
        with("five extensions", 17, Udp, 5, &all, &udp).ports(1000, 53),
        with("six extensions", 17, Udp, 6, &many, &udp).ports(1000, 53),
        with("later fragment, ipv6", 17, Udp, 7, &[hop, later], &udp),
        with("ipv4 in ipv6", 4, Tunnel, 8, &[], &headers::ipv4(four(98), 17, &udp)),
        with("no next header", 59, Ipv6, 9, &[], &[]),
    ]
}

fn not_ip() -> Vec<Kind> {
    let arp = [headers::ethernet(&[], 0x0806), vec![0x5a; 28]].concat();
    let four = headers::ipv4(four(97), 17, &[0x5a; 20]);
    let mut too_short = [headers::ethernet(&[], headers::IPV4), four].concat();
    too_short[14] = 0x44;
    let cut = too_short[..30].to_vec();
    let six = [headers::ethernet(&[], headers::IPV6), vec![0x60; 39]].concat();
    let mut arp = Kind::other("arp", 0x0806, arp);
    arp.class = ProtocolClass::Arp;
    vec![
        arp,
        Kind::other("a protocol that nobody knows", 0x88b5, frame::plain(frame::BROADCAST, 60)),
        Kind::other("ipv4, its header too short, or cut", headers::IPV4, too_short),
        Kind::other("the same", headers::IPV4, cut),
        Kind::other("ipv6, cut", headers::IPV6, six),
        Kind::other(
            "a length, not a type",
            0,
            [headers::ethernet(&[], 60), vec![0x5a; 60]].concat(),
        ),
    ]
}

fn every_kind_of_packet() -> Result<()> {
    let namespace = veth()?;
    let mut watch = Watch::new(&namespace, &[("nt0", true)], FlowOptions::default())?;
    let kinds = kinds();
    let (mut sent, mut received) = (0, 0);
    // Another number of each, so that none can stand for another.
    for (number, Kind { name, frame, .. }) in (1..).zip(&kinds) {
        namespace.send_frames("nt0", frame, number).context(*name)?;
        namespace.send_frames("peer", frame, number + 1).context(*name)?;
        sent += number;
        received += number + 1;
    }
    wait::until_true("all packets", || Ok(watch.counted(Direction::Rx)?.0.packets == received))?;
    assert_eq!(watch.counted(Direction::Tx)?.0.packets, sent);
    watch.read()?;
    for direction in [Direction::Tx, Direction::Rx] {
        check_flows(&watch, &kinds, direction)?;
        check_totals(&mut watch, &kinds, direction)?;
    }
    let (_, tx) = watch.counted(Direction::Tx)?;
    let (_, rx) = watch.counted(Direction::Rx)?;
    assert_eq!(everything(watch.table()?), tx.plus(rx));
    Ok(())
}

/// How many of a kind were sent in a direction.
const fn count(number: u64, direction: Direction) -> u64 {
    match direction {
        Direction::Tx => number,
        Direction::Rx => number + 1,
    }
}

fn check_flows(watch: &Watch, kinds: &[Kind], direction: Direction) -> Result<()> {
    for (number, kind) in (1..).zip(kinds) {
        let same = |key: &&netmon::model::traffic::facts::FlowKey| {
            (key.direction, key.protocol, key.addresses)
                == (direction, kind.protocol, kind.addresses)
        };
        let flow = watch.flow(|key| same(&key)).context(kind.name)?;
        assert_eq!((flow.key.ports, flow.key.vlan), (kind.ports, kind.vlan), "{}", kind.name);
        // Of kinds that cannot be told apart all are one flow.
        let alike = (1..).zip(kinds).filter(|(_, other)| {
            (other.protocol, other.addresses) == (kind.protocol, kind.addresses)
        });
        let expected = alike
            .map(|(number, other)| packets(count(number, direction), other.frame.len()))
            .fold(packets(0, 0), |sum, more| sum.plus(more));
        assert_eq!(flow.wire, expected, "{} ({number}): {flow:?}", kind.name);
        assert_eq!(flow.skb.packets, flow.wire.packets, "{}", kind.name);
        assert_eq!(flow.tcp_flags, kind.tcp_flags, "{}", kind.name);
        ensure!(flow.first <= flow.last, "{}: {flow:?}", kind.name);
    }
    Ok(())
}

fn check_totals(watch: &mut Watch, kinds: &[Kind], direction: Direction) -> Result<()> {
    let (_, wire) = watch.counted(direction)?;
    let interface = watch.interface()?;
    let totals = match direction {
        Direction::Tx => interface.tx,
        Direction::Rx => interface.rx,
    };
    assert_eq!((sum(&totals.protocols), sum(&totals.sizes)), (wire, wire));
    for class in ProtocolClass::ALL {
        let expected = (1..).zip(kinds).filter(|(_, kind)| kind.class == class);
        let expected = expected
            .map(|(number, kind)| packets(count(number, direction), kind.frame.len()))
            .fold(packets(0, 0), |sum, more| sum.plus(more));
        assert_eq!(class_of(&totals.protocols, class), expected, "{class:?} {direction:?}");
    }
    Ok(())
}

fn every_size() -> Result<()> {
    /// Both ends of each class that fits into a packet here.
    const ENDS: [(usize, usize); 11] = [
        (60, 0),
        (64, 0),
        (65, 1),
        (127, 1),
        (128, 2),
        (255, 2),
        (256, 3),
        (511, 3),
        (512, 4),
        (1023, 4),
        (1024, 5),
    ];
    const LARGER: [(usize, usize); 3] = [(1518, 5), (1519, 6), (9014, 6)];
    let namespace = veth()?;
    for link in ["nt0", "peer"] {
        namespace.set_mtu(link, 9000)?;
    }
    let mut watch = Watch::new(&namespace, &[("nt0", true)], FlowOptions::default())?;
    let mut expected = [packets(0, 0); SIZES];
    for (number, (length, class)) in (1..).zip(ENDS.into_iter().chain(LARGER)) {
        let tagged = number % 2 == 0;
        let frame = match tagged {
            true => frame::tagged(frame::BROADCAST, 5, length),
            false => frame::plain(frame::BROADCAST, length),
        };
        namespace.send_frames("peer", &frame, number)?;
        expected[class] = expected[class].plus(packets(number, length));
    }
    let all = sum(&expected).packets;
    wait::until_true("all packets", || Ok(watch.counted(Direction::Rx)?.0.packets == all))?;
    watch.read()?;
    assert_eq!(watch.interface()?.rx.sizes, expected, "with the tags that were taken out");
    assert_eq!(sum(&watch.interface()?.tx.sizes), packets(0, 0));
    Ok(())
}
