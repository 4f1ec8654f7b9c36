//! How often it is reported that somebody was refused or sent away: whoever connects again and
//! again is not to fill the log. Pure.

use std::time::{Duration, Instant};

/// So many
const MOST: u32 = 20;
/// in so much time; then it begins anew.
const WINDOW: Duration = Duration::from_secs(10);

/// What becomes of one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It is reported.
    Yes,
    /// It is, as the last one for a while, which is to be said.
    Last,
    /// It is left out.
    No,
}

/// Those that were reported in the last ten seconds.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    since: Option<Instant>,
    reported: u32,
}

impl Complaints {
    /// One more.
    pub(super) fn report(&mut self, now: Instant) -> Report {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            *self = Self { since: Some(now), reported: 0 };
        }
        self.reported = self.reported.saturating_add(1);
        match self.reported.cmp(&MOST) {
            std::cmp::Ordering::Less => Report::Yes,
            std::cmp::Ordering::Equal => Report::Last,
            std::cmp::Ordering::Greater => Report::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_reported_then_none_and_after_a_while_again() {
        let (mut complaints, start) = (Complaints::default(), Instant::now());
        for _ in 1..MOST {
            assert_eq!(complaints.report(start), Report::Yes);
        }
        assert_eq!(complaints.report(start), Report::Last);
        for _ in 0..1_000 {
            assert_eq!(complaints.report(start + WINDOW - Duration::from_nanos(1)), Report::No);
        }
        assert_eq!(complaints.report(start + WINDOW), Report::Yes);
    }
}
