//! The last minutes of a rate, for sparklines: a value a second, the highest where several came.

/// How many seconds are kept.
pub const SECONDS: usize = 180;

/// One rate's last [`SECONDS`]. What is not known is a gap.
#[derive(Clone, Debug)]
pub struct History {
    /// At `second % SECONDS`; `NAN`: not known.
    values: Box<[f32; SECONDS]>,
    /// The last second that has a value.
    last: u64,
    /// The highest value ever.
    peak: Option<f64>,
}

impl Default for History {
    fn default() -> Self {
        Self { values: Box::new([f32::NAN; SECONDS]), last: 0, peak: None }
    }
}

impl History {
    /// Takes in a rate that held from `since` to `second`, both counted from any one moment.
    pub fn push(&mut self, since: u64, second: u64, rate: Option<f64>) {
        if second > self.last {
            // What lies between is not known, unless this rate tells of it.
            let unknown = (second - self.last).min(SECONDS as u64);
            for gone in second - unknown + 1..=second {
                self.values[index(gone)] = f32::NAN;
            }
            self.last = second;
        }
        let Some(rate) = rate.filter(|rate| rate.is_finite()) else { return };
        self.peak = Some(self.peak.map_or(rate, |peak| peak.max(rate)));
        let oldest = (self.last + 1).saturating_sub(SECONDS as u64);
        // The second at which the tick before came has that one's rate.
        let since = if since < second { since + 1 } else { second };
        for second in since.max(oldest)..=second.min(self.last) {
            let value = &mut self.values[index(second)];
            // `max` of a number and NAN is the number.
            *value = value.max(rate as f32);
        }
    }

    /// The highest rate so far.
    #[must_use]
    pub const fn peak(&self) -> Option<f64> {
        self.peak
    }

    /// The last [`SECONDS`] up to `now` in `columns` columns, each the highest of its seconds.
    /// Which seconds share a column does not depend on `now`, so that the picture moves as a
    /// whole.
    pub fn columns(&self, now: u64, columns: usize) -> impl Iterator<Item = Option<f32>> {
        let each = SECONDS.div_ceil(columns.max(1)) as u64;
        let first = (now / each + 1).saturating_sub(columns as u64);
        let missing = columns as u64 - (now / each + 1 - first);
        let oldest = (self.last + 1).saturating_sub(SECONDS as u64);
        (0..missing).map(|_| None).chain((first..=now / each).map(move |column| {
            let seconds = (column * each).max(oldest)..((column + 1) * each).min(self.last + 1);
            seconds
                .map(|second| self.values[index(second)])
                .filter(|v| !v.is_nan())
                .reduce(f32::max)
        }))
    }
}

const fn index(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(history: &History, now: u64, columns: usize) -> Vec<Option<f32>> {
        history.columns(now, columns).collect()
    }

    #[test]
    fn a_column_is_the_highest_of_its_seconds() {
        let mut history = History::default();
        for second in 0..SECONDS as u64 {
            history.push(second, second, Some(second as f64));
        }
        assert_eq!(columns(&history, 179, 3), [Some(59.0), Some(119.0), Some(179.0)]);
        assert_eq!(history.peak(), Some(179.0));
        // One second later the columns have moved, not changed.
        history.push(179, 180, Some(7.0));
        assert_eq!(columns(&history, 180, 3), [Some(119.0), Some(179.0), Some(7.0)]);
    }

    #[test]
    fn a_slow_tick_tells_of_all_its_seconds() {
        let mut history = History::default();
        history.push(0, 0, None);
        history.push(0, 4, Some(8.0));
        assert_eq!(
            columns(&history, 4, 180)[175..],
            [None, Some(8.), Some(8.), Some(8.), Some(8.)]
        );
    }

    #[test]
    fn what_is_old_is_gone() {
        let mut history = History::default();
        history.push(1, 1, Some(5.0));
        history.push(10_000, 10_000, Some(6.0));
        let seen: Vec<_> = columns(&history, 10_000, 10).into_iter().flatten().collect();
        assert_eq!(seen, [6.0]);
        assert_eq!(columns(&history, 20_000, 10), [None; 10]);
    }

    #[test]
    fn more_columns_than_time() {
        assert_eq!(columns(&History::default(), 0, 5), [None; 5]);
        assert_eq!(columns(&History::default(), 0, 0), []);
        let mut history = History::default();
        history.push(0, 0, Some(1.0));
        assert_eq!(columns(&history, 0, 3), [None, None, Some(1.0)]);
    }
}
