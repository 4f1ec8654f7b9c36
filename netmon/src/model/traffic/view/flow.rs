//! Numbers of a flow in half the memory that they would take by themselves.

use std::time::Duration;

use super::{FlowView, Speed};

/// A length of time of up to 584 years, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(u64);

impl From<Duration> for Age {
    fn from(time: Duration) -> Self {
        Self(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Age {
    /// As a duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

/// Rates of a flow; one that is not known is no number (NaN).
#[derive(Clone, Copy, Debug)]
pub struct FlowRates {
    now: f64,
    average: f64,
    peak: f64,
    packets: f64,
}

impl FlowRates {
    /// Of bytes on the wire per second over time, and packets on the wire per second since the
    /// tick before.
    #[must_use]
    pub fn new(bytes: Speed, packets: Option<f64>) -> Self {
        let Speed { now, average, peak } = bytes;
        let [now, average, peak, packets] =
            [now, average, peak, packets].map(|rate| rate.unwrap_or(f64::NAN));
        Self { now, average, peak, packets }
    }

    /// The average of bytes per second.
    #[must_use]
    pub fn average(&self) -> Option<f64> {
        known(self.average)
    }
}

impl Default for FlowRates {
    fn default() -> Self {
        Self::new(Speed::default(), None)
    }
}

impl PartialEq for FlowRates {
    fn eq(&self, other: &Self) -> bool {
        let rates = |Self { now, average, peak, packets }: &Self| {
            [*now, *average, *peak, *packets].map(known)
        };
        rates(self) == rates(other)
    }
}

fn known(rate: f64) -> Option<f64> {
    (!rate.is_nan()).then_some(rate)
}

impl FlowView {
    /// Wire bytes per second.
    #[must_use]
    pub fn speed(&self) -> Speed {
        let FlowRates { now, average, peak, packets: _ } = self.rates;
        Speed { now: known(now), average: known(average), peak: known(peak) }
    }

    /// Wire packets per second, since the tick before.
    #[must_use]
    pub fn packets_per_s(&self) -> Option<f64> {
        known(self.rates.packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_small() {
        assert!(size_of::<FlowView>() <= 168, "{}", size_of::<FlowView>());
    }

    #[test]
    fn what_is_not_known_stays_so() {
        let speed = Speed { now: None, average: Some(0.0), peak: Some(1e9) };
        let rates = FlowRates::new(speed, Some(7.5));
        assert_eq!(rates, FlowRates::new(speed, Some(7.5)));
        assert_ne!(rates, FlowRates::new(speed, None));
        assert_eq!((rates.average(), FlowRates::default().average()), (Some(0.0), None));
        let age = Duration::from_millis(1_234_567);
        assert_eq!(Age::from(age).get(), age);
        assert_eq!(Age::from(Duration::MAX).get(), Duration::from_nanos(u64::MAX));
    }
}
