//! What the programs in the kernel (`netmon-ebpf`) and the agent (`netmon`) agree on:
//! the layout of map values, the names of maps and programs, and their sizes.
//!
//! `no_std`, plain data only. A change here changes both sides, and with them the
//! object in `netmon-ebpf/prebuilt`, which has to be built again.
#![no_std]

pub mod trace;
pub mod traffic;

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

/// The value of [`THREADS`]: what a thread has spent in system calls.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ThreadCost {
    /// System calls begun.
    pub calls: u64,
    /// Nanoseconds in them on a CPU; sleep is left out.
    pub kernel_ns: u64,
    /// When the one began that it is in now (`CLOCK_MONOTONIC`); 0: it is in none.
    pub entered_ns: u64,
}

const _: () = assert!(size_of::<Counters>() == 32);
const _: () = assert!(size_of::<SlotCounters>() == 64);
const _: () = assert!(size_of::<ThreadCost>() == 24);

/// The array of [`SlotCounters`] that user space maps: see [`slot_index`]. Its length is set at
/// load time.
pub const COUNTERS: &str = "COUNTERS";
/// The programs' [`SlotEntries`]: a section of their data, and so an array of one element.
pub const SLOTS: &str = ".bss.SLOTS";
/// The hash `ifindex` → slot entry, for every other `ifindex`.
pub const FAR_SLOTS: &str = "FAR_SLOTS";

/// The hash thread id → [`ThreadCost`] of the threads that `netmon compare` looks at.
pub const THREADS: &str = "THREADS";

/// Length of [`THREADS`]: two processes of a few threads.
pub const THREADS_MOST: u32 = 64;
/// How many `ifindex` from 0 on are found without hashing.
pub const DIRECT_IFINDEXES: u32 = 65_536;
/// The slot entry of every `ifindex` below [`DIRECT_IFINDEXES`].
pub type SlotEntries = [u32; DIRECT_IFINDEXES as usize];
/// Length of [`FAR_SLOTS`] unless set at load time.
pub const FAR_SLOTS_DEFAULT: u32 = 1_024;
/// Slots of each CPU in [`COUNTERS`] unless set at load time.
pub const SLOTS_PER_CPU_DEFAULT: u32 = 1_024;

/// So many slots of one CPU lie side by side, then as many of the next CPU, and after all CPUs
/// the next so many slots: no two CPUs write close to each other, what is in use lies together,
/// and where a CPU's begin takes no multiplication. An array of slots has a multiple of these.
pub const SLOT_BLOCK: u32 = 16;

/// Where a CPU, of `cpus` that there can be, has a slot in an array of slots.
#[must_use]
#[inline(always)]
pub const fn slot_index(cpu: u32, cpus: u32, slot: u32) -> u32 {
    let block = (slot / SLOT_BLOCK).wrapping_mul(cpus);
    block.wrapping_mul(SLOT_BLOCK).wrapping_add(slot % SLOT_BLOCK).wrapping_add(cpu_offset(cpu))
}

/// How far a CPU's slot is behind the same slot of CPU 0, which its entry tells.
#[must_use]
#[inline(always)]
pub const fn cpu_offset(cpu: u32) -> u32 {
    cpu.wrapping_mul(SLOT_BLOCK)
}

/// The slot of packets whose interface has none: they are counted, and told of once per CPU.
/// An entry of zero, which is what a map holds before anyone writes, means this slot.
pub const UNKNOWN_SLOT: u32 = 0;

/// In a slot entry: the interface's packets begin with the network header (tun, WireGuard, …),
/// not with an Ethernet header.
pub const NO_LINK_HEADER: u32 = 1 << 31;
/// In a slot entry: the bits that hold the slot, as its [`slot_index`] for CPU 0.
pub const SLOT_MASK: u32 = !NO_LINK_HEADER;

/// The TC programs (TCX or clsact), which pass everything on.
pub const INGRESS_PROGRAM: &str = "netmon_ingress";
/// See [`INGRESS_PROGRAM`].
pub const EGRESS_PROGRAM: &str = "netmon_egress";
/// The XDP program for frames in one buffer, which passes everything on.
pub const XDP_PROGRAM: &str = "netmon_xdp";
/// The XDP program for frames in several buffers, which costs more.
pub const XDP_FRAGS_PROGRAM: &str = "netmon_xdp_frags";

/// The programs that measure system calls, by tracepoint.
pub const SYSCALL_PROGRAMS: [(&str, &str); 3] = [
    ("netmon_sys_enter", "sys_enter"),
    ("netmon_sys_exit", "sys_exit"),
    ("netmon_sched_switch", "sched_switch"),
];
/// The program that does nothing.
pub const EMPTY_PROGRAM: &str = "netmon_nothing";
