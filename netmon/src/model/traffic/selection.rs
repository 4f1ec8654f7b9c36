//! What of the traffic is shown: which table, in which order, which rows, how many.

use std::fmt;

use super::columns::{
    Column, DropColumn, FlowColumn, InterfaceColumn, ProcessColumn, ProtocolColumn, SizeColumn,
};
use super::facts::Part;
use super::filter::{Filter, FilterError};
use super::names::Names;
use super::sort::Sort;
use super::view::ProcessView;

/// A table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum By {
    /// Processes, by what their sockets carry
    #[default]
    Process,
    /// Flows: interface, direction, protocol, addresses, ports
    Flow,
    /// Protocols of each interface and direction
    Protocol,
    /// Packet sizes of each interface and direction
    Size,
    /// Packets that the kernel dropped, with the reason
    Drop,
    /// Interfaces, with their bursts
    Interface,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Process, Self::Flow, Self::Protocol, Self::Size, Self::Drop, Self::Interface];

    /// Which part of the facts it is made of.
    #[must_use]
    pub const fn part(self) -> Part {
        match self {
            Self::Process => Part::Processes,
            Self::Flow | Self::Protocol | Self::Size | Self::Interface => Part::Flows,
            Self::Drop => Part::Drops,
        }
    }

    /// Which parts it tells of: flows have the processes that have their sockets.
    #[must_use]
    pub const fn parts(self) -> &'static [Part] {
        match self {
            Self::Process => &[Part::Processes],
            Self::Flow => &[Part::Flows, Part::Processes],
            Self::Protocol | Self::Size | Self::Interface => &[Part::Flows],
            Self::Drop => &[Part::Drops],
        }
    }
}

impl fmt::Display for By {
    /// As it is asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::Flow => "flow",
            Self::Protocol => "protocol",
            Self::Size => "size",
            Self::Drop => "drop",
            Self::Interface => "interface",
        })
    }
}

/// A table and its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Of [`By::Process`].
    Process(Sort<ProcessColumn>),
    /// Of [`By::Flow`].
    Flow(Sort<FlowColumn>),
    /// Of [`By::Protocol`].
    Protocol(Sort<ProtocolColumn>),
    /// Of [`By::Size`].
    Size(Sort<SizeColumn>),
    /// Of [`By::Drop`].
    Drop(Sort<DropColumn>),
    /// Of [`By::Interface`].
    Interface(Sort<InterfaceColumn>),
}

impl From<By> for Order {
    /// The usual order.
    fn from(by: By) -> Self {
        match by {
            By::Process => Self::Process(Sort::default()),
            By::Flow => Self::Flow(Sort::default()),
            By::Protocol => Self::Protocol(Sort::default()),
            By::Size => Self::Size(Sort::default()),
            By::Drop => Self::Drop(Sort::default()),
            By::Interface => Self::Interface(Sort::default()),
        }
    }
}

impl Order {
    /// Reads what is given for `--sort`: see [`Sort::parse`].
    ///
    /// # Errors
    /// In words for people, with the columns that the table has.
    pub fn parse(by: By, sort: &str) -> Result<Self, String> {
        Ok(match by {
            By::Process => Self::Process(Sort::parse(sort)?),
            By::Flow => Self::Flow(Sort::parse(sort)?),
            By::Protocol => Self::Protocol(Sort::parse(sort)?),
            By::Size => Self::Size(Sort::parse(sort)?),
            By::Drop => Self::Drop(Sort::parse(sort)?),
            By::Interface => Self::Interface(Sort::parse(sort)?),
        })
    }

    /// The table.
    #[must_use]
    pub const fn by(&self) -> By {
        match self {
            Self::Process(_) => By::Process,
            Self::Flow(_) => By::Flow,
            Self::Protocol(_) => By::Protocol,
            Self::Size(_) => By::Size,
            Self::Drop(_) => By::Drop,
            Self::Interface(_) => By::Interface,
        }
    }
}

