//! Interfaces: whether they work, how much they carry, and what goes wrong.

use super::{RowId, Tab, Tell, Width, column};
use crate::model::view::{ABSENT, DirectionView, InterfaceView};
use crate::sinks::tui::cell::Cell;
use crate::sinks::tui::data::{Data, plus};
use crate::sinks::tui::history::History;
use crate::sinks::tui::theme::Tone;

pub(super) const TAB: Tab = Tab {
    title: "Interfaces",
    short: "If",
    rows: "interfaces",
    part: None,
    columns: &[
        column("NAME", 0, Width::Between(8, 20), |d, i| Cell::Text(&of(d, i).name)),
        column("STATE", 0, Width::Between(9, 16), state),
        column("RX", 0, Width::Rate, |d, i| bytes(&of(d, i).rx)),
        column("TX", 0, Width::Rate, |d, i| bytes(&of(d, i).tx)),
        column("RXPEAK", 2, Width::Rate, |d, i| Cell::rate(peak(d, i, Side::Rx))),
        column("TXPEAK", 2, Width::Rate, |d, i| Cell::rate(peak(d, i, Side::Tx))),
        column("RXBRST", 3, Width::Rate, |d, i| {
            Cell::rate(d.traffic_of(i).and_then(|t| t.rx.burst))
        }),
        column("TXBRST", 3, Width::Rate, |d, i| {
            Cell::rate(d.traffic_of(i).and_then(|t| t.tx.burst))
        }),
        column("RXPKT", 4, Width::Count, |d, i| packets(&of(d, i).rx)),
        column("TXPKT", 4, Width::Count, |d, i| packets(&of(d, i).tx)),
        column("ERR", 1, Width::Count, |d, i| Cell::count(both(d, i, |side| side.errors))),
        column("DROP", 1, Width::Count, |d, i| Cell::count(both(d, i, |side| side.dropped))),
        column("UP/DN", 1, Width::Digits(6), links),
        column("LAST 3 MIN", 5, Width::Picture(10, 45), |_, _| Cell::Spark),
        column("COUNTED BY", 6, Width::Between(10, 24), |d, i| Cell::Text(&of(d, i).hook)),
    ],
    sort: 0,
    count: |data| data.shown.interfaces.len(),
    id: |data, row| RowId::Interface(of(data, row).key),
    tone,
    detail,
};

fn of(data: &Data, row: usize) -> &InterfaceView {
    &data.shown.interfaces[row]
}

/// `unknown` is what drivers without a carrier say (lo, tun).
fn works(view: &InterfaceView) -> bool {
    view.ifindex.is_some()
        && view.admin_up != Some(false)
        && matches!(view.state, Some("up" | "unknown" | "dormant"))
}

fn state(data: &Data, row: usize) -> Cell<'_> {
    let view = of(data, row);
    match view.state {
        Some(state) => Cell::State(state, works(view)),
        None => Cell::Absent,
    }
}

fn tone(data: &Data, row: usize) -> Tone {
    let view = of(data, row);
    if view.state == Some(ABSENT) || view.admin_up == Some(false) {
        Tone::Faint
    } else if !works(view) || data.traffic_of(row).is_some_and(|traffic| traffic.alert) {
        Tone::Warning
    } else {
        Tone::Plain
    }
}

fn bytes(side: &DirectionView) -> Cell<'static> {
    Cell::rate(side.rate.map(|rate| rate.bytes))
}

fn packets(side: &DirectionView) -> Cell<'static> {
    side.rate.map_or(Cell::Absent, |rate| Cell::PerSecond(rate.packets))
}

fn both(data: &Data, row: usize, of_side: fn(&DirectionView) -> Option<u64>) -> Option<u64> {
    let view = of(data, row);
    match (of_side(&view.rx), of_side(&view.tx)) {
        (Some(rx), Some(tx)) => Some(rx.saturating_add(tx)),
        (rx, tx) => rx.or(tx),
    }
}

#[derive(Clone, Copy)]
enum Side {
    Rx,
    Tx,
}

/// The highest that was seen; the traffic's own knows more ticks.
fn peak(data: &Data, row: usize, side: Side) -> Option<f64> {
    let course = data.course(&RowId::Interface(of(data, row).key));
    let traffic = data.traffic_of(row);
    let (here, there) = match side {
        Side::Rx => (course.map(|c| &c.rx), traffic.map(|t| &t.rx)),
        Side::Tx => (course.map(|c| &c.tx), traffic.map(|t| &t.tx)),
    };
    let (here, there) = (here.and_then(History::peak), there.and_then(|t| t.speed.peak));
    match (here, there) {
        (Some(here), Some(there)) => Some(here.max(there)),
        (here, there) => here.or(there),
    }
}

fn links(data: &Data, row: usize) -> Cell<'_> {
    match (of(data, row).up_count, of(data, row).down_count) {
        (Some(up), Some(down)) => Cell::Links(up, down),
        _ => Cell::Absent,
    }
}

fn detail(data: &Data, row: usize, tell: &mut Tell<'_>) {
    let view = of(data, row);
    tell("", Cell::Text(&view.name));
    tell("", Cell::Text(view.state_reason));
    tell("counted by", Cell::Text(&view.hook));
    tell("rx errors", Cell::count(view.rx.errors));
    tell("tx errors", Cell::count(view.tx.errors));
    tell("rx drops", Cell::count(view.rx.dropped));
    tell("tx drops", Cell::count(view.tx.dropped));
    if let Some(traffic) = data.traffic_of(row) {
        let burst = match (traffic.rx.burst_peak, traffic.tx.burst_peak) {
            (Some(rx), Some(tx)) => Some(rx.max(tx)),
            (rx, tx) => plus(rx, tx),
        };
        tell("highest burst", Cell::rate(burst));
    }
    tell("rx total", view.rx.bytes.map_or(Cell::Absent, Cell::Bytes));
    tell("tx total", view.tx.bytes.map_or(Cell::Absent, Cell::Bytes));
    for (name, drift) in [("rx drift", view.rx.drift), ("tx drift", view.tx.drift)] {
        if let Some(drift) = drift.filter(|drift| drift.packets != 0) {
            tell(name, Cell::Text(&drift.packets.to_string()));
        }
    }
}
