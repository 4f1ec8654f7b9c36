//! Writing into the frame: nothing outside of it, nothing that a terminal would take for a
//! command, and what does not fit is cut where it is seen.

use std::borrow::Cow;

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::history::History;
use super::theme::{Sign, Theme, Tone};
use crate::model::human::Units;

/// A frame that is being drawn.
pub(super) struct Canvas<'a> {
    buffer: &'a mut Buffer,
    /// How it looks.
    pub(super) theme: Theme,
    /// How numbers are told.
    pub(super) units: Units,
}

/// A place in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) x: u16,
    pub(super) y: u16,
    pub(super) width: u16,
}

/// What may not reach the terminal: control characters, and signs that turn the text's direction
/// around.
fn is_command(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How many columns a clean text takes.
pub(super) fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

/// The beginning that fits into `room` columns.
fn head(text: &str, room: usize) -> &str {
    let mut used = 0;
    let fits = |c: char| {
        used += c.width().unwrap_or(0);
        used <= room
    };
    let end = text.char_indices().find_map({
        let mut fits = fits;
        move |(at, c)| (!fits(c)).then_some(at)
    });
    &text[..end.unwrap_or(text.len())]
}

/// The end that fits into `room` columns.
fn tail(text: &str, room: usize) -> &str {
    let mut used = 0;
    let mut start = text.len();
    for (at, c) in text.char_indices().rev() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        start = at;
    }
    &text[start..]
}

impl Theme {
    /// Without what a terminal would take for a command, or does not know.
    fn clean(self, text: &str) -> Cow<'_, str> {
        let bad = |c: char| is_command(c) || !self.unicode && !c.is_ascii();
        if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) || !text.contains(bad) {
            return Cow::Borrowed(text);
        }
        Cow::Owned(text.chars().map(|c| if bad(c) { '?' } else { c }).collect())
    }
}

impl<'a> Canvas<'a> {
    pub(super) const fn new(buffer: &'a mut Buffer, theme: Theme, units: Units) -> Self {
        Self { buffer, theme, units }
    }

    pub(super) const fn area(&self) -> Rect {
        self.buffer.area
    }

    /// Writes a text from the left and gives how many columns it took.
    pub(super) fn left(&mut self, place: Place, text: &str, style: Style) -> u16 {
        let text = self.theme.clean(text);
        let room = usize::from(place.width);
        if width(&text) <= room {
            return self.put(place, &text, style);
        }
        if room == 0 {
            return 0;
        }
        let cut = self.theme.sign(Sign::Cut);
        let used = self.put(place, head(&text, room - 1), style);
        let rest = Place { x: place.x + used, width: place.width - used, ..place };
        used + self.put(rest, cut, style)
    }

    /// Writes a text from the right; what is too long loses its end.
    pub(super) fn right(&mut self, place: Place, text: &str, style: Style) {
        let text = self.theme.clean(text);
        let free = place.width.saturating_sub(width(&text).min(u16::MAX.into()) as u16);
        self.left(Place { x: place.x + free, width: place.width - free, ..place }, &text, style);
    }

    /// Writes a text from the left; what is too long loses its middle, for ends tell more.
    pub(super) fn ends(&mut self, place: Place, text: &str, style: Style) {
        let text = self.theme.clean(text);
        let room = usize::from(place.width);
        if width(&text) <= room || room < 3 {
            self.left(place, &text, style);
            return;
        }
        let behind = tail(&text, (room - 1) * 2 / 3);
        let before = head(&text, room - 1 - width(behind));
        let cut = self.theme.sign(Sign::Cut);
        self.put(place, &format!("{before}{cut}{behind}"), style);
    }

    /// The last minutes as a line of small columns, the latest at the right.
    pub(super) fn spark(&mut self, place: Place, histories: &[&History], now: u64, style: Style) {
        let columns = usize::from(place.width);
        let mut values: Vec<Option<f32>> = vec![None; columns];
        for history in histories {
            for (sum, value) in values.iter_mut().zip(history.columns(now, columns)) {
                *sum = match (*sum, value) {
                    (Some(sum), Some(value)) => Some(sum + value),
                    (sum, value) => sum.or(value),
                };
            }
        }
        let highest = values.iter().flatten().copied().fold(0.0_f32, f32::max);
        let heights = self.theme.heights();
        for (x, value) in (place.x..).zip(values) {
            let Some(value) = value else { continue };
            let part = if highest > 0.0 { value / highest } else { 0.0 };
            // What is not nothing is seen.
            let height = (part * (heights.len() - 1) as f32).ceil() as usize;
            self.put(Place { x, width: 1, ..place }, heights[height.min(heights.len() - 1)], style);
        }
    }

