//! Pages of a tick with everything in it, for the golden files.

use std::time::{Duration, SystemTime};

use super::Page;
use crate::model::human::Units;
use crate::model::traffic::names::Names;
use crate::model::traffic::selection::{By, Order, Selection};

/// Calls `with` with the page.
pub(super) fn with_page<T>(by: By, with: impl FnOnce(&Page<'_>) -> T) -> T {
    let view = crate::model::traffic::samples::view();
    let names = Names::parse("https 443/tcp\ndomain 53/udp\n", "tcp 6\nudp 17\n");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let selection = Selection::default();
    let (order, units) = (Order::from(by), Units::default());
    with(&Page { view: &view, order, selection: &selection, names: &names, units, time })
}

/// What `write` gives for every table, one after the other.
pub(super) fn every_table(write: impl Fn(&Page<'_>) -> String) -> String {
    By::ALL.into_iter().map(|by| with_page(by, &write) + "\n").collect()
}
