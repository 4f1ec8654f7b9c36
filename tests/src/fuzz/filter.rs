//! Filters, as they are typed: whatever it is, something can be shown; what is wrong is where it
//! is said to be; a word more never shows more; and a word means the same wherever it stands.

use std::sync::LazyLock;

use netmon::model::traffic::{
    columns::{Column, DropColumn, FlowColumn, ProcessColumn},
    filter::Filter,
    names::Names,
    view::TrafficView,
};

use crate::traffic;

static NAMES: LazyLock<Names> = LazyLock::new(traffic::names);
static VIEW: LazyLock<TrafficView> = LazyLock::new(traffic::view);

pub(super) fn target(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let filter = Filter::parse(text, &NAMES);
    for error in &filter.errors {
        assert_eq!(text.get(error.at.clone()), Some(&*error.word), "{error:?}");
        let shown = error.to_string();
        assert!(!error.why.is_empty() && !shown.chars().any(char::is_control), "{shown:?}");
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() < 16 {
        check::<FlowColumn>(&words, &filter, &VIEW.flows.as_deref().unwrap_or_default()[..8]);
        check::<ProcessColumn>(&words, &filter, VIEW.processes.as_deref().unwrap_or_default());
        check::<DropColumn>(&words, &filter, VIEW.drops.as_deref().unwrap_or_default());
    }
    !filter.is_empty() && filter.errors.is_empty()
}

fn check<C: Column>(words: &[&str], filter: &Filter, rows: &[C::Row]) {
    let mut shown: Vec<bool> = rows.iter().map(|_| true).collect();
    for word in words {
        let alone = Filter::parse(word, &NAMES);
        let opposite = Filter::parse(&format!("!{word}"), &NAMES);
        let says = !opposite.is_empty() && opposite.foreign::<C>().is_empty();
        for (row, shown) in rows.iter().zip(&mut shown) {
            let shows = alone.shows::<C>(row, &NAMES);
            *shown &= shows;
            if says && !word.starts_with('!') {
                assert_ne!(opposite.shows::<C>(row, &NAMES), shows, "{word:?}");
            }
        }
    }
    for (row, shown) in rows.iter().zip(shown) {
        assert_eq!(filter.shows::<C>(row, &NAMES), shown, "{words:?}");
    }
}
