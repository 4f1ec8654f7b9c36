//! Drops: how many, where, and why.

use super::{RowId, Tab, Width, column};
use crate::model::traffic::facts::Part;
use crate::model::traffic::view::DropView;
use crate::sinks::tui::cell::Cell;
use crate::sinks::tui::data::Data;
use crate::sinks::tui::theme::Tone;

pub(super) const TAB: Tab = Tab {
    title: "Drops",
    short: "Drops",
    rows: "reasons",
    part: Some(Part::Drops),
    columns: &[
        column("REASON", 0, Width::Between(12, 40), |d, i| Cell::Text(&of(d, i).reason)),
        column("INTERFACE", 0, Width::Between(6, 15), |d, i| Cell::Text(interface(of(d, i)))),
        column("PKT/S", 0, Width::Count, |d, i| {
            of(d, i).packets_per_s.map_or(Cell::Absent, Cell::PerSecond)
        }),
        column("PACKETS", 0, Width::Count, |d, i| Cell::Count(of(d, i).packets)),
        column("SHARE", 1, Width::Digits(5), share),
    ],
    sort: 2,
    count: |data| data.drops().len(),
    id: |data, row| RowId::Drop(of(data, row).ifindex, of(data, row).reason.clone()),
    tone: |data, row| match of(data, row).packets_per_s {
        Some(rate) if rate > 0.0 => Tone::Warning,
        _ => Tone::Plain,
    },
    detail: |data, row, tell| {
        tell("", Cell::Text(&of(data, row).reason));
        tell("of", Cell::Text(interface(of(data, row))));
        tell("packets", Cell::Count(of(data, row).packets));
        let view = of(data, row).ifindex.and_then(|ifindex| data.interface(ifindex));
        if let Some(view) = view {
            tell("the interface's own rx drops", Cell::count(view.rx.dropped));
            tell("tx drops", Cell::count(view.tx.dropped));
        }
    },
};

fn of(data: &Data, row: usize) -> &DropView {
    &data.drops()[row]
}

fn interface(row: &DropView) -> &str {
    row.interface.as_deref().unwrap_or("(none)")
}

fn share(data: &Data, row: usize) -> Cell<'_> {
    match data.dropped {
        0 => Cell::Absent,
        all => Cell::Share(of(data, row).packets as f64 / all as f64),
    }
}
