//! The tables as text, for a terminal.

use std::fmt::{self, Display, Formatter};

use crate::samples::{Bound, Compared, Row, Summary, Table, Verdict};

/// A number as one reads it: three digits, or all before the point.
pub(crate) struct Number(pub(crate) f64);

impl Display for Number {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let digits = match self.0.abs() {
            number if number >= 100.0 => 0,
            number if number >= 10.0 => 1,
            number if number >= 1.0 => 2,
            _ => 3,
        };
        // By `pad`, so that width and alignment hold.
        formatter.pad(&format!("{:.digits$}", self.0))
    }
}

impl Display for Summary {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{} ±{}", Number(self.median), Number(self.spread)))
    }
}

impl Display for Bound {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(formatter, "at most {}", Number(*limit)),
            Self::AtLeast(limit) => write!(formatter, "at least {}", Number(*limit)),
        }
    }
}

impl Compared {
    /// Whether it keeps to its bound, if it has one.
    pub(crate) fn verdict(&self) -> String {
        let verdict = match self.verdict {
            None => return String::new(),
            Some(Verdict::Holds) => return "holds".to_owned(),
            Some(Verdict::Exceeded) => "EXCEEDED",
            Some(Verdict::NotReachable) => "not reachable",
        };
        match self.best {
            Some(best) => format!("{verdict}: at best {best}"),
            None => verdict.to_owned(),
        }
    }
}

/// Prints one table.
pub(crate) fn print(table: &Table) {
    println!("{}: {}", table.name, table.about);
    let width = table.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    for Row { name, unit, value, compared } in &table.rows {
        print!("  {name:width$} {value:>16} {unit:10}");
        if let Some(compared) = compared {
            let Compared { how, value, bound, .. } = compared;
            print!(" {value:>16} {how}");
            if let Some(bound) = bound {
                print!(" ({bound}: {})", compared.verdict());
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
    fn numbers_have_the_digits_that_one_reads() {
        for (number, text) in [
            (0.1234, "0.123"),
            (2.345, "2.35"),
            (-2.3, "-2.30"),
            (23.45, "23.4"),
            (234.5, "234"),
            (7_000.0, "7000"),
        ] {
            assert_eq!(Number(number).to_string(), text);
        }
        assert_eq!(format!("{:>6}", Number(1.0)), "  1.00");
    }
}
