//! Small numbers for flows, each with a number that tells its users apart.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use netmon_common::traffic::FlowKey;

/// Hashed as bytes, at once. With the standard library's seed: others choose addresses and ports.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key(FlowKey);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(bytemuck::bytes_of(&self.0));
    }
}

/// A number.
#[derive(Clone, Copy, Default)]
struct Number {
    /// How often it was given out.
    life: u32,
    /// Whether a flow has it.
    is_given: bool,
    /// The last reading that its flow was in.
    seen: u64,
}

/// So many of the reading before are looked at for the next flow, where some have gone.
const AHEAD: usize = 4;

/// Who has which number.
#[derive(Default)]
pub(super) struct Ids {
    known: HashMap<Key, u32>,
    numbers: Vec<Number>,
    free: Vec<u32>,
    /// The flows of the reading before with their numbers and lives, in the order of that reading.
    /// The kernel gives them by their place in its hash, so the next reading is nearly the same,
    /// and most are found without hashing.
    before: Vec<(Key, u32, u32)>,
    /// Those of this reading.
    now: Vec<(Key, u32, u32)>,
    /// Where the next one stands in `before`, if nothing came or went.
    next: usize,
    reading: u64,
}

impl Ids {
    /// A reading of all flows begins.
    pub(super) fn begin(&mut self) {
        self.reading += 1;
        std::mem::swap(&mut self.before, &mut self.now);
        self.now.clear();
        self.next = 0;
    }

    /// The number and life of a flow that is there.
    pub(super) fn of(&mut self, key: &FlowKey) -> (u32, u32) {
        let key = Key(*key);
        let id = self.expected(key).unwrap_or_else(|| self.look_up(key));
        let number = &mut self.numbers[id as usize];
        number.seen = self.reading;
        self.now.push((key, id, number.life));
        (id, number.life)
    }

    /// The number of a flow that comes where it, or one shortly before it, came the last time.
    fn expected(&mut self, key: Key) -> Option<u32> {
        let ahead = self.before.get(self.next..)?.iter().take(AHEAD);
        let (skipped, (_, id, life)) = ahead.enumerate().find(|(_, (known, ..))| *known == key)?;
        self.next += skipped + 1;
        // One that was taken out has lost its number, which may be another's by now.
        let number = self.numbers[*id as usize];
        (number.is_given && number.life == *life).then_some(*id)
    }

    fn look_up(&mut self, key: Key) -> u32 {
        let Self { known, numbers, free, .. } = self;
        *known.entry(key).or_insert_with(|| {
            let id = free.pop().unwrap_or_else(|| {
                numbers.push(Number::default());
                (numbers.len() - 1) as u32
            });
            let number = &mut numbers[id as usize];
            number.life = number.life.wrapping_add(1);
            number.is_given = true;
            id
        })
    }

    /// The reading ends, with so many flows: what was not there has lost its number.
    pub(super) fn end(&mut self, count: usize) {
        if self.known.len() == count {
            return;
        }
        let Self { known, numbers, free, reading, .. } = self;
        known.retain(|_, id| {
            let number = &mut numbers[*id as usize];
            number.is_given = number.seen == *reading;
            if !number.is_given {
                free.push(*id);
            }
            number.is_given
        });
    }

    /// A flow was taken out.
    pub(super) fn remove(&mut self, key: &FlowKey) {
        if let Some(id) = self.known.remove(&Key(*key)) {
            self.numbers[id as usize].is_given = false;
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> FlowKey {
        FlowKey { source_port: port, ..FlowKey::default() }
    }

    #[test]
    fn numbers_are_small_stable_and_tell_their_users_apart() {
        let mut ids = Ids::default();
        ids.begin();
        let first = [1, 2, 3].map(|port| ids.of(&key(port)));
        ids.end(3);
        assert_eq!(first, [(0, 1), (1, 1), (2, 1)]);
        ids.begin();
        assert_eq!([3, 1].map(|port| ids.of(&key(port))), [(2, 1), (0, 1)], "in any order");
        ids.end(2);
        ids.begin();
        assert_eq!(ids.of(&key(4)), (1, 2), "what the second had");
        ids.remove(&key(1));
        assert_eq!(ids.of(&key(1)), (0, 2), "the same flow once more is another one");
        assert_eq!(ids.of(&key(2)), (3, 1));
    }

    #[test]
    fn in_any_order_and_with_gaps_each_keeps_its_own() {
        let mut ids = Ids::default();
        let mut owners: HashMap<u16, (u32, u32)> = HashMap::new();
        // Some come, some go, some are taken out, and the order turns.
        for reading in 0..200_u16 {
            let mut ports: Vec<u16> =
                (0..100).filter(|port| (port * 7 + reading) % 5 < 4).collect();
            ports.rotate_left(usize::from(reading / 50) * 9);
            ids.begin();
            let given: Vec<_> = ports.iter().map(|port| (*port, ids.of(&key(*port)))).collect();
            ids.end(given.len());
            let mut numbers: Vec<u32> = given.iter().map(|(_, (id, _))| *id).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), given.len(), "no two have one number");
            assert!(numbers.iter().all(|id| *id < 100), "they stay small");
            for (port, number) in &given {
                assert!(owners.get(port).is_none_or(|before| before == number), "{port} stays");
            }
            owners = given.into_iter().collect();
            let taken = reading % 100;
            ids.remove(&key(taken));
            if let Some((id, life)) = owners.remove(&taken) {
                ids.begin();
                owners.iter().for_each(|(port, number)| assert_eq!(ids.of(&key(*port)), *number));
                assert_ne!(ids.of(&key(taken)), (id, life), "another life");
                ids.remove(&key(taken));
                ids.end(owners.len());
            }
        }
    }
}
