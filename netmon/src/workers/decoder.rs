//! Reads messages from the bytes of a socket, however those are cut. Pure, and bounded: of a line
//! that does not end no more is kept than a line may have.

use serde_json::{Map, Value};

use super::protocol::{LONGEST_LINE, Message, VERSION};
use crate::model::human::Printable;

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received<M> {
    /// One of the protocol's.
    Known(M),
    /// One that this version does not know yet, by its name: to be logged and skipped.
    Unknown(String),
}

/// Why the other side cannot be understood. The connection is of no use any more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A line over the bound.
    #[error("a line of more than {LONGEST_LINE} bytes")]
    TooLong,
    /// Not an object with one key.
    #[error("a line that is no message: {line}")]
    Garbage {
        /// How it begins.
        line: String,
    },
    /// Not what a message of that name is.
    #[error("the message \"{name}\" is not as it should be: {why}")]
    WrongShape {
        /// The message.
        name: &'static str,
        /// The reason.
        why: String,
    },
    /// The other side is of another release.
    #[error(
        "the other side speaks version {theirs} of the protocol, and this netmon version \
         {VERSION}: both have to be of one release"
    )]
    WrongVersion {
        /// What it says.
        theirs: u64,
    },
    /// The connection ended before the line did.
    #[error("the connection ended within a line: {line}")]
    HalfLine {
        /// How it begins.
        line: String,
    },
}

/// One connection's.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a line that has not ended, shorter than [`LONGEST_LINE`].
    partial: Vec<u8>,
}

impl Decoder {
    /// The next message, for which bytes are taken from `input`; `None`: all is taken, and more
    /// is needed.
    ///
    /// # Errors
    /// What is not of the protocol, or of another version of it.
    pub fn next<M: Message>(
        &mut self,
        input: &mut &[u8],
    ) -> Result<Option<Received<M>>, ProtocolError> {
        let room = LONGEST_LINE - self.partial.len();
        let within = &input[..input.len().min(room)];
        let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
            if within.len() == room {
                return Err(ProtocolError::TooLong);
            }
            self.partial.extend_from_slice(within);
            *input = &[];
            return Ok(None);
        };
        let line = &input[..end];
        *input = &input[end + 1..];
        if self.partial.is_empty() {
            return parse(line).map(Some);
        }
        self.partial.extend_from_slice(line);
        let parsed = parse(&self.partial);
        self.partial.clear();
        parsed.map(Some)
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// When that was within a line.
    pub fn finish(&self) -> Result<(), ProtocolError> {
        if self.partial.is_empty() {
            return Ok(());
        }
        Err(ProtocolError::HalfLine { line: beginning(&self.partial) })
    }
}

fn parse<M: Message>(line: &[u8]) -> Result<Received<M>, ProtocolError> {
    let why = match serde_json::from_slice::<M>(line) {
        Ok(message) => {
            check(message.version().map(u64::from))?;
            return match message.check() {
                Ok(()) => Ok(Received::Known(message)),
                Err(why) => Err(ProtocolError::WrongShape { name: message.name(), why }),
            };
        }
        Err(why) => why,
    };
    let object: Map<String, Value> = serde_json::from_slice(line).unwrap_or_default();
    let mut entries = object.into_iter();
    let (Some((name, content)), None) = (entries.next(), entries.next()) else {
        return Err(ProtocolError::Garbage { line: beginning(line) });
    };
    // Another version's message may have another shape.
    check(content.get("version").and_then(Value::as_u64))?;
    match M::NAMES.iter().find(|known| **known == name) {
        Some(name) => {
            let why = beginning(why.to_string().as_bytes());
            Err(ProtocolError::WrongShape { name, why })
        }
        None => Ok(Received::Unknown(name)),
    }
}

fn check(version: Option<u64>) -> Result<(), ProtocolError> {
    match version {
        Some(theirs) if theirs != u64::from(VERSION) => Err(ProtocolError::WrongVersion { theirs }),
        _ => Ok(()),
    }
}

