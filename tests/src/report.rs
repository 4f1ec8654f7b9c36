//! The text report, parsed strictly: one character more or less is an error.

use anyhow::{Context, Result, bail, ensure};

/// The eight totals of a report, in its order. `T` is `u64` where all must be there (sysfs) and
/// `Option<u64>` where one may be absent, printed as `-`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals<T = u64> {
    /// Received bytes.
    pub rx_bytes: T,
    /// Received packets that were dropped.
    pub rx_dropped: T,
    /// Errors in receiving.
    pub rx_errors: T,
    /// Received packets.
    pub rx_packets: T,
    /// Sent bytes.
    pub tx_bytes: T,
    /// Packets that were to be sent and were dropped.
    pub tx_dropped: T,
    /// Errors in sending.
    pub tx_errors: T,
    /// Sent packets.
    pub tx_packets: T,
}

impl<T> Totals<T> {
    /// Reads each by its name.
    ///
    /// # Errors
    /// The first of `read`.
    pub fn read(mut read: impl FnMut(&str) -> Result<T>) -> Result<Self> {
        Ok(Self {
            rx_bytes: read("rx_bytes")?,
            rx_dropped: read("rx_dropped")?,
            rx_errors: read("rx_errors")?,
            rx_packets: read("rx_packets")?,
            tx_bytes: read("tx_bytes")?,
            tx_dropped: read("tx_dropped")?,
            tx_errors: read("tx_errors")?,
            tx_packets: read("tx_packets")?,
        })
    }
}

impl Totals<u64> {
    /// The same, none of them absent.
    #[must_use]
    pub fn present(self) -> Totals<Option<u64>> {
        let Self { rx_bytes, rx_dropped, rx_errors, rx_packets, .. } = self;
        let Self { tx_bytes, tx_dropped, tx_errors, tx_packets, .. } = self;
        Totals {
            rx_bytes: Some(rx_bytes),
            rx_dropped: Some(rx_dropped),
            rx_errors: Some(rx_errors),
            rx_packets: Some(rx_packets),
            tx_bytes: Some(tx_bytes),
            tx_dropped: Some(tx_dropped),
            tx_errors: Some(tx_errors),
            tx_packets: Some(tx_packets),
        }
    }
}

/// One interface of one tick: three lines and an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The interface's name.
    pub interface: String,
    /// Its operational state, or `absent`.
    pub state: String,
    /// How often the carrier came.
    pub up_count: Option<u64>,
    /// How often the carrier went.
    pub down_count: Option<u64>,
    /// The counters.
    pub totals: Totals<Option<u64>>,
}

impl Block {
    /// Lines of a block, the empty one included.
    pub const LINES: usize = 4;

    /// Parses the lines of one block.
    ///
    /// # Errors
    /// When they are not exactly in the form of a report.
    pub fn parse(lines: &[impl AsRef<str>]) -> Result<Self> {
        let [first, received, sent, empty] = lines else {
            bail!("{} lines are not a block", lines.len());
        };
        ensure!(empty.as_ref().is_empty(), "no empty line but {:?}", empty.as_ref());
        let mut first = Fields::new(first.as_ref());
        let (interface, state) = (first.text("Interface")?, first.text("state")?);
        let (up_count, down_count) = (first.number("up_count")?, first.number("down_count")?);
        first.end()?;
        // The two lines follow one another in the order of the totals.
        let (mut received, mut sent) = (Fields::new(received.as_ref()), Fields::new(sent.as_ref()));
        let totals = Totals::read(|name| match name.starts_with("rx") {
            true => received.number(name),
            false => sent.number(name),
        })?;
        received.end()?;
        sent.end()?;
        Ok(Self { interface, state, up_count, down_count, totals })
    }
}

/// Parses a whole report.
///
/// # Errors
/// When anything in it is not exactly in its form, the end included.
pub fn parse(text: &str) -> Result<Vec<Block>> {
    ensure!(text.is_empty() || text.ends_with("\n\n"), "the report ends in the middle: {text:?}");
    let lines: Vec<_> = text.split_terminator('\n').collect();
    let blocks = lines.chunks(Block::LINES);
    blocks.map(|lines| Block::parse(lines).with_context(|| format!("{lines:?}"))).collect()
}

