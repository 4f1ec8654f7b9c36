//! The table: which columns there is room for, and the rows that are seen.

use ratatui_core::layout::Rect;

use super::state::Table;
use crate::model::human::{Scale, Units};
use crate::sinks::tui::canvas::{Canvas, Place};
use crate::sinks::tui::cell::Cell;
use crate::sinks::tui::data::Data;
use crate::sinks::tui::tabs::{Column, Tab, Width};
use crate::sinks::tui::theme::{Sign, Theme, Tone};

/// Before the columns: what is selected, and what is above its threshold.
const GUTTER: u16 = 2;

/// A column that there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Its number in the tab.
    pub(super) column: usize,
    pub(super) x: u16,
    pub(super) width: u16,
}

/// The least and the most that a column needs.
fn widths(column: &Column, units: Units, sorted: bool) -> (u16, u16) {
    let title = column.title.len() as u16 + u16::from(sorted);
    let (least, most) = match (column.width, units.scale) {
        // Twelve digits are 800 Gbit/s in bits, fourteen a hundred terabytes.
        (Width::Amount, Scale::Raw) => (14, 14),
        (Width::Rate, Scale::Raw) => (12, 12),
        (Width::Count, Scale::Raw) => (11, 11),
        (Width::Amount | Width::Rate, Scale::Iec) => (6, 6),
        (Width::Amount | Width::Rate | Width::Count, _) => (5, 5),
        (Width::Clock, _) => (8, 8),
        (Width::Exactly(width) | Width::Digits(width), _) => (width, width),
        (Width::Between(least, most) | Width::Picture(least, most), _) => (least, most),
    };
    (least.max(title), most.max(title))
}

