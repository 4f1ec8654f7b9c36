//! Drops by interface and reason. The names are the running kernel's own.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use aya::maps::{Map, MapData, MapError, PerCpuHashMap, PerCpuValues};
use netmon_common::trace::{DROPS_UNTRACKED, DropKey};
use nix::errno::Errno;
use nix::net::if_::if_indextoname;

use super::btf::Types;
use super::load::one_line_of;
use crate::model::link::IfIndex;
use crate::model::traffic::facts::DropFacts;

/// include/net/dropreason.h: the upper half is the subsystem, 0 for the kernel's core.
const SUBSYSTEM_SHIFT: u32 = 16;

/// What drops are called that found no room for their interface and reason.
const UNTRACKED: &str = "untracked";

/// So many are looked at in a tick: some three system calls each.
const MOST_LOOKS: usize = 256;

/// What has been counted.
pub(super) struct DropTable {
    map: PerCpuHashMap<MapData, [u32; 2], u64>,
    reasons: Reasons,
    untracked: Arc<str>,
    capacity: usize,
    /// The entry at which looking for those of interfaces that are gone goes on.
    next: usize,
}

impl DropTable {
    pub(super) fn new(
        map: Map,
        types: &Types<'_>,
        cpus: u32,
        capacity: u32,
    ) -> Result<Self, String> {
        let wrong = |error: MapError| one_line_of(&error);
        let mut map: PerCpuHashMap<_, _, _> = map.try_into().map_err(wrong)?;
        // It is there before the table can be full, so the program always finds it.
        let none = PerCpuValues::try_from(vec![0; cpus as usize]).map_err(|it| it.to_string())?;
        map.insert(bytemuck::cast::<_, [u32; 2]>(DROPS_UNTRACKED), none, 0).map_err(wrong)?;
        let (untracked, capacity) = (UNTRACKED.into(), capacity as usize);
        Ok(Self { map, reasons: Reasons::new(types), untracked, capacity, next: 0 })
    }

    /// Puts what there is now in the place of `drops`. When the map cannot be read they stay.
    pub(super) fn read(&mut self, drops: &mut Vec<DropFacts>) {
        match self.entries() {
            Ok(entries) => {
                drops.clear();
                for (key, packets) in &entries {
                    drops.extend(self.facts(bytemuck::cast(*key), *packets));
                }
                self.make_room(entries.iter().map(|(key, _)| *key).collect());
            }
            Err(error) => tracing::debug!("the drops cannot be read: {}", one_line_of(&error)),
        }
    }

    fn entries(&self) -> Result<Vec<([u32; 2], u64)>, MapError> {
        let mut entries = Vec::new();
        for key in self.map.keys() {
            let key = key?;
            match self.map.get(&key, 0) {
                Ok(counts) => entries.push((key, counts.iter().sum())),
                // Nobody else takes any out, but that would be no reason to show none.
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    fn facts(&mut self, key: DropKey, packets: u64) -> Option<DropFacts> {
        let DropKey { ifindex, reason } = key;
        let reason = match key {
            DROPS_UNTRACKED if packets == 0 => return None,
            DROPS_UNTRACKED => Arc::clone(&self.untracked),
            _ => self.reasons.name(reason),
        };
        Some(DropFacts { ifindex: (ifindex != 0).then_some(IfIndex(ifindex)), reason, packets })
    }

    /// Where there is nearly none, those of interfaces that are gone are taken out.
    fn make_room(&mut self, keys: Vec<[u32; 2]>) {
        if keys.len() < self.capacity - self.capacity / 8 {
            return;
        }
        for key in without_interface(&keys, &mut self.next, |index| {
            if_indextoname(index) != Err(Errno::ENXIO)
        }) {
            if let Err(error) = self.map.remove(&key) {
                tracing::debug!("the drops of an interface that is gone: {error}");
            }
        }
    }
}

/// Those of some keys whose interface is gone; `next` is where the next ones are.
fn without_interface(
    keys: &[[u32; 2]],
    next: &mut usize,
    is_here: impl Fn(u32) -> bool,
) -> Vec<[u32; 2]> {
    let begin = if *next < keys.len() { *next } else { 0 };
    let looked: Vec<[u32; 2]> = keys[begin..].iter().take(MOST_LOOKS).copied().collect();
    let gone = |key: &[u32; 2]| {
        let DropKey { ifindex, .. } = bytemuck::cast(*key);
        ifindex != 0 && !is_here(ifindex)
    };
    let gone: Vec<[u32; 2]> = looked.iter().filter(|key| gone(key)).copied().collect();
    *next = begin + looked.len() - gone.len();
    gone
}

/// The reasons' names.
struct Reasons {
    names: HashMap<u32, Arc<str>>,
    subsystems: HashMap<u32, String>,
}

impl Reasons {
    fn new(types: &Types<'_>) -> Self {
        let short = |prefix: &'static str| {
            move |(number, name): (u32, &str)| {
                (number, name.strip_prefix(prefix).unwrap_or(name).to_owned())
            }
        };
        let reasons = types.enumerators("skb_drop_reason").into_iter();
        let subsystems = types.enumerators("skb_drop_reason_subsys").into_iter();
        Self {
            names: reasons
                .map(short("SKB_DROP_REASON_"))
                .map(|(number, name)| (number, name.into()))
                .collect(),
            subsystems: subsystems.map(short("SKB_DROP_REASON_SUBSYS_")).collect(),
        }
    }

    /// The name; of a subsystem's own reasons, which stand in its module, the subsystem and the
    /// number.
    fn name(&mut self, reason: u32) -> Arc<str> {
        let Self { names, subsystems } = self;
        let name = names.entry(reason).or_insert_with(|| {
            let (subsystem, number) = (reason >> SUBSYSTEM_SHIFT, reason & 0xffff);
            let mut name = match subsystems.get(&subsystem) {
                Some(subsystem) if reason >> SUBSYSTEM_SHIFT != 0 => subsystem.clone(),
                _ if subsystem == 0 => "REASON".to_owned(),
                _ => format!("SUBSYSTEM_{subsystem}"),
            };
            // Writing to a string cannot fail.
            let _ = write!(name, "_{number}");
            name.into()
        });
        Arc::clone(name)
    }
}

/// The number of what is no drop: the packet has arrived.
pub(super) fn consumed(types: &Types<'_>) -> u32 {
    let reasons = types.enumerators("skb_drop_reason");
    reasons.iter().find(|(_, name)| *name == "SKB_CONSUMED").map_or(0, |(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_interfaces_that_are_gone_make_room() {
        let key = |ifindex| bytemuck::cast(DropKey { ifindex, reason: 2 });
        let mut keys: Vec<[u32; 2]> = (0..2 * MOST_LOOKS as u32).map(key).collect();
        let (mut next, all) = (0, keys.len());
        for _ in 0..4 {
            // Those without an interface, and with one of the first nine, stay.
            let gone = without_interface(&keys, &mut next, |index| index < 10);
            assert!(gone.len() <= MOST_LOOKS);
            keys.retain(|key| !gone.contains(key));
        }
        assert_eq!(keys, (0..10).map(key).collect::<Vec<_>>(), "of {all}");
    }
}
