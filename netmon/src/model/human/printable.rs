//! Texts from outside on a terminal: shown, and not obeyed.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// A text from outside for a terminal: control characters, and those that change the direction of
/// writing or have no width, are shown and not obeyed.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_obeyed(character) {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// Unicode: control characters, the zero-width and bidirectional ones of the block "General
/// Punctuation", line and paragraph separators, and the byte order mark.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

/// The same for lines that were made for programs: their ends stay.
#[must_use]
pub fn on_terminal(lines: &str) -> Cow<'_, str> {
    let stays = |character: char| character == '\n' || !is_obeyed(character);
    if lines.chars().all(stays) {
        return Cow::Borrowed(lines);
    }
    let mut text = String::with_capacity(lines.len() + 16);
    for character in lines.chars() {
        if stays(character) {
            text.push(character);
        } else {
            text.extend(character.escape_default());
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing() {
        let text = "a\u{1b}[2J\nb\u{202e}\u{9b}ü";
        assert_eq!(Printable(text).to_string(), r"a\u{1b}[2J\nb\u{202e}\u{9b}ü");
        assert_eq!(Printable("plain").to_string(), "plain");
    }

    #[test]
    fn lines_stay_lines() {
        let lines = "a,\u{1b}[2J\r\nb,\u{9b}\n";
        assert_eq!(on_terminal(lines), "a,\\u{1b}[2J\\r\nb,\\u{9b}\n");
        assert!(matches!(on_terminal("a,ü\nb\n"), Cow::Borrowed(_)));
    }
}