    /// A style over a whole line, or a part.
    pub(super) fn paint(&mut self, place: Place, style: Style) {
        let area = Rect::new(place.x, place.y, place.width, 1).intersection(self.buffer.area);
        self.buffer.set_style(area, style);
    }

    /// Writes words one after the other, separated, and cut at the end of `lines` lines.
    /// Gives how many lines it took.
    pub(super) fn flow(&mut self, place: Place, lines: u16, parts: &[(String, Tone)]) -> u16 {
        let (mut x, mut line) = (0_u16, 0_u16);
        let dot = self.theme.sign(Sign::Dot);
        for (text, tone) in parts {
            let text = self.theme.clean(text);
            let wide = width(&text).min(u16::MAX.into()) as u16;
            let gap = if x == 0 { 0 } else { 3 };
            if x > 0 && x + gap + wide > place.width {
                if line + 1 >= lines {
                    break;
                }
                (x, line) = (0, line + 1);
            }
            let y = place.y + line;
            if x > 0 {
                let faint = self.theme.style(Tone::Faint);
                self.left(Place { x: place.x + x + 1, y, width: 1 }, dot, faint);
                x += 3;
            }
            let room = Place { x: place.x + x, y, width: place.width - x };
            x += self.left(room, &text, self.theme.style(*tone));
        }
        line + 1
    }

    /// Writes words into lines, broken at spaces. Gives how many lines it took.
    pub(super) fn paragraph(&mut self, place: Place, lines: u16, text: &str, style: Style) -> u16 {
        let (mut x, mut line) = (0_u16, 0_u16);
        for word in text.split_whitespace() {
            let wide = width(&self.theme.clean(word)).min(u16::MAX.into()) as u16;
            if x > 0 && x + 1 + wide > place.width {
                (x, line) = (0, line + 1);
            }
            if line >= lines {
                return line;
            }
            x += u16::from(x > 0);
            let room =
                Place { x: place.x + x, y: place.y + line, width: place.width.saturating_sub(x) };
            x += self.left(room, word, style);
        }
        line + 1
    }

    fn put(&mut self, place: Place, text: &str, style: Style) -> u16 {
        if !self.buffer.area.contains((place.x, place.y).into()) {
            return 0;
        }
        let (end, _) = self.buffer.set_stringn(place.x, place.y, text, place.width.into(), style);
        end - place.x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(room: u16, draw: impl FnOnce(&mut Canvas<'_>, Place)) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 20, 1));
        let theme = Theme { color: false, unicode: true };
        draw(
            &mut Canvas::new(&mut buffer, theme, Units::default()),
            Place { x: 0, y: 0, width: room },
        );
        buffer.content.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let plain = Style::new();
        assert_eq!(drawn(5, |c, p| _ = c.left(p, "abcde", plain)), "abcde");
        assert_eq!(drawn(5, |c, p| _ = c.left(p, "abcdef", plain)), "abcd…");
        assert_eq!(drawn(0, |c, p| _ = c.left(p, "abcdef", plain)), "");
        assert_eq!(drawn(5, |c, p| c.right(p, "ab", plain)), "   ab");
        assert_eq!(drawn(9, |c, p| c.ends(p, "[2001:db8::1]:443", plain)), "[20…]:443");
        // A wide character that does not fit into the last column is left out.
        assert_eq!(drawn(4, |c, p| _ = c.left(p, "網路監視", plain)), "網 …");
    }

    #[test]
    fn no_name_commands_the_terminal() {
        let theme = Theme { color: false, unicode: true };
        assert_eq!(theme.clean("a\x1b[2Jb"), "a?[2Jb");
        assert_eq!(theme.clean("a\u{202e}b\u{9b}"), "a?b?");
        assert!(matches!(theme.clean("eth0 網路"), Cow::Borrowed(_)));
        let ascii = Theme { unicode: false, ..theme };
        assert_eq!(ascii.clean("eth0 網路"), "eth0 ??");
    }
}
