//! CSV (RFC 4180): a header, then a line for each interface and tick. An unknown number is an
//! empty field.

use super::json::{admin_state, milliseconds};
use crate::model::view::{DirectionView, InterfaceView, View};

/// The first line.
pub const HEADER: &str = "time_ms,tick,interface,ifindex,admin_state,state,up_count,down_count,\
    rx_bytes,rx_dropped,rx_errors,rx_packets,tx_bytes,tx_dropped,tx_errors,tx_packets,\
    rx_bytes_per_s,rx_packets_per_s,tx_bytes_per_s,tx_packets_per_s\n";

/// Adds a tick, without the header.
pub fn write(view: &View, buffer: &mut Vec<u8>) {
    let mut writer =
        ::csv::WriterBuilder::new().terminator(::csv::Terminator::Any(b'\n')).from_writer(buffer);
    let result = write_to(&mut writer, view).and_then(|()| Ok(writer.flush()?));
    if let Err(error) = result {
        // Writing into memory does not fail.
        tracing::error!("no CSV for tick {}: {error}", view.tick);
    }
}

fn write_to<W: std::io::Write>(writer: &mut ::csv::Writer<W>, view: &View) -> ::csv::Result<()> {
    let time = milliseconds(view.time);
    for interface in view.interfaces.iter().filter(|interface| interface.due) {
        let InterfaceView { name, ifindex, admin_up, state, up_count, down_count, rx, tx, .. } =
            interface;
        let (rx_totals, rx_rates) = fields(rx);
        let (tx_totals, tx_rates) = fields(tx);
        let start = (time, view.tick, &**name, ifindex.map(|ifindex| ifindex.0));
        let state = (admin_state(*admin_up), state, up_count, down_count);
        writer.serialize((start, state, rx_totals, tx_totals, rx_rates, tx_rates))?;
    }
    Ok(())
}

type Totals = [Option<u64>; 4];
type Rates = [Option<f64>; 2];

/// Totals in the report's order, and rates rounded to thousandths.
fn fields(view: &DirectionView) -> (Totals, Rates) {
    let DirectionView { bytes, packets, dropped, errors, rate, .. } = view;
    let round = |rate: f64| (rate * 1_000.0).round() / 1_000.0;
    let rates = [rate.map(|rate| round(rate.bytes)), rate.map(|rate| round(rate.packets))];
    ([*bytes, *dropped, *errors, *packets], rates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::samples;

    #[test]
    fn csv_is_exactly_this() {
        let mut buffer = HEADER.as_bytes().to_vec();
        write(&samples::view(), &mut buffer);
        assert_eq!(String::from_utf8(buffer).unwrap(), include_str!("golden/tick.csv"));
    }
}
