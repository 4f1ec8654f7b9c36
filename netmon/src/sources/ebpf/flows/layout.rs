//! How large the maps are, which is decided once, at the start.

use std::time::Duration;

use aya::EbpfLoader;
use netmon_common::SLOT_BLOCK;
use netmon_common::traffic::{
    BURST_SHIFT, BURST_SLOTS, BURSTS, FLOW_CPUS, FLOW_SAMPLE, FLOWS, SlotTotals, TOTALS,
};

use crate::model::traffic::options::{FlowOptions, MOST_FLOWS};

/// What totals may take together, and bursts likewise, with more than [`SLOT_BLOCK`] slots, the
/// fewest that there can be: the memory is taken at the start, for every CPU that the kernel can have, which may be many more than
/// there are.
const MOST_MEMORY: usize = 32 << 20;
/// A ring must be longer than the usual second between two readings.
const LEAST_RING: Duration = Duration::from_secs(2);

/// The sizes, and what else the programs are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// CPUs that the kernel can have.
    pub cpus: u32,
    /// Flows.
    pub capacity: u32,
    /// Of so many packets one is looked at.
    pub sample: u32,
    /// Slots of a CPU with totals; interfaces beyond have none. A multiple of [`SLOT_BLOCK`].
    pub totals_slots: u32,
    /// Slots of a CPU with rings for bursts; interfaces beyond have none. Likewise.
    pub burst_slots: u32,
    /// Those of all CPUs together.
    pub burst_slots_of_all: u32,
    /// Two to this are the buckets of a ring: one for each tick of the kernel.
    pub burst_shift: u32,
}

impl Layout {
    /// For so many `slots` and `cpus`, and a kernel whose tick is so long.
    #[must_use]
    pub fn of(options: &FlowOptions, slots: u32, cpus: u32, tick: Duration) -> Self {
        let ticks = LEAST_RING.as_nanos().div_ceil(tick.as_nanos().max(1)) as u32;
        let burst_shift = ticks.next_power_of_two().ilog2();
        let ring = (2 * size_of::<u64>()) << burst_shift;
        let within = |slot: usize| {
            let most = MOST_MEMORY / (slot * cpus.max(1) as usize);
            let most = u32::try_from(most).unwrap_or(u32::MAX).max(SLOT_BLOCK);
            most - most % SLOT_BLOCK
        };
        let wanted = options.interfaces.saturating_mul(2).next_power_of_two();
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX).max(SLOT_BLOCK);
        let slots = slots.next_multiple_of(SLOT_BLOCK);
        let burst_slots = wanted.min(within(ring)).min(slots);
        // Flows that nobody wants cost least where hardly a packet is looked at.
        let (capacity, sample) = match options.keep {
            true => (options.capacity.clamp(1, MOST_FLOWS), options.sample.max(1)),
            false => (1, u32::MAX),
        };
        Self {
            cpus,
            capacity,
            sample,
            totals_slots: slots.min(within(size_of::<SlotTotals>())),
            burst_slots,
            burst_slots_of_all: burst_slots * cpus,
            burst_shift,
        }
    }

    /// How many values [`TOTALS`] has.
    #[must_use]
    pub const fn totals(&self) -> u32 {
        self.totals_slots * self.cpus
    }

    /// How many values [`BURSTS`] has.
    #[must_use]
    pub const fn buckets(&self) -> u32 {
        (self.burst_slots_of_all * 2) << self.burst_shift
    }

    /// Tells the programs.
    pub(in super::super) fn set<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader
            .override_global(BURST_SLOTS, &self.burst_slots_of_all, true)
            .override_global(BURST_SHIFT, &self.burst_shift, true)
            .override_global(FLOW_SAMPLE, &self.sample, true)
            .map_max_entries(FLOWS, self.capacity)
            .map_max_entries(TOTALS, self.totals())
            .map_max_entries(BURSTS, self.buckets())
            .map_max_entries(FLOW_CPUS, self.cpus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(interfaces: usize, cpus: u32, hz: u64) -> Layout {
        let options = FlowOptions { interfaces, ..FlowOptions::default() };
        Layout::of(&options, 1024, cpus, Duration::from_nanos(1_000_000_000 / hz))
    }

    #[test]
    fn a_ring_is_longer_than_two_seconds() {
        let shifts = [100, 250, 300, 1000].map(|hz| layout(1, 2, hz).burst_shift);
        assert_eq!(shifts, [8, 9, 10, 11]);
    }

    #[test]
    fn memory_is_bounded() {
        assert_eq!((layout(4, 2, 250).totals_slots, layout(4, 2, 250).burst_slots), (1024, 16));
        assert_eq!(layout(64, 2, 250).burst_slots, 128);
        let many = layout(1000, 240, 1000);
        assert_eq!((many.totals_slots, many.burst_slots), (208, 16));
        assert_eq!(layout(100_000, 1, 250).burst_slots, 1024, "no more than there are slots");
        let options = FlowOptions { capacity: 0, sample: 0, ..FlowOptions::default() };
        let least = Layout::of(&options, 8, 1, Duration::ZERO);
        assert_eq!((least.capacity, least.sample, least.burst_slots), (1, 1, 16));
        let options = FlowOptions { keep: false, ..FlowOptions::default() };
        let none = Layout::of(&options, 8, 1, Duration::ZERO);
        assert_eq!((none.capacity, none.sample), (1, u32::MAX));
    }
}
