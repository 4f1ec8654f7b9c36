//! What comes from the terminal, decoded: keys and the mouse. Pure: bytes in, [`Input`] out.
//!
//! crossterm's reader is not used: at the end of its input it turns in a busy loop, and inside of
//! a sequence that arrives in two parts it waits without an end (0.29, `source/unix/mio.rs`).
//! Sequences are xterm's and the Linux console's; what is not known is skipped as a whole.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A character.
    Char(char),
    /// With Ctrl, as the lower-case letter.
    Ctrl(char),
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// Backspace.
    Backspace,
    /// Tab.
    Tab,
    /// Shift and Tab.
    BackTab,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Home.
    Home,
    /// End.
    End,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Delete.
    Delete,
}

/// What the mouse did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mouse {
    /// The left button went down.
    Press,
    /// The wheel, up.
    WheelUp,
    /// The wheel, down.
    WheelDown,
}

/// One thing that somebody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Pressed a key.
    Key(Key),
    /// Used the mouse, at a column and row from 0.
    Mouse(Mouse, u16, u16),
}

/// No sequence that is known is longer; of what is, so much is skipped.
const LONGEST: usize = 32;

/// Holds what has come of a sequence that is not whole.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Vec<u8>,
}

enum Parsed {
    /// So many bytes are one input, or none that is known.
    Done(usize, Option<Input>),
    /// The bytes are the beginning of something.
    Incomplete,
}

impl Decoder {
    /// Takes bytes in and gives what they mean.
    pub fn feed(&mut self, bytes: &[u8], mut give: impl FnMut(Input)) {
        self.pending.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(rest) = self.pending.get(start..).filter(|rest| !rest.is_empty()) {
            // Whether it came in parts or at once must make no difference.
            match parse(&rest[..rest.len().min(LONGEST)]) {
                Parsed::Done(length, input) => {
                    start += length;
                    input.into_iter().for_each(&mut give);
                }
                Parsed::Incomplete if rest.len() >= LONGEST => start += LONGEST,
                Parsed::Incomplete => break,
            }
        }
        self.pending.drain(..start);
    }

    /// Whether something is not whole yet, such as a lone Escape.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Nothing more came in time: an Escape was the key itself.
    pub fn give_up(&mut self, mut give: impl FnMut(Input)) {
        if self.pending.first() == Some(&0x1b) {
            give(Input::Key(Key::Esc));
        }
        self.pending.clear();
    }
}

fn parse(bytes: &[u8]) -> Parsed {
    let key = |key| Parsed::Done(1, Some(Input::Key(key)));
    match bytes {
        [0x1b] => Parsed::Incomplete,
        [0x1b, b'[', rest @ ..] => control_sequence(rest),
        [0x1b, b'O'] => Parsed::Incomplete,
        [0x1b, b'O', last, ..] => Parsed::Done(3, arrow(*last).map(Input::Key)),
        // Escape and a key at once: the key. (Alt is not used.)
        [0x1b, _, ..] => key(Key::Esc),
        [b'\r' | b'\n', ..] => key(Key::Enter),
        [b'\t', ..] => key(Key::Tab),
        [0x08 | 0x7f, ..] => key(Key::Backspace),
        [letter @ 0x01..=0x1a, ..] => key(Key::Ctrl((letter - 1 + b'a') as char)),
        [0x00..=0x1f, ..] => Parsed::Done(1, None),
        _ => character(bytes),
    }
}

fn character(bytes: &[u8]) -> Parsed {
    let head = &bytes[..bytes.len().min(4)];
    let valid = match str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => {
            str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(error) if error.error_len().is_none() => return Parsed::Incomplete,
        Err(_) => return Parsed::Done(1, None),
    };
    match valid.chars().next() {
        Some(first) => {
            let known = (!first.is_control()).then_some(Input::Key(Key::Char(first)));
            Parsed::Done(first.len_utf8(), known)
        }
        None => Parsed::Done(1, None),
    }
}

/// What follows `ESC [` (ECMA-48 5.4).
fn control_sequence(rest: &[u8]) -> Parsed {
    // The Linux console's function keys: `ESC [ [ A`.
    if rest.first() == Some(&b'[') {
        return if rest.len() < 2 { Parsed::Incomplete } else { Parsed::Done(4, None) };
    }
    let Some(end) = rest.iter().position(|byte| !(0x20..=0x3f).contains(byte)) else {
        return Parsed::Incomplete;
    };
    let (parameters, last) = (&rest[..end], rest[end]);
    let length = 2 + end + 1;
    if !(0x40..=0x7e).contains(&last) {
        // Broken off; what comes next is looked at by itself.
        return Parsed::Done(length - 1, None);
    }
    // The old report of the mouse has three bytes behind it.
    if last == b'M' && parameters.is_empty() {
        return if rest.len() < 4 { Parsed::Incomplete } else { Parsed::Done(6, None) };
    }
    let input = match (parameters.first(), last) {
        (Some(b'<'), b'M') => mouse(&parameters[1..]),
        (Some(b'<'), _) => None,
        (_, b'~') => tilde(parameters).map(Input::Key),
        (_, b'Z') => Some(Input::Key(Key::BackTab)),
        _ => arrow(last).map(Input::Key),
    };
    Parsed::Done(length, input)
}

const fn arrow(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        _ => return None,
    })
}

