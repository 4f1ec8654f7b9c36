//! One place in a table: what is in it, how it sorts, and how it reads.

use std::cmp::Ordering;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::theme::{Sign, Theme};
use crate::model::human::{self, Scale, Short, Units};
use crate::model::natural;

/// What is in a table's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Not known.
    Absent,
    /// Words or a name.
    Text(&'a str),
    /// An interface's state, and whether it works.
    State(&'a str, bool),
    /// Bytes per second.
    Rate(f64),
    /// Bytes.
    Bytes(u64),
    /// Things.
    Count(u64),
    /// Things per second.
    PerSecond(f64),
    /// A number that stands for something, such as a process's.
    Number(u64),
    /// So long ago.
    Ago(Duration),
    /// When.
    Clock(SystemTime),
    /// A part of a whole, from 0 to 1.
    Share(f64),
    /// How often it came, and went.
    Links(u64, u64),
    /// An address, and a port where the protocol has ports.
    Address(IpAddr, Option<u16>),
    /// Words that were made for this.
    Short(Short),
    /// TCP flags.
    Flags(u8),
    /// The last minutes.
    Spark,
}

impl<'a> Cell<'a> {
    /// A rate that may not be known.
    #[must_use]
    pub fn rate(rate: Option<f64>) -> Self {
        rate.map_or(Self::Absent, Self::Rate)
    }

    /// A number of things that may not be known.
    #[must_use]
    pub fn count(number: Option<u64>) -> Self {
        number.map_or(Self::Absent, Self::Count)
    }

    /// A text that may not be known.
    #[must_use]
    pub fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }

    fn number(&self) -> Option<f64> {
        Some(match *self {
            Self::Rate(number) | Self::PerSecond(number) | Self::Share(number) => number,
            Self::Bytes(number) | Self::Count(number) | Self::Number(number) => number as f64,
            Self::Ago(time) => time.as_secs_f64(),
            Self::Clock(time) => time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            Self::Links(_, down) => down as f64,
            Self::Flags(flags) => flags.into(),
            Self::Absent
            | Self::Text(_)
            | Self::State(..)
            | Self::Address(..)
            | Self::Short(_)
            | Self::Spark => return None,
        })
    }

    /// Kinds in an order: a column may have several, such as a user's name or else his number.
    const fn kind(&self) -> u8 {
        match self {
            Self::Rate(_)
            | Self::PerSecond(_)
            | Self::Share(_)
            | Self::Bytes(_)
            | Self::Count(_)
            | Self::Number(_)
            | Self::Ago(_)
            | Self::Clock(_)
            | Self::Links(..)
            | Self::Flags(_) => 0,
            Self::Short(_) => 1,
            Self::Address(..) => 2,
            Self::Text(_) | Self::State(..) => 3,
            Self::Absent | Self::Spark => 4,
        }
    }

    /// Small before large, numbers before words. A total order, whatever is in a column: sorting
    /// by another may panic. What is not known comes last in either order: see the caller.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (
                Self::Text(left) | Self::State(left, _),
                Self::Text(right) | Self::State(right, _),
            ) => natural::compare(left, right),
            (Self::Address(left, a), Self::Address(right, b)) => (left, a).cmp(&(right, b)),
            (Self::Short(left), Self::Short(right)) => natural::compare(left, right),
            _ => match (self.number(), other.number()) {
                (Some(left), Some(right)) => left.total_cmp(&right),
                _ => self.kind().cmp(&other.kind()),
            },
        }
    }

    /// Writes it for people.
    pub fn write(&self, units: Units, theme: Theme, to: &mut String) {
        // Writing to a string does not fail.
        let _ = match *self {
            Self::Absent => to.write_str("-"),
            Self::Text(text) => to.write_str(text),
            Self::State(state, works) => {
                let sign = theme.sign(if works { Sign::Up } else { Sign::Down });
                write!(to, "{sign} {state}")
            }
            Self::Rate(rate) => narrow(to, &human::rate(rate, units)),
            Self::Bytes(bytes) => narrow(to, &human::bytes(bytes, units)),
            Self::Count(number) => to.write_str(&human::count(number, units.scale)),
            Self::PerSecond(number) => {
                to.write_str(human::count_rate(number, units.scale).trim_end_matches("/s"))
            }
            Self::Number(number) => write!(to, "{number}"),
            Self::Ago(time) => to.write_str(&human::duration_short(time)),
            Self::Clock(time) => clock(to, time),
            Self::Share(share) => write!(to, "{:.0}%", (share * 100.0).clamp(0.0, 100.0)),
            Self::Links(up, down) => {
                let (up, down) = (human::count(up, Scale::Si), human::count(down, Scale::Si));
                write!(to, "{up}/{down}")
            }
            Self::Address(address, port) => match (address, port) {
                (IpAddr::V6(address), Some(port)) => write!(to, "[{address}]:{port}"),
                (address, Some(port)) => write!(to, "{address}:{port}"),
                (address, None) => write!(to, "{address}"),
            },
            Self::Short(text) => to.write_str(&text),
            Self::Flags(flags) => write_flags(to, flags),
            Self::Spark => Ok(()),
        };
    }
}

