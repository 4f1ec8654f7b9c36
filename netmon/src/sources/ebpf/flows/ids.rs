//! Small numbers for flows, each with a number that tells its users apart. Of a flow is kept what
//! a hash of its key says of it, and not the key: a table that others can fill has to be small.

use std::hash::{BuildHasher, RandomState};

use netmon_common::traffic::FlowKey;

/// 64-bit words of a key.
const WORDS: usize = size_of::<FlowKey>() / size_of::<u64>();

/// A hash of a key, by the multilinear hashing of Dietzfelbinger: with numbers that nobody
/// knows, two given keys have the same one with a chance of 1 to 2^64, whoever chooses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digest(u64);

/// The numbers that nobody knows.
struct Secret([u128; WORDS + 1]);

impl Default for Secret {
    fn default() -> Self {
        let random = RandomState::new();
        let half = |number: usize| u128::from(random.hash_one(number));
        Self(std::array::from_fn(|at| half(2 * at) << 64 | half(2 * at + 1)))
    }
}

impl Secret {
    fn digest(&self, key: &FlowKey) -> Digest {
        let words: [u64; WORDS] = bytemuck::cast(*key);
        let [first, factors @ ..] = &self.0;
        let products =
            factors.iter().zip(words).map(|(secret, word)| secret.wrapping_mul(u128::from(word)));
        Digest((products.fold(*first, u128::wrapping_add) >> 64) as u64)
    }
}

/// A number.
#[derive(Clone, Copy)]
struct Number {
    /// Whose it is, or was.
    digest: Digest,
    /// How often it was given out.
    life: u32,
    /// The last reading that its flow was in; 0: no flow has it.
    seen: u32,
}

/// So many of the reading before are looked at for the next flow, where some have gone.
const AHEAD: usize = 4;

/// Who has which number.
#[derive(Default)]
pub(super) struct Ids {
    secret: Secret,
    known: Known,
    numbers: Vec<Number>,
    free: Vec<u32>,
    /// The numbers of the flows of the reading before, in its order. The kernel gives them by
    /// their place in its hash, so the next reading is nearly the same, and most are found at
    /// once.
    before: Vec<u32>,
    /// Those of this reading.
    now: Vec<u32>,
    /// Where the next one stands in `before`, if nothing came or went.
    next: usize,
    reading: u32,
}

impl Ids {
    /// A reading of all flows begins.
    pub(super) fn begin(&mut self) {
        self.reading = self.reading.checked_add(1).unwrap_or(1);
        std::mem::swap(&mut self.before, &mut self.now);
        self.now.clear();
        self.next = 0;
    }

    /// The number and life of a flow that is there.
    pub(super) fn of(&mut self, key: &FlowKey) -> (u32, u32) {
        let digest = self.secret.digest(key);
        let id = self.expected(digest).unwrap_or_else(|| self.look_up(digest));
        let number = &mut self.numbers[id as usize];
        number.seen = self.reading;
        self.now.push(id);
        (id, number.life)
    }

    /// The number of a flow that comes where it, or one shortly before it, came the last time.
    fn expected(&mut self, digest: Digest) -> Option<u32> {
        let ahead = self.before.get(self.next..)?.iter().take(AHEAD);
        // One that was taken out has lost its number, which may be another's by now.
        let is_it = |id: u32| {
            let number = &self.numbers[id as usize];
            number.digest == digest && number.seen != 0
        };
        let (skipped, id) = ahead.enumerate().find(|(_, id)| is_it(**id))?;
        self.next += skipped + 1;
        Some(*id)
    }

    fn look_up(&mut self, digest: Digest) -> u32 {
        let Self { known, numbers, free, reading, .. } = self;
        if let Some(id) = known.find(numbers, digest) {
            return id;
        }
        let id = free.pop().unwrap_or_else(|| {
            numbers.push(Number { digest, life: 0, seen: 0 });
            (numbers.len() - 1) as u32
        });
        let number = &mut numbers[id as usize];
        let life = number.life.wrapping_add(1);
        *number = Number { digest, life, seen: *reading };
        known.insert(numbers, id);
        id
    }

