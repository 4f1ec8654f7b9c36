//! Drops by interface and reason. The names are the running kernel's own.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use aya::maps::{Map, MapData, PerCpuHashMap};
use netmon_common::trace::{DROPS_MOST, DropKey};
use nix::errno::Errno;
use nix::net::if_::if_indextoname;

use super::btf::Types;
use crate::model::link::IfIndex;
use crate::model::traffic::facts::DropFacts;

/// include/net/dropreason.h: the upper half is the subsystem, 0 for the kernel's core.
const SUBSYSTEM_SHIFT: u32 = 16;

/// From so many entries on, those of interfaces that are gone are taken out: each interface that
/// comes has a new number, and a full table counts nothing of it.
const NEARLY_FULL: usize = DROPS_MOST as usize / 8 * 7;
/// So many are looked at in a tick: some three system calls each.
const MOST_LOOKS: usize = 256;

/// What has been counted.
pub(super) struct DropTable {
    map: PerCpuHashMap<MapData, [u32; 2], u64>,
    reasons: Reasons,
    /// The entry at which looking for those of interfaces that are gone goes on.
    next: usize,
}

impl DropTable {
    pub(super) fn new(map: Map, types: &Types<'_>) -> Result<Self, String> {
        let map = map.try_into().map_err(|error: aya::maps::MapError| error.to_string())?;
        Ok(Self { map, reasons: Reasons::new(types), next: 0 })
    }

    /// Puts what there is now in the place of `drops`. When the map cannot be read they stay.
    pub(super) fn read(&mut self, drops: &mut Vec<DropFacts>) {
        let mut found: Vec<DropFacts> = Vec::with_capacity(drops.len());
        let mut keys = Vec::with_capacity(drops.len());
        for key in self.map.keys() {
            let read = key.and_then(|key| Ok((key, self.map.get(&key, 0)?)));
            let Ok((key, counts)) = read else { continue };
            keys.push(key);
            let DropKey { ifindex, reason } = bytemuck::cast(key);
            found.push(DropFacts {
                ifindex: (ifindex != 0).then_some(IfIndex(ifindex)),
                reason: self.reasons.name(reason),
                packets: counts.iter().sum(),
            });
        }
        *drops = found;
        if keys.len() >= NEARLY_FULL {
            for key in without_interface(&keys, &mut self.next, |index| {
                if_indextoname(index) != Err(Errno::ENXIO)
            }) {
                if let Err(error) = self.map.remove(&key) {
                    tracing::debug!("the drops of an interface that is gone: {error}");
                }
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