/// Without the unit, which the title tells: `1.23M`.
fn narrow(to: &mut String, text: &str) -> std::fmt::Result {
    let text = text.trim_end_matches("/s").trim_end_matches("bit").trim_end_matches('B');
    text.split(' ').try_for_each(|part| to.write_str(part))
}

/// By the machine's own clock: hours, minutes and seconds of UTC, as the logs of routers have it.
fn clock(to: &mut String, time: SystemTime) -> std::fmt::Result {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    write!(to, "{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// From the highest bit on, as tcpdump's letters.
fn write_flags(to: &mut String, flags: u8) -> std::fmt::Result {
    for (bit, letter) in "FSRPAUEC".chars().enumerate() {
        to.write_char(if flags & (1 << bit) == 0 { '.' } else { letter })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::human::Unit;

    fn written(cell: Cell<'_>, units: Units) -> String {
        let mut text = String::new();
        cell.write(units, Theme { color: false, unicode: true }, &mut text);
        text
    }

    #[test]
    fn they_read_so() {
        let bytes = Units::default();
        let bits = Units { unit: Unit::Bits, scale: Scale::Si };
        let raw = Units { unit: Unit::Bytes, scale: Scale::Raw };
        let six = "2001:db8::1".parse().unwrap();
        let table = [
            (Cell::Absent, bytes, "-"),
            (Cell::Rate(1_234_567.0), bytes, "1.23M"),
            (Cell::Rate(1_234_567.0), bits, "9.88M"),
            (Cell::Rate(1_234_567.4), raw, "1234567"),
            (Cell::Rate(12.0), bytes, "12"),
            (Cell::Rate(0.01), bytes, "<0.1"),
            (Cell::Bytes(1_000), bits, "8.00k"),
            (Cell::PerSecond(1_500.0), bytes, "1.50k"),
            (Cell::State("up", true), bytes, "▲ up"),
            (Cell::Links(3, 2), bytes, "3/2"),
            (Cell::Address([10, 0, 0, 1].into(), Some(443)), bytes, "10.0.0.1:443"),
            (Cell::Address(six, Some(443)), bytes, "[2001:db8::1]:443"),
            (Cell::Address(six, None), bytes, "2001:db8::1"),
            (Cell::Flags(0x12), bytes, ".S..A..."),
            (Cell::Share(0.257), bytes, "26%"),
            (Cell::Clock(UNIX_EPOCH + Duration::from_secs(90_061)), bytes, "01:01:01"),
        ];
        for (cell, units, text) in table {
            assert_eq!(written(cell, units), text, "{cell:?}");
        }
    }

    #[test]
    fn they_sort_so() {
        let ascending = [
            (Cell::Text("eth2"), Cell::Text("eth10")),
            (Cell::Rate(2.0), Cell::Rate(10.0)),
            (
                Cell::Address([10, 0, 0, 2].into(), Some(9)),
                Cell::Address([10, 0, 0, 10].into(), Some(1)),
            ),
            (Cell::Ago(Duration::from_secs(1)), Cell::Ago(Duration::from_secs(2))),
            (Cell::Number(1_000), Cell::Text("root")),
            (Cell::Rate(f64::INFINITY), Cell::Rate(f64::NAN)),
        ];
        for (small, large) in ascending {
            assert_eq!(small.compare(&large), Ordering::Less, "{small:?}");
            assert_eq!(large.compare(&small), Ordering::Greater, "{small:?}");
        }
    }

    /// One of each kind and more, those that compare in no usual way among them.
    fn of_all_kinds() -> Vec<Cell<'static>> {
        let short = |text| Cell::Short(Short::new(text));
        let mut cells = vec![Cell::Absent, Cell::Spark, short("tcp"), short("1"), short("22")];
        for text in ["", "root", "1000", "eth10", "eth2"] {
            cells.extend([Cell::Text(text), Cell::State(text, true)]);
        }
        for number in [0.0, -0.0, 1.0, f64::NAN, -f64::NAN, f64::INFINITY] {
            cells.extend([Cell::Rate(number), Cell::PerSecond(number), Cell::Share(number)]);
        }
        for number in [0, 1, 1_000, u64::MAX] {
            cells.extend([Cell::Bytes(number), Cell::Count(number), Cell::Number(number)]);
            cells.extend([Cell::Links(7, number), Cell::Ago(Duration::from_millis(number))]);
        }
        for address in ["10.0.0.1", "2001:db8::1"] {
            let address = address.parse().unwrap();
            cells.extend([None, Some(1), Some(443)].map(|port| Cell::Address(address, port)));
        }
        cells.extend([Cell::Flags(0), Cell::Flags(2), Cell::Clock(UNIX_EPOCH)]);
        cells
    }

    #[test]
    fn whatever_is_in_a_column_is_in_an_order() {
        let cells = of_all_kinds();
        for a in &cells {
            for b in &cells {
                let order = a.compare(b);
                assert_eq!(order, b.compare(a).reverse(), "{a:?} {b:?}");
                // Equal ones may stand for each other, and smaller than smaller is smaller.
                for c in &cells {
                    if order != Ordering::Greater && b.compare(c) != Ordering::Greater {
                        let strict = order.is_lt() || b.compare(c).is_lt();
                        let wanted = if strict { Ordering::Less } else { Ordering::Equal };
                        assert_eq!(a.compare(c), wanted, "{a:?} {b:?} {c:?}");
                    }
                }
            }
        }
    }
}
