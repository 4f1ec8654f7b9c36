//! What the programs that tell flows apart (`traffic.bpf.o`) and the agent agree on.

use bytemuck::{Pod, Zeroable};

/// What tells flows apart: the key of [`FLOWS`]. 48 bytes without a hole, since the kernel
/// compares all of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FlowKey {
    /// The interface whose hook saw it.
    pub ifindex: u32,
    /// 0: received, 1: transmitted.
    pub direction: u8,
    /// What the addresses are: [`NOT_IP`], [`IPV4`] or [`IPV6`].
    pub family: u8,
    /// Protocol over IP; 0 for [`NOT_IP`].
    pub protocol: u8,
    /// 0.
    pub padding: u8,
    /// The outermost VLAN's number with [`TAGGED`], or 0.
    pub vlan: u16,
    /// `EtherType` of [`NOT_IP`], or 0 (so for 802.3 with a length in its place); 0 for IP.
    pub ethertype: u16,
    /// Source port; ICMP: type.
    pub source_port: u16,
    /// Destination port; ICMP: code.
    pub target_port: u16,
    /// Source address as it lies in memory; IPv4: the first four bytes.
    pub source: [u64; 2],
    /// Destination address.
    pub target: [u64; 2],
}

/// [`FlowKey::family`]: no IP, or an IP header that is none.
pub const NOT_IP: u8 = 0;
/// [`FlowKey::family`].
pub const IPV4: u8 = 4;
/// [`FlowKey::family`].
pub const IPV6: u8 = 6;
/// In [`FlowKey::vlan`]: there is a tag.
pub const TAGGED: u16 = 1 << 12;

/// The value of [`FLOWS`]: what one flow has carried. All CPUs add to it, atomically.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowValue {
    /// Packets as the stack handles them.
    pub packets: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// What a cable would carry beyond that: see [`crate::Counters::extra_packets`].
    pub extra_packets: u64,
    /// See `extra_packets`.
    pub extra_bytes: u64,
    /// When its first packet was seen, in jiffies.
    pub first: u64,
    /// When its last packet was seen, in jiffies.
    pub last: u64,
    /// Every TCP flag that was seen.
    pub tcp_flags: u64,
}

/// Packets and bytes, as a cable carries them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Pair {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How many classes of protocols there are.
pub const PROTOCOL_CLASSES: usize = 12;
/// Indices into [`DirectionTotals::protocols`].
pub mod class {
    /// TCP.
    pub const TCP: u8 = 0;
    /// UDP.
    pub const UDP: u8 = 1;
    /// ICMP.
    pub const ICMP: u8 = 2;
    /// ICMP version 6.
    pub const ICMPV6: u8 = 3;
    /// SCTP.
    pub const SCTP: u8 = 4;
    /// GRE.
    pub const GRE: u8 = 5;
    /// ESP and AH.
    pub const IPSEC: u8 = 6;
    /// IP in IP.
    pub const TUNNEL: u8 = 7;
    /// Anything else over IPv4.
    pub const IPV4: u8 = 8;
    /// Anything else over IPv6.
    pub const IPV6: u8 = 9;
    /// ARP.
    pub const ARP: u8 = 10;
    /// Anything else.
    pub const OTHER: u8 = 11;
}

/// The upper ends of the classes of sizes; the last class has none.
pub const SIZE_ENDS: [u32; 7] = [64, 127, 255, 511, 1023, 1518, 9216];
/// How many classes of sizes there are.
pub const SIZES: usize = SIZE_ENDS.len() + 1;

/// One direction of [`SlotTotals`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct DirectionTotals {
    /// By protocol: see [`class`].
    pub protocols: [Pair; PROTOCOL_CLASSES],
    /// By size: see [`SIZE_ENDS`].
    pub sizes: [Pair; SIZES],
}

/// The value of [`TOTALS`]: exact totals of one interface on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SlotTotals {
    /// Received.
    pub rx: DirectionTotals,
    /// Transmitted.
    pub tx: DirectionTotals,
}

/// The value of [`FLOW_CPUS`], a cache line: what one CPU keeps about flows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowCpu {
    /// What found no room in [`FLOWS`], as a cable carries it.
    pub untracked: Pair,
    /// Its last random number.
    pub random: u64,
    /// Keeps CPUs apart.
    pub padding: [u64; 5],
}

const _: () = assert!(size_of::<FlowKey>() == 48 && align_of::<FlowKey>() == 8);
const _: () = assert!(size_of::<FlowValue>() == 56);
const _: () = assert!(size_of::<SlotTotals>() == 640);
const _: () = assert!(size_of::<FlowCpu>() == 64);

/// The hash [`FlowKey`] → [`FlowValue`]. Its length is set at load time.
pub const FLOWS: &str = "FLOWS";
/// The array of [`SlotTotals`] that user space maps: see [`crate::slot_index`].
pub const TOTALS: &str = "TOTALS";
/// The array of buckets that user space maps: for each [`crate::slot_index`] and both directions
/// 2^[`BURST_SHIFT`] of them, one for each jiffy in turn.
pub const BURSTS: &str = "BURSTS";
/// The array of [`FlowCpu`] that user space maps, an entry for each CPU.
pub const FLOW_CPUS: &str = "FLOW_CPUS";

/// The programs' constant: how many slots, of all CPUs together, are in [`BURSTS`] (`u32`).
pub const BURST_SLOTS: &str = "BURST_SLOTS";
/// The programs' constant: two to this are the buckets of one ring (`u32`).
pub const BURST_SHIFT: &str = "BURST_SHIFT";
/// The programs' constant: of so many packets one is looked at for its flow (`u32`, 1: all).
pub const FLOW_SAMPLE: &str = "FLOW_SAMPLE";

/// The program that says what jiffy it is, in the first two words of `cb` of its context: low
/// half first. It is run by `BPF_PROG_TEST_RUN` and attached to nothing.
pub const JIFFIES_PROGRAM: &str = "netmon_jiffies";

/// A bucket of [`BURSTS`] holds bytes in so many bits, and above them which round of the ring they
/// are of, so that nobody clears it: 1 TiB in a jiffy, and 388 days until a round comes again.
pub const BUCKET_BYTES_BITS: u32 = 40;

/// Where the first bucket of a [`crate::slot_index`] and direction (0: received) is in [`BURSTS`].
#[must_use]
#[inline(always)]
pub const fn first_bucket(index: u32, direction: u32, shift: u32) -> u32 {
    index.wrapping_mul(2).wrapping_add(direction) << shift
}

/// What the upper bits of a jiffy's bucket must be for its bytes to be this jiffy's.
#[must_use]
#[inline(always)]
pub const fn round_of(jiffy: u64, shift: u32) -> u64 {
    (jiffy >> shift) << BUCKET_BYTES_BITS
}

/// The bytes in a bucket, if they are of that round.
#[must_use]
#[inline(always)]
pub const fn bucket_bytes(bucket: u64, round: u64) -> Option<u64> {
    if (bucket ^ round) >> BUCKET_BYTES_BITS == 0 {
        Some(bucket & ((1 << BUCKET_BYTES_BITS) - 1))
    } else {
        None
    }
}

/// The class of a frame of so many bytes.
#[must_use]
#[inline(always)]
pub const fn size_class(bytes: u32) -> usize {
    let mut class = 0;
    while class < SIZE_ENDS.len() && bytes > SIZE_ENDS[class] {
        class += 1;
    }
    class
}
