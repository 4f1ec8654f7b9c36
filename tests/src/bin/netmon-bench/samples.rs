//! Samples of one figure, the tables that hold them, and what bounds them.

use serde::Serialize;

/// The middle of some samples, and how far they are apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// The median.
    pub(crate) median: f64,
    /// Half the distance between the quartiles.
    pub(crate) spread: f64,
}

impl Summary {
    /// Of at least one sample; of none, all is NaN.
    pub(crate) fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| quantile(&sorted, part);
        Self { median: at(0.5), spread: (at(0.75) - at(0.25)) / 2.0 }
    }

    fn is_finite(self) -> bool {
        self.median.is_finite() && self.spread.is_finite()
    }
}

/// Linear between the two samples nearest to it.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = part * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The same figure of two contenders, round by round: what was measured side by side is
/// compared, so that what disturbs a round disturbs both.
pub(crate) fn paired(one: &[f64], other: &[f64], how: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    one.iter().zip(other).map(|(one, other)| how(*one, *other)).collect()
}

/// What a figure's median has to keep to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// It must not be greater.
    AtMost(f64),
    /// It must not be smaller.
    AtLeast(f64),
}

impl Bound {
    fn holds(self, median: f64) -> bool {
        match self {
            Self::AtMost(limit) => median <= limit,
            Self::AtLeast(limit) => median >= limit,
        }
    }
}

/// One line of a table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    /// The unit of `value`.
    pub(crate) unit: &'static str,
    /// What it took.
    pub(crate) value: Summary,
    /// What it is compared to, and the figure of that comparison.
    pub(crate) compared: Option<Compared>,
}

/// A figure with what it has to keep to.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    /// Such as "ns over an empty program".
    pub(crate) how: &'static str,
    /// The figure.
    pub(crate) value: Summary,
    /// What it has to keep to, if anything.
    pub(crate) bound: Option<Bound>,
    /// What the figure would be at best, where that was measured.
    pub(crate) best: Option<Summary>,
    /// Whether it does.
    pub(crate) verdict: Option<Verdict>,
}

/// Whether a figure keeps to its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// It does.
    Holds,
    /// It does not, and could.
    Exceeded,
    /// It does not, and nor would the best that there can be.
    NotReachable,
}

impl Row {
    /// A figure that is compared to nothing.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, samples: &[f64]) -> Self {
        Self { name: name.into(), unit, value: Summary::of(samples), compared: None }
    }

    /// The same with a comparison, which may have a bound.
    pub(crate) fn compared(self, how: &'static str, of: &[f64], bound: Option<Bound>) -> Self {
        let value = Summary::of(of);
        let verdict = bound.map(|bound| match bound.holds(value.median) {
            true => Verdict::Holds,
            false => Verdict::Exceeded,
        });
        let compared = Compared { how, value, bound, best: None, verdict };
        Self { compared: Some(compared), ..self }
    }

    /// The same with what the figure would be at best: a bound beyond that cannot be kept to.
    pub(crate) fn at_best(mut self, samples: &[f64]) -> Self {
        if let Some(compared) = &mut self.compared {
            let best = Summary::of(samples);
            let beyond = |bound: Bound| best.is_finite() && !bound.holds(best.median);
            if compared.verdict == Some(Verdict::Exceeded) && compared.bound.is_some_and(beyond) {
                compared.verdict = Some(Verdict::NotReachable);
            }
            compared.best = Some(best);
        }
        self
    }

    /// The same with a bound for the figure itself.
    pub(crate) fn bounded(self, samples: &[f64], bound: Bound) -> Self {
        let unit = self.unit;
        self.compared(unit, samples, Some(bound))
    }

    fn misses_its_bound(&self) -> bool {
        self.compared.as_ref().is_some_and(|compared| compared.verdict == Some(Verdict::Exceeded))
    }

    fn is_finite(&self) -> bool {
        self.value.is_finite()
            && self.compared.as_ref().is_none_or(|compared| compared.value.is_finite())
    }
}

/// One table.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    /// What it is of.
    pub(crate) name: String,
    /// How it was measured.
    pub(crate) about: String,
    /// Its lines.
    pub(crate) rows: Vec<Row>,
}

impl Table {
    /// The names of the figures that do not keep to their bounds.
    pub(crate) fn exceeded(&self) -> impl Iterator<Item = String> {
        self.named(Row::misses_its_bound)
    }

    /// The names of the figures that are none.
    pub(crate) fn not_finite(&self) -> impl Iterator<Item = String> {
        self.named(|row| !row.is_finite())
    }

    fn named(&self, such: impl Fn(&Row) -> bool) -> impl Iterator<Item = String> {
        let rows = self.rows.iter().filter(move |row| such(row));
        rows.map(|row| format!("{}: {}", self.name, row.name))
    }
}

/// The slope of the straight line that is nearest to these points (least squares).
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|point| of(point.0, point.1)).sum();
    let (above, below): (f64, f64) =
        (sum(&|px, py| (px - x) * (py - y)), sum(&|px, _| (px - x).powi(2)));
    above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_spread() {
        for (samples, median, spread) in [
            (vec![7.0], 7.0, 0.0),
            (vec![3.0, 1.0], 2.0, 0.5),
            (vec![5.0, 1.0, 2.0, 4.0, 3.0], 3.0, 1.0),
        ] {
            assert_eq!(Summary::of(&samples), Summary { median, spread });
        }
        assert!(Summary::of(&[]).median.is_nan());
    }

    #[test]
    fn a_bound_holds_up_to_itself() {
        let misses = |median: f64, bound| {
            Row::new("", "", &[median]).compared("", &[median], bound).misses_its_bound()
        };
        assert!(!misses(3.0, Some(Bound::AtMost(3.0))) && misses(3.1, Some(Bound::AtMost(3.0))));
        assert!(!misses(3.0, Some(Bound::AtLeast(3.0))) && misses(2.9, Some(Bound::AtLeast(3.0))));
        assert!(!misses(3.1, None));
        assert!(misses(f64::NAN, Some(Bound::AtMost(3.0))), "no figure keeps to no bound");
    }

    #[test]
    fn a_bound_beyond_the_best_is_not_missed() {
        let verdict = |median: f64, best: &[f64]| {
            let row = Row::new("", "", &[]).compared("", &[median], Some(Bound::AtLeast(3.0)));
            let row = row.at_best(best);
            (row.compared.as_ref().and_then(|compared| compared.verdict), row.misses_its_bound())
        };
        assert_eq!(verdict(3.0, &[2.9]), (Some(Verdict::Holds), false));
        assert_eq!(verdict(2.0, &[2.9]), (Some(Verdict::NotReachable), false));
        assert_eq!(verdict(2.0, &[3.0]), (Some(Verdict::Exceeded), true));
        assert_eq!(verdict(2.0, &[]), (Some(Verdict::Exceeded), true), "no figure excuses nothing");
    }

    #[test]
    fn what_is_no_figure_is_named() {
        let rows = vec![Row::new("one", "", &[1.0]), Row::new("none", "", &[])];
        let table = Table { name: "table".to_owned(), about: String::new(), rows };
        assert_eq!(table.not_finite().collect::<Vec<_>>(), ["table: none"]);
    }

    #[test]
    fn the_slope_is_that_of_the_line() {
        assert_eq!(slope(&[(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)]), 2.0);
        assert_eq!(slope(&[(0.0, 0.0), (1.0, 3.0), (2.0, 0.0)]), 0.0);
        assert!(slope(&[(1.0, 1.0)]).is_nan(), "of one point there is none");
    }
}
