//! The one step that every hook shares: find the interface's slot, add to its counters.
//!
//! What is rare is kept out of line, so that the usual packet's way saves and restores no
//! registers for it: that alone was 1.5 ns a packet (Linux 6.18).

use core::cell::UnsafeCell;

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_F_MMAPABLE,
    helpers::generated::bpf_get_smp_processor_id,
    macros::map,
    maps::{Array, HashMap},
};
use netmon_common::{
    Counters, DIRECT_IFINDEXES, FAR_SLOTS_DEFAULT, NO_LINK_HEADER, SLOT_MASK,
    SLOTS_PER_CPU_DEFAULT, SlotCounters, SlotEntries, UNKNOWN_SLOT, cpu_offset,
};

/// Not a per-CPU array, which cannot be mapped.
#[map]
static COUNTERS: Array<SlotCounters> =
    Array::with_max_entries(SLOTS_PER_CPU_DEFAULT, BPF_F_MMAPABLE);

/// In a section of its own, which makes it a map of one element: its address is a constant of the
/// programs then, and looking an entry up is one load. An array's element costs a dozen
/// instructions.
#[unsafe(link_section = ".bss.SLOTS")]
#[unsafe(no_mangle)]
static SLOTS: Slots = Slots(UnsafeCell::new([UNKNOWN_SLOT; DIRECT_IFINDEXES as usize]));

/// Slot entries by ifindex, which user space writes while programs read.
#[repr(transparent)]
struct Slots(UnsafeCell<SlotEntries>);

// SAFETY: no program writes, and each reads an entry whole.
unsafe impl Sync for Slots {}

impl Slots {
    #[inline(always)]
    fn get(&self, ifindex: u32) -> Option<u32> {
        if ifindex >= DIRECT_IFINDEXES {
            return None;
        }
        // SAFETY: within the array. Volatile, because it changes behind the compiler's back.
        Some(unsafe { self.0.get().cast::<u32>().add(ifindex as usize).read_volatile() })
    }
}

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

/// The CPU that a program runs on, and stays on until it ends.
///
/// To be asked before anything else: it is a call, so that what is known already is saved across
/// it in registers that first have to be saved themselves.
#[derive(Clone, Copy)]
pub struct Cpu(u32);

impl Cpu {
    /// This one.
    #[inline(always)]
    pub fn this() -> Self {
        // SAFETY: a helper without arguments.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        Self(cpu_offset(cpu))
    }

    /// Where its slot is in an array of slots.
    #[inline(always)]
    pub fn index(self, entry: u32) -> u32 {
        (entry & SLOT_MASK).wrapping_add(self.0)
    }
}

/// An interface's counters on this CPU, in one direction, for as long as the program runs.
#[derive(Clone, Copy)]
pub struct Slot(*mut Counters);

impl Slot {
    /// The counters of a slot entry. `None` only when the slot lies outside the map.
    #[inline(always)]
    pub fn at(cpu: Cpu, entry: u32, direction: Direction) -> Option<Self> {
        let slot = counters(cpu, entry)?;
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
        // SAFETY: see `at`; nothing else on this CPU writes here while a program runs, because
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

/// The slot entry of an interface. `None`: [`entry_elsewhere`] has it.
#[inline(always)]
pub fn entry(ifindex: u32) -> Option<u32> {
    SLOTS.get(ifindex).filter(|entry| *entry != UNKNOWN_SLOT)
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
    let first = counters(Cpu::this(), UNKNOWN_SLOT)
        .is_some_and(|slot| unsafe { (*slot).rx.packets + (*slot).tx.packets } == 0);
    if first {
        aya_log_ebpf::warn!(ctx, "a packet of interface {}, which has no slot", ifindex);
    }
    UNKNOWN_SLOT
}

/// The counters of a slot entry on this CPU.
#[inline(always)]
fn counters(cpu: Cpu, entry: u32) -> Option<*mut SlotCounters> {
    COUNTERS.get_ptr_mut(cpu.index(entry))
}

/// Whether the interface's packets begin with an Ethernet header.
#[inline(always)]
pub fn has_link_header(ifindex: u32) -> bool {
    let entry = SLOTS.get(ifindex).or_else(|| far_entry(ifindex));
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
