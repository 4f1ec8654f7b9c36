//! The one step that every hook shares: find the interface's slot, add to its counters.
//!
//! What is rare is kept out of line, so that the usual packet's way saves and restores no
//! registers for it: that alone was 1.5 ns a packet (Linux 6.18).

use aya_ebpf::{
    EbpfContext, Global,
    bindings::BPF_F_MMAPABLE,
    helpers::generated::bpf_get_smp_processor_id,
    macros::map,
    maps::{Array, HashMap},
};
use netmon_common::{
    Counters, DIRECT_IFINDEXES, FAR_SLOTS_DEFAULT, NO_LINK_HEADER, SLOT_MASK,
    SLOTS_PER_CPU_DEFAULT, SlotCounters, UNKNOWN_SLOT, counters_index,
};

/// Not a per-CPU array, which cannot be mapped.
#[map]
static COUNTERS: Array<SlotCounters> =
    Array::with_max_entries(SLOTS_PER_CPU_DEFAULT, BPF_F_MMAPABLE);

#[unsafe(no_mangle)]
static SLOTS_PER_CPU: Global<u32> = Global::new(SLOTS_PER_CPU_DEFAULT);

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

/// An interface's counters on this CPU, in one direction, for as long as the program runs.
#[derive(Clone, Copy)]
pub struct Slot(*mut Counters);

impl Slot {
    /// The counters of `ifindex`: see [`entry`] and [`Slot::at`].
    #[inline(always)]
    pub fn of(ifindex: u32, direction: Direction, elsewhere: impl FnOnce() -> u32) -> Option<Self> {
        Self::at(entry(ifindex, elsewhere), direction)
    }

    /// The counters of a slot entry. `None` only when the slot lies outside the map.
    #[inline(always)]
    pub fn at(entry: u32, direction: Direction) -> Option<Self> {
        let slot = counters(entry & SLOT_MASK)?;
        // SAFETY: the map holds the memory for as long as the program runs; no other CPU writes
        // there.
        Some(Self(unsafe {
            match direction {
                Direction::Rx => &raw mut (*slot).rx,
                Direction::Tx => &raw mut (*slot).tx,
            }
        }))
    }

    /// The slot of what [`Slot::counters`] gave.
    #[inline(always)]
    pub fn from_counters(counters: *mut Counters) -> Self {
        Self(counters)
    }

    /// The counters, to be handed to a function out of line.
    #[inline(always)]
    pub fn counters(self) -> *mut Counters {
        self.0
    }

    /// Counts one packet of `len` bytes.
    #[inline(always)]
    pub fn add(self, len: u64) {
        // SAFETY: see `of`; nothing else on this CPU writes here while a program runs, because
        // TC and XDP run with bottom halves disabled.
        unsafe {
            (*self.0).packets += 1;
            (*self.0).bytes += len;
        }
    }

    /// Counts what the last packet is on the wire beyond what the stack handled.
    #[inline(always)]
    pub fn add_extra(self, packets: u64, bytes: u64) {
        // SAFETY: as in `add`.
        unsafe {
            (*self.0).extra_packets += packets;
            (*self.0).extra_bytes += bytes;
        }
    }
}

/// The slot entry of an interface. `elsewhere` gives that of one that [`SLOTS`] does not know; it
/// should be a call out of line to [`entry_elsewhere`].
#[inline(always)]
pub fn entry(ifindex: u32, elsewhere: impl FnOnce() -> u32) -> u32 {
    match SLOTS.get(ifindex) {
        Some(entry) if *entry != UNKNOWN_SLOT => *entry,
        _ => elsewhere(),
    }
}

/// The entry of an interface that is not in [`SLOTS`]: from the hash, or that of
/// [`UNKNOWN_SLOT`], which is told before the first packet that it counts on a CPU, since a
/// message a packet would be a flood.
#[inline(always)]
pub fn entry_elsewhere(ctx: &impl EbpfContext, ifindex: u32) -> u32 {
    if let Some(entry) = far_entry(ifindex) {
        return entry;
    }
    // SAFETY: as in `Slot::add`.
    let first = counters(UNKNOWN_SLOT)
        .is_some_and(|slot| unsafe { (*slot).rx.packets + (*slot).tx.packets } == 0);
    if first {
        aya_log_ebpf::warn!(ctx, "a packet of interface {}, which has no slot", ifindex);
    }
    UNKNOWN_SLOT
}

/// A slot's counters of this CPU. A program stays on its CPU until it ends.
#[inline(always)]
fn counters(slot: u32) -> Option<*mut SlotCounters> {
    // SAFETY: a helper without arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    COUNTERS.get_ptr_mut(counters_index(cpu, SLOTS_PER_CPU.load(), slot))
}

/// Whether the interface's packets begin with an Ethernet header.
#[inline(always)]
pub fn has_link_header(ifindex: u32) -> bool {
    let entry = SLOTS.get(ifindex).copied().or_else(|| far_entry(ifindex));
    entry.unwrap_or(UNKNOWN_SLOT) & NO_LINK_HEADER == 0
}

#[inline(always)]
fn far_entry(ifindex: u32) -> Option<u32> {
    if ifindex < DIRECT_IFINDEXES {
        return None;
    }
    // SAFETY: entries are written whole by user space; an outdated one is harmless.
    unsafe { FAR_SLOTS.get(ifindex) }.copied()
}
