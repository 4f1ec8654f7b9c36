//! Numbers for people: few digits, a prefix, and a width that does not jump. Shared by the live
//! view and the text formats. Nothing is allocated. Also texts from outside for a terminal.

use std::fmt::{self, Write};
use std::ops::Deref;
use std::time::Duration;

mod printable;

pub use printable::{Printable, on_terminal};

/// What an amount of traffic is told in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    #[default]
    Bytes,
    /// Bits.
    Bits,
}

/// How a number is shortened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// By thousands: kB, MB, GB.
    #[default]
    Si,
    /// By 1024: KiB, MiB, GiB.
    Iec,
    /// Not at all: a plain number without a unit.
    Raw,
}

/// How amounts and rates are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// In what.
    pub unit: Unit,
    /// How short.
    pub scale: Scale,
}

/// A short text on the stack. Widths and alignments of format strings apply to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Short {
    bytes: [u8; Self::LONGEST],
    length: u8,
}

impl Default for Short {
    fn default() -> Self {
        Self { bytes: [0; Self::LONGEST], length: 0 }
    }
}

impl Short {
    /// The longest IPv6 address is 45 wide.
    const LONGEST: usize = 47;

    /// A text, cut where it does not fit.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::of(format_args!("{text}"))
    }

    /// What a format string gives, cut where it does not fit.
    #[must_use]
    pub fn of(text: fmt::Arguments<'_>) -> Self {
        let mut short = Self::default();
        // The only error is that it does not fit.
        let _ = short.write_fmt(text);
        short
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let (start, end) = (self.len(), self.len() + character.len_utf8());
            let Some(room) = self.bytes.get_mut(start..end) else { return Err(fmt::Error) };
            character.encode_utf8(room);
            self.length = end as u8;
        }
        Ok(())
    }
}

impl Deref for Short {
    type Target = str;
    fn deref(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length.into()]).unwrap_or_default()
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// An amount, such as `1.23 MB`, at most [`bytes_width`] wide.
#[must_use]
pub fn bytes(bytes: u64, units: Units) -> Short {
    amount(bytes as f64, units, "")
}

/// A rate in bytes per second, such as `1.23 MB/s` or `9.84 Mbit/s`, at most [`rate_width`] wide.
#[must_use]
pub fn rate(bytes_per_s: f64, units: Units) -> Short {
    amount(bytes_per_s, units, "/s")
}

/// A threshold in bytes per second, without digits that say nothing: `10 MB/s`, `1.25 MB/s`.
#[must_use]
pub fn limit(bytes_per_s: f64) -> Short {
    let text = rate(bytes_per_s, Units::default());
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            Short::of(format_args!("{number} {unit}"))
        }
        _ => text,
    }
}

/// A number of things, such as `1.23M`, at most 5 wide, or all digits.
#[must_use]
pub fn count(number: u64, scale: Scale) -> Short {
    match scale {
        Scale::Raw => Short::of(format_args!("{number}")),
        // Things are never counted by 1024.
        Scale::Si | Scale::Iec => scaled(number as f64, SI, "", ""),
    }
}

/// Things per second, such as `1.23k/s`, at most 7 wide, or a whole number.
#[must_use]
pub fn count_rate(per_s: f64, scale: Scale) -> Short {
    match scale {
        Scale::Raw => whole(per_s),
        Scale::Si | Scale::Iec => scaled(per_s, SI, "", "/s"),
    }
}

/// The width of a column of amounts.
#[must_use]
pub const fn bytes_width(units: Units) -> usize {
    let Units { unit, scale } = units;
    let prefix = match scale {
        Scale::Si => 1,
        Scale::Iec => 2,
        Scale::Raw => return 20,
    };
    let unit = match unit {
        Unit::Bytes => 1,
        Unit::Bits => 3,
    };
    DIGITS + 1 + prefix + unit
}

/// The width of a column of rates.
#[must_use]
pub const fn rate_width(units: Units) -> usize {
    match units.scale {
        Scale::Raw => bytes_width(units),
        Scale::Si | Scale::Iec => bytes_width(units) + 2,
    }
}

/// A time, at most 6 wide: `0.3s`, `12s`, `59m05s`, `2h07m`, `3d04h`, `120d`.
#[must_use]
pub fn duration_short(duration: Duration) -> Short {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    if duration < Duration::from_secs(10) {
        // Cut, not rounded, as all the others are.
        return Short::of(format_args!("{seconds}.{}s", duration.subsec_millis() / 100));
    }
    if minutes == 0 {
        return Short::of(format_args!("{seconds}s"));
    }
    if hours == 0 {
        return Short::of(format_args!("{minutes}m{:02}s", seconds % 60));
    }
    if days == 0 {
        return Short::of(format_args!("{hours}h{:02}m", minutes % 60));
    }
    if days < 10 {
        return Short::of(format_args!("{days}d{:02}h", hours % 24));
    }
    Short::of(format_args!("{}d", days.min(9_999)))
}