/// `ESC [ n ~`, or `ESC [ n ; modifiers ~`.
fn tilde(parameters: &[u8]) -> Option<Key> {
    let number = parameters.split(|byte| *byte == b';').next()?;
    Some(match number {
        b"1" | b"7" => Key::Home,
        b"3" => Key::Delete,
        b"4" | b"8" => Key::End,
        b"5" => Key::PageUp,
        b"6" => Key::PageDown,
        _ => return None,
    })
}

/// `ESC [ < button ; column ; row M`, from 1.
fn mouse(parameters: &[u8]) -> Option<Input> {
    let mut numbers = str::from_utf8(parameters).ok()?.split(';').map(str::parse::<u16>);
    let (Some(Ok(button)), Some(Ok(column)), Some(Ok(row)), None) =
        (numbers.next(), numbers.next(), numbers.next(), numbers.next())
    else {
        return None;
    };
    // 4, 8 and 16 are Shift, Alt and Ctrl.
    let what = match button & !0b1_1100 {
        0 => Mouse::Press,
        64 => Mouse::WheelUp,
        65 => Mouse::WheelDown,
        _ => return None,
    };
    Some(Input::Mouse(what, column.checked_sub(1)?, row.checked_sub(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Vec<Input> {
        let mut inputs = Vec::new();
        Decoder::default().feed(bytes, |input| inputs.push(input));
        inputs
    }

    #[test]
    fn keys() {
        let table: &[(&[u8], Key)] = &[
            (b"q", Key::Char('q')),
            ("é".as_bytes(), Key::Char('é')),
            ("網".as_bytes(), Key::Char('網')),
            ("😀".as_bytes(), Key::Char('😀')),
            (b"\x03", Key::Ctrl('c')),
            (b"\x1a", Key::Ctrl('z')),
            (b"\r", Key::Enter),
            (b"\t", Key::Tab),
            (b"\x7f", Key::Backspace),
            (b"\x08", Key::Backspace),
            (b"\x1b[A", Key::Up),
            (b"\x1bOA", Key::Up),
            (b"\x1b[1;5B", Key::Down),
            (b"\x1b[Z", Key::BackTab),
            (b"\x1b[H", Key::Home),
            (b"\x1b[1~", Key::Home),
            (b"\x1b[4~", Key::End),
            (b"\x1b[3;2~", Key::Delete),
            (b"\x1b[5~", Key::PageUp),
            (b"\x1b[6~", Key::PageDown),
        ];
        for (bytes, key) in table {
            assert_eq!(decode(bytes), [Input::Key(*key)], "{bytes:?}");
        }
    }

    #[test]
    fn the_mouse() {
        assert_eq!(decode(b"\x1b[<0;1;1M"), [Input::Mouse(Mouse::Press, 0, 0)]);
        assert_eq!(decode(b"\x1b[<4;300;7M"), [Input::Mouse(Mouse::Press, 299, 6)]);
        assert_eq!(decode(b"\x1b[<64;2;3M"), [Input::Mouse(Mouse::WheelUp, 1, 2)]);
        assert_eq!(decode(b"\x1b[<65;2;3M"), [Input::Mouse(Mouse::WheelDown, 1, 2)]);
        for nothing in ["\x1b[<0;1;1m", "\x1b[<0;0;1M", "\x1b[<2;1;1M", "\x1b[<;;M", "\x1b[Mabc"] {
            assert_eq!(decode(nothing.as_bytes()), [], "{nothing:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_skipped_as_a_whole() {
        assert_eq!(decode(b"\x1b[15~\x1b[[Ax\x1bOPy\xffz\x1b[?1;2cw"), {
            ['x', 'y', 'z', 'w'].map(|c| Input::Key(Key::Char(c)))
        });
    }

    #[test]
    fn sequences_may_come_in_parts() {
        let bytes = "\x1b[<65;12;3M\x1b[Aé\x1bOD".as_bytes();
        let whole = decode(bytes);
        assert_eq!(whole.len(), 4);
        let mut decoder = Decoder::default();
        let mut inputs = Vec::new();
        for byte in bytes {
            decoder.feed(&[*byte], |input| inputs.push(input));
        }
        assert_eq!(inputs, whole);
        assert!(!decoder.is_waiting());
    }

    #[test]
    fn what_is_too_long_is_skipped_the_same_way_in_parts() {
        let bytes = format!("\x1b[{}Ax", "1".repeat(40));
        let whole = decode(bytes.as_bytes());
        assert_eq!(whole.len(), 40 + 2 - LONGEST + 2);
        let mut decoder = Decoder::default();
        let mut inputs = Vec::new();
        for byte in bytes.bytes() {
            decoder.feed(&[byte], |input| inputs.push(input));
        }
        assert_eq!(inputs, whole);
    }

    #[test]
    fn a_lone_escape_is_a_key_when_nothing_follows() {
        let mut decoder = Decoder::default();
        decoder.feed(b"\x1b", |input| panic!("{input:?}"));
        assert!(decoder.is_waiting());
        let mut inputs = Vec::new();
        decoder.give_up(|input| inputs.push(input));
        assert_eq!(inputs, [Input::Key(Key::Esc)]);
        assert!(!decoder.is_waiting());
        assert_eq!(decode(b"\x1b\x1b[A"), [Key::Esc, Key::Up].map(Input::Key));
    }
}
