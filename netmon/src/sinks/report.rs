//! The report: three lines and an empty one for each interface. On the path of every tick.

use crate::model::view::{DirectionView, InterfaceView, View};

/// What stands for a number that is not known.
const ABSENT: &[u8] = b"-";

/// Adds the interfaces that are due.
pub fn write(view: &View, buffer: &mut Vec<u8>) {
    for interface in view.interfaces.iter().filter(|interface| interface.due) {
        let InterfaceView { name, state, up_count, down_count, rx, tx, .. } = interface;
        buffer.extend_from_slice(b"Interface:");
        buffer.extend_from_slice(name.as_bytes());
        buffer.extend_from_slice(b" state:");
        buffer.extend_from_slice(state.map_or(ABSENT, str::as_bytes));
        number(buffer, b" up_count:", *up_count);
        number(buffer, b" down_count:", *down_count);
        let DirectionView { bytes, packets, dropped, errors, .. } = rx;
        number(buffer, b"\nrx_bytes:", *bytes);
        number(buffer, b" rx_dropped:", *dropped);
        number(buffer, b" rx_errors:", *errors);
        number(buffer, b" rx_packets:", *packets);
        let DirectionView { bytes, packets, dropped, errors, .. } = tx;
        number(buffer, b"\ntx_bytes:", *bytes);
        number(buffer, b" tx_dropped:", *dropped);
        number(buffer, b" tx_errors:", *errors);
        number(buffer, b" tx_packets:", *packets);
        buffer.extend_from_slice(b"\n\n");
    }
}

/// Inlined, so that each name is copied as the constant that it is.
#[inline(always)]
fn number(buffer: &mut Vec<u8>, name: &[u8], value: Option<u64>) {
    buffer.extend_from_slice(name);
    match value {
        // Errors and drops are mostly zero, and a copy of one byte costs a call.
        Some(digit @ 0..10) => buffer.push(b'0' + digit as u8),
        Some(value) => {
            buffer.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        }
        None => buffer.extend_from_slice(ABSENT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::samples;

    #[test]
    fn the_report_is_exactly_this() {
        let mut buffer = Vec::new();
        write(&samples::view(), &mut buffer);
        assert_eq!(String::from_utf8(buffer).unwrap(), include_str!("golden/report.txt"));
    }
}
