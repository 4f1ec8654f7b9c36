//! What the user has chosen, and what keys and the mouse make of it. Pure: it knows the rows by
//! their places and identities only, and nothing of how they are drawn.

use std::sync::Arc;

use ecow::EcoString;

use crate::model::human::{Scale, Unit, Units};
use crate::model::link::IfIndex;
use crate::sinks::tui::input::Key;
use crate::sinks::tui::keys::{self, Command};
use crate::sinks::tui::tabs::{RowId, TabName, tab};

/// Nobody types more; what a terminal pastes beyond it is left out.
const LONGEST_FILTER: usize = 200;

/// Of what the flows are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of an interface.
    Interface(IfIndex, EcoString),
    /// Of a process.
    Process {
        /// See [`RowId::Process`].
        id: u32,
        /// Process id.
        pid: u32,
        /// Its name.
        name: Arc<str>,
    },
}

/// A tab's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The column by which it is sorted.
    pub sort: usize,
    /// The other way around.
    pub reversed: bool,
    /// The row that is selected, wherever it is.
    pub selected: Option<RowId>,
    /// Its place, now or when it was last there.
    pub place: usize,
    /// The first row that is drawn.
    pub top: usize,
    /// What the rows must have.
    pub filter: String,
}

/// Where the user came from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    tab: TabName,
    scope: Option<Scope>,
    flows: Table,
}

/// Where Enter leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// To flows.
    Flows(Scope),
    /// To an interface.
    Interface(RowId),
    /// Nowhere, and why.
    Nowhere(&'static str),
}

/// What the state has to know of the rows as they are shown.
pub struct Rows<'a> {
    /// How many.
    pub count: usize,
    /// How many fit on the screen.
    pub page: usize,
    /// Which row is at a place.
    pub id: &'a dyn Fn(usize) -> Option<RowId>,
    /// Where Enter leads from a place.
    pub way: &'a dyn Fn(usize) -> Way,
}

/// What is to be done besides drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Draw,
    /// Everything is to be drawn anew.
    Redraw,
    /// The process stops.
    Suspend,
    /// It ends.
    Quit,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The tab that is shown.
    pub tab: TabName,
    /// Of what the flows are; `None`: all.
    pub scope: Option<Scope>,
    /// A filter is being typed.
    pub editing: bool,
    /// The screen stands still.
    pub paused: bool,
    /// The keys are shown, from this one on.
    pub help: Option<usize>,
    /// Kernel threads are shown.
    pub kernel_threads: bool,
    /// Protocols are shown for each interface.
    pub per_interface: bool,
    /// How numbers are shown.
    pub units: Units,
    /// A word about the last key.
    pub note: Option<&'static str>,
    tables: [Table; TabName::ALL.len()],
    trail: Vec<Step>,
}

impl State {
    /// The first screen.
    #[must_use]
    pub fn new(units: Units) -> Self {
        let table = |name: TabName| Table {
            sort: tab(name).sort,
            reversed: false,
            selected: None,
            place: 0,
            top: 0,
            filter: String::new(),
        };
        Self {
            tab: TabName::Interfaces,
            scope: None,
            editing: false,
            paused: false,
            help: None,
            kernel_threads: false,
            per_interface: false,
            units,
            note: None,
            tables: TabName::ALL.map(table),
            trail: Vec::new(),
        }
    }

