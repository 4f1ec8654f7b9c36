//! Tables that the view has as arrays of each interface, as rows.

use ecow::EcoString;

use super::protocol::{Direction, ProtocolClass, SIZE_ENDS, size_name};
use super::view::{DirectionTrafficView, FlowView, InterfaceTrafficView, Speed};
use crate::model::accounting::Traffic;
use crate::model::human::Short;

/// A protocol of one direction of an interface.
#[derive(Clone, Debug, PartialEq)]
pub struct ProtocolRow {
    /// Its place among all, from 0.
    pub place: usize,
    /// The interface.
    pub interface: EcoString,
    /// The direction.
    pub direction: Direction,
    /// The protocol.
    pub class: ProtocolClass,
    /// What came or went since counting began, as a cable carries it.
    pub traffic: Traffic,
    /// Wire bytes per second.
    pub speed: Speed,
}

/// A class of packet sizes of one direction of an interface.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeRow {
    /// Its place among all, from 0.
    pub place: usize,
    /// The interface.
    pub interface: EcoString,
    /// The direction.
    pub direction: Direction,
    /// The class; see [`SIZE_ENDS`].
    pub class: usize,
    /// What came or went since counting began, as a cable carries it.
    pub traffic: Traffic,
    /// Wire packets per second.
    pub packets_per_s: Option<f64>,
}

impl SizeRow {
    /// See [`size_name`].
    #[must_use]
    pub fn name(&self) -> Short {
        Short::new(&size_name(self.class))
    }

    /// The largest size of the class, in bytes; `None` where it has no upper end.
    #[must_use]
    pub fn end(&self) -> Option<u32> {
        SIZE_ENDS.get(self.class).copied()
    }
}

/// The protocols of all interfaces and directions that have had a packet.
#[must_use]
pub fn protocols(interfaces: &[InterfaceTrafficView]) -> Vec<ProtocolRow> {
    let rows = directions(interfaces).flat_map(|(interface, direction, view)| {
        let classes = ProtocolClass::ALL.iter().zip(&view.protocols);
        let used = classes.filter(|(_, (traffic, _))| traffic.packets > 0);
        used.map(move |(class, (traffic, speed))| ProtocolRow {
            place: 0,
            interface: interface.clone(),
            direction,
            class: *class,
            traffic: *traffic,
            speed: *speed,
        })
    });
    rows.enumerate().map(|(place, row)| ProtocolRow { place, ..row }).collect()
}

/// The sizes of all interfaces and directions that have had a packet.
#[must_use]
pub fn sizes(interfaces: &[InterfaceTrafficView]) -> Vec<SizeRow> {
    let rows = directions(interfaces).flat_map(|(interface, direction, view)| {
        let classes = view.sizes.iter().enumerate();
        let used = classes.filter(|(_, (traffic, _))| traffic.packets > 0);
        used.map(move |(class, (traffic, packets_per_s))| SizeRow {
            place: 0,
            interface: interface.clone(),
            direction,
            class,
            traffic: *traffic,
            packets_per_s: *packets_per_s,
        })
    });
    rows.enumerate().map(|(place, row)| SizeRow { place, ..row }).collect()
}

fn directions(
    interfaces: &[InterfaceTrafficView],
) -> impl Iterator<Item = (&EcoString, Direction, &DirectionTrafficView)> {
    let both = [Direction::Rx, Direction::Tx];
    interfaces.iter().flat_map(move |view| {
        both.map(|direction| (&view.interface, direction, view.direction(direction)))
    })
}

/// RFC 9293, the lowest bit first.
const TCP_FLAGS: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

impl FlowView {
    /// The names of the TCP flags that were seen, from FIN on.
    pub fn tcp_flags(&self) -> impl Iterator<Item = &'static str> {
        let flags = self.tcp_flags;
        let seen = move |(bit, _): &(usize, &str)| flags >> bit & 1 == 1;
        TCP_FLAGS.into_iter().enumerate().filter(seen).map(|(_, name)| name)
    }

    /// The same in one text; `None` where there are none.
    #[must_use]
    pub fn tcp_flag_names(&self) -> Option<Short> {
        use std::fmt::Write;
        let mut names = Short::default();
        for (place, name) in self.tcp_flags().enumerate() {
            // They fit: 31 characters.
            let _ = write!(names, "{}{name}", if place == 0 { "" } else { " " });
        }
        (self.tcp_flags != 0).then_some(names)
    }
}
