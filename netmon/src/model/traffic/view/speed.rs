//! Rates, averages and alerts: one number at a time.

use std::time::Duration;

use super::{Memory, Speed};
use crate::model::traffic::facts::KernelTime;
use crate::model::traffic::thresholds::{Thresholds, TrafficOptions};

/// A tick's time, worked out once for all entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// When it was read.
    pub(super) now: KernelTime,
    /// The tick before.
    previous: Option<KernelTime>,
    /// Seconds since then.
    elapsed: Option<f64>,
    /// The weight of this tick in an average.
    weight: f64,
}

impl Clock {
    pub(super) fn new(memory: &Memory, now: KernelTime, options: &TrafficOptions) -> Self {
        let previous = memory.now.filter(|previous| *previous < now);
        let elapsed = previous.map(|previous| now.0.saturating_sub(previous.0).as_secs_f64());
        let rest = 1.0 - options.alpha.clamp(0.0, 1.0);
        Self { now, previous, elapsed, weight: 1.0 - rest.powf(elapsed.unwrap_or(1.0)) }
    }

    /// Since the tick before.
    pub(super) fn elapsed(&self) -> Option<Duration> {
        self.previous.map(|previous| self.now.0.saturating_sub(previous.0))
    }

    /// The seconds over which something has grown that was there at the tick before, or was
    /// nothing then.
    pub(super) fn tick(&self, comparable: bool) -> Option<f64> {
        self.elapsed.filter(|_| comparable)
    }

    /// The seconds over which a flow has grown that was not there at the tick before. One that
    /// has begun since has grown from nothing within this tick, and a shorter time would make a
    /// burst of its one packet. One that is older was overlooked, or its table was: its rate is
    /// that of its whole life.
    pub(super) fn since_first(&self, first: KernelTime) -> Option<f64> {
        let since = first.min(self.previous?);
        Some(self.now.0.saturating_sub(since.0).as_secs_f64())
    }
}

/// What a counter grew by in a second; `None` when it went back or no time passed.
pub(super) fn per_second(before: u64, now: u64, seconds: Option<f64>) -> Option<f64> {
    let difference = now.checked_sub(before)?;
    Some(difference as f64 / seconds.filter(|seconds| *seconds > 0.0)?)
}

impl Speed {
    /// Takes in what was since the tick before. At a gap, the average and the peak stay.
    pub(super) fn update(&mut self, rate: Option<f64>, clock: &Clock) {
        self.now = rate;
        let Some(rate) = rate else { return };
        self.average = Some(match self.average {
            Some(average) => average + clock.weight * (rate - average),
            None => rate,
        });
        self.peak = Some(self.peak.map_or(rate, |peak| peak.max(rate)));
    }
}

/// Whether an average is told, after it was or was not.
pub(super) fn alert(was: bool, average: Option<f64>, threshold: f64) -> bool {
    let off = if was { threshold * Thresholds::OFF } else { threshold };
    average.is_some_and(|average| if was { average >= off } else { average > off })
}
