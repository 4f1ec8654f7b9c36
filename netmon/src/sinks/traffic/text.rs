//! Text for people: a table with a header, each column as wide as what is in it, and below it
//! what else there is to know. Nothing of it can command a terminal.

use std::fmt::Write;

use super::objects::ToObject;
use super::{Page, Table, hand_over, missing};
use crate::model::human::{self, Printable, Scale};
use crate::model::traffic::columns::{Column, Kind, Value};
use crate::model::traffic::selection::By;
use crate::model::traffic::view::FlowTable;

struct Lines<'a> {
    page: &'a Page<'a>,
    text: String,
}

/// Adds the table.
pub fn write(page: &Page<'_>, buffer: &mut Vec<u8>) {
    let mut lines = Lines { page, text: String::new() };
    hand_over(page.view, &page.order, page.selection, page.names, &mut lines);
    lines.notes();
    buffer.extend_from_slice(lines.text.as_bytes());
}

impl Table for Lines<'_> {
    fn take<C: Column<Row: ToObject>>(&mut self, rows: Option<Vec<&C::Row>>) {
        let Some(rows) = rows else { return };
        let alert = C::named("alert");
        let columns = C::SHOWN;
        let mark = |row: &C::Row| {
            let alert = alert.map(|column| column.value(row, self.page.names));
            if alert == Some(Value::Flag(true)) { "!" } else { " " }
        };
        let header = columns.iter().map(|column| column.title().to_owned()).collect();
        let mut table: Vec<(&str, Vec<String>)> = vec![(" ", header)];
        table.extend(rows.into_iter().map(|row| {
            let cells = columns.iter().map(|column| self.cell(*column, row)).collect();
            (mark(row), cells)
        }));
        let mut widths = vec![0; columns.len()];
        for (_, cells) in &table {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.chars().count().max(*width);
            }
        }
        for (mark, cells) in table {
            let mut line = mark.to_owned();
            for ((column, cell), width) in columns.iter().zip(cells).zip(&widths) {
                // Writing into memory does not fail.
                let _ = if column.kind().is_number() {
                    write!(line, " {cell:>width$}")
                } else {
                    write!(line, " {cell:<width$}")
                };
            }
            self.line(line.trim_end());
        }
    }
}

impl Lines<'_> {
    fn cell<C: Column>(&self, column: C, row: &C::Row) -> String {
        let Page { names, units, .. } = *self.page;
        let scale = units.scale;
        match (column.kind(), column.value(row, names)) {
            (_, Value::Absent) => "-".to_owned(),
            (Kind::Count, Value::Integer(number)) => human::count(number, scale).to_string(),
            (Kind::Bytes, Value::Integer(number)) => human::bytes(number, units).to_string(),
            (Kind::ByteRate, Value::Real(rate)) => human::rate(rate, units).to_string(),
            (Kind::CountRate, Value::Real(rate)) => human::count_rate(rate, scale).to_string(),
            (Kind::Ago, Value::Real(seconds)) => human::seconds_short(seconds).to_string(),
            (_, Value::Integer(number)) => number.to_string(),
            (_, Value::Real(number)) => number.to_string(),
            (_, Value::Flag(flag)) => if flag { "yes" } else { "no" }.to_owned(),
            (_, Value::Address(address)) => address.to_string(),
            (_, value) => Printable(value.text().unwrap_or_default()).to_string(),
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// What else there is to know about the table.
    fn notes(&mut self) {
        let Page { view, order, units, .. } = *self.page;
        let by = order.by();
        if let Some(missing) = missing(by, view) {
            self.line(&format!("not available: {}", Printable(&missing.why)));
            return;
        }
        let raw = match (units.scale, units.unit) {
            (Scale::Raw, human::Unit::Bytes) => "in bytes and bytes per second; ",
            (Scale::Raw, human::Unit::Bits) => "in bits and bits per second; ",
            _ => "",
        };
        let FlowTable { used, capacity, evicted, expired, untracked, sample } = view.flow_table;
        let mut note = match by {
            By::Flow => format!(
                "{used} of {capacity} flows, {evicted} evicted, {expired} expired, \
                 {} packets untracked; ",
                untracked.packets
            ),
            By::Process if view.processes_untracked > 0 => {
                let untracked = human::bytes(view.processes_untracked, units);
                format!("{untracked} of processes beyond the table; ")
            }
            By::Interface => view.burst_width.map_or_else(String::new, |width| {
                format!("bursts of {} ms; ", width.as_secs_f64() * 1e3)
            }),
            _ => String::new(),
        };
        if by == By::Flow && sample > 1 {
            let _ = write!(note, "estimates: one packet in {sample} is looked at; ");
        }
        self.line(&format!("{raw}{note}{}", view.alerts));
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::model::human::{Unit, Units};

    fn text(page: &Page<'_>) -> String {
        let mut buffer = Vec::new();
        write(page, &mut buffer);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn text_is_exactly_this() {
        let written = samples::every_table(text);
        let obeyed = written.chars().any(|character| character.is_control() && character != '\n');
        assert!(!obeyed, "{written:?} reaches a terminal");
        assert_eq!(written, include_str!("golden/traffic.txt"));
    }

    #[test]
    fn units_are_as_asked_for() {
        let with = |unit, scale| {
            samples::with_page(By::Protocol, |page| {
                text(&Page { units: Units { unit, scale }, ..*page })
            })
        };
        assert!(with(Unit::Bits, Scale::Si).contains(" 167 Mbit/s "));
        assert!(with(Unit::Bytes, Scale::Iec).contains(" 19.9 MiB/s "));
        let raw = with(Unit::Bytes, Scale::Raw);
        assert!(
            raw.contains(" 20897600 ") && raw.contains("in bytes and bytes per second; "),
            "{raw}"
        );
    }

    #[test]
    fn what_cannot_be_had_says_why() {
        let nothing = crate::model::traffic::samples::nothing();
        let table = |by| samples::with_page(by, |page| text(&Page { view: &nothing, ..*page }));
        assert_eq!(
            table(By::Process),
            "not available: the tracepoint is missing; Linux 6.3 has it\n"
        );
        assert_eq!(table(By::Drop), "ok\n");
    }
}