/// The names in a report, in its order.
#[must_use]
pub fn names(blocks: &[Block]) -> Vec<&str> {
    blocks.iter().map(|block| block.interface.as_str()).collect()
}

/// The rest of a line `key:value key:value …`, with exactly one space between.
struct Fields<'a> {
    line: &'a str,
    rest: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn new(line: &'a str) -> Self {
        Self { line, rest: Some(line) }
    }

    fn next(&mut self, key: &str) -> Result<&'a str> {
        let rest = self.rest.with_context(|| format!("no {key} in {:?}", self.line))?;
        let (field, rest) = match rest.split_once(' ') {
            Some((field, rest)) => (field, Some(rest)),
            None => (rest, None),
        };
        self.rest = rest;
        let value = field.strip_prefix(key).and_then(|field| field.strip_prefix(':'));
        value.with_context(|| format!("{field:?} is not {key}, in {:?}", self.line))
    }

    fn text(&mut self, key: &str) -> Result<String> {
        let value = self.next(key)?;
        ensure!(!value.is_empty(), "an empty {key} in {:?}", self.line);
        Ok(value.to_owned())
    }

    /// A decimal number as the kernel prints it, or `-` for an absent one.
    fn number(&mut self, key: &str) -> Result<Option<u64>> {
        let value = self.next(key)?;
        if value == "-" {
            return Ok(None);
        }
        let number: u64 = value.parse().with_context(|| format!("{key}:{value:?}"))?;
        ensure!(number.to_string() == value, "{key}:{value} is not how a number is printed");
        Ok(Some(number))
    }

    fn end(&self) -> Result<()> {
        ensure!(self.rest.is_none(), "{:?} is too much in {:?}", self.rest, self.line);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Interface:nt0 state:up up_count:1 down_count:-\n\
        rx_bytes:1 rx_dropped:2 rx_errors:3 rx_packets:4\n\
        tx_bytes:5 tx_dropped:- tx_errors:7 tx_packets:18446744073709551615\n\n";

    #[test]
    fn a_good_block_gives_its_numbers() -> Result<()> {
        let blocks = parse(GOOD)?;
        let [block] = blocks.as_slice() else { bail!("{blocks:?}") };
        assert_eq!((block.interface.as_str(), block.state.as_str()), ("nt0", "up"));
        assert_eq!((block.up_count, block.down_count), (Some(1), None));
        let expected = Totals {
            rx_bytes: Some(1),
            rx_dropped: Some(2),
            rx_errors: Some(3),
            rx_packets: Some(4),
            tx_bytes: Some(5),
            tx_dropped: None,
            tx_errors: Some(7),
            tx_packets: Some(u64::MAX),
        };
        assert_eq!(block.totals, expected);
        Ok(())
    }

    #[test]
    fn blocks_follow_one_another() -> Result<()> {
        let two = [GOOD, &GOOD.replace("nt0", "nt1")].concat();
        assert_eq!(names(&parse(&two)?), ["nt0", "nt1"]);
        assert_eq!(parse("")?, []);
        Ok(())
    }

    #[test]
    fn the_slightest_change_is_an_error() {
        let bad = [
            ("Interface:", "interface:"),
            ("state:up", "state:"),
            (" up_count", "  up_count"),
            ("down_count:-", "down_count:- "),
            ("rx_bytes:1 ", "rx_bytes:+1 "),
            ("rx_bytes:1 ", "rx_bytes:01 "),
            ("rx_bytes:1 ", "rx_bytes: 1 "),
            ("rx_bytes:1 ", "rx_bytes:1.0 "),
            ("rx_dropped:2 rx_errors:3", "rx_errors:3 rx_dropped:2"),
            ("tx_errors:7 ", ""),
            ("tx_packets:18446744073709551615", "tx_packets:18446744073709551616"),
            ("\n\n", "\n"),
            ("\n\n", "\n\n\n"),
            ("\n\n", "\nmore\n\n"),
            ("\n", "\r\n"),
        ];
        for (from, to) in bad {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from:?} is in the good block");
            assert!(parse(&text).is_err(), "{from:?} → {to:?}");
        }
        assert!(parse(GOOD.trim_end()).is_err(), "cut off");
    }
}
