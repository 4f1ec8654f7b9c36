//! The tabs, as data: a tab is a file here and a line in [`tab`].

use std::sync::Arc;

use super::cell::Cell;
use super::data::{Class, Data};
use super::theme::Tone;
use crate::model::link::IfIndex;
use crate::model::traffic::facts::Part;
use crate::model::traffic::view::ProcessView;

mod drops;
mod events;
mod flows;
mod interfaces;
mod processes;
mod protocols;

/// Which tab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TabName {
    /// Interfaces.
    Interfaces,
    /// Processes.
    Processes,
    /// Flows.
    Flows,
    /// Protocols and sizes.
    Protocols,
    /// Drops.
    Drops,
    /// Events.
    Events,
}

impl TabName {
    /// All, from left to right.
    pub const ALL: [Self; 6] = [
        Self::Interfaces,
        Self::Processes,
        Self::Flows,
        Self::Protocols,
        Self::Drops,
        Self::Events,
    ];

    /// Its place.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A tab.
pub struct Tab {
    /// Its title.
    pub title: &'static str,
    /// Its title where there is little room.
    pub short: &'static str,
    /// What its rows are called.
    pub rows: &'static str,
    /// What it needs of the traffic.
    pub part: Option<Part>,
    /// Its columns.
    pub columns: &'static [Column],
    /// By which column it is sorted at first.
    pub sort: usize,
    /// How many rows there are.
    pub count: fn(&Data) -> usize,
    /// Which row it is.
    pub id: fn(&Data, usize) -> RowId,
    /// How important it is.
    pub tone: fn(&Data, usize) -> Tone,
    /// What there is to say about it besides: a name and its value.
    pub detail: fn(&Data, usize, &mut Tell<'_>),
}

/// Takes a name, which may be empty, and its value.
pub type Tell<'a> = dyn FnMut(&str, Cell<'_>) + 'a;

/// A column.
pub struct Column {
    /// Its title.
    pub title: &'static str,
    /// In which order columns are left out where there is no room: 0 is always there.
    pub rank: u8,
    /// How wide.
    pub width: Width,
    /// What is in it.
    pub cell: fn(&Data, usize) -> Cell<'_>,
}

/// How wide a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// As bytes need it.
    Amount,
    /// As bytes per second need it.
    Rate,
    /// As a number of things needs it.
    Count,
    /// As the time of the day needs it.
    Clock,
    /// So wide, for words.
    Exactly(u16),
    /// So wide, for other numbers and times.
    Digits(u16),
    /// So wide at least and at most; the room that is left is shared.
    Between(u16, u16),
    /// The same, for a picture.
    Picture(u16, u16),
}

const fn column(
    title: &'static str,
    rank: u8,
    width: Width,
    cell: fn(&Data, usize) -> Cell<'_>,
) -> Column {
    Column { title, rank, width, cell }
}

impl Column {
    /// Whether rows can be sorted by it: a picture is neither small nor large.
    #[must_use]
    pub const fn is_sortable(&self) -> bool {
        !matches!(self.width, Width::Picture(..))
    }

    /// Whether it is written from the right, title and all.
    #[must_use]
    pub const fn is_right(&self) -> bool {
        use Width::{Amount, Count, Digits, Rate};
        matches!(self.width, Amount | Rate | Count | Digits(_))
    }

    /// Whether the largest or latest come first, unless the order is turned around.
    #[must_use]
    pub const fn is_descending(&self) -> bool {
        matches!(self.width, Width::Amount | Width::Rate | Width::Count | Width::Clock)
    }
}

/// What a row stands for, whatever its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RowId {
    /// By its key.
    Interface(u32),
    /// A process.
    Process {
        /// See [`ProcessView::id`].
        id: u32,
        /// See [`ProcessView::life`].
        life: u32,
    },
    /// A flow.
    Flow {
        /// See [`crate::model::traffic::view::FlowView::id`].
        id: u32,
        /// See [`crate::model::traffic::view::FlowView::life`].
        life: u32,
    },
    /// A protocol or size, of an interface or of all.
    Class(Class, Option<IfIndex>),
    /// A reason, of an interface.
    Drop(Option<IfIndex>, Arc<str>),
    /// By its number.
    Event(u64),
}

impl RowId {
    /// A process's.
    #[must_use]
    pub const fn of_process(process: &ProcessView) -> Self {
        Self::Process { id: process.id, life: process.life }
    }
}

/// The tab of this name.
#[must_use]
pub const fn tab(name: TabName) -> &'static Tab {
    match name {
        TabName::Interfaces => &interfaces::TAB,
        TabName::Processes => &processes::TAB,
        TabName::Flows => &flows::TAB,
        TabName::Protocols => &protocols::TAB,
        TabName::Drops => &drops::TAB,
        TabName::Events => &events::TAB,
    }
}
