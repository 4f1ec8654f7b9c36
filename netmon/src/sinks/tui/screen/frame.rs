//! What is around the table: totals above it, the state of alerts below, and the help.

use ratatui_core::layout::Rect;
use ratatui_core::style::Modifier;

use super::state::{Scope, State};
use super::table::sorted_title;
use crate::model::human::{self, Scale, Unit};
use crate::model::traffic::facts::Part;
use crate::model::traffic::protocol::ProtocolClass;
use crate::model::traffic::view::AlertSummary;
use crate::sinks::tui::canvas::{Canvas, Place, width};
use crate::sinks::tui::cell::Cell;
use crate::sinks::tui::data::{Class, Data};
use crate::sinks::tui::keys::{KEYS, MOUSE};
use crate::sinks::tui::tabs::{Tab, TabName, tab};
use crate::sinks::tui::theme::{Sign, Tone};

/// Name, time, totals and their last minutes.
pub(super) fn totals(canvas: &mut Canvas<'_>, place: Place, data: &Data, state: &State) {
    let (title, plain) = (canvas.theme.style(Tone::Title), canvas.theme.style(Tone::Plain));
    let name = if place.width < 60 { "" } else { "netmon " };
    let mut x = place.x + canvas.left(place, name, title);
    let end = place.x + place.width;
    let mut text = String::new();
    if data.shown.tick == 0 {
        text.push_str("--:--:--");
    } else {
        Cell::Clock(data.shown.time).write(canvas.units, canvas.theme, &mut text);
    }
    x += canvas.left(Place { x, width: end.saturating_sub(x), ..place }, &text, plain) + 1;
    if state.paused {
        let style = canvas.theme.selected(canvas.theme.style(Tone::Warning));
        x += canvas.left(Place { x, width: end.saturating_sub(x), ..place }, "PAUSED", style) + 1;
    }
    let (rx, tx) = data.total_rates();
    // The words first; what is left is for the pictures.
    let fixed = 2 * (4 + human::rate_width(canvas.units) as u16);
    let spark = (end.saturating_sub(x + fixed) / 2).min(60);
    for (name, rate, history) in [("rx", rx, &data.total.rx), ("tx", tx, &data.total.tx)] {
        let rate =
            rate.map_or_else(|| "-".to_owned(), |rate| human::rate(rate, canvas.units).to_string());
        x += canvas.left(Place { x, width: end.saturating_sub(x), ..place }, name, title) + 1;
        let room = (human::rate_width(canvas.units) as u16).min(end.saturating_sub(x));
        canvas.right(Place { x, width: room, ..place }, &rate, plain);
        x += room + 1;
        if spark >= 4 {
            canvas.spark(Place { x, width: spark - 1, ..place }, &[history], data.second, plain);
            x += spark;
        }
    }
}

/// The rates of the protocols, both directions of all interfaces.
pub(super) fn protocols(canvas: &mut Canvas<'_>, place: Place, data: &Data) {
    let of_all = data.classes.iter().filter(|row| row.interface.is_none());
    let mut parts = Vec::new();
    for row in of_all {
        let Class::Protocol(class) = row.class else { continue };
        let sum = crate::sinks::tui::data::plus(row.rx_rate, row.tx_rate);
        let rate =
            sum.map_or_else(|| "-".to_owned(), |rate| human::rate(rate, canvas.units).to_string());
        parts.push((format!("{} {rate}", ProtocolClass::name(class)), Tone::Plain));
    }
    if parts.is_empty() {
        let why = data.missing(Part::Flows).unwrap_or("none seen yet");
        parts.push((format!("protocols: {why}"), Tone::Faint));
    }
    canvas.flow(place, 1, &parts);
}

