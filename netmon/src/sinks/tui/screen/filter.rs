//! What the rows must have: the model's filters ([`filter`]), here for the tabs that are not
//! tables of the model.
//!
//! [`filter`]: crate::model::traffic::filter

use std::cmp::Ordering;

use ecow::EcoString;

use crate::model::traffic::columns::{Column, DropColumn, FlowColumn, Kind, ProcessColumn, Value};
use crate::model::traffic::filter::{self, Key};
use crate::model::traffic::names::Names;
use crate::sinks::tui::cell::Cell;
use crate::sinks::tui::data::Data;
use crate::sinks::tui::tabs::{TabName, tab};

/// A filter as it was typed, and what it means.
#[derive(Debug, Default)]
pub(super) struct Filter {
    text: String,
    parsed: filter::Filter,
}

impl Filter {
    /// Reads it, if it is another one now.
    pub(super) fn set(&mut self, text: &str, names: &Names) {
        if self.text != text {
            text.clone_into(&mut self.text);
            self.parsed = filter::Filter::parse(text, names);
        }
    }

    /// The first thing that is wrong with it, or that says nothing about this tab.
    pub(super) fn error(&self, name: TabName) -> Option<String> {
        let foreign = || {
            let foreign = match name {
                TabName::Processes => self.parsed.foreign::<ProcessColumn>(),
                TabName::Flows => self.parsed.foreign::<FlowColumn>(),
                TabName::Drops => self.parsed.foreign::<DropColumn>(),
                TabName::Interfaces | TabName::Protocols | TabName::Events => {
                    self.parsed.foreign::<Part>()
                }
            };
            foreign.into_iter().next()
        };
        self.parsed.errors.first().cloned().or_else(foreign).map(|error| error.to_string())
    }

    /// Whether a row is shown.
    pub(super) fn shows(&self, data: &Data, name: TabName, row: usize) -> bool {
        if self.parsed.is_empty() {
            return true;
        }
        let (parsed, names) = (&self.parsed, &data.names);
        match name {
            TabName::Processes => parsed.shows::<ProcessColumn>(&data.processes()[row], names),
            TabName::Flows => parsed.shows::<FlowColumn>(&data.flows()[row], names),
            TabName::Drops => parsed.shows::<DropColumn>(&data.drops()[row], names),
            TabName::Interfaces | TabName::Protocols | TabName::Events => {
                parsed.shows::<Part>(&Worded::of(data, name, row), names)
            }
        }
    }
}

/// A row of any tab, by its words.
struct Worded {
    interface: Option<EcoString>,
    words: String,
}

impl Worded {
    fn of(data: &Data, name: TabName, row: usize) -> Self {
        let mut words = String::new();
        for column in tab(name).columns {
            if let Cell::Text(text) | Cell::State(text, _) = (column.cell)(data, row) {
                words.push_str(text);
                // No word has it, so none is found across two columns.
                words.push('\n');
            }
        }
        let interface = match name {
            TabName::Events => data.event(row).event.interface.clone(),
            TabName::Protocols => {
                let place = data.classes[row].interface;
                let traffic = place.and_then(|place| data.interface_traffic().get(place));
                traffic.map(|traffic| traffic.interface.clone())
            }
            _ => data.shown.interfaces.get(row).map(|view| view.name.clone()),
        };
        Self { interface, words }
    }
}

/// What [`Worded`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Interface,
    Words,
}

impl Column for Part {
    type Row = Worded;
    const ALL: &'static [Self] = &[Self::Interface, Self::Words];
    const SHOWN: &'static [Self] = Self::ALL;
    const DEFAULT: Self = Self::Words;

    fn name(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Words => "words",
        }
    }

    fn title(self) -> &'static str {
        self.name()
    }

    fn kind(self) -> Kind {
        Kind::Text
    }

    fn key(self) -> Option<Key> {
        match self {
            Self::Interface => Some(Key::Interface),
            Self::Words => None,
        }
    }

    fn value<'a>(self, row: &'a Worded, _: &Names) -> Value<'a> {
        match self {
            Self::Interface => row.interface.as_ref().into(),
            Self::Words => Value::Text(&row.words),
        }
    }

    fn tie(left: &Worded, right: &Worded) -> Ordering {
        left.words.cmp(&right.words)
    }
}
