//! Events: what happened, the latest first.

use super::{RowId, Tab, Width, column};
use crate::model::event::EventKind;
use crate::sinks::tui::cell::Cell;
use crate::sinks::tui::mailbox::Happened;
use crate::sinks::tui::theme::Tone;

pub(super) const TAB: Tab = Tab {
    title: "Events",
    short: "Events",
    rows: "events",
    part: None,
    columns: &[
        column("TIME", 0, Width::Clock, |d, i| Cell::Clock(d.event(i).time)),
        column("INTERFACE", 0, Width::Between(6, 15), |d, i| Cell::Text(interface(d.event(i)))),
        column("EVENT", 0, Width::Between(10, 400), |d, i| Cell::Text(&d.event(i).event.message)),
    ],
    sort: 0,
    count: |data| data.events.len(),
    // The latest are the first, without sorting.
    id: |data, row| RowId::Event(data.event(row).number),
    tone: |data, row| {
        if data.event(row).event.kind.is_warning() { Tone::Warning } else { Tone::Plain }
    },
    detail: |data, row, tell| {
        tell("", Cell::Clock(data.event(row).time));
        tell("", Cell::Text(interface(data.event(row))));
        tell("", Cell::Text(&data.event(row).event.message));
    },
};

fn interface(row: &Happened) -> &str {
    match (&row.event.interface, row.event.kind) {
        (Some(interface), _) => interface,
        (None, EventKind::NewProgram) => "-",
        (None, _) => "netmon",
    }
}
