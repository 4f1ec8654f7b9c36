//! Traffic for scripts: a table as text, JSON or CSV. Formats only fill a buffer.

use std::time::SystemTime;

use self::objects::ToObject;
use crate::model::human::Units;
use crate::model::options::Format;
use crate::model::traffic::columns::{
    Column, DropColumn, FlowColumn, InterfaceColumn, ProcessColumn, ProtocolColumn, SizeColumn,
};
use crate::model::traffic::facts::Missing;
use crate::model::traffic::names::Names;
use crate::model::traffic::rows;
use crate::model::traffic::selection::{By, Order, Selection};
use crate::model::traffic::view::TrafficView;

pub mod csv;
pub mod json;
mod objects;
pub mod text;

/// What is to be written, and how.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The traffic.
    pub view: &'a TrafficView,
    /// Which table, in which order.
    pub order: Order,
    /// Which of its rows.
    pub selection: &'a Selection,
    /// Names of ports, protocols and addresses.
    pub names: &'a Names,
    /// In which units text is.
    pub units: Units,
    /// When the traffic was read.
    pub time: SystemTime,
}

/// What comes before the first table.
#[must_use]
pub fn header(format: Format, by: By) -> String {
    match format {
        Format::Text | Format::Json => String::new(),
        Format::Csv => csv::header(by),
    }
}

/// Adds the table to `buffer`.
pub fn write(format: Format, page: &Page<'_>, buffer: &mut Vec<u8>) {
    match format {
        Format::Text => text::write(page, buffer),
        Format::Json => json::write(page, buffer),
        Format::Csv => csv::write(page, buffer),
    }
}

/// Why the table cannot be had, if it cannot.
#[must_use]
pub fn missing(by: By, view: &TrafficView) -> Option<&Missing> {
    view.missing.iter().find(|missing| missing.part == by.part())
}

/// What can be written of any table.
trait Table {
    /// Takes the rows that are shown, in their order; `None` where the table cannot be had.
    fn take<C: Column<Row: ToObject>>(&mut self, rows: Option<Vec<&C::Row>>);
}

/// Hands a table over.
fn hand_over(
    view: &TrafficView,
    order: &Order,
    selection: &Selection,
    names: &Names,
    to: &mut impl Table,
) {
    let interfaces = view.interfaces.as_deref();
    match order {
        Order::Process(sort) => {
            let rows = view.processes.as_deref();
            let rows = rows.map(|rows| selection.of_processes(rows, sort, names));
            to.take::<ProcessColumn>(rows);
        }
        Order::Flow(sort) => {
            let rows = view.flows.as_deref().map(|rows| selection.of(rows, sort, names));
            to.take::<FlowColumn>(rows);
        }
        Order::Protocol(sort) => {
            let rows = interfaces.map(rows::protocols);
            let rows = rows.as_deref().map(|rows| selection.of(rows, sort, names));
            to.take::<ProtocolColumn>(rows);
        }
        Order::Size(sort) => {
            let rows = interfaces.map(rows::sizes);
            let rows = rows.as_deref().map(|rows| selection.of(rows, sort, names));
            to.take::<SizeColumn>(rows);
        }
        Order::Drop(sort) => {
            let rows = view.drops.as_deref().map(|rows| selection.of(rows, sort, names));
            to.take::<DropColumn>(rows);
        }
        Order::Interface(sort) => {
            let rows = interfaces.map(|rows| selection.of(rows, sort, names));
            to.take::<InterfaceColumn>(rows);
        }
    }
}

#[cfg(test)]
mod samples;
