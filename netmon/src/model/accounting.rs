//! By which rule an interface's own counters (`/sys/class/net/*/statistics`) count, so that
//! what the programs count can be shown in the same currency.
//!
//! Measured on Linux 6.18 unless said otherwise; ARCHITECTURE.md has the table. A kind that is
//! not listed takes the usual rule, and the drift shows when that is wrong.

use netmon_common::Counters;

use super::link::Link;

/// Packets and bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Traffic {
    /// Number of packets.
    pub packets: u64,
    /// Number of bytes.
    pub bytes: u64,
}

impl Traffic {
    /// What came since `earlier`. Wrapping: the counters of a program never go back, and a
    /// base may lie "below zero".
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets.wrapping_sub(earlier.packets),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
        }
    }

    /// The sum, wrapping like [`Traffic::since`].
    #[must_use]
    pub const fn plus(self, more: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(more.packets),
            bytes: self.bytes.wrapping_add(more.bytes),
        }
    }
}

/// What one packet is for the device's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// What the stack handles; a super-packet is one.
    Skb,
    /// What a cable would carry.
    Wire,
}

/// How a device counts one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rule {
    /// Which count.
    pub unit: Unit,
    /// Bytes that the device counts for each packet beyond the packet's length as TC sees it:
    /// −14 where it leaves out the Ethernet header.
    pub bytes_per_packet: i64,
}

impl Rule {
    const SKB: Self = Self { unit: Unit::Skb, bytes_per_packet: 0 };
    const WIRE: Self = Self { unit: Unit::Wire, bytes_per_packet: 0 };

    const fn without_ethernet(self) -> Self {
        Self { bytes_per_packet: -ETHERNET_HEADER, ..self }
    }

    /// The count in the device's currency.
    #[must_use]
    pub const fn apply(self, counted: &Counters) -> Traffic {
        let (packets, bytes) = match self.unit {
            Unit::Skb => (counted.packets, counted.bytes),
            Unit::Wire => (counted.wire_packets(), counted.wire_bytes()),
        };
        let adjustment = packets.wrapping_mul(self.bytes_per_packet.cast_unsigned());
        Traffic { packets, bytes: bytes.wrapping_add(adjustment) }
    }
}

/// The rules of both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rules {
    /// Received.
    pub rx: Rule,
    /// Transmitted.
    pub tx: Rule,
    /// The device has one pair of counters and shows it as both (lo): what it says it sent is
    /// what it received.
    pub tx_is_rx: bool,
}

const ETHERNET_HEADER: i64 = 14;
/// linux/if_arp.h
const ARPHRD_LOOPBACK: u16 = 772;

impl Rules {
    /// The rules of a device.
    #[must_use]
    pub fn of(link: &Link) -> Self {
        let both = |rule: Rule| Self { rx: rule, tx: rule, tx_is_rx: false };
        let kind = link.kind.as_deref();
        let mut rules = match kind {
            _ if link.hardware_type == ARPHRD_LOOPBACK => {
                Self { tx_is_rx: true, ..both(Rule::SKB.without_ethernet()) }
            }
            // net/bridge: received after the header is pulled, transmitted before.
            Some("bridge") => Self { rx: Rule::SKB.without_ethernet(), ..both(Rule::SKB) },
            // iptunnel_xmit counts from the inner network header on.
            Some("vxlan") => both(Rule::SKB.without_ethernet()),
            Some("veth") => Self::of_veth(link),
            Some(_) => both(Rule::SKB),
            None => match link.bus.as_deref() {
                Some("virtio" | "xen") => both(Rule::SKB),
                // Cards count frames (read in mlx5, ixgbe and ice; not measured here).
                _ => both(Rule::WIRE),
            },
        };
        if link.offloads.tso == Some(false) {
            // The stack cuts super-packets before the driver sees them.
            rules.tx.unit = Unit::Wire;
        }
        rules
    }

    /// drivers/net/veth.c: what goes through NAPI is counted by the receiving end, after
    /// `eth_type_trans`, and the sending end shows the same. That is everything when the
    /// receiving end has native XDP, and with GRO what a sender without TSO sends. A peer in
    /// another namespace is taken for one with TSO and without XDP, as they come.
    fn of_veth(link: &Link) -> Self {
        let by_napi = |receiver_xdp: bool, receiver_gro: Option<bool>, sender_tso: Option<bool>| {
            receiver_xdp || (receiver_gro == Some(true) && sender_tso == Some(false))
        };
        let peer = link.peer.unwrap_or_default();
        let rx = if by_napi(link.native_xdp, link.offloads.gro, peer.offloads.tso) {
            Rule::WIRE.without_ethernet()
        } else {
            Rule::SKB
        };
        let tx = if by_napi(peer.native_xdp, peer.offloads.gro, link.offloads.tso) {
            Rule::WIRE.without_ethernet()
        } else {
            Rule::SKB
        };
        Self { rx, tx, tx_is_rx: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::link::{IfIndex, Offloads, Peer};

    fn link(kind: Option<&str>, bus: Option<&str>) -> Link {
        Link {
            kind: kind.map(str::to_owned),
            bus: bus.map(str::to_owned),
            offloads: Offloads { gro: Some(false), tso: Some(true) },
            ..Link::sample(2, "x0")
        }
    }

    // Ten packets handed over, three of them super-packets that make 27 more on the wire.
    const COUNTED: Counters =
        Counters { packets: 10, bytes: 40_000, extra_packets: 27, extra_bytes: 1_782 };

    #[test]
    fn each_kind_counts_its_own_way() {
        let loopback = Link { hardware_type: ARPHRD_LOOPBACK, ..link(None, None) };
        let on = Offloads { gro: Some(true), tso: Some(true) };
        let off = Offloads { gro: Some(true), tso: Some(false) };
        let veth = |offloads, native_xdp, peer, peer_xdp| Link {
            offloads,
            native_xdp,
            peer: Some(Peer { ifindex: IfIndex(3), offloads: peer, native_xdp: peer_xdp }),
            ..link(Some("veth"), None)
        };
        let tap = Link { offloads: off, ..link(Some("tun"), None) };
        let skb = (10, 40_000);
        let wire = (37, 41_782);
        let napi = (37, 41_782 - 37 * 14);
        let cases = [
            ("veth, peer elsewhere", link(Some("veth"), None), skb, skb),
            ("veth with GRO, peer with TSO", veth(on, false, on, false), skb, skb),
            ("veth with GRO, peer without TSO", veth(on, false, off, false), napi, skb),
            ("veth without TSO, peer with GRO", veth(off, false, on, false), skb, napi),
            ("veth with XDP", veth(on, true, on, false), napi, skb),
            ("veth, peer with XDP", veth(off, false, on, true), skb, napi),
            ("macvlan", link(Some("macvlan"), None), skb, skb),
            ("lo", loopback, (10, 39_860), (10, 39_860)),
            ("bridge", link(Some("bridge"), None), (10, 39_860), skb),
            ("vxlan", link(Some("vxlan"), None), (10, 39_860), (10, 39_860)),
            ("tap", tap, skb, wire),
            ("virtio", link(None, Some("virtio")), skb, skb),
            ("hardware", link(None, Some("pci")), wire, wire),
        ];
        for (name, link, rx, tx) in cases {
            let rules = Rules::of(&link);
            let of = |rule: Rule| {
                let Traffic { packets, bytes } = rule.apply(&COUNTED);
                (packets, bytes)
            };
            assert_eq!(of(rules.rx), rx, "{name} rx");
            assert_eq!(of(rules.tx), tx, "{name} tx");
        }
    }
}