/// Chooses columns by their ranks, and shares what is left among those that can use it. What the
/// rows are sorted by is chosen first after those that are always there.
pub(super) fn layout(columns: &[Column], sort: usize, units: Units, room: u16) -> Vec<Shown> {
    let room = room.saturating_sub(GUTTER);
    let of = |index: usize| widths(&columns[index], units, index == sort);
    let mut left = room + 1;
    let mut chosen: Vec<(usize, u16)> = Vec::with_capacity(columns.len());
    let last = columns.iter().map(|column| column.rank).max().unwrap_or(0);
    for rank in 0..=last {
        let is_new = |index: &usize| chosen.iter().all(|(other, _)| other != index);
        let mut alike: Vec<_> = (0..columns.len())
            .filter(|index| columns[*index].rank == rank && is_new(index))
            .map(|index| (index, of(index).0))
            .collect();
        // Received without transmitted would mislead: columns of a rank come together.
        let needed = alike.iter().map(|(_, least)| least + 1).sum();
        if rank == 0 && left < needed {
            squeeze(&mut alike, left);
        } else if left < needed {
            // What is left is for names and words.
            break;
        }
        left = left.saturating_sub(needed);
        chosen.append(&mut alike);
        let sorted = (sort, of(sort).0);
        if rank == 0 && columns[sort].rank > 0 && left > sorted.1 {
            left -= sorted.1 + 1;
            chosen.push(sorted);
        }
    }
    chosen.sort_by_key(|(index, _)| *index);
    while left > 0 {
        let before = left;
        for (index, width) in &mut chosen {
            if left > 0 && *width < of(*index).1 {
                *width += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    let mut x = GUTTER;
    let place = |(column, width): (usize, u16)| {
        let shown = Shown { column, x, width };
        x += width + 1;
        shown
    };
    chosen.into_iter().map(place).collect()
}

/// What must be there is made narrower where even that does not fit.
fn squeeze(columns: &mut Vec<(usize, u16)>, room: u16) {
    let needed = |columns: &[(usize, u16)]| columns.iter().map(|(_, width)| width + 1).sum::<u16>();
    while needed(columns) > room {
        match columns.iter_mut().rev().max_by_key(|(_, width)| *width) {
            Some((_, width)) if *width > 3 => *width -= 1,
            Some(_) => drop(columns.pop()),
            None => return,
        }
    }
}

/// Draws titles and rows into `area`.
pub(super) fn draw(
    canvas: &mut Canvas<'_>,
    area: Rect,
    (data, tab): (&Data, &Tab),
    (table, order): (&Table, &[u32]),
    columns: &[Shown],
) {
    draw_titles(canvas, area, tab, table, columns);
    let rows = order.iter().enumerate().skip(table.top);
    let mut text = String::new();
    for ((place, row), y) in rows.zip(area.y + 1..area.bottom()) {
        let row = *row as usize;
        let tone = (tab.tone)(data, row);
        let style = canvas.theme.style(tone);
        let is_selected = table.selected.is_some() && table.place == place;
        let mark = if tone == Tone::Warning { "!" } else { " " };
        if is_selected {
            canvas.left(Place { x: area.x, y, width: 1 }, ">", style);
        }
        canvas.left(Place { x: area.x + 1, y, width: 1 }, mark, style);
        for shown in columns {
            let cell = (tab.columns[shown.column].cell)(data, row);
            let place = Place { x: area.x + shown.x, y, width: shown.width };
            if cell == Cell::Spark {
                if let Some(course) = data.course(&(tab.id)(data, row)) {
                    canvas.spark(place, &[&course.rx, &course.tx], data.second, style);
                }
                continue;
            }
            text.clear();
            match cell {
                Cell::Address(address, port) => match data.names.host(address) {
                    Some(host) => write_host(&mut text, &host, port),
                    None => cell.write(canvas.units, canvas.theme, &mut text),
                },
                _ => cell.write(canvas.units, canvas.theme, &mut text),
            }
            match cell {
                Cell::Address(..) => canvas.ends(place, &text, style),
                _ if tab.columns[shown.column].is_right() => canvas.right(place, &text, style),
                _ => {
                    canvas.left(place, &text, style);
                }
            }
        }
        if is_selected {
            let line = Place { x: area.x, y, width: area.width };
            canvas.paint(line, canvas.theme.selected(style));
        }
    }
}

fn write_host(text: &mut String, host: &str, port: Option<u16>) {
    text.push_str(host);
    if let Some(port) = port {
        text.push(':');
        text.push_str(&port.to_string());
    }
}

/// The title of the column by which the rows are sorted, and which way.
pub(super) fn sorted_title(column: &Column, reversed: bool, theme: Theme) -> String {
    let descending = column.is_descending() != reversed;
    let sign = theme.sign(if descending { Sign::Descending } else { Sign::Ascending });
    let title = column.title;
    if column.is_right() { format!("{sign}{title}") } else { format!("{title}{sign}") }
}

fn draw_titles(canvas: &mut Canvas<'_>, area: Rect, tab: &Tab, table: &Table, columns: &[Shown]) {
    let style = canvas.theme.style(Tone::Title);
    for shown in columns {
        let column = &tab.columns[shown.column];
        let place = Place { x: area.x + shown.x, y: area.y, width: shown.width };
        let title = if shown.column == table.sort {
            sorted_title(column, table.reversed, canvas.theme)
        } else {
            column.title.to_owned()
        };
        if column.is_right() {
            canvas.right(place, &title, style);
        } else {
            canvas.left(place, &title, style);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::tui::tabs::{TabName, tab};

    #[test]
    fn columns_never_overlap_nor_leave_the_screen() {
        for name in TabName::ALL {
            let columns = tab(name).columns;
            for room in 0..300 {
                for scale in [Scale::Si, Scale::Iec, Scale::Raw] {
                    let units = Units { scale, ..Units::default() };
                    for sort in 0..columns.len() {
                        let mut end = 0;
                        for shown in layout(columns, sort, units, room) {
                            assert!(shown.x > end, "{name:?} by {sort} {room}");
                            end = shown.x + shown.width;
                            assert!(end <= room, "{name:?} by {sort} {room}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_rows_are_sorted_by_is_on_screen_from_80_columns_on() {
        for name in TabName::ALL {
            let columns = tab(name).columns;
            for (sort, column) in columns.iter().enumerate() {
                let shown = layout(columns, sort, Units::default(), 80);
                assert!(shown.iter().any(|shown| shown.column == sort), "{}", column.title);
            }
        }
    }
}