/// The tabs; gives where each is.
pub(super) fn tabs(
    canvas: &mut Canvas<'_>,
    place: Place,
    state: &State,
) -> Vec<(u16, u16, TabName)> {
    let needed = |title: fn(&Tab) -> &str| -> usize {
        TabName::ALL.iter().map(|name| title(tab(*name)).len() + 4).sum()
    };
    let room = usize::from(place.width);
    let (long, short) = (needed(|tab| tab.title) <= room, needed(|tab| tab.short) <= room);
    let mut x = place.x;
    let mut places = Vec::with_capacity(TabName::ALL.len());
    for name in TabName::ALL {
        let number = name.index() + 1;
        let is_shown = name == state.tab;
        let title = match (long, short || is_shown) {
            (true, _) => tab(name).title,
            (_, true) => tab(name).short,
            _ => "",
        };
        let text = if is_shown {
            format!("[{number} {title}]")
        } else {
            format!(" {} ", format!("{number} {title}").trim_end())
        };
        let style = if is_shown {
            canvas.theme.style(Tone::Title).add_modifier(Modifier::BOLD)
        } else {
            canvas.theme.style(Tone::Plain)
        };
        let room = (place.x + place.width).saturating_sub(x);
        let used = canvas.left(Place { x, width: room, ..place }, &text, style);
        places.push((x, x + used, name));
        x += used;
    }
    places
}

/// What the table shows: of what, how much of it, and what is not in it; and its order, unless
/// that is seen in the titles.
pub(super) fn caption(
    canvas: &mut Canvas<'_>,
    place: Place,
    (data, state): (&Data, &State),
    (count, page): (usize, usize),
    is_order_seen: bool,
) {
    if state.editing {
        let style = canvas.theme.style(Tone::Title);
        let x = place.x + canvas.left(place, "filter: ", style);
        let room = (place.x + place.width).saturating_sub(x);
        let text = format!("{}_", state.table().filter);
        // What is being typed is at the end.
        let skip = width(&text).saturating_sub(room.into());
        let text: String = text.chars().skip(skip).collect();
        canvas.left(Place { x, width: room, ..place }, &text, canvas.theme.style(Tone::Plain));
        return;
    }
    let mut parts = Vec::new();
    parts.extend(scope(data, state).map(|words| (words, Tone::Title)));
    let (table, this) = (state.table(), tab(state.tab));
    let (all, rows) = ((this.count)(data), this.rows);
    if this.part.is_some_and(|part| data.missing(part).is_some()) {
        return;
    }
    let is_filtered = !table.filter.is_empty();
    let how_many = match (count, page.min(count)) {
        // Attaching may take seconds.
        _ if data.shown.tick == 0 => "waiting for the first tick".to_owned(),
        (0, _) if all == 0 => format!("no {rows}"),
        (0, _) => format!("none of {all} {rows}"),
        (_, seen) if seen == count && is_filtered => format!("{count} of {all} {rows}"),
        (_, seen) if seen == count => format!("{count} {rows}"),
        (_, seen) => {
            format!("{}-{} of {count} {rows}", table.top + 1, (table.top + seen).min(count))
        }
    };
    parts.push((how_many, Tone::Plain));
    if !is_order_seen {
        let title = sorted_title(&this.columns[table.sort], table.reversed, canvas.theme);
        parts.push((format!("by {title}"), Tone::Plain));
    }
    if is_filtered {
        parts.push((format!("filter: {}", table.filter), Tone::Title));
    }
    // Numbers have no units then.
    match (state.units.scale, state.units.unit) {
        (Scale::Raw, Unit::Bits) => parts.push(("in bits".to_owned(), Tone::Faint)),
        (Scale::Raw, Unit::Bytes) => parts.push(("in bytes".to_owned(), Tone::Faint)),
        _ => {}
    }
    notes(canvas, data, state, &mut parts);
    canvas.flow(place, 1, &parts);
}

/// Of what the flows are.
fn scope(data: &Data, state: &State) -> Option<String> {
    match state.scope.as_ref().filter(|_| state.tab == TabName::Flows)? {
        Scope::Interface(_, name) => Some(format!("flows of {name} (Esc: back)")),
        Scope::Process { name, pid, id } => {
            let known = data.processes().iter().any(|one| (one.id, one.pid) == (*id, *pid));
            let ended = if known { "" } else { ", which has ended" };
            Some(format!("flows of {name}, pid {pid}{ended} (Esc: back)"))
        }
    }
}