/// As much of what came as tells what it is, for people.
fn beginning(bytes: &[u8]) -> String {
    const ENOUGH: usize = 100;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(ENOUGH)]);
    let more = if bytes.len() > ENOUGH { "…" } else { "" };
    format!("{}{more}", Printable(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::protocol::{Done, FromMonitor, ToMonitor};
    use crate::workers::samples;

    /// All that comes of these pieces, up to an error.
    fn decode<'a, M: Message>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<Received<M>>, Result<(), ProtocolError>) {
        let (mut decoder, mut all) = (Decoder::default(), Vec::new());
        for mut piece in pieces {
            loop {
                match decoder.next(&mut piece) {
                    Ok(Some(message)) => all.push(message),
                    Ok(None) => break,
                    Err(error) => return (all, Err(error)),
                }
            }
            assert!(piece.is_empty(), "bytes that nobody will see again");
        }
        let end = decoder.finish();
        (all, end)
    }

    fn error_of<M: Message + std::fmt::Debug>(line: &[u8]) -> ProtocolError {
        match decode::<M>([line]) {
            (messages, Err(error)) if messages.is_empty() => error,
            other => panic!("{other:?}"),
        }
    }

    /// The one message that a line is.
    fn one<M: Message + std::fmt::Debug>(line: &str) -> Received<M> {
        match decode::<M>([line.as_bytes(), b"\n"]) {
            (mut messages, Ok(())) if messages.len() == 1 => messages.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let orders = |interval: u64| {
            format!(
                r#"{{"Monitor":{{"version":1,"interval_ns":{interval},"source":"auto","hook":"auto","recovery":true,"log":false}}}}"#
            )
        };
        for right in [100_000_000, 3_600_000_000_000] {
            let received = one::<FromMonitor>(&orders(right));
            assert!(matches!(received, Received::Known(FromMonitor::Monitor(_))), "{received:?}");
        }
        let long = "x".repeat(5_000);
        let ready = |name: &str, ifindex: u32| {
            format!(
                r#"{{"Ready":{{"version":1,"interface":"{name}","ifindex":{ifindex},"namespace":1,"pid":1}}}}"#
            )
        };
        let sample =
            samples::to_monitor()[2].1.replace("\"reading_ns\":", "\"reading_ns\":999999999");
        for (name, wrong) in [
            ("Ready", ready("", 1)),
            ("Ready", ready(&long, 1)),
            ("Ready", ready("eth0", 0)),
            ("Ready", ready("eth0", u32::MAX)),
            ("Sample", sample),
            ("Monitoring", format!(r#"{{"Monitoring":{{"source":"ebpf","hook":"{long}"}}}}"#)),
            ("Event", format!(r#"{{"Event":{{"kind":"up","message":"{long}"}}}}"#)),
            ("Link Set", format!(r#"{{"Link Set":{{"error":"{long}","denied":true}}}}"#)),
        ] {
            let error = error_of::<ToMonitor>(format!("{wrong}\n").as_bytes());
            let is_it = matches!(&error, ProtocolError::WrongShape { name: it, .. } if *it == name);
            assert!(is_it, "{wrong}: {error:?}");
        }
        for wrong in [orders(0), orders(99_999_999), orders(u64::MAX)] {
            let error = error_of::<FromMonitor>(format!("{wrong}\n").as_bytes()).to_string();
            assert!(error.ends_with("the interval must be from 100ms to 1h"), "{error}");
        }
        let reason = format!("{{\"Shut Down\":{{\"reason\":\"{long}\"}}}}\n");
        let error = error_of::<FromMonitor>(reason.as_bytes()).to_string();
        assert!(error.ends_with("a text of 5000 bytes, over 4096"), "{error}");
    }

    #[test]
    fn lines_are_read_wherever_they_are_cut() {
        fn check<M: Message + Clone + PartialEq + std::fmt::Debug>(samples: &[(M, &str)]) {
            let lines: String = samples.iter().map(|(_, line)| format!("{line}\n")).collect();
            let expected: Vec<_> =
                samples.iter().map(|(it, _)| Received::Known(it.clone())).collect();
            let bytes = lines.as_bytes();
            for size in 1..=bytes.len() {
                assert_eq!(decode(bytes.chunks(size)), (expected.clone(), Ok(())), "by {size}");
            }
            for at in 0..=bytes.len() {
                let (one, two) = bytes.split_at(at);
                assert_eq!(decode([one, b"", two]), (expected.clone(), Ok(())), "at {at}");
            }
        }
        check(&samples::to_monitor());
        check(&samples::from_monitor());
    }

    #[test]
    fn an_end_within_a_line_is_an_error_and_what_came_before_holds() {
        let (messages, end) = decode::<ToMonitor>([b"{\"Done\":{\"ticks\":1}}\n{\"Do".as_slice()]);
        assert_eq!(messages, [Received::Known(ToMonitor::Done(Done { ticks: 1 }))]);
        assert_eq!(end.unwrap_err().to_string(), "the connection ended within a line: {\"Do");
    }

    #[test]
    fn the_longest_line_is_taken_and_a_longer_one_known_before_it_ends() {
        const DONE: &str = r#"{"Done":{"ticks":1}}"#;
        let line = |length: usize| format!("{DONE}{}\n", " ".repeat(length - DONE.len()));
        let taken = line(LONGEST_LINE - 1);
        for size in [1, 1000, LONGEST_LINE - 1, LONGEST_LINE] {
            let (messages, end) = decode::<ToMonitor>(taken.as_bytes().chunks(size));
            assert_eq!((messages.len(), end), (1, Ok(())), "by {size}");
        }
        for size in [1, 1000, LONGEST_LINE, usize::MAX] {
            let (messages, end) = decode::<ToMonitor>(line(LONGEST_LINE).as_bytes().chunks(size));
            assert_eq!((messages.len(), end), (0, Err(ProtocolError::TooLong)), "by {size}");
        }
    }

    #[test]
    fn of_a_line_without_an_end_no_more_is_kept_than_a_line() {
        let (chunk, mut decoder, mut fed) = ([b'x'; 4096], Decoder::default(), 0);
        let error = loop {
            fed += chunk.len();
            assert!(fed <= 2 * LONGEST_LINE, "there is no end to it");
            match decoder.next::<ToMonitor>(&mut chunk.as_slice()) {
                Ok(message) => assert_eq!(message, None),
                Err(error) => break error,
            }
        };
        assert_eq!((error, fed), (ProtocolError::TooLong, LONGEST_LINE));
        let mut all = vec![b'x'; 20 * LONGEST_LINE];
        all.push(b'\n');
        let mut decoder = Decoder::default();
        assert!(decoder.next::<ToMonitor>(&mut all.as_slice()).is_err());
        assert!(decoder.partial.capacity() <= 2 * LONGEST_LINE, "{}", decoder.partial.capacity());
    }

    #[test]
    fn what_is_not_known_yet_is_told_by_its_name() {
        for (line, name) in [
            (r#"{"Cool Down":{"depth":[[[1.5e300]]],"version":1}}"#, "Cool Down"),
            (r#"{"":null}"#, ""),
            // A worker does not say this.
            (r#"{"Monitor":7}"#, "Monitor"),
        ] {
            assert_eq!(one::<ToMonitor>(line), Received::Unknown(name.to_owned()));
        }
        // Nor is a field.
        let done = r#"{ "Done" : {"soon":[{}], "ticks": 5, "late":"x"} }"#;
        assert_eq!(one::<ToMonitor>(done), Received::Known(ToMonitor::Done(Done { ticks: 5 })));
        let set_up = r#"{"Set Link Up":{"patience_ns":1}}"#;
        assert_eq!(one(set_up), Received::Known(FromMonitor::SetLinkUp {}));
    }

    #[test]
    fn another_version_is_refused_whatever_its_messages_look_like() {
        for line in [
            r#"{"Ready":{"version":2,"interface":"eth0","ifindex":2,"namespace":4,"pid":1}}"#,
            r#"{"Ready":{"version":2}}"#,
            r#"{"Hello":{"version":2,"who":"eth0"}}"#,
            r#"{"List":{"version":2}}"#,
        ] {
            let error = error_of::<ToMonitor>(format!("{line}\n").as_bytes());
            assert_eq!(error, ProtocolError::WrongVersion { theirs: 2 }, "{line}");
            assert_eq!(
                error.to_string(),
                "the other side speaks version 2 of the protocol, and this netmon version 1: both \
                 have to be of one release"
            );
        }
        let orders = r#"{"Monitor":{"version":18446744073709551615}}"#;
        let error = error_of::<FromMonitor>(format!("{orders}\n").as_bytes());
        assert_eq!(error, ProtocolError::WrongVersion { theirs: u64::MAX });
    }

    #[test]
    fn garbage_is_told_without_what_a_terminal_would_obey() {
        for (line, words) in [
            ("GET / HTTP/1.1\r\n".as_bytes(), r"a line that is no message: GET / HTTP/1.1\r"),
            (b"\n", "a line that is no message: "),
            (b"{}\n", "a line that is no message: {}"),
            (b"\"Done\"\n", "a line that is no message: \"Done\""),
            (
                b"[{\"Done\":{\"ticks\":1}}]\n",
                "a line that is no message: [{\"Done\":{\"ticks\":1}}]",
            ),
            (
                b"{\"Done\":{\"ticks\":1}}}\n",
                "a line that is no message: {\"Done\":{\"ticks\":1}}}",
            ),
            (b"{\"A\":1,\"B\":2}\n", "a line that is no message: {\"A\":1,\"B\":2}"),
            (b"\x1b[2J\xff\x00\n", "a line that is no message: \\u{1b}[2J\u{fffd}\\u{0}"),
        ] {
            assert_eq!(error_of::<ToMonitor>(line).to_string(), words);
        }
        let long = format!("{}\n", "ab".repeat(1000));
        let words = error_of::<ToMonitor>(long.as_bytes()).to_string();
        assert_eq!(words, format!("a line that is no message: {}…", "ab".repeat(50)));
    }

    #[test]
    fn a_known_message_of_another_shape_is_told_with_the_reason() {
        for (line, words) in [
            (r#"{"Done":{}}"#, "missing field `ticks`"),
            (r#"{"Done":{"ticks":-1}}"#, "invalid value: integer `-1`, expected u64"),
            (r#"{"Done":{"ticks":1.0}}"#, "invalid type: floating point `1.0`, expected u64"),
            (r#"{"Done":{"ticks":1},"Done":{"ticks":2}}"#, "expected value"),
            (r#"{"Done":{"ticks":1,"ticks":2}}"#, "duplicate field `ticks`"),
            (r#"{"Done":"\u001b"}"#, r#"invalid type: string "\u{1b}", expected struct Done"#),
        ] {
            let error = error_of::<ToMonitor>(format!("{line}\n").as_bytes()).to_string();
            let start = "the message \"Done\" is not as it should be: ";
            assert!(error.starts_with(&format!("{start}{words}")), "{error}");
        }
    }
}
