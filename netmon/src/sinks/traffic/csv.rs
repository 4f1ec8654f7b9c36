//! CSV (RFC 4180): a header once, then a line for each row and tick. The columns of a table are the same in
//! every run; what is not known is an empty field. Texts are as they came, control characters
//! too: it is for programs. What a terminal would obey is taken out on the way to one (`output`).

use ::csv::{Terminator, Writer, WriterBuilder};

use super::objects::ToObject;
use super::{Page, Table, hand_over};
use crate::model::traffic::columns::{Column, Kind, Value};
use crate::model::traffic::names::Names;
use crate::model::traffic::selection::{By, Selection};
use crate::model::traffic::view::TrafficView;
use crate::sinks::json::milliseconds;

struct Lines<'a, 'b> {
    page: &'a Page<'a>,
    writer: Writer<&'b mut Vec<u8>>,
    result: ::csv::Result<()>,
}

/// The first line.
#[must_use]
pub fn header(by: By) -> String {
    let mut header = Header::default();
    let nothing = (TrafficView::default(), Selection::default(), Names::default());
    hand_over(&nothing.0, &by.into(), &nothing.1, &nothing.2, &mut header);
    header.0
}

#[derive(Default)]
struct Header(String);

impl Table for Header {
    fn take<C: Column<Row: ToObject>>(&mut self, _: Option<Vec<&C::Row>>) {
        let names = std::iter::once("time_ms").chain(columns::<C>().map(|column| column.name()));
        // Names of columns need no quotes.
        self.0 = names.collect::<Vec<_>>().join(",") + "\n";
    }
}

/// Those that are written: an address and its port are two.
fn columns<C: Column>() -> impl Iterator<Item = &'static C> {
    C::ALL.iter().filter(|column| column.kind() != Kind::Endpoint)
}

/// Adds the rows, without the header.
pub fn write(page: &Page<'_>, buffer: &mut Vec<u8>) {
    let writer = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(buffer);
    let mut lines = Lines { page, writer, result: Ok(()) };
    hand_over(page.view, &page.order, page.selection, page.names, &mut lines);
    let Lines { mut writer, result, .. } = lines;
    if let Err(error) = result.and_then(|()| Ok(writer.flush()?)) {
        // Writing into memory does not fail.
        tracing::error!("no CSV for the traffic: {error}");
    }
}

impl Table for Lines<'_, '_> {
    fn take<C: Column<Row: ToObject>>(&mut self, rows: Option<Vec<&C::Row>>) {
        self.result = self.lines::<C>(&rows.unwrap_or_default());
    }
}

impl Lines<'_, '_> {
    fn lines<C: Column>(&mut self, rows: &[&C::Row]) -> ::csv::Result<()> {
        let Self { page, writer, .. } = self;
        let time = milliseconds(page.time).to_string();
        for row in rows {
            writer.write_field(&time)?;
            for column in columns::<C>() {
                field(writer, &column.value(row, page.names))?;
            }
            writer.write_record(None::<&[u8]>)?;
        }
        Ok(())
    }
}

fn field<W: std::io::Write>(writer: &mut Writer<W>, value: &Value<'_>) -> ::csv::Result<()> {
    match value {
        Value::Absent => writer.write_field(""),
        Value::Integer(number) => writer.write_field(itoa::Buffer::new().format(*number)),
        // To thousandths.
        Value::Real(number) => writer.write_field(format!("{number:.3}")),
        Value::Flag(flag) => writer.write_field(if *flag { "true" } else { "false" }),
        Value::Address(address) => writer.write_field(address.to_string()),
        Value::Text(_) | Value::Short(_) | Value::Shared(_) => {
            writer.write_field(value.text().unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn csv_is_exactly_this() {
        let written = samples::every_table(|page| {
            let mut buffer = header(page.order.by()).into_bytes();
            write(page, &mut buffer);
            String::from_utf8(buffer).unwrap()
        });
        assert_eq!(written, include_str!("golden/traffic.csv"));
    }
}
