//! Which rows are shown, and in which order. Once for each change of the data or the state.

use super::filter::Filter;
use super::state::{Scope, State};
use crate::sinks::tui::cell::Cell;
use crate::sinks::tui::data::Data;
use crate::sinks::tui::tabs::{TabName, tab};

/// Fills `order` with the places of the rows in the data.
pub(super) fn order(data: &Data, state: &State, filter: &Filter, order: &mut Vec<u32>) {
    let tab = tab(state.tab);
    let table = state.table();
    let count = u32::try_from((tab.count)(data)).unwrap_or(u32::MAX);
    let wanted = |row: usize| is_in_scope(data, state, row) && filter.shows(data, state.tab, row);
    let column = &tab.columns[table.sort.min(tab.columns.len() - 1)];
    let descending = column.is_descending() != table.reversed;
    let rows = (0..count).filter(|row| wanted(*row as usize));
    let mut keyed: Vec<(Cell<'_>, u32)> =
        rows.map(|row| ((column.cell)(data, row as usize), row)).collect();
    keyed.sort_unstable_by(|(left, a), (right, b)| {
        let known = (*left == Cell::Absent).cmp(&(*right == Cell::Absent));
        let order = left.compare(right);
        let order = if descending { order.reverse() } else { order };
        // The last makes it a total order, so that equal rows do not change places.
        known.then(order).then(a.cmp(b))
    });
    order.clear();
    order.extend(keyed.into_iter().map(|(_, row)| row));
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
