//! Which interface counts in which slot. Slots are dense, so that the counters in use lie side by
//! side, and the lowest free one is used next.

use std::collections::{BTreeSet, HashMap as Table};
use std::mem;

use aya::maps::{Array, HashMap, MapData, MapError};
use netmon_common::{NO_LINK_HEADER, SlotEntries, UNKNOWN_SLOT, slot_index};

use crate::model::link::IfIndex;

/// Where slot entries are written for the programs. A seam: the table is tested without maps.
pub trait SlotWriter {
    /// What can go wrong.
    type Error;
    /// Sets the entry of an interface, or takes it away.
    ///
    /// # Errors
    /// The map's.
    fn write(&mut self, ifindex: IfIndex, entry: Option<u32>) -> Result<(), Self::Error>;
}

/// The maps in the kernel.
pub struct SlotMaps {
    direct: Array<MapData, SlotEntries>,
    /// What `direct` holds: an array of one element is written whole.
    entries: Box<SlotEntries>,
    far: HashMap<MapData, u32, u32>,
}

impl SlotMaps {
    /// Maps in which no interface has a slot yet.
    pub(super) fn new(
        direct: Array<MapData, SlotEntries>,
        far: HashMap<MapData, u32, u32>,
    ) -> Self {
        Self { direct, entries: bytemuck::zeroed_box(), far }
    }
}

impl SlotWriter for SlotMaps {
    type Error = MapError;

    fn write(&mut self, ifindex: IfIndex, entry: Option<u32>) -> Result<(), MapError> {
        if let Some(kept) = self.entries.get_mut(ifindex.0 as usize) {
            let before = mem::replace(kept, entry.unwrap_or(UNKNOWN_SLOT));
            let written = self.direct.set(0, self.entries.as_ref(), 0);
            if let (Err(_), Some(kept)) = (&written, self.entries.get_mut(ifindex.0 as usize)) {
                *kept = before;
            }
            return written;
        }
        match entry {
            Some(entry) => self.far.insert(ifindex.0, entry, 0),
            None => self.far.remove(&ifindex.0),
        }
    }
}

/// Why an interface gets no slot.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError<E> {
    /// All are taken.
    #[error("all {0} slots are in use; netmon makes room for more when it is started again")]
    Full(u32),
    /// The entry could not be written.
    #[error("cannot write its slot: {0}")]
    Write(E),
}

/// The table.
pub struct SlotTable<W> {
    writer: W,
    capacity: u32,
    cpus: u32,
    taken: Table<IfIndex, u32>,
    free: BTreeSet<u32>,
    next: u32,
}

impl<W: SlotWriter> SlotTable<W> {
    /// An empty table with slots 1 to `capacity` − 1 (slot 0 is for packets without one), each on
    /// so many CPUs.
    pub fn new(writer: W, capacity: u32, cpus: u32) -> Self {
        let next = UNKNOWN_SLOT + 1;
        Self { writer, capacity, cpus, taken: Table::new(), free: BTreeSet::new(), next }
    }

    /// Gives an interface a slot and tells the programs. The same again when it has one.
    ///
    /// # Errors
    /// When no slot is free or the programs cannot be told.
    pub fn give(
        &mut self,
        ifindex: IfIndex,
        link_header: bool,
    ) -> Result<u32, SlotError<W::Error>> {
        if let Some(slot) = self.taken.get(&ifindex) {
            return Ok(*slot);
        }
        let slot = match self.free.pop_first() {
            Some(slot) => slot,
            None if self.next < self.capacity => {
                self.next += 1;
                self.next - 1
            }
            None => return Err(SlotError::Full(self.capacity - 1)),
        };
        let flag = if link_header { 0 } else { NO_LINK_HEADER };
        let entry = slot_index(0, self.cpus, slot) | flag;
        if let Err(error) = self.writer.write(ifindex, Some(entry)) {
            self.free.insert(slot);
            return Err(SlotError::Write(error));
        }
        self.taken.insert(ifindex, slot);
        Ok(slot)
    }

    /// Takes the slot back. What it counted stays in it; its next user takes that as its zero.
    pub fn take_back(&mut self, ifindex: IfIndex) {
        if let Some(slot) = self.taken.remove(&ifindex) {
            if self.writer.write(ifindex, None).is_err() {
                tracing::debug!("the slot of ifindex {ifindex} could not be cleared");
            }
            self.free.insert(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Written(Vec<(u32, Option<u32>)>);

    impl SlotWriter for Written {
        type Error = &'static str;
        fn write(&mut self, ifindex: IfIndex, entry: Option<u32>) -> Result<(), &'static str> {
            if ifindex.0 == 13 {
                return Err("unlucky");
            }
            self.0.push((ifindex.0, entry));
            Ok(())
        }
    }

    #[test]
    fn slots_are_dense_and_used_again() {
        let mut table = SlotTable::new(Written::default(), 4, 2);
        let given: Vec<_> = [70_000, 2, 9].map(|ifindex| table.give(IfIndex(ifindex), true)).into();
        assert_eq!(given, [Ok(1), Ok(2), Ok(3)]);
        assert_eq!(table.give(IfIndex(2), true), Ok(2), "the same again");
        assert_eq!(table.give(IfIndex(10), true), Err(SlotError::Full(3)));
        table.take_back(IfIndex(2));
        table.take_back(IfIndex(70_000));
        table.take_back(IfIndex(12_345));
        assert_eq!(table.give(IfIndex(10), false), Ok(1), "the lowest free one");
        assert_eq!(
            table.writer.0,
            [
                (70_000, Some(1)),
                (2, Some(2)),
                (9, Some(3)),
                (2, None),
                (70_000, None),
                (10, Some(1 | NO_LINK_HEADER)),
            ]
        );
    }

    #[test]
    fn an_entry_tells_where_the_slot_of_the_first_cpu_is() {
        let mut table = SlotTable::new(Written::default(), 64, 3);
        for slot in 1..=16 {
            assert_eq!(table.give(IfIndex(100 + slot), true), Ok(slot));
        }
        // After sixteen slots of each of the other two CPUs.
        assert_eq!(table.writer.0[14..], [(115, Some(15)), (116, Some(48))]);
    }

    #[test]
    fn a_failed_write_gives_the_slot_back() {
        let mut table = SlotTable::new(Written::default(), 2, 2);
        assert_eq!(table.give(IfIndex(13), true), Err(SlotError::Write("unlucky")));
        assert_eq!(table.give(IfIndex(14), true), Ok(1));
    }
}
