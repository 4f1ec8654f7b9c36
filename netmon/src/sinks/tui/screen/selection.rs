//! The row that is selected, and which rows are in sight.

use super::state::{Rows, State};

/// How far the wheel goes.
const WHEEL: usize = 3;

impl State {
    /// Moves the selection, from the first row that is seen when nothing is selected.
    pub(super) fn move_to(&mut self, rows: &Rows<'_>, to: impl FnOnce(usize, usize) -> usize) {
        let table = self.table();
        let from = if table.selected.is_some() { table.place } else { table.top };
        let page = rows.page.saturating_sub(1).max(1);
        self.select(rows, to(from, page));
    }

    /// To the row beside; when nothing is selected, to the first row that is seen.
    pub(super) fn step(&mut self, rows: &Rows<'_>, to: impl FnOnce(usize) -> usize) {
        let table = self.table();
        let place = if table.selected.is_some() { to(table.place) } else { table.top };
        self.select(rows, place);
    }

    /// Selects the row at a place, or the last one.
    pub fn select(&mut self, rows: &Rows<'_>, place: usize) {
        let place = place.min(rows.count.saturating_sub(1));
        let table = self.table_mut();
        (table.place, table.selected) = (place, (rows.id)(place));
        self.keep_in_sight(rows);
    }

    /// A click on a row: selects it, and a second time goes into it.
    pub fn press(&mut self, rows: &Rows<'_>, place: usize) {
        self.note = None;
        if place >= rows.count {
            return;
        }
        if self.table().selected.is_some() && self.table().place == place {
            self.enter(rows);
        } else {
            self.select(rows, place);
        }
    }

    /// The wheel moves the selection if there is one, else the rows.
    pub fn wheel(&mut self, rows: &Rows<'_>, down: bool) {
        if self.table().selected.is_some() {
            return self.move_to(rows, |place, _| {
                if down { place + WHEEL } else { place.saturating_sub(WHEEL) }
            });
        }
        let last = rows.count.saturating_sub(rows.page);
        let table = self.table_mut();
        table.top =
            if down { table.top + WHEEL } else { table.top.saturating_sub(WHEEL) }.min(last);
    }

    /// The rows have changed: the selection stays with its row; if that is gone, with its place.
    pub fn settle(&mut self, rows: &Rows<'_>) {
        if let Some(selected) = &self.table().selected {
            let there = (rows.id)(self.table().place).as_ref() == Some(selected);
            if !there {
                let place =
                    (0..rows.count).find(|place| (rows.id)(*place).as_ref() == Some(selected));
                match place {
                    Some(place) => self.table_mut().place = place,
                    None => self.select(rows, self.table().place),
                }
            }
        }
        self.keep_in_sight(rows);
    }

    fn keep_in_sight(&mut self, rows: &Rows<'_>) {
        let table = self.table_mut();
        if table.selected.is_some() {
            let lowest = (table.place + 1).saturating_sub(rows.page.max(1));
            table.top = table.top.clamp(lowest, table.place);
        }
        table.top = table.top.min(rows.count.saturating_sub(rows.page.max(1)));
    }
}
