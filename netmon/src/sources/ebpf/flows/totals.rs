//! Totals of an interface by protocol and size, with its bursts: all of it is mapped.

use netmon_common::slot_index;
use netmon_common::traffic::{DirectionTotals, SlotTotals};

use super::bursts::fullest;
use super::clock::JiffyClock;
use super::decode::since;
use super::layout::Layout;
use crate::model::link::IfIndex;
use crate::model::traffic::facts::{Burst, DirectionFacts, InterfaceFacts};
use crate::sources::ebpf::mapped::MappedArray;

/// Whose slot it is, and what it began with.
#[derive(Clone, Copy)]
struct Known {
    /// `None`: it was given to an interface that was not read yet.
    owner: Option<(IfIndex, u32)>,
    base: SlotTotals,
}

/// The maps, and who has which slot.
pub(super) struct Totals {
    pub(super) layout: Layout,
    pub(super) totals: MappedArray<SlotTotals>,
    pub(super) bursts: MappedArray<u64>,
    known: Vec<Option<Known>>,
    /// The first tick of the kernel that nobody has looked at.
    from: u64,
}

impl Totals {
    /// With the jiffy that it is.
    pub(super) fn new(
        layout: Layout,
        totals: MappedArray<SlotTotals>,
        bursts: MappedArray<u64>,
        now: u64,
    ) -> Self {
        Self { layout, totals, bursts, known: Vec::new(), from: now }
    }

    /// The slot is given to an interface, maybe after another one that was never read: what is in
    /// it now is that one's. What the first interface of a slot has carried is all its own, from
    /// before this moment on.
    pub(super) fn begin(&mut self, slot: u32) {
        let Some(counted) = self.sum(slot) else { return };
        let known = self.of(slot);
        let base = if known.is_some() { counted } else { SlotTotals::default() };
        *known = Some(Known { owner: None, base });
    }

    fn of(&mut self, slot: u32) -> &mut Option<Known> {
        let at = slot as usize;
        if self.known.len() <= at {
            self.known.resize(at + 1, None);
        }
        &mut self.known[at]
    }

    /// Reads those of all interfaces; one whose slot has none is left out.
    pub(super) fn read(
        &mut self,
        clock: &JiffyClock,
        now: u64,
        interfaces: impl Iterator<Item = (IfIndex, u32, u32)>,
        facts: &mut Vec<InterfaceFacts>,
    ) {
        facts.clear();
        for (ifindex, slot, life) in interfaces {
            if let Some(found) = self.interface(clock, now, (ifindex, slot, life)) {
                facts.push(found);
            }
        }
        self.from = now;
    }

    fn interface(
        &mut self,
        clock: &JiffyClock,
        now: u64,
        (ifindex, slot, life): (IfIndex, u32, u32),
    ) -> Option<InterfaceFacts> {
        let counted = self.sum(slot)?;
        let owner = Some((ifindex, life));
        let mut is_foreign = false;
        let known = self.of(slot);
        let base = match *known {
            Some(Known { owner: before, base }) if before == owner => base,
            // Given since the last reading. What another has left in it is in the buckets, too.
            Some(Known { owner: None, base }) => {
                is_foreign = base != SlotTotals::default();
                base
            }
            // A slot that was another's begins with what that has left in it.
            other => {
                is_foreign = other.is_some();
                if is_foreign { counted } else { SlotTotals::default() }
            }
        };
        *known = Some(Known { owner, base });
        let burst = |direction| {
            if is_foreign || slot >= self.layout.burst_slots {
                return None;
            }
            let bucket = |at| self.bursts.get(at);
            let bytes = fullest(&self.layout, (slot, direction), (self.from, now), bucket);
            Some(Burst { bytes, width: clock.tick() })
        };
        let rx = DirectionFacts { burst: burst(0), ..direction(&counted.rx, &base.rx) };
        let tx = DirectionFacts { burst: burst(1), ..direction(&counted.tx, &base.tx) };
        Some(InterfaceFacts { ifindex, life, rx, tx })
    }

    fn sum(&self, slot: u32) -> Option<SlotTotals> {
        let Layout { cpus, totals_slots, .. } = self.layout;
        if slot >= totals_slots {
            return None;
        }
        let mut sum = SlotTotals::default();
        for cpu in 0..cpus {
            let more = self.totals.get(slot_index(cpu, cpus, slot))?;
            // All of it is numbers that add up.
            let (sum, more): (&mut [u64], &[u64]) = (
                bytemuck::cast_slice_mut(std::slice::from_mut(&mut sum)),
                bytemuck::cast_slice(std::slice::from_ref(&more)),
            );
            for (sum, more) in sum.iter_mut().zip(more) {
                *sum = sum.wrapping_add(*more);
            }
        }
        Some(sum)
    }
}

fn direction(now: &DirectionTotals, base: &DirectionTotals) -> DirectionFacts {
    let mut facts = DirectionFacts::default();
    for (at, protocol) in facts.protocols.iter_mut().enumerate() {
        *protocol = since(now.protocols[at], base.protocols[at]);
    }
    for (at, size) in facts.sizes.iter_mut().enumerate() {
        *size = since(now.sizes[at], base.sizes[at]);
    }
    facts
}
