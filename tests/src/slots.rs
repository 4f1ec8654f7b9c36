//! Slot entries, for tests and benchmarks that load the programs themselves.

use anyhow::{Context, Result};
use aya::{Ebpf, maps::Array};
use netmon_common::{SLOTS, SlotEntries, UNKNOWN_SLOT};

/// Makes the programs count `ifindex` by this entry, and no other interface in any slot.
///
/// # Errors
/// When the object has no slot entries, or the kernel refuses to write them.
pub fn only_slot(ebpf: &mut Ebpf, ifindex: u32, entry: u32) -> Result<()> {
    let mut map: Array<_, SlotEntries> = ebpf.map_mut(SLOTS).context(SLOTS)?.try_into()?;
    let entries = vec![UNKNOWN_SLOT; size_of::<SlotEntries>() / size_of::<u32>()];
    let mut entries: Box<SlotEntries> = entries.try_into().ok().context("of that length")?;
    *entries.get_mut(ifindex as usize).context("an ifindex of the hash")? = entry;
    Ok(map.set(0, entries, 0)?)
}
