//! Samples of one figure, and how they are printed.

use serde::Serialize;

use crate::Table;

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
    pub(crate) fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |part: f64| quantile(&samples, part);
        Self { median: at(0.5), spread: (at(0.75) - at(0.25)) / 2.0 }
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

/// A figure with what it must not exceed.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    /// Such as "over an empty program".
    pub(crate) how: &'static str,
    /// The figure.
    pub(crate) value: Summary,
    /// What it must not be greater than, if anything.
    pub(crate) bound: Option<f64>,
}

impl Row {
    /// Whether its bound holds, or there is none.
    pub(crate) fn within(&self) -> bool {
        let bound = self.compared.as_ref().and_then(|compared| Some((compared, compared.bound?)));
        bound.is_none_or(|(compared, bound)| compared.value.median <= bound)
    }
}

/// Prints one table as text.
pub(crate) fn print(table: &Table) {
    println!("{}: {}", table.name, table.about);
    let width = table.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    for row in &table.rows {
        let Summary { median, spread } = row.value;
        print!("  {:width$} {median:>10.2} ±{spread:<8.2} {}", row.name, row.unit);
        if let Some(Compared { how, value, bound }) = &row.compared {
            print!("  {:>8.3} ±{:<6.3} {how}", value.median, value.spread);
            if let Some(bound) = bound {
                let verdict = if row.within() { "holds" } else { "EXCEEDED" };
                print!(" (bound {bound:.3}: {verdict})");
            }
        }
        println!();
    }
    println!();
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
            assert_eq!(Summary::of(samples), Summary { median, spread });
        }
        assert!(Summary::of(Vec::new()).median.is_nan());
    }

    #[test]
    fn a_bound_holds_up_to_itself() {
        let row = |median: f64, bound| Row {
            name: String::new(),
            unit: "",
            value: Summary { median, spread: 0.0 },
            compared: Some(Compared { how: "", value: Summary { median, spread: 0.0 }, bound }),
        };
        assert!(row(3.0, Some(3.0)).within());
        assert!(!row(3.1, Some(3.0)).within());
        assert!(row(3.1, None).within());
    }
}
