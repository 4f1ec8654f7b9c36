//! The messages between the network monitor and its interface monitors: how the bytes are cut is
//! of no matter, and what is understood can be said again.

use std::fmt::Debug;

use netmon::workers::{
    decoder::{Decoder, ProtocolError, Received},
    protocol::{FromMonitor, LONGEST_LINE, Message, PrintError, ToMonitor, print},
};

pub(super) fn target(data: &[u8]) -> bool {
    // Each side is read by its own parser, and neither must trip over the other's.
    let (to, from) = (side::<ToMonitor>(data), side::<FromMonitor>(data));
    to || from
}

fn side<M: Message + PartialEq + Debug>(data: &[u8]) -> bool {
    let whole = decode::<M>(data, data.len().max(1));
    assert_eq!(decode(data, 7), whole, "in pieces");
    let (messages, end) = whole;
    for message in &messages {
        match message {
            Received::Known(message) => said_again(message),
            Received::Unknown(name) => assert!(!M::NAMES.contains(&name.as_str()), "{name}"),
        }
    }
    if let Err(error) = &end {
        for_people(&error.to_string());
    }
    end.is_ok() && messages.iter().any(|message| matches!(message, Received::Known(_)))
}

fn decode<M: Message>(data: &[u8], size: usize) -> (Vec<Received<M>>, Result<(), ProtocolError>) {
    let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
    for mut piece in data.chunks(size) {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
        assert!(piece.is_empty(), "bytes are left that nobody will see again");
    }
    (messages, decoder.finish())
}

fn said_again<M: Message + PartialEq + Debug>(message: &M) {
    for_people(&message.to_string());
    let mut line = Vec::new();
    match print(message, &mut line) {
        Ok(()) => {}
        // A name of control characters grows sixfold.
        Err(PrintError::TooLong { length, .. }) if length > LONGEST_LINE => return,
        Err(error) => panic!("{error} of {message:?}"),
    }
    assert!(line.len() <= LONGEST_LINE, "{} bytes", line.len());
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1), "not a line");
    let (again, end) = decode::<M>(&line, line.len());
    assert_eq!(end, Ok(()), "{message:?}");
    // Texts for people are cut where they are longer than this.
    if line.len() < 4096 {
        let same = matches!(again.as_slice(), [Received::Known(again)] if again == message);
        assert!(same, "{again:?} of {message:?}");
    }
}

fn for_people(words: &str) {
    assert!(!words.trim().is_empty(), "not a word");
    assert!(!words.chars().any(char::is_control), "{words:?} reaches a terminal");
}
