//! What there is to say about one row, and its last minutes.

use ratatui_core::layout::Rect;

use crate::sinks::tui::canvas::{Canvas, Place};
use crate::sinks::tui::cell::Cell;
use crate::sinks::tui::data::Data;
use crate::sinks::tui::tabs::Tab;
use crate::sinks::tui::theme::{Sign, Tone};

/// Fills `area`: a line to set it off if there are four, words, and the last one for sparklines.
pub(super) fn draw(canvas: &mut Canvas<'_>, area: Rect, data: &Data, tab: &Tab, row: usize) {
    let mut parts: Vec<(String, Tone)> = Vec::new();
    (tab.detail)(data, row, &mut |name, cell| {
        if cell == Cell::Absent {
            return;
        }
        let mut text = String::new();
        if !name.is_empty() {
            text.push_str(name);
            text.push(' ');
        }
        cell.write(canvas.units, canvas.theme, &mut text);
        if text.is_empty() {
            return;
        }
        let tone = if parts.is_empty() { Tone::Title } else { Tone::Plain };
        parts.push((text, tone));
    });
    let mut place = Place { x: area.x, y: area.y, width: area.width };
    let mut lines = area.height;
    if lines >= 4 {
        let line = canvas.theme.sign(Sign::Line).repeat(area.width.into());
        canvas.left(place, &line, canvas.theme.style(Tone::Faint));
        (place.y, lines) = (place.y + 1, lines - 1);
    }
    let course = data.course(&(tab.id)(data, row)).filter(|_| lines >= 2);
    lines -= u16::from(course.is_some());
    place.y += canvas.flow(place, lines, &parts).min(lines);
    let Some(course) = course else { return };
    let both = [("rx", &course.rx), ("tx", &course.tx)];
    // A flow goes one way.
    let known: Vec<_> = both.iter().filter(|(_, history)| history.peak().is_some()).collect();
    let each = area.width / known.len().max(1) as u16;
    for ((name, history), x) in known.into_iter().zip((area.x..).step_by(each.into())) {
        canvas.left(Place { x, width: 3, ..place }, name, canvas.theme.style(Tone::Title));
        let room = Place { x: x + 3, width: each.saturating_sub(5), ..place };
        canvas.spark(room, &[history], data.second, canvas.theme.style(Tone::Plain));
    }
}
