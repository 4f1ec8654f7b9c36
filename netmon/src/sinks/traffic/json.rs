//! JSON: one object a page, one page a line. Field names are stable; `null` is "not known". The
//! lines of `netmon run --traffic` have the same object, with all tables ([`Traffic::all`]).

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::objects::{Alerts, FlowTable, ToObject};
use super::{Page, Table, hand_over};
use crate::model::traffic::columns::Column;
use crate::model::traffic::names::Names;
use crate::model::traffic::selection::{By, Order, Selection};
use crate::model::traffic::view::TrafficView;
use crate::sinks::json::milliseconds;

/// What is known of the traffic, as JSON.
#[derive(Clone, Copy, Debug)]
pub struct Traffic<'a> {
    view: &'a TrafficView,
    /// `None`: all tables, each in its usual order.
    order: Option<Order>,
    selection: &'a Selection,
    names: &'a Names,
}

impl<'a> Traffic<'a> {
    /// With all tables, of each the rows that are selected.
    #[must_use]
    pub const fn all(view: &'a TrafficView, selection: &'a Selection, names: &'a Names) -> Self {
        Self { view, order: None, selection, names }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time_ms: u64,
    traffic: Traffic<'a>,
}

/// Adds one line.
pub fn write(page: &Page<'_>, buffer: &mut Vec<u8>) {
    let Page { view, order, selection, names, units: _, time } = *page;
    let traffic = Traffic { view, order: Some(order), selection, names };
    let start = buffer.len();
    let line = Line { time_ms: milliseconds(time), traffic };
    if let Err(error) = serde_json::to_writer(&mut *buffer, &line) {
        // Writing into memory fails only for values that this structure does not have.
        tracing::error!("no JSON for the traffic: {error}");
        buffer.truncate(start);
        return;
    }
    buffer.push(b'\n');
}

impl Serialize for Traffic<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { view, order, .. } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("elapsed_s", &view.elapsed.map(|elapsed| elapsed.as_secs_f64()))?;
        map.serialize_entry("alerts", &Alerts::from(view.alerts))?;
        map.serialize_entry("missing", &view.missing)?;
        match order {
            Some(order) => self.table(order, &mut map)?,
            None => By::ALL.into_iter().try_for_each(|by| self.table(&by.into(), &mut map))?,
        }
        map.end()
    }
}

impl Traffic<'_> {
    /// Adds a table, and what is known of the table itself.
    fn table<M: SerializeMap>(&self, order: &Order, map: &mut M) -> Result<(), M::Error> {
        let Self { view, selection, names, .. } = *self;
        let name = match order.by() {
            By::Process => "processes",
            By::Flow => "flows",
            By::Protocol => "protocols",
            By::Size => "sizes",
            By::Drop => "drops",
            By::Interface => "interfaces",
        };
        let mut entry = Entry { map: &mut *map, name, names, result: Ok(()) };
        hand_over(view, order, selection, names, &mut entry);
        entry.result?;
        match order.by() {
            By::Process => {
                let untracked = view.processes.as_ref().map(|_| view.processes_untracked);
                map.serialize_entry("processes_untracked_bytes", &untracked)
            }
            By::Flow => {
                let table = view.flows.as_ref().map(|_| FlowTable::from(view.flow_table));
                map.serialize_entry("flow_table", &table)
            }
            By::Interface => {
                let width = view.burst_width.map(|width| width.as_secs_f64() * 1e3);
                map.serialize_entry("burst_width_ms", &width)
            }
            By::Protocol | By::Size | By::Drop => Ok(()),
        }
    }
}

/// Where the rows of a table go.
struct Entry<'a, M: SerializeMap> {
    map: &'a mut M,
    name: &'static str,
    names: &'a Names,
    result: Result<(), M::Error>,
}

impl<M: SerializeMap> Table for Entry<'_, M> {
    fn take<C: Column<Row: ToObject>>(&mut self, rows: Option<Vec<&C::Row>>) {
        let rows = rows.map(|rows| Objects { rows, names: self.names });
        self.result = self.map.serialize_entry(self.name, &rows);
    }
}

struct Objects<'a, R> {
    rows: Vec<&'a R>,
    names: &'a Names,
}

impl<R: ToObject> Serialize for Objects<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.iter().map(|row| row.object(self.names)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn json(page: &Page<'_>) -> serde_json::Value {
        let mut buffer = Vec::new();
        write(page, &mut buffer);
        assert_eq!(buffer.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(&buffer).unwrap()
    }

    #[test]
    fn json_is_exactly_this() {
        let all = samples::with_page(By::Flow, |page| {
            serde_json::to_value(Traffic::all(page.view, page.selection, page.names)).unwrap()
        });
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("golden/traffic.json")).unwrap();
        assert_eq!(all, golden);
    }

    #[test]
    fn a_page_has_a_part_of_the_same() {
        for by in By::ALL {
            samples::with_page(by, |page| {
                let all = Traffic::all(page.view, page.selection, page.names);
                let all = serde_json::to_value(all).unwrap();
                let page = json(page);
                assert_eq!(page["time_ms"], 1_700_000_000_000_u64);
                let page = page["traffic"].as_object().unwrap();
                assert!((4..=5).contains(&page.len()), "{page:?}");
                page.iter().for_each(|(name, part)| assert_eq!(*part, all[name], "{name}"));
            });
        }
    }

    #[test]
    fn what_cannot_be_had_is_null() {
        let nothing = crate::model::traffic::samples::nothing();
        samples::with_page(By::Process, |page| {
            let all = Traffic::all(&nothing, page.selection, page.names);
            let all = serde_json::to_value(all).unwrap();
            assert_eq!(all["missing"][0]["part"], "processes");
            for (name, part) in all.as_object().unwrap() {
                assert!(part.is_null() || ["alerts", "missing"].contains(&&**name), "{name}");
            }
        });
    }
}
