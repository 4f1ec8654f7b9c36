//! What the kernel's table says, in the model's words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netmon_common::traffic::{FlowKey as RawKey, FlowValue, IPV4, IPV6, Pair, TAGGED};

use crate::model::accounting::Traffic;
use crate::model::link::IfIndex;
use crate::model::traffic::facts::FlowKey;
use crate::model::traffic::protocol::{Direction, Protocol};

/// What tells a flow apart.
pub(super) fn key(raw: &RawKey) -> FlowKey {
    let addresses = match raw.family {
        IPV4 => Some((v4(raw.source), v4(raw.target))),
        IPV6 => Some((v6(raw.source), v6(raw.target))),
        _ => None,
    };
    FlowKey {
        ifindex: IfIndex(raw.ifindex),
        direction: if raw.direction == 0 { Direction::Rx } else { Direction::Tx },
        vlan: (raw.vlan & TAGGED != 0).then_some(raw.vlan & !TAGGED),
        protocol: match addresses {
            Some(_) => Protocol::Ip(raw.protocol),
            None => Protocol::Ethernet(raw.ethertype),
        },
        addresses,
        ports: (raw.source_port, raw.target_port),
    }
}

fn bytes(address: [u64; 2]) -> [u8; 16] {
    bytemuck::cast(address)
}

fn v4(address: [u64; 2]) -> IpAddr {
    let [a, b, c, d, ..] = bytes(address);
    Ipv4Addr::new(a, b, c, d).into()
}

fn v6(address: [u64; 2]) -> IpAddr {
    Ipv6Addr::from(bytes(address)).into()
}

/// As the stack handles packets, when one of so many was looked at.
pub(super) fn skb(value: &FlowValue, sample: u32) -> Traffic {
    scaled(value.packets, value.bytes, sample)
}

/// As a cable carries them.
pub(super) fn wire(value: &FlowValue, sample: u32) -> Traffic {
    let packets = value.packets.wrapping_add(value.extra_packets);
    scaled(packets, value.bytes.wrapping_add(value.extra_bytes), sample)
}

/// Packets and bytes, when one packet of so many was looked at.
pub(super) fn scaled(packets: u64, bytes: u64, sample: u32) -> Traffic {
    let times = |number: u64| number.wrapping_mul(u64::from(sample));
    Traffic { packets: times(packets), bytes: times(bytes) }
}

/// What came since.
pub(super) fn since(now: Pair, before: Pair) -> Traffic {
    let traffic = |Pair { packets, bytes }| Traffic { packets, bytes };
    traffic(now).since(traffic(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(address: [u8; 16]) -> [u64; 2] {
        bytemuck::cast(address)
    }

    #[test]
    fn addresses_are_as_they_lie_in_the_packet() {
        let mut four = [0; 16];
        four[..4].copy_from_slice(&[192, 0, 2, 7]);
        let raw = RawKey {
            ifindex: 3,
            direction: 1,
            family: IPV4,
            protocol: 6,
            vlan: TAGGED,
            source_port: 443,
            target_port: 5000,
            source: memory(four),
            target: memory([0; 16]),
            ..RawKey::default()
        };
        let found = key(&raw);
        assert_eq!(found.addresses, Some(([192, 0, 2, 7].into(), [0, 0, 0, 0].into())));
        assert_eq!((found.vlan, found.direction), (Some(0), Direction::Tx));
        assert_eq!((found.protocol, found.ports), (Protocol::Ip(6), (443, 5000)));

        let six: Ipv6Addr = "2001:db8::9".parse().unwrap();
        let raw = RawKey { family: IPV6, target: memory(six.octets()), ..RawKey::default() };
        assert_eq!(key(&raw).addresses, Some(("::".parse().unwrap(), six.into())));
        let raw = RawKey { ethertype: 0x0806, ..RawKey::default() };
        assert_eq!((key(&raw).protocol, key(&raw).vlan), (Protocol::Ethernet(0x0806), None));
    }

    #[test]
    fn samples_stand_for_all() {
        let value = FlowValue { packets: 2, bytes: 300, extra_packets: 1, ..FlowValue::default() };
        assert_eq!(skb(&value, 1), Traffic { packets: 2, bytes: 300 });
        assert_eq!(wire(&value, 10), Traffic { packets: 30, bytes: 3000 });
    }
}