/// What the table cannot hold, and what is not exact.
fn notes(canvas: &Canvas<'_>, data: &Data, state: &State, parts: &mut Vec<(String, Tone)>) {
    let Some(traffic) = data.traffic() else { return };
    let amount = |bytes: u64| human::bytes(bytes, canvas.units);
    match state.tab {
        TabName::Flows => {
            let table = &traffic.flow_table;
            if table.sample > 1 {
                let sign = canvas.theme.sign(Sign::Estimate);
                parts.push((
                    format!("{sign} estimates, 1 packet in {}", table.sample),
                    Tone::Warning,
                ));
            }
            if table.capacity > 0 && table.used >= table.capacity as usize {
                parts.push((format!("table full ({})", table.capacity), Tone::Warning));
            }
            if table.evicted > 0 {
                parts.push((format!("{} evicted", table.evicted), Tone::Warning));
            }
            if table.untracked.packets > 0 {
                parts
                    .push((format!("{} of no flow", amount(table.untracked.bytes)), Tone::Warning));
            }
        }
        TabName::Processes => {
            if traffic.processes_untracked > 0 {
                let untracked = amount(traffic.processes_untracked);
                parts.push((format!("table full, {untracked} of no process"), Tone::Warning));
            }
            if !state.kernel_threads {
                let hidden =
                    data.processes().iter().filter(|process| process.kernel_thread).count();
                if hidden > 0 {
                    parts.push((format!("kernel threads hidden: {hidden} (K)"), Tone::Faint));
                }
            }
        }
        TabName::Interfaces => {
            if let Some(why) = data.missing(Part::Flows) {
                parts.push((format!("no bursts: {why}"), Tone::Faint));
            } else if let Some(width) = traffic.burst_width {
                parts.push((format!("bursts within {} ms", width.as_millis()), Tone::Faint));
            }
        }
        TabName::Protocols => {
            let words = if state.per_interface { "of each interface" } else { "of all interfaces" };
            parts.push((format!("{words} (i)"), Tone::Faint));
        }
        TabName::Drops | TabName::Events => {}
    }
}

/// What is above its threshold, a word about the last key, and the keys to know.
pub(super) fn footer(canvas: &mut Canvas<'_>, place: Place, data: &Data, state: &State) {
    let (text, tone) = match data.traffic() {
        Some(traffic) => alerts(&traffic.alerts),
        None => (String::new(), Tone::Plain),
    };
    let used = canvas.left(place, &text, canvas.theme.style(tone));
    let x = place.x + used + if used > 0 { 2 } else { 0 };
    let rest = Place { x, width: (place.x + place.width).saturating_sub(x), ..place };
    match state.note {
        Some(note) => _ = canvas.left(rest, note, canvas.theme.style(Tone::Title)),
        None if state.editing => {
            canvas.right(rest, "Enter keep  Esc clear", canvas.theme.style(Tone::Faint))
        }
        None => canvas.right(rest, "? help  / filter  q quit", canvas.theme.style(Tone::Faint)),
    }
}

fn alerts(alerts: &AlertSummary) -> (String, Tone) {
    if alerts.total() == 0 {
        return (alerts.to_string(), Tone::Plain);
    }
    let kinds = [
        (alerts.interfaces, "interface", "interfaces"),
        (alerts.processes, "process", "processes"),
        (alerts.flows, "flow", "flows"),
    ];
    let kinds: Vec<String> = kinds
        .into_iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, one, many)| format!("{number} {}", if number == 1 { one } else { many }))
        .collect();
    (format!("{alerts} ({})", kinds.join(", ")), Tone::Warning)
}

/// All keys, over everything; `first` is the first that is shown where there is no room for all.
pub(super) fn help(canvas: &mut Canvas<'_>, area: Rect, first: usize) {
    let (title, plain) = (canvas.theme.style(Tone::Title), canvas.theme.style(Tone::Plain));
    let line = |y: u16| Place { x: area.x, y, width: area.width };
    let words = KEYS.iter().filter(|binding| !binding.shown.is_empty());
    let lines: Vec<_> = words.map(|binding| (binding.shown, binding.help)).chain(MOUSE).collect();
    let room = usize::from(area.height.saturating_sub(1));
    let first = first.min(lines.len().saturating_sub(room));
    let more =
        if lines.len() > room { "Keys (Up, Down: more; Esc: back)" } else { "Keys (Esc: back)" };
    canvas.left(line(area.y), more, title);
    let names = 17.min(area.width / 3);
    for ((name, help), y) in lines.into_iter().skip(first).zip(area.y + 1..area.bottom()) {
        canvas.left(Place { width: names - 1, ..line(y) }, name, title);
        let rest = Place { x: area.x + names, width: area.width - names, ..line(y) };
        canvas.left(rest, help, plain);
    }
}
