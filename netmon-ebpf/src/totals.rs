//! Exact totals of an interface by protocol and size, and the bytes of each jiffy. Each CPU has
//! its own, and user space maps them all.

use aya_ebpf::{Global, bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use netmon_common::traffic::{
    DirectionTotals, PROTOCOL_CLASSES, Pair, SIZES, SlotTotals, bucket_bytes, first_bucket,
    round_of, size_class,
};
use netmon_ebpf::sizes;

use crate::{Packet, count::Direction, skb};

#[map]
static TOTALS: Array<SlotTotals> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static BURSTS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[unsafe(no_mangle)]
static BURST_SLOTS: Global<u32> = Global::new(1);

#[unsafe(no_mangle)]
static BURST_SHIFT: Global<u32> = Global::new(0);

/// Adds a packet of the interface whose slot on this CPU is at `index`. One that the maps have no
/// room for has none of this.
#[inline(always)]
pub fn add(packet: &Packet, index: u32, class: u32) {
    if let Some(totals) = TOTALS.get_ptr_mut(index) {
        // SAFETY: the map holds the memory for as long as the program runs, and nothing else
        // writes there meanwhile: see `count::Slot::add`.
        let totals = unsafe {
            match packet.direction {
                Direction::Rx => &mut (*totals).rx,
                Direction::Tx => &mut (*totals).tx,
            }
        };
        add_to(totals, packet, class);
    }
    // Beyond it the index of a bucket would not fit into 32 bits.
    if index < BURST_SLOTS.load() {
        add_burst(packet, index);
    }
}

#[inline(always)]
fn add_to(totals: &mut DirectionTotals, packet: &Packet, class: u32) {
    let (packets, bytes) = packet.wire();
    let class = class as usize;
    if class < PROTOCOL_CLASSES {
        add_pair(&mut totals.protocols[class], packets, bytes);
    }
    if packet.extra.packets == 0 {
        add_size(totals, 1, bytes as u32);
    } else {
        // SAFETY: the context is the one that the kernel has given.
        let (gso_size, tagged) = unsafe { ((*packet.skb).gso_size, (*packet.skb).vlan_present) };
        let tag = if tagged != 0 { skb::VLAN_TAG } else { 0 };
        let (full, last) = sizes::split(bytes as u32, packet.extra, tag, gso_size);
        add_size(totals, packets - 1, full);
        add_size(totals, 1, last);
    }
}

#[inline(always)]
fn add_size(totals: &mut DirectionTotals, packets: u64, bytes: u32) {
    let class = size_class(bytes);
    if class < SIZES {
        add_pair(&mut totals.sizes[class], packets, packets * u64::from(bytes));
    }
}

#[inline(always)]
fn add_pair(pair: &mut Pair, packets: u64, bytes: u64) {
    pair.packets += packets;
    pair.bytes += bytes;
}

#[inline(always)]
fn add_burst(packet: &Packet, index: u32) {
    let shift = BURST_SHIFT.load();
    let direction = match packet.direction {
        Direction::Rx => 0,
        Direction::Tx => 1,
    };
    let first = first_bucket(index, direction, shift);
    let index = first + (packet.jiffy as u32 & ((1 << shift) - 1));
    if let Some(bucket) = BURSTS.get_ptr_mut(index) {
        let round = round_of(packet.jiffy, shift);
        // SAFETY: as in `add`.
        unsafe {
            let before = bucket_bytes(*bucket, round).unwrap_or(0);
            *bucket = round | (before + packet.wire().1);
        }
    }
}