/// The same of seconds.
#[must_use]
pub fn seconds_short(seconds: f64) -> Short {
    duration_short(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// `1.23`, and `1023` by 1024.
const DIGITS: usize = 4;

/// The prefixes, and what each is of the one before.
type Prefixes = (f64, [&'static str; 9]);
const SI: Prefixes = (1_000.0, ["", "k", "M", "G", "T", "P", "E", "Z", "Y"]);
const IEC: Prefixes = (1_024.0, ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"]);

fn amount(bytes: f64, Units { unit, scale }: Units, per: &str) -> Short {
    let (value, unit) = match unit {
        Unit::Bytes => (bytes, "B"),
        Unit::Bits => (bytes * 8.0, "bit"),
    };
    match scale {
        Scale::Si => scaled(value, SI, unit, per),
        Scale::Iec => scaled(value, IEC, unit, per),
        Scale::Raw => whole(value),
    }
}

fn whole(value: f64) -> Short {
    // Beyond what a counter can hold nothing is exact any more.
    Short::of(format_args!("{}", value.round().clamp(0.0, u64::MAX as f64) as u64))
}

/// Three digits, the prefix, the unit. What is not zero is not shown as zero.
fn scaled(value: f64, (step, prefixes): Prefixes, unit: &str, per: &str) -> Short {
    let space = if unit.is_empty() { "" } else { " " };
    let mut value = if value.is_nan() { 0.0 } else { value.max(0.0) };
    let mut place = 0;
    // What would be rounded up to the step has the next prefix.
    while place + 1 < prefixes.len() && value.round() >= step {
        value /= step;
        place += 1;
    }
    let prefix = prefixes[place];
    let value = value.min(step - 1.0);
    if place == 0 && value > 0.0 && value < 0.05 {
        return Short::of(format_args!("<0.1{space}{unit}{per}"));
    }
    let decimals = match value {
        _ if place == 0 && (value.fract() == 0.0 || value >= 9.95) => 0,
        _ if place == 0 => 1,
        _ if value < 9.995 => 2,
        _ if value < 99.95 => 1,
        _ => 0,
    };
    Short::of(format_args!("{value:.decimals$}{space}{prefix}{unit}{per}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: Units = Units { unit: Unit::Bytes, scale: Scale::Si };
    const BINARY: Units = Units { unit: Unit::Bytes, scale: Scale::Iec };
    const BITS: Units = Units { unit: Unit::Bits, scale: Scale::Si };
    const RAW: Units = Units { unit: Unit::Bits, scale: Scale::Raw };

    #[test]
    fn three_digits_and_a_prefix() {
        let table = [
            (0, "0 B"),
            (9, "9 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_995, "10.0 kB"),
            (99_949, "99.9 kB"),
            (99_951, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (10_000_000, "10.0 MB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (number, text) in table {
            assert_eq!(&*bytes(number, BYTES), text);
        }
        assert_eq!(&*bytes(1_023, BINARY), "1023 B");
        assert_eq!(&*bytes(1_024, BINARY), "1.00 KiB");
        assert_eq!(&*bytes(1_047_552, BINARY), "1023 KiB");
        assert_eq!(&*bytes(1_048_575, BINARY), "1.00 MiB");
        assert_eq!(&*bytes(125_000, BITS), "1.00 Mbit");
        assert_eq!(&*bytes(125, RAW), "1000");
        assert_eq!(&*count(1_234_567, Scale::Iec), "1.23M");
        assert_eq!(&*count(u64::MAX, Scale::Raw), "18446744073709551615");
    }

    #[test]
    fn a_small_rate_is_not_nothing() {
        assert_eq!(&*rate(0.0, BYTES), "0 B/s");
        assert_eq!(&*rate(0.001, BYTES), "<0.1 B/s");
        assert_eq!(&*rate(0.05, BYTES), "0.1 B/s");
        assert_eq!(&*rate(2.5, BYTES), "2.5 B/s");
        assert_eq!(&*rate(9.96, BYTES), "10 B/s");
        assert_eq!(&*rate(999.5, BYTES), "1.00 kB/s");
        assert_eq!(&*rate(125e6, BITS), "1.00 Gbit/s");
        assert_eq!(&*count_rate(0.5, Scale::Si), "0.5/s");
        assert_eq!(&*count_rate(1_500.4, Scale::Raw), "1500");
    }

    #[test]
    fn what_is_no_number_does_no_harm() {
        assert_eq!(&*rate(f64::NAN, BYTES), "0 B/s");
        assert_eq!(&*rate(-1.0, BYTES), "0 B/s");
        assert_eq!(&*rate(f64::INFINITY, BYTES), "999 YB/s");
        assert_eq!(&*rate(f64::INFINITY, RAW), "18446744073709551615");
    }

    #[test]
    fn widths_hold() {
        let mut number = 0.001_f64;
        while number < 1e22 {
            for unit in [Unit::Bytes, Unit::Bits] {
                for scale in [Scale::Si, Scale::Iec, Scale::Raw] {
                    let units = Units { unit, scale };
                    let text = rate(number, units);
                    assert!(text.len() <= rate_width(units), "{text} {units:?}");
                    let text = bytes(number as u64, units);
                    assert!(text.len() <= bytes_width(units), "{text} {units:?}");
                }
            }
            assert!(count(number as u64, Scale::Si).len() <= 5);
            assert!(count_rate(number, Scale::Si).len() <= 7);
            number *= 1.07;
        }
    }

    #[test]
    fn format_strings_align_it() {
        assert_eq!(
            format!("{:>9}|{:<6}|", bytes(1_000, BYTES), count(5, Scale::Si)),
            "  1.00 kB|5     |"
        );
    }

    #[test]
    fn times_are_six_wide_at_most() {
        let table = [
            (0, "0.0s"),
            (999, "0.9s"),
            (9_999, "9.9s"),
            (10_000, "10s"),
            (59_999, "59s"),
            (60_000, "1m00s"),
            (3_599_000, "59m59s"),
            (3_600_000, "1h00m"),
            (86_400_000, "1d00h"),
            (863_999_000, "9d23h"),
            (864_000_000, "10d"),
        ];
        for (milliseconds, text) in table {
            assert_eq!(&*duration_short(Duration::from_millis(milliseconds)), text);
            assert!(text.len() <= 6);
        }
        assert_eq!(&*duration_short(Duration::MAX), "9999d");
    }
}
