//! The order of a table.

use super::columns::Column;
use super::names::Names;

/// By which column, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort<C> {
    /// The column.
    pub column: C,
    /// The other way round than the column is sorted by itself: amounts the largest first, names
    /// and numbers that are names from the smallest on.
    pub reversed: bool,
}

impl<C: Column> Default for Sort<C> {
    fn default() -> Self {
        Self { column: C::DEFAULT, reversed: false }
    }
}

impl<C: Column> Sort<C> {
    /// Reads a column's name or title, with `-` in front for the other way round.
    ///
    /// # Errors
    /// In words for people, with the names that there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, reversed) = match text.strip_prefix('-') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let column = C::named(name).ok_or_else(|| {
            let names: Vec<&str> = C::ALL.iter().map(|column| column.name()).collect();
            format!("there is no column '{name}'; there are: {}", names.join(", "))
        })?;
        Ok(Self { column, reversed })
    }

    /// Sorts. Rows with the same value keep an order of their own, which does not change from
    /// tick to tick; those without a value are last, whichever way.
    pub fn sort(&self, rows: &mut [&C::Row], names: &Names) {
        let Self { column, reversed } = *self;
        let descending = column.kind().descends() != reversed;
        // Each value is made once: some are put together from several.
        let mut keyed: Vec<_> = rows.iter().map(|row| (column.value(row, names), *row)).collect();
        keyed.sort_unstable_by(|(a, row_a), (b, row_b)| {
            a.order(b, descending).then_with(|| C::tie(row_a, row_b))
        });
        for (row, (_, sorted)) in rows.iter_mut().zip(keyed) {
            *row = sorted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::traffic::columns::{FlowColumn, InterfaceColumn, ProcessColumn};
    use crate::model::traffic::samples;

    fn pids(sort: &str) -> Vec<u32> {
        let view = samples::view();
        let mut rows: Vec<_> = view.processes.iter().flatten().collect();
        Sort::<ProcessColumn>::parse(sort).unwrap().sort(&mut rows, &Names::default());
        rows.iter().map(|row| row.pid).collect()
    }

    #[test]
    fn amounts_descend_names_ascend_and_what_is_absent_is_last() {
        let odd = 4_194_304;
        assert_eq!(pids("rx"), [101, 77, odd]);
        assert_eq!(pids("-rx"), [odd, 77, 101]);
        assert_eq!(pids("pid"), [77, 101, odd]);
        assert_eq!(pids("user"), [101, 77, odd]);
        assert_eq!(pids("-user"), [77, 101, odd], "without a user, last again");
        assert_eq!(pids("RX_BYTES"), [101, 77, odd]);
        assert_eq!(pids("alert"), [101, 77, odd], "ties go by the process id");
    }

    #[test]
    fn interfaces_are_in_natural_order() {
        let view = samples::view();
        let mut rows: Vec<_> = view.interfaces.iter().flatten().collect();
        let sort: Sort<InterfaceColumn> = Sort::parse("-interface").unwrap();
        sort.sort(&mut rows, &Names::default());
        let shown: Vec<&str> = rows.iter().map(|row| &*row.interface).collect();
        assert_eq!(shown, ["eth11", "eth0"]);
    }

    #[test]
    fn names_are_not_there_twice() {
        fn check<C: Column + std::fmt::Debug>() {
            for column in C::ALL {
                assert_eq!(C::named(column.name()), Some(*column));
                assert_eq!(C::named(&column.title().to_lowercase()), Some(*column));
            }
        }
        check::<ProcessColumn>();
        check::<FlowColumn>();
        check::<InterfaceColumn>();
        check::<crate::model::traffic::columns::ProtocolColumn>();
        check::<crate::model::traffic::columns::SizeColumn>();
        check::<crate::model::traffic::columns::DropColumn>();
        let error = Sort::<FlowColumn>::parse("nothing").unwrap_err();
        assert!(
            error.starts_with("there is no column 'nothing'; there are: interface, "),
            "{error}"
        );
    }
}
