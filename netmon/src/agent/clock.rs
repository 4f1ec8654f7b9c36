//! The instants of the ticks. Ticks that were missed, as in a suspended machine, are left out.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// When the next tick is.
#[derive(Debug)]
pub(super) struct Clock {
    next: Instant,
    interval: Duration,
}

impl Clock {
    /// A clock whose first tick is now.
    pub(super) fn start(interval: Duration) -> Self {
        Self { next: Instant::now(), interval }
    }

    /// A clock that ticks at the multiples of `interval` on the kernel's monotonic clock:
    /// processes that do so tick at the same instants, and need not tell one another.
    pub(super) fn in_step(interval: Duration) -> nix::Result<Self> {
        let (now, since) = (Instant::now(), clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        Ok(Self { next: now + until_multiple(since.into(), interval), interval })
    }

    /// The instant of the next tick.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// The next tick is the first one after `now`.
    pub(super) fn pass(&mut self, now: Instant) {
        self.next += self.interval;
        if self.next <= now {
            self.next = now + until_multiple(now - self.next, self.interval);
        }
    }
}

/// From `now` until the first multiple of `interval` after it.
pub(super) fn until_multiple(now: Duration, interval: Duration) -> Duration {
    let interval = interval.as_nanos().max(1);
    Duration::from_nanos((interval - now.as_nanos() % interval) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_next_multiple_is_later() {
        for (now, left) in [(0, 100), (1, 99), (99, 1), (100, 100), (12_345, 55)] {
            assert_eq!(until_multiple(ms(now), ms(100)), ms(left));
        }
    }

    #[test]
    fn what_was_missed_is_left_out_and_the_rhythm_stays() {
        let mut clock = Clock::start(ms(100));
        let start = clock.next();
        for (now, next) in
            [(0, 100), (100, 200), (250, 300), (399, 400), (500, 600), (1_001, 1_100)]
        {
            clock.pass(start + ms(now));
            assert_eq!(clock.next() - start, ms(next), "at {now} ms");
        }
    }

    #[test]
    fn clocks_in_step_tick_together() {
        let (one, other) = (Clock::in_step(ms(3_600_000)), Clock::in_step(ms(3_600_000)));
        let (one, other) = (one.unwrap().next(), other.unwrap().next());
        // Between two readings of two clocks of one thread.
        assert!(one.max(other) - one.min(other) < ms(1_000), "{one:?} and {other:?}");
        assert!(one > Instant::now());
    }
}
