//! The CSV report: a header, then one row for each interface of a tick.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::report::Totals;

/// The header.
pub const HEADER: &str = "time_ms,tick,interface,ifindex,admin_state,state,up_count,down_count,\
    rx_bytes,rx_dropped,rx_errors,rx_packets,tx_bytes,tx_dropped,tx_errors,tx_packets,\
    rx_bytes_per_s,rx_packets_per_s,tx_bytes_per_s,tx_packets_per_s";

/// One row; an empty field is an absent number.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the columns are those of the JSON report")]
pub struct Row {
    pub time_ms: u64,
    pub tick: u64,
    pub interface: String,
    pub ifindex: Option<u32>,
    pub admin_state: Option<String>,
    pub state: Option<String>,
    pub up_count: Option<u64>,
    pub down_count: Option<u64>,
    pub rx_bytes: Option<u64>,
    pub rx_dropped: Option<u64>,
    pub rx_errors: Option<u64>,
    pub rx_packets: Option<u64>,
    pub tx_bytes: Option<u64>,
    pub tx_dropped: Option<u64>,
    pub tx_errors: Option<u64>,
    pub tx_packets: Option<u64>,
    pub rx_bytes_per_s: Option<f64>,
    pub rx_packets_per_s: Option<f64>,
    pub tx_bytes_per_s: Option<f64>,
    pub tx_packets_per_s: Option<f64>,
}

impl Row {
    /// The numbers that the text report shows.
    #[must_use]
    pub fn totals(&self) -> Totals<Option<u64>> {
        Totals {
            rx_bytes: self.rx_bytes,
            rx_dropped: self.rx_dropped,
            rx_errors: self.rx_errors,
            rx_packets: self.rx_packets,
            tx_bytes: self.tx_bytes,
            tx_dropped: self.tx_dropped,
            tx_errors: self.tx_errors,
            tx_packets: self.tx_packets,
        }
    }
}

/// Parses a whole report.
///
/// # Errors
/// When the header is another, or a row does not suit it.
pub fn parse(text: &str) -> Result<Vec<Row>> {
    let header = text.lines().next().unwrap_or_default();
    ensure!(header == HEADER, "the header is {header:?}");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(|row| row.with_context(|| text.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_give_their_numbers() -> Result<()> {
        let text = format!("{HEADER}\n1,2,nt0,3,up,up,1,0,10,0,0,1,,0,0,2,1.5,0.5,,0\n");
        let rows = parse(&text)?;
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].tick, rows[0].interface.as_str()), (2, "nt0"));
        assert_eq!((rows[0].totals().rx_bytes, rows[0].totals().tx_bytes), (Some(10), None));
        Ok(())
    }

    #[test]
    fn another_header_and_short_rows_are_errors() {
        assert!(parse("time,tick\n").is_err());
        assert!(parse(&format!("{HEADER}\n1,2,nt0\n")).is_err());
    }
}
