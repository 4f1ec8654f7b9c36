//! What the programs in the kernel (`netmon-ebpf`) and the agent (`netmon`) agree on:
//! the layout of map values, the names of maps and programs, and their sizes.
//!
//! `no_std`, plain data only. A change here changes both sides, and with them the
//! object in `netmon-ebpf/prebuilt`, which has to be built again.
#![no_std]

use bytemuck::{Pod, Zeroable};

/// What one direction of one interface has seen on one CPU since the program was attached.
///
/// A packet that the stack handles may be a super-packet (GSO, GRO, LRO) that a cable would
/// carry as several. `packets` and `bytes` count it once, as the stack does ("skb");
/// the `extra_` fields hold what segmentation adds to that, so that the usual packet costs
/// two additions and not four. Both "wire" figures are sums: see [`Counters::wire_packets`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Counters {
    /// Packets as the stack handles them (skbs; for XDP, frames as the driver hands them over).
    pub packets: u64,
    /// Bytes of those, from the link-layer header on, without a VLAN tag that hardware or the
    /// stack has taken out of the packet.
    pub bytes: u64,
    /// Segments beyond the first of each super-packet.
    pub extra_packets: u64,
    /// Bytes of the headers that those segments repeat, plus the VLAN tags that were taken out.
    pub extra_bytes: u64,
}

impl Counters {
    /// Packets that a cable would carry: after segmentation.
    #[must_use]
    pub const fn wire_packets(&self) -> u64 {
        self.packets.wrapping_add(self.extra_packets)
    }

    /// Bytes that a cable would carry: after segmentation, VLAN tag included, without
    /// preamble and frame check sequence.
    #[must_use]
    pub const fn wire_bytes(&self) -> u64 {
        self.bytes.wrapping_add(self.extra_bytes)
    }

    /// Adds what another CPU has counted.
    pub const fn add(&mut self, other: &Self) {
        let Self { packets, bytes, extra_packets, extra_bytes } = other;
        self.packets = self.packets.wrapping_add(*packets);
        self.bytes = self.bytes.wrapping_add(*bytes);
        self.extra_packets = self.extra_packets.wrapping_add(*extra_packets);
        self.extra_bytes = self.extra_bytes.wrapping_add(*extra_bytes);
    }
}

/// The value of [`COUNTERS`]: both directions of one interface on one CPU, one cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SlotCounters {
    /// Received: TC ingress or XDP.
    pub rx: Counters,
    /// Transmitted: TC egress.
    pub tx: Counters,
}

const _: () = assert!(size_of::<Counters>() == 32);
const _: () = assert!(size_of::<SlotCounters>() == 64);

/// The per-CPU array of [`SlotCounters`], addressed by slot. Its length is set at load time.
pub const COUNTERS: &str = "COUNTERS";
/// The array `ifindex` → slot entry, for `ifindex` below [`DIRECT_IFINDEXES`].
pub const SLOTS: &str = "SLOTS";
/// The hash `ifindex` → slot entry, for every other `ifindex`.
pub const FAR_SLOTS: &str = "FAR_SLOTS";

/// Length of [`SLOTS`]: `ifindex` 0 to 65,535 are found without hashing.
pub const DIRECT_IFINDEXES: u32 = 65_536;
/// Length of [`FAR_SLOTS`] unless set at load time.
pub const FAR_SLOTS_DEFAULT: u32 = 1_024;
/// Length of [`COUNTERS`] unless set at load time.
pub const COUNTERS_DEFAULT: u32 = 1_024;

/// The slot of packets whose interface has none: they are counted, and told of once per CPU.
/// An entry of zero, which is what a map holds before anyone writes, means this slot.
pub const UNKNOWN_SLOT: u32 = 0;

/// In a slot entry: the interface's packets begin with the network header (tun, WireGuard, …),
/// not with an Ethernet header.
pub const NO_LINK_HEADER: u32 = 1 << 31;
/// In a slot entry: the bits that hold the slot.
pub const SLOT_MASK: u32 = 0x00ff_ffff;

/// The TC programs (TCX or clsact), which pass everything on.
pub const INGRESS_PROGRAM: &str = "netmon_ingress";
/// See [`INGRESS_PROGRAM`].
pub const EGRESS_PROGRAM: &str = "netmon_egress";
/// The XDP program for frames in one buffer, which passes everything on.
pub const XDP_PROGRAM: &str = "netmon_xdp";
/// The XDP program for frames in several buffers, which costs more.
pub const XDP_FRAGS_PROGRAM: &str = "netmon_xdp_frags";