    /// The table that is shown.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.tables[self.tab.index()]
    }

    /// The table that is shown.
    pub const fn table_mut(&mut self) -> &mut Table {
        &mut self.tables[self.tab.index()]
    }

    /// Whether Esc leads back to where the user came from.
    #[must_use]
    pub const fn is_inside(&self) -> bool {
        !self.trail.is_empty()
    }

    /// A key was pressed.
    pub fn key(&mut self, key: Key, rows: &Rows<'_>) -> Effect {
        self.note = None;
        if self.editing && self.edit(key) {
            return Effect::Draw;
        }
        match keys::command(key) {
            Some(command) => self.command(command, rows),
            None => Effect::Draw,
        }
    }

    pub(super) fn begin_with(&mut self, filter: &str, kernel_threads: bool) {
        self.kernel_threads = kernel_threads;
        self.tables.iter_mut().for_each(|table| filter.clone_into(&mut table.filter));
    }

    /// Whether the key belonged to the filter.
    fn edit(&mut self, key: Key) -> bool {
        let filter = &mut self.tables[self.tab.index()].filter;
        match key {
            Key::Char(character) if filter.len() < LONGEST_FILTER => filter.push(character),
            Key::Char(_) | Key::Delete | Key::Left | Key::Right | Key::Tab => {}
            Key::Backspace => drop(filter.pop()),
            Key::Ctrl('u') => filter.clear(),
            Key::Ctrl('w') => {
                let end = filter.trim_end().rfind(' ').map_or(0, |space| space + 1);
                filter.truncate(end);
            }
            Key::Enter => self.editing = false,
            Key::Esc => {
                filter.clear();
                self.editing = false;
            }
            _ => return false,
        }
        true
    }

    fn command(&mut self, command: Command, rows: &Rows<'_>) -> Effect {
        if let Some(first) = self.help.take() {
            // It goes with the first key that does not move it.
            match command {
                Command::Up => self.help = Some(first.saturating_sub(1)),
                Command::Down => self.help = Some((first + 1).min(keys::KEYS.len())),
                Command::Back | Command::Help | Command::Enter => return Effect::Draw,
                _ => return self.command(command, rows),
            }
            return Effect::Draw;
        }
        match command {
            Command::Quit => return Effect::Quit,
            Command::Suspend => return Effect::Suspend,
            Command::Redraw => return Effect::Redraw,
            Command::Help => self.help = Some(0),
            Command::Back => self.back(),
            Command::Enter => self.enter(rows),
            Command::Tab(name) => self.go_to(name),
            Command::NextTab => self.go_to(self.neighbour(1)),
            Command::PreviousTab => self.go_to(self.neighbour(TabName::ALL.len() - 1)),
            Command::SortLeft => self.sort_by_neighbour(false),
            Command::SortRight => self.sort_by_neighbour(true),
            Command::Reverse => self.table_mut().reversed ^= true,
            Command::Filter => self.editing = true,
            Command::Pause => self.paused ^= true,
            Command::Up => self.step(rows, |place| place.saturating_sub(1)),
            Command::Down => self.step(rows, |place| place + 1),
            Command::PageUp => self.move_to(rows, |place, page| place.saturating_sub(page)),
            Command::PageDown => self.move_to(rows, |place, page| place + page),
            Command::First => self.move_to(rows, |_, _| 0),
            Command::Last => self.move_to(rows, |_, _| usize::MAX),
            Command::Bits => self.units.unit = other_unit(self.units.unit),
            Command::Human => self.units.scale = other_scale(self.units.scale),
            Command::KernelThreads => {
                self.kernel_threads ^= true;
                self.note = Some(if self.kernel_threads {
                    "kernel threads are shown"
                } else {
                    "kernel threads are hidden"
                });
            }
            Command::PerInterface => self.per_interface ^= true,
        }
        Effect::Draw
    }

    fn neighbour(&self, steps: usize) -> TabName {
        TabName::ALL[(self.tab.index() + steps) % TabName::ALL.len()]
    }

    /// To another tab, from wherever.
    pub fn go_to(&mut self, name: TabName) {
        if let Some(first) = self.trail.drain(..).next() {
            self.tables[TabName::Flows.index()] = first.flows;
            self.scope = first.scope;
        }
        self.tab = name;
        self.editing = false;
        self.help = None;
    }

    /// Sorts by a column; by the one that it is sorted by already, the other way around.
    pub fn sort_by(&mut self, column: usize) {
        if !tab(self.tab).columns[column].is_sortable() {
            return;
        }
        let table = self.table_mut();
        table.reversed = table.sort == column && !table.reversed;
        table.sort = column;
    }

    /// Any column, also one that there was no room for so far.
    fn sort_by_neighbour(&mut self, right: bool) {
        let columns = tab(self.tab).columns;
        let (count, sort) = (columns.len(), self.table().sort);
        let beside = |steps: usize| (sort + if right { steps } else { count - steps }) % count;
        let column = (1..=count).map(beside).find(|column| columns[*column].is_sortable());
        let table = self.table_mut();
        (table.sort, table.reversed) = (column.unwrap_or(sort), false);
    }

    fn back(&mut self) {
        if !self.table().filter.is_empty() {
            self.table_mut().filter.clear();
        } else if let Some(step) = self.trail.pop() {
            self.tables[TabName::Flows.index()] = step.flows;
            (self.tab, self.scope) = (step.tab, step.scope);
        } else {
            self.table_mut().selected = None;
            self.table_mut().top = 0;
        }
    }

    /// Into the row that is selected.
    pub(super) fn enter(&mut self, rows: &Rows<'_>) {
        if self.table().selected.is_none() {
            return self.select(rows, self.table().top);
        }
        match (rows.way)(self.table().place) {
            Way::Nowhere(why) => self.note = Some(why),
            Way::Interface(row) => {
                self.go_to(TabName::Interfaces);
                self.table_mut().selected = Some(row);
            }
            Way::Flows(scope) if self.scope.as_ref() == Some(&scope) => {
                self.note = Some("these are its flows");
            }
            Way::Flows(scope) => {
                let flows = &mut self.tables[TabName::Flows.index()];
                let fresh = Table {
                    selected: None,
                    place: 0,
                    top: 0,
                    filter: String::new(),
                    ..flows.clone()
                };
                let flows = std::mem::replace(flows, fresh);
                self.trail.push(Step { tab: self.tab, scope: self.scope.take(), flows });
                (self.tab, self.scope) = (TabName::Flows, Some(scope));
            }
        }
    }
}

const fn other_unit(unit: Unit) -> Unit {
    match unit {
        Unit::Bits => Unit::Bytes,
        Unit::Bytes => Unit::Bits,
    }
}

const fn other_scale(scale: Scale) -> Scale {
    match scale {
        Scale::Raw => Scale::Si,
        Scale::Si | Scale::Iec => Scale::Raw,
    }
}
