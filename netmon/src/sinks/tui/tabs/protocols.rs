//! Protocols and sizes: what kind of packets they are. Exact, whatever happens to single flows.

use super::{RowId, Tab, Width, column};
use crate::model::traffic::facts::Part;
use crate::sinks::tui::cell::Cell;
use crate::sinks::tui::data::{Class, ClassRow, Data};
use crate::sinks::tui::theme::Tone;

pub(super) const TAB: Tab = Tab {
    title: "Protocols & sizes",
    short: "Prot",
    rows: "protocols and sizes",
    part: Some(Part::Flows),
    columns: &[
        column("KIND", 1, Width::Exactly(8), |d, i| Cell::Text(kind(of(d, i)))),
        column("CLASS", 0, Width::Exactly(9), class),
        column("INTERFACE", 0, Width::Between(5, 15), |d, i| Cell::Text(interface(d, i))),
        column("RX", 0, Width::Rate, |d, i| rate(of(d, i), of(d, i).rx_rate)),
        column("TX", 0, Width::Rate, |d, i| rate(of(d, i), of(d, i).tx_rate)),
        column("RXPKT/S", 2, Width::Count, |d, i| packets(of(d, i), of(d, i).rx_rate)),
        column("TXPKT/S", 2, Width::Count, |d, i| packets(of(d, i), of(d, i).tx_rate)),
        column("RXBYTES", 1, Width::Amount, |d, i| Cell::Bytes(of(d, i).rx.bytes)),
        column("TXBYTES", 1, Width::Amount, |d, i| Cell::Bytes(of(d, i).tx.bytes)),
        column("RXPKTS", 3, Width::Count, |d, i| Cell::Count(of(d, i).rx.packets)),
        column("TXPKTS", 3, Width::Count, |d, i| Cell::Count(of(d, i).tx.packets)),
        column("SHARE", 4, Width::Digits(5), |d, i| Cell::Share(of(d, i).share)),
    ],
    sort: 0,
    count: |data| data.classes.len(),
    id: |data, row| {
        let of = of(data, row);
        let traffic = of.interface.and_then(|place| data.interface_traffic().get(place));
        RowId::Class(of.class, traffic.map(|traffic| traffic.ifindex))
    },
    tone: |_, _| Tone::Plain,
    detail: |data, row, tell| {
        tell(kind(of(data, row)), class(data, row));
        tell("of", Cell::Text(interface(data, row)));
        tell("rx packets", Cell::Count(of(data, row).rx.packets));
        tell("tx packets", Cell::Count(of(data, row).tx.packets));
        tell("share of the packets", Cell::Share(of(data, row).share));
    },
};

fn of(data: &Data, row: usize) -> &ClassRow {
    &data.classes[row]
}

const fn kind(row: &ClassRow) -> &'static str {
    match row.class {
        Class::Protocol(_) => "protocol",
        Class::Size(_) => "size",
    }
}

fn class(data: &Data, row: usize) -> Cell<'_> {
    Cell::Text(match of(data, row).class {
        Class::Protocol(protocol) => protocol.name(),
        Class::Size(size) => &data.sizes[size],
    })
}

fn interface(data: &Data, row: usize) -> &str {
    let place = of(data, row).interface;
    let traffic = place.and_then(|place| data.interface_traffic().get(place));
    traffic.map_or("all", |traffic| &traffic.interface)
}

fn rate(row: &ClassRow, rate: Option<f64>) -> Cell<'static> {
    if let Class::Protocol(_) = row.class { Cell::rate(rate) } else { Cell::Absent }
}

fn packets(row: &ClassRow, rate: Option<f64>) -> Cell<'static> {
    match (row.class, rate) {
        (Class::Size(_), Some(rate)) => Cell::PerSecond(rate),
        _ => Cell::Absent,
    }
}
