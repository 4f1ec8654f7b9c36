//! The kernel's ticks (jiffies), by which the programs tell time because it costs them nothing,
//! and `CLOCK_MONOTONIC`. Both stand still while the machine sleeps, so they stay apart by what
//! they are at the start.

use std::io;
use std::time::Duration;

use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use nix::time::{ClockId, clock_getres, clock_gettime};

use crate::model::traffic::facts::KernelTime;

/// A packet for the test run, as short as Ethernet's get: one without anything behind the header
/// is refused.
const PACKET: [u8; 60] = [0; 60];
/// Size of `struct __sk_buff`, and where `cb` is in it (linux/bpf.h).
const SK_BUFF: usize = 192;
const CB: usize = 48;
/// Looks for a moment in which no tick falls between two system calls.
const LOOKS: usize = 100;

/// How long a tick of the kernel is: the resolution of the coarse clocks is just that
/// (`KTIME_LOW_RES`, include/linux/hrtimer.h).
///
/// # Errors
/// When the kernel does not say.
pub(in super::super) fn tick() -> io::Result<Duration> {
    match Duration::from(clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?) {
        Duration::ZERO => Err(io::ErrorKind::InvalidData.into()),
        tick => Ok(tick),
    }
}

/// Turns jiffies into time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JiffyClock {
    tick: Duration,
    /// A jiffy, and when it began.
    jiffy: u64,
    began: Duration,
}

impl JiffyClock {
    /// Asks the kernel's program for the jiffy, and the clock for when that began: the coarse
    /// clock is set together with the jiffies (`tick_do_update_jiffies64`, kernel/time).
    ///
    /// # Errors
    /// In words, when the program cannot be run.
    pub(super) fn start(program: &SchedClassifier, tick: Duration) -> Result<Self, String> {
        let mut found = None;
        for _ in 0..LOOKS {
            let began = coarse().map_err(|error| error.to_string())?;
            let jiffy = ask(program)?;
            let is_same = coarse().map_err(|error| error.to_string())? == began;
            found = Some(Self { tick, jiffy, began });
            if is_same {
                break;
            }
        }
        found.ok_or_else(|| "no look was had".to_owned())
    }

    /// The jiffy that it is now.
    pub(super) fn now(&self) -> io::Result<u64> {
        Ok(self.jiffy_at(coarse()?))
    }

    /// The coarse clock may be set a little after the tick that it is of, but not half of one.
    fn jiffy_at(&self, time: Duration) -> u64 {
        let since = time.saturating_sub(self.began) + self.tick / 2;
        self.jiffy + (since.as_nanos() / self.tick.as_nanos()) as u64
    }

    /// When a jiffy began.
    pub(super) fn time(&self, jiffy: u64) -> KernelTime {
        let (behind, ahead) = (self.jiffy.saturating_sub(jiffy), jiffy.saturating_sub(self.jiffy));
        let span = |jiffies: u64| {
            Duration::from_nanos((self.tick.as_nanos() as u64).saturating_mul(jiffies))
        };
        KernelTime((self.began + span(ahead)).saturating_sub(span(behind)))
    }

    /// How many jiffies a time is, none lost.
    pub(super) fn jiffies(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos().div_ceil(self.tick.as_nanos())).unwrap_or(u64::MAX)
    }

    /// How long a jiffy is.
    pub(super) const fn tick(&self) -> Duration {
        self.tick
    }
}

fn coarse() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)?.into())
}

fn ask(program: &SchedClassifier) -> Result<u64, String> {
    let mut context = [0; SK_BUFF];
    let options = TestRunOptions {
        data_in: Some(&PACKET),
        ctx_out: Some(&mut context),
        ..TestRunOptions::default()
    };
    program.test_run(options).map_err(|error| super::super::errors::one_line(&error))?;
    let bytes = context[CB..].first_chunk().copied().unwrap_or_default();
    let [low, high]: [[u8; 4]; 2] = bytemuck::cast::<[u8; 8], _>(bytes);
    Ok(u64::from(u32::from_ne_bytes(high)) << 32 | u64::from(u32::from_ne_bytes(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jiffies_are_moments() {
        let ms = Duration::from_millis;
        let clock = JiffyClock { tick: ms(4), jiffy: 1000, began: ms(100) };
        assert_eq!(clock.time(1000), KernelTime(ms(100)));
        assert_eq!(clock.time(1010), KernelTime(ms(140)));
        assert_eq!(clock.time(990), KernelTime(ms(60)));
        assert_eq!(clock.time(0), KernelTime(Duration::ZERO), "before the clock began");
        for (time, jiffy) in [(100, 1000), (101, 1000), (104, 1001), (107, 1002), (99, 1000)] {
            assert_eq!(clock.jiffy_at(ms(time)), jiffy, "{time}");
        }
        assert_eq!(clock.jiffies(ms(9)), 3);
    }

    #[test]
    fn a_tick_is_one_of_the_kernels() {
        let tick = tick().unwrap();
        assert!((Duration::from_millis(1)..=Duration::from_millis(10)).contains(&tick), "{tick:?}");
    }
}