    /// The reading ends: what was not there has lost its number.
    pub(super) fn end(&mut self) {
        if self.known.count != self.now.len() {
            for id in 0..self.numbers.len() {
                let seen = self.numbers[id].seen;
                if seen != 0 && seen != self.reading {
                    self.take_back(id as u32);
                }
            }
        }
        for list in [&mut self.before, &mut self.now, &mut self.free] {
            give_back(list);
        }
    }

    /// A flow was taken out.
    pub(super) fn remove(&mut self, key: &FlowKey) {
        if let Some(id) = self.known.find(&self.numbers, self.secret.digest(key)) {
            self.take_back(id);
        }
    }

    fn take_back(&mut self, id: u32) {
        self.known.remove(&self.numbers, id);
        self.numbers[id as usize].seen = 0;
        self.free.push(id);
    }
}

/// Gives back the memory of a list that was much longer once.
pub(super) fn give_back<T>(list: &mut Vec<T>) {
    /// What is not worth it.
    const LITTLE: usize = 4_096;
    if list.capacity() > LITTLE.max(4 * list.len()) {
        list.shrink_to(LITTLE.max(2 * list.len()));
    }
}

/// Numbers by their digests: a hash with open addressing, four bytes for each place, of which at
/// most three of four are taken.
#[derive(Default)]
struct Known {
    /// A number and one, or 0. As many as a power of two, or none.
    places: Vec<u32>,
    count: usize,
}

impl Known {
    fn place(&self, Digest(digest): Digest) -> usize {
        digest as usize & (self.places.len() - 1)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    /// The place of a digest and what is there, or the free one where it would be.
    fn search(&self, numbers: &[Number], digest: Digest) -> (usize, Option<u32>) {
        let mut place = self.place(digest);
        loop {
            match self.places[place].checked_sub(1) {
                Some(id) if numbers[id as usize].digest != digest => place = self.after(place),
                found => return (place, found),
            }
        }
    }

    fn find(&self, numbers: &[Number], digest: Digest) -> Option<u32> {
        if self.places.is_empty() { None } else { self.search(numbers, digest).1 }
    }

    fn insert(&mut self, numbers: &[Number], id: u32) {
        if (self.count + 1) * 4 > self.places.len() * 3 {
            let larger = vec![0; (self.places.len() * 2).max(1_024)];
            let smaller = std::mem::replace(&mut self.places, larger);
            smaller
                .into_iter()
                .filter_map(|id| id.checked_sub(1))
                .for_each(|id| self.put(numbers, id));
        }
        self.put(numbers, id);
        self.count += 1;
    }

    fn put(&mut self, numbers: &[Number], id: u32) {
        let (place, _) = self.search(numbers, numbers[id as usize].digest);
        self.places[place] = id + 1;
    }

    /// Those behind it that would not be found any more move up.
    fn remove(&mut self, numbers: &[Number], id: u32) {
        let (mut free, found) = self.search(numbers, numbers[id as usize].digest);
        if found != Some(id) {
            return;
        }
        let mut next = self.after(free);
        while let Some(other) = self.places[next].checked_sub(1) {
            let wanted = self.place(numbers[other as usize].digest);
            let mask = self.places.len() - 1;
            if next.wrapping_sub(wanted) & mask >= next.wrapping_sub(free) & mask {
                self.places[free] = other + 1;
                free = next;
            }
            next = self.after(next);
        }
        self.places[free] = 0;
        self.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn key(port: u16) -> FlowKey {
        FlowKey { source_port: port, ..FlowKey::default() }
    }

    #[test]
    fn numbers_are_small_stable_and_tell_their_users_apart() {
        let mut ids = Ids::default();
        ids.begin();
        let first = [1, 2, 3].map(|port| ids.of(&key(port)));
        ids.end();
        assert_eq!(first, [(0, 1), (1, 1), (2, 1)]);
        ids.begin();
        assert_eq!([3, 1].map(|port| ids.of(&key(port))), [(2, 1), (0, 1)], "in any order");
        ids.end();
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
            ids.end();
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
                ids.end();
            }
        }
    }
}
