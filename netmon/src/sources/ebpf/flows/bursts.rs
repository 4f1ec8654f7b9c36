//! The fullest moment of an interface since it was last looked at, from the rings that the
//! programs write: a bucket for each of the kernel's ticks.

use netmon_common::slot_index;
use netmon_common::traffic::{bucket_bytes, first_bucket, round_of};

use super::layout::Layout;

/// Bytes in the fullest of the ticks `from` to (without) `to`, all CPUs together. Of a time that is
/// longer than the ring only its last part is known. `bucket` reads one.
pub fn fullest(
    layout: &Layout,
    (slot, direction): (u32, u32),
    (from, to): (u64, u64),
    bucket: impl Fn(u32) -> Option<u64>,
) -> u64 {
    let Layout { cpus, burst_shift: shift, .. } = *layout;
    // The bucket of the tick that it is now is being written: it was that of `to` less the ring.
    let from = from.max((to + 1).saturating_sub(1 << shift));
    (from..to)
        .map(|jiffy| {
            let round = round_of(jiffy, shift);
            let at = (jiffy & ((1 << shift) - 1)) as u32;
            let of_cpu = |cpu| {
                let first = first_bucket(slot_index(cpu, cpus, slot), direction, shift);
                bucket_bytes(bucket(first + at)?, round)
            };
            (0..cpus).filter_map(of_cpu).sum()
        })
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        cpus: 2,
        capacity: 1,
        sample: 1,
        totals_slots: 16,
        burst_slots: 16,
        burst_slots_of_all: 32,
        burst_shift: 4,
    };

    /// As the programs do.
    fn add(ring: &mut [u64], cpu: u32, jiffy: u64, bytes: u64) {
        let at = first_bucket(slot_index(cpu, 2, 3), 1, 4) + (jiffy & 15) as u32;
        let round = round_of(jiffy, 4);
        let before = bucket_bytes(ring[at as usize], round).unwrap_or(0);
        ring[at as usize] = round | (before + bytes);
    }

    fn seen(ring: &[u64], from: u64, to: u64) -> u64 {
        fullest(&LAYOUT, (3, 1), (from, to), |at| ring.get(at as usize).copied())
    }

    #[test]
    fn the_fullest_tick_of_all_cpus_is_found() {
        let mut ring = vec![0; LAYOUT.buckets() as usize];
        let start = (1 << 32) - 75_000;
        for (cpu, jiffy, bytes) in [(0, 0, 10), (0, 5, 7), (1, 5, 8), (1, 6, 14), (0, 5, 1)] {
            add(&mut ring, cpu, start + jiffy, bytes);
        }
        assert_eq!(seen(&ring, start, start + 8), 16);
        assert_eq!(seen(&ring, start + 6, start + 8), 14);
        assert_eq!(seen(&ring, start, start + 5), 10, "the last one is not over");
        assert_eq!(seen(&ring, start + 9, start + 9), 0, "no time has passed");
        // The next round begins in the same buckets.
        add(&mut ring, 0, start + 16, 3);
        assert_eq!(seen(&ring, start + 8, start + 18), 3);
        assert_eq!(seen(&ring, start, start + 18), 16, "what is left of a longer time");
        assert_eq!(seen(&ring, start, start + 30), 3);
    }
}
