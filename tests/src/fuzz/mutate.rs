//! Changes of seeds, always the same for the same number: a poor man's fuzzer, for the ordinary
//! tests on stable Rust.

/// Numbers that look random (xorshift64).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Always the same numbers for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % (end as u64).max(1)) as usize
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 32) as u8
    }
}

/// Lengths and counts at which parsers go wrong.
const EXTREMES: [u8; 8] = [0, 1, 3, 4, 0x7f, 0x80, 0xfe, 0xff];

/// One of the seeds, changed in up to four places; now and then bytes without any sense.
pub fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let noise = seeds.is_empty() || random.below(16) == 0;
    if noise {
        return (0..random.below(128)).map(|_| random.byte()).collect();
    }
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        change(&mut bytes, seeds, random);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(7) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, random.byte()),
        2 => drop((!bytes.is_empty()).then(|| bytes.remove(at))),
        3 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        4 => {
            let end = bytes.len().min(at + random.below(64));
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        kind => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = match kind {
                    5 => *byte ^ (1 << random.below(8)),
                    _ => EXTREMES[random.below(EXTREMES.len())],
                };
            }
        }
    }
}
