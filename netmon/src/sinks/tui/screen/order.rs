//! Which rows are shown, and in which order. Once for each change of the data or the state.

use super::filter::Filter;
use super::state::{Scope, State};
use crate::sinks::tui::cell::Cell;
use crate::sinks::tui::data::Data;
use crate::sinks::tui::tabs::{TabName, tab};

/// Of more rows the cells that they are sorted by are made anew for each comparison: that takes
/// twice the time, and no memory.
const MANY: usize = 16_384;

/// Fills `order` with the places of the rows in the data.
pub(super) fn order(data: &Data, state: &State, filter: &Filter, order: &mut Vec<u32>) {
    let tab = tab(state.tab);
    let table = state.table();
    let count = u32::try_from((tab.count)(data)).unwrap_or(u32::MAX);
    let wanted = |row: usize| is_in_scope(data, state, row) && filter.shows(data, state.tab, row);
    let column = &tab.columns[table.sort.min(tab.columns.len() - 1)];
    let descending = column.is_descending() != table.reversed;
    let cell = |row: u32| (column.cell)(data, row as usize);
    let compare = |(left, a): (&Cell<'_>, u32), (right, b): (&Cell<'_>, u32)| {
        let known = (*left == Cell::Absent).cmp(&(*right == Cell::Absent));
        let order = left.compare(right);
        let order = if descending { order.reverse() } else { order };
        // By the last, equal rows do not change places.
        known.then(order).then(a.cmp(&b))
    };
    order.clear();
    order.extend((0..count).filter(|row| wanted(*row as usize)));
    if order.len() > MANY {
        order.sort_unstable_by(|a, b| compare((&cell(*a), *a), (&cell(*b), *b)));
        return;
    }
    let mut keyed: Vec<(Cell<'_>, u32)> = order.iter().map(|row| (cell(*row), *row)).collect();
    keyed.sort_unstable_by(|(left, a), (right, b)| compare((left, *a), (right, *b)));
    for (row, (_, sorted)) in order.iter_mut().zip(keyed) {
        *row = sorted;
    }
}

fn is_in_scope(data: &Data, state: &State, row: usize) -> bool {
    match state.tab {
        TabName::Processes => state.kernel_threads || !data.processes()[row].kernel_thread,
        TabName::Protocols => data.classes[row].interface.is_some() == state.per_interface,
        TabName::Flows => {
            let flow = &data.flows()[row];
            match &state.scope {
                None => true,
                Some(Scope::Interface(ifindex, _)) => flow.key.ifindex == *ifindex,
                Some(Scope::Process { id, pid, .. }) => flow
                    .process
                    .as_ref()
                    .is_some_and(|process| (process.id, process.pid) == (*id, *pid)),
            }
        }
        TabName::Interfaces | TabName::Drops | TabName::Events => true,
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::model::human::Units;
    use crate::model::traffic::view::{FlowRates, Speed, TrafficView};
    use crate::sinks::tui::samples::Router;

    /// Numbers that are no chance, and look like one.
    struct Mixed(u64);

    impl Mixed {
        fn one_of<T: Clone>(&mut self, of: &[T]) -> T {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            of[(self.0 >> 33) as usize % of.len()].clone()
        }

        fn rate(&mut self) -> Option<f64> {
            self.one_of(&[None, Some(0.0), Some(-0.0), Some(f64::NAN), Some(7.5), Some(1e9)])
        }

        fn speed(&mut self) -> Speed {
            Speed { now: self.rate(), average: self.rate(), peak: self.rate() }
        }
    }

    /// What a column may have, known and unknown, in any order.
    fn mix(traffic: &mut TrafficView, mixed: &mut Mixed) {
        for process in traffic.processes.iter_mut().flatten() {
            process.user = mixed.one_of(&[None, Some("root".into()), Some("1000".into())]);
            process.uid = mixed.one_of(&[0, 7, 1000, 65_534]);
            process.cgroup = mixed.one_of(&[None, Some("a.service".into()), Some("".into())]);
            process.command = mixed.one_of(&[None, Some("a b".into()), Some("a10".into())]);
            (process.rx, process.tx) = (mixed.speed(), mixed.speed());
        }
        for flow in traffic.flows.iter_mut().flatten() {
            flow.rates = FlowRates::new(mixed.speed(), mixed.rate());
            flow.key.vlan = mixed.one_of(&[None, Some(0), Some(7)]);
            flow.last = Duration::from_millis(mixed.one_of(&[0, 1, 1_000])).into();
        }
        for traffic in traffic.interfaces.iter_mut().flatten() {
            (traffic.rx.burst, traffic.tx.burst) = (mixed.rate(), mixed.rate());
            for (_, speed) in &mut traffic.rx.protocols {
                *speed = mixed.speed();
            }
        }
        for drops in traffic.drops.iter_mut().flatten() {
            (drops.packets_per_s, drops.packets) = (mixed.rate(), mixed.one_of(&[0, 1, 9]));
        }
    }

    /// std's sort may panic where it is not.
    #[test]
    fn rows_are_in_order_by_any_column() {
        let mut router = Router::new(30, 300, 300);
        let mut data = Data::default();
        for _ in 0..3 {
            router.tick();
        }
        mix(&mut router.traffic, &mut Mixed(1));
        data.shown.fill(Instant::now(), &router.view, Some(&router.traffic));
        data.changed();
        let filter = Filter::default();
        let mut state = State::new(Units::default());
        (state.kernel_threads, state.per_interface) = (true, true);
        for name in TabName::ALL {
            state.go_to(name);
            for (sort, column) in tab(name).columns.iter().enumerate() {
                for reversed in [false, true] {
                    (state.table_mut().sort, state.table_mut().reversed) = (sort, reversed);
                    let mut rows = Vec::new();
                    order(&data, &state, &filter, &mut rows);
                    let cells: Vec<_> =
                        rows.iter().map(|row| (column.cell)(&data, *row as usize)).collect();
                    let descending = column.is_descending() != reversed;
                    check(&cells, descending, &format!("{name:?} by {}", column.title));
                }
            }
        }
    }

    /// Every pair, not only neighbours.
    fn check(cells: &[Cell<'_>], descending: bool, what: &str) {
        let wrong = if descending { Ordering::Less } else { Ordering::Greater };
        for (at, first) in cells.iter().enumerate() {
            for second in &cells[at..] {
                if *first == Cell::Absent {
                    assert_eq!(*second, Cell::Absent, "{what}: known after unknown");
                } else if *second != Cell::Absent {
                    assert_ne!(first.compare(second), wrong, "{what}: {first:?} {second:?}");
                }
            }
        }
    }
}