/// Which rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Those that it shows.
    pub filter: Filter,
    /// So many of each table; `None`: all.
    pub limit: Option<usize>,
    /// The kernel's own processes, too.
    pub kernel_threads: bool,
}

impl Selection {
    /// The first thing that is wrong with the filter for this table: a word that cannot be read,
    /// or one that the table has nothing for. On a command line that is an error; where it is
    /// typed, such a word says nothing.
    ///
    /// # Errors
    /// The word.
    pub fn check(&self, by: By) -> Result<(), FilterError> {
        let foreign = match by {
            By::Process => self.filter.foreign::<ProcessColumn>(),
            By::Flow => self.filter.foreign::<FlowColumn>(),
            By::Protocol => self.filter.foreign::<ProtocolColumn>(),
            By::Size => self.filter.foreign::<SizeColumn>(),
            By::Drop => self.filter.foreign::<DropColumn>(),
            By::Interface => self.filter.foreign::<InterfaceColumn>(),
        };
        self.filter.errors.iter().cloned().chain(foreign).next().map_or(Ok(()), Err)
    }

    /// The rows of a table that are shown, in their order.
    #[must_use]
    pub fn of<'a, C: Column>(
        &self,
        rows: impl IntoIterator<Item = &'a C::Row>,
        sort: &Sort<C>,
        names: &Names,
    ) -> Vec<&'a C::Row> {
        /// So many at least are sorted at once: of many rows few are kept in between.
        const AT_ONCE: usize = 4_096;
        let limit = self.limit.unwrap_or(usize::MAX);
        let most = limit.saturating_add(AT_ONCE.max(limit));
        let mut first = Vec::new();
        for row in rows.into_iter().filter(|row| self.filter.shows::<C>(row, names)) {
            if first.len() == most {
                sort.sort(&mut first, names);
                first.truncate(limit);
            }
            first.push(row);
        }
        sort.sort(&mut first, names);
        first.truncate(limit);
        first
    }

    /// The same of processes, of which the kernel's own are hidden unless they are asked for.
    #[must_use]
    pub fn of_processes<'a>(
        &self,
        rows: &'a [ProcessView],
        sort: &Sort<ProcessColumn>,
        names: &Names,
    ) -> Vec<&'a ProcessView> {
        self.of(rows.iter().filter(|row| self.kernel_threads || !row.kernel_thread), sort, names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::traffic::samples;

    #[test]
    fn the_kernels_own_are_hidden_and_the_rest_is_cut() {
        let mut view = samples::view().processes.unwrap();
        view[0].kernel_thread = true;
        let pids = |selection: &Selection| -> Vec<u32> {
            let rows = selection.of_processes(&view, &Sort::default(), &Names::default());
            rows.iter().map(|row| row.pid).collect()
        };
        assert_eq!(pids(&Selection::default()), [77, 4_194_304]);
        let all = Selection { kernel_threads: true, ..Selection::default() };
        assert_eq!(pids(&all), [101, 77, 4_194_304]);
        assert_eq!(pids(&Selection { limit: Some(1), ..all }), [101]);
    }

    #[test]
    fn a_filter_is_checked_for_the_table() {
        let names = Names::default();
        let filter = Filter::parse("port:443", &names);
        let selection = Selection { filter, ..Selection::default() };
        assert_eq!(selection.check(By::Flow), Ok(()));
        let why = selection.check(By::Drop).unwrap_err().to_string();
        assert_eq!(why, "'port:443': this table has no such column");
        let filter = Filter::parse("x prot:1", &names);
        assert!(Selection { filter, ..Selection::default() }.check(By::Flow).is_err());
    }

    #[test]
    fn every_table_has_an_order() {
        for by in By::ALL {
            assert_eq!(Order::from(by).by(), by);
            assert!(by.parts().contains(&by.part()));
            assert_eq!(<By as clap::ValueEnum>::from_str(&by.to_string(), false), Ok(by));
            assert_eq!(Order::parse(by, "interface").is_ok(), by != By::Process, "{by:?}");
        }
    }
}
