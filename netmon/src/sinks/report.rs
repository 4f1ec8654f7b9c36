//! The report: three lines and an empty one for each interface. On the path of every tick.

use crate::model::view::{DirectionView, InterfaceView, View};

/// What stands for a number that is not known.
const ABSENT: &[u8] = b"-";

/// Adds the interfaces that are due.
pub fn write(view: &View, buffer: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    for interface in view.interfaces.iter().filter(|interface| interface.due) {
        let InterfaceView { name, state, up_count, down_count, rx, tx, .. } = interface;
        buffer.extend_from_slice(b"Interface:");
        buffer.extend_from_slice(name.as_bytes());
        buffer.extend_from_slice(b" state:");
        buffer.extend_from_slice(state.map_or(ABSENT, str::as_bytes));
        number(buffer, &mut digits, b" up_count:", *up_count);
        number(buffer, &mut digits, b" down_count:", *down_count);
        for (prefix, direction) in [("rx_", rx), ("tx_", tx)] {
            let DirectionView { bytes, packets, dropped, errors, .. } = direction;
            let fields = [
                ("bytes:", bytes),
                ("dropped:", dropped),
                ("errors:", errors),
                ("packets:", packets),
            ];
            for (place, (name, value)) in fields.into_iter().enumerate() {
                buffer.push(if place == 0 { b'\n' } else { b' ' });
                buffer.extend_from_slice(prefix.as_bytes());
                number(buffer, &mut digits, name.as_bytes(), *value);
            }
        }
        buffer.extend_from_slice(b"\n\n");
    }
}

fn number(buffer: &mut Vec<u8>, digits: &mut itoa::Buffer, name: &[u8], value: Option<u64>) {
    buffer.extend_from_slice(name);
    match value {
        Some(value) => buffer.extend_from_slice(digits.format(value).as_bytes()),
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
