//! The one step that every hook shares: find the interface's slot, add to its counters.

use aya_ebpf::{
    EbpfContext,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use netmon_common::{
    COUNTERS_DEFAULT, Counters, DIRECT_IFINDEXES, FAR_SLOTS_DEFAULT, NO_LINK_HEADER, SLOT_MASK,
    SlotCounters, UNKNOWN_SLOT,
};

#[map]
static COUNTERS: PerCpuArray<SlotCounters> = PerCpuArray::with_max_entries(COUNTERS_DEFAULT, 0);

#[map]
static SLOTS: Array<u32> = Array::with_max_entries(DIRECT_IFINDEXES, 0);

#[map]
static FAR_SLOTS: HashMap<u32, u32> = HashMap::with_max_entries(FAR_SLOTS_DEFAULT, 0);

/// Which way a packet goes, seen from the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Received.
    Rx,
    /// Transmitted.
    Tx,
}

/// An interface's counters on this CPU, in one direction.
pub struct Slot {
    counters: *mut Counters,
    /// Whether its packets begin with an Ethernet header.
    pub link_header: bool,
}

impl Slot {
    /// The counters of `ifindex`; those of [`UNKNOWN_SLOT`] when nobody has asked for it.
    /// `None` only when the slot lies outside the map.
    #[inline(always)]
    pub fn of(ctx: &impl EbpfContext, ifindex: u32, direction: Direction) -> Option<Self> {
        let entry = if ifindex < DIRECT_IFINDEXES {
            SLOTS.get(ifindex)
        } else {
            // SAFETY: entries are written whole by user space; an outdated one is harmless.
            unsafe { FAR_SLOTS.get(&ifindex) }
        };
        let entry = entry.copied().unwrap_or(UNKNOWN_SLOT);
        let slot = COUNTERS.get_ptr_mut(entry & SLOT_MASK)?;
        // SAFETY: the map holds the memory, on this CPU alone, for as long as the program runs.
        let counters = unsafe {
            match direction {
                Direction::Rx => &raw mut (*slot).rx,
                Direction::Tx => &raw mut (*slot).tx,
            }
        };
        let slot = Self {
            counters,
            link_header: entry & NO_LINK_HEADER == 0,
        };
        if entry & SLOT_MASK == UNKNOWN_SLOT {
            slot.tell_unknown(ctx, ifindex);
        }
        Some(slot)
    }

    /// Counts one packet of `len` bytes.
    #[inline(always)]
    pub fn add(&self, len: u64) {
        // SAFETY: see `of`; nothing else on this CPU writes here while a program runs, because
        // TC and XDP run with bottom halves disabled.
        unsafe {
            (*self.counters).packets += 1;
            (*self.counters).bytes += len;
        }
    }

    /// Counts what the last packet is on the wire beyond what the stack handled.
    #[inline(always)]
    pub fn add_extra(&self, packets: u64, bytes: u64) {
        // SAFETY: as in `add`.
        unsafe {
            (*self.counters).extra_packets += packets;
            (*self.counters).extra_bytes += bytes;
        }
    }

    /// Once per CPU and direction, since a message a packet would be a flood.
    #[inline(always)]
    fn tell_unknown(&self, ctx: &impl EbpfContext, ifindex: u32) {
        // SAFETY: as in `add`.
        if unsafe { (*self.counters).packets } == 0 {
            aya_log_ebpf::warn!(ctx, "a packet of interface {}, which has no slot", ifindex);
        }
    }
}
