//! The report: three lines and an empty one for each interface. On the path of every tick, and
//! written from the facts themselves: a view of them, with rates that the report does not have,
//! cost as much again.

use crate::model::snapshot::InterfaceFacts;

/// What stands for a number that is not known.
const ABSENT: &[u8] = b"-";

/// The most that follows the name: words of 133, a state of at most 14, ten numbers of at most 20.
const MOST: usize = 384;

/// Adds an interface.
pub fn write(facts: &InterfaceFacts, buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(b"Interface:");
    buffer.extend_from_slice(facts.name.as_bytes());
    let start = buffer.len();
    // Room for all of it at once: a vector is asked for room at every word.
    buffer.resize(start + MOST, 0);
    let left = rest(facts, &mut buffer[start..]).len();
    buffer.truncate(buffer.len() - left);
}

/// What follows the name. Returns what is left of `to`.
fn rest<'a>(facts: &InterfaceFacts, to: &'a mut [u8]) -> &'a mut [u8] {
    let (ups, downs) = facts.carrier_counts();
    let to = word(to, b" state:");
    let to = bytes(to, facts.state_word().map_or(ABSENT, str::as_bytes));
    let to = number(word(to, b" up_count:"), ups);
    let to = number(word(to, b" down_count:"), downs);
    let totals = facts.rx_totals();
    let to = number(word(to, b"\nrx_bytes:"), totals.bytes);
    let to = number(word(to, b" rx_dropped:"), totals.dropped);
    let to = number(word(to, b" rx_errors:"), totals.errors);
    let to = number(word(to, b" rx_packets:"), totals.packets);
    let totals = facts.tx_totals();
    let to = number(word(to, b"\ntx_bytes:"), totals.bytes);
    let to = number(word(to, b" tx_dropped:"), totals.dropped);
    let to = number(word(to, b" tx_errors:"), totals.errors);
    let to = number(word(to, b" tx_packets:"), totals.packets);
    word(to, b"\n\n")
}

/// Inlined, so that each word is stored as the constant that it is.
#[inline(always)]
fn word<'a, const LENGTH: usize>(to: &'a mut [u8], word: &[u8; LENGTH]) -> &'a mut [u8] {
    let (place, left) = to.split_at_mut(LENGTH);
    place.copy_from_slice(word);
    left
}

fn bytes<'a>(to: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    let (place, left) = to.split_at_mut(bytes.len());
    place.copy_from_slice(bytes);
    left
}

#[inline(always)]
fn number(to: &mut [u8], value: Option<u64>) -> &mut [u8] {
    match value {
        // Errors and drops are mostly zero, and a copy of one byte costs a call.
        Some(digit @ 0..10) => word(to, &[b'0' + digit as u8]),
        Some(value) => bytes(to, itoa::Buffer::new().format(value).as_bytes()),
        None => bytes(to, ABSENT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::link::{IfIndex, LinkState, OperState};
    use crate::model::snapshot::{DeviceCounters, DeviceStats};
    use crate::sinks::samples;

    #[test]
    fn the_report_is_exactly_this() {
        let mut buffer = Vec::new();
        samples::facts().iter().for_each(|facts| write(facts, &mut buffer));
        assert_eq!(String::from_utf8(buffer).unwrap(), include_str!("golden/report.txt"));
    }

    #[test]
    fn the_longest_fits() {
        let most = Some(u64::MAX);
        let device = DeviceCounters { packets: most, bytes: most, errors: most, dropped: most };
        let facts = InterfaceFacts {
            name: "n".repeat(300).into(),
            ifindex: Some(IfIndex(1)),
            state: LinkState {
                operstate: Some(OperState::LowerLayerDown),
                carrier_up_count: most,
                carrier_down_count: most,
            },
            device: DeviceStats { rx: device, tx: device },
            ..InterfaceFacts::default()
        };
        let mut buffer = Vec::new();
        write(&facts, &mut buffer);
        let text = String::from_utf8(buffer).unwrap();
        assert_eq!(text.matches("18446744073709551615").count(), 10, "{text}");
        assert!(text.contains(" state:lowerlayerdown ") && text.ends_with("\n\n"), "{text}");
    }
}
