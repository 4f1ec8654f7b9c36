//! How rates are smoothed, and from which on they are told; also how people write them.

/// How traffic is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrafficOptions {
    /// The weight of a second in the moving average, above 0 and at most 1. A tick that is
    /// longer or shorter weighs as much as its seconds do, so the average is the same whatever
    /// the interval.
    pub alpha: f64,
    /// What is too much.
    pub thresholds: Thresholds,
}

impl TrafficOptions {
    /// The usual [`TrafficOptions::alpha`]: an average that follows within a few seconds.
    pub const DEFAULT_ALPHA: f64 = 0.4;
}

impl Default for TrafficOptions {
    fn default() -> Self {
        Self { alpha: Self::DEFAULT_ALPHA, thresholds: Thresholds::default() }
    }
}

/// Bytes per second on average, both directions together, above which something is told.
/// [`f64::INFINITY`]: never.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Of a process.
    pub process: f64,
    /// Of a flow.
    pub flow: f64,
    /// Of an interface.
    pub interface: f64,
}

impl Thresholds {
    /// The usual threshold: 10 MB/s.
    pub const DEFAULT: f64 = 10e6;
    /// What was told stays told until the average is below this part of the threshold, so that
    /// what swings around it does not flicker. The average itself takes out the short swings.
    pub const OFF: f64 = 0.8;
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { process: Self::DEFAULT, flow: Self::DEFAULT, interface: Self::DEFAULT }
    }
}

/// Reads the weight of a second: see [`TrafficOptions::alpha`].
///
/// # Errors
/// In words for people.
pub fn parse_alpha(text: &str) -> Result<f64, String> {
    let wrong = "the weight is a number above 0 and at most 1, such as 0.4";
    text.parse().ok().filter(|alpha| *alpha > 0.0 && *alpha <= 1.0).ok_or_else(|| wrong.to_owned())
}

/// Reads a threshold in bytes per second: a number with a prefix (`k`, `M`, `G`, `T`; `Ki` …
/// for 1024) and a unit (`B`, `bit`; bytes where there is none), with `/s` behind it or not:
/// `10MB`, `100Mbit/s`, `1.5 GiB`. `off` is never.
///
/// # Errors
/// In words for people.
pub fn parse_threshold(text: &str) -> Result<f64, String> {
    const HOW: &str = "write it like 10MB, 100Mbit, 1GiB or off (per second)";
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(f64::INFINITY);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| format!("'{text}' has no number; {HOW}"))?;
    let unit = unit.trim_start();
    let unit = unit.strip_suffix("/s").unwrap_or(unit);
    let scale = scale(unit).ok_or_else(|| format!("'{unit}' is no unit; {HOW}"))?;
    let rate = number * scale;
    if rate > 0.0 && rate.is_finite() {
        Ok(rate)
    } else {
        Err(format!("a threshold is above 0; {HOW}"))
    }
}

/// Bytes in a unit. A lone `b` is refused: some mean bits by it, and some bytes.
fn scale(unit: &str) -> Option<f64> {
    const PREFIXES: [(char, i32); 4] = [('k', 1), ('m', 2), ('g', 3), ('t', 4)];
    let first = unit.chars().next().map(|first| first.to_ascii_lowercase());
    let power = PREFIXES.into_iter().find(|(prefix, _)| Some(*prefix) == first);
    let rest = if power.is_some() { &unit[1..] } else { unit };
    let (step, rest) = match rest.strip_prefix('i') {
        Some(rest) if power.is_some() => (1_024_f64, rest),
        _ => (1_000_f64, rest),
    };
    let bytes = match rest {
        "" | "B" | "byte" | "bytes" => 1.0,
        "bit" | "bits" => 0.125,
        _ => return None,
    };
    Some(bytes * step.powi(power.map_or(0, |(_, power)| power)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_as_people_write_them() {
        let table = [
            ("10MB", 10e6),
            ("10 MB/s", 10e6),
            ("10M", 10e6),
            ("1000", 1e3),
            ("64k", 64e3),
            ("64Ki", 65_536.0),
            ("1.5GiB", 1.5 * 1_073_741_824.0),
            ("100Mbit", 12.5e6),
            ("100 mbits/s", 12.5e6),
            ("1Gibit/s", 134_217_728.0),
            ("2 bytes", 2.0),
            ("8bit", 1.0),
            ("Off", f64::INFINITY),
        ];
        for (text, rate) in table {
            assert_eq!(parse_threshold(text), Ok(rate), "{text}");
        }
        for wrong in ["", "MB", "10Mb", "10mb", "-1", "0", "1e3", "1..2", "10iB", "nan", "5 m/s/s"]
        {
            let error = parse_threshold(wrong).unwrap_err();
            assert!(error.contains("10MB"), "{wrong}: {error}");
        }
        assert_eq!(
            parse_threshold(&"9".repeat(400)).unwrap_err().split(';').next(),
            Some("a threshold is above 0")
        );
    }

    #[test]
    fn weights_have_bounds() {
        assert_eq!(parse_alpha("0.4"), Ok(TrafficOptions::DEFAULT_ALPHA));
        assert_eq!(parse_alpha("1"), Ok(1.0));
        for wrong in ["0", "1.01", "-1", "nan", "inf", "", "x"] {
            assert!(parse_alpha(wrong).is_err(), "{wrong}");
        }
    }
}
