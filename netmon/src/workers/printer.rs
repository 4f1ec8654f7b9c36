//! Writes messages: as lines for the other side, and in words for `-v`. Pure.

use std::fmt;

use super::protocol::{
    Done, FromMonitor, LONGEST_LINE, LinkDown, LinkSet, Message, Monitoring, ToMonitor, Told,
    WorkerStatus,
};
use crate::model::human::Printable;

/// For `-v`: the name, and what is worth knowing besides.
impl fmt::Display for ToMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::Monitoring(Monitoring { hook: text, .. })
            | Self::LinkDown(LinkDown { reason: text, .. })
            | Self::Event(Told { message: text, .. })
            | Self::LinkSet(LinkSet { error: Some(text), .. }) => {
                write!(f, "{name} ({})", Printable(text))
            }
            Self::Done(Done { ticks }) => write!(f, "{name} (ticks: {ticks})"),
            Self::Ready(_) | Self::Sample(_) | Self::LinkSet(_) | Self::List(_) => {
                f.write_str(name)
            }
        }
    }
}

impl fmt::Display for FromMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::ShutDown { reason } => write!(f, "{name} ({})", Printable(reason)),
            Self::Monitor(_) | Self::SetLinkUp {} | Self::Processes(_) | Self::Workers(_) => {
                f.write_str(name)
            }
        }
    }
}

/// Why a message cannot be said.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// A name in it is of a length that cannot be.
    #[error("the message {name:?} would be a line of {length} bytes, over {LONGEST_LINE}")]
    TooLong {
        /// The message.
        name: &'static str,
        /// The line.
        length: usize,
    },
    /// serde's.
    #[error("the message {name:?} cannot be written: {why}")]
    Json {
        /// The message.
        name: &'static str,
        /// The reason.
        why: serde_json::Error,
    },
}

/// Adds the line of a message. Texts for people are cut where they are too long.
///
/// # Errors
/// When it makes no line that the other side would take; then nothing is added.
pub fn print<M: Message>(message: &M, buffer: &mut Vec<u8>) -> Result<(), PrintError> {
    let start = buffer.len();
    let name = message.name();
    let written = serde_json::to_writer(&mut *buffer, message);
    buffer.push(b'\n');
    let length = buffer.len() - start;
    let result = match written {
        Err(why) => Err(PrintError::Json { name, why }),
        Ok(()) if length > LONGEST_LINE => Err(PrintError::TooLong { name, length }),
        Ok(()) => return Ok(()),
    };
    buffer.truncate(start);
    result
}

/// Adds the whole answer to `List`: as many `Workers` as there have to be, and an empty one.
///
/// # Errors
/// When a single worker makes no line.
pub fn print_workers(workers: &[WorkerStatus], buffer: &mut Vec<u8>) -> Result<(), PrintError> {
    /// Of such as come up, a fifth of what a line takes.
    const A_LINE: usize = 64;
    for part in workers.chunks(A_LINE) {
        if print(&FromMonitor::Workers(part.to_vec()), buffer).is_ok() {
            continue;
        }
        for worker in part {
            print(&FromMonitor::Workers(vec![worker.clone()]), buffer)?;
        }
    }
    print(&FromMonitor::Workers(Vec::new()), buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::decoder::{Decoder, Received};
    use crate::workers::protocol::{Ready, VERSION};
    use crate::workers::samples;

    fn line<M: Message>(message: &M) -> String {
        let mut buffer = Vec::new();
        print(message, &mut buffer).unwrap();
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn each_message_is_exactly_this_line() {
        for (message, golden) in samples::to_monitor() {
            assert_eq!(line(&message), format!("{golden}\n"));
        }
        for (message, golden) in samples::from_monitor() {
            assert_eq!(line(&message), format!("{golden}\n"));
        }
    }

    #[test]
    fn names_are_those_of_the_lines_and_all_are_listed() {
        fn check<M: Message>(samples: &[(M, &str)]) {
            for (message, golden) in samples {
                let key = format!("{{\"{}\":", message.name());
                assert!(golden.starts_with(&key), "{golden}");
                assert!(M::NAMES.contains(&message.name()), "{golden}");
                let told = golden.contains(r#""version":"#).then_some(VERSION);
                assert_eq!(message.version(), told, "{golden}");
            }
            for name in M::NAMES {
                assert!(samples.iter().any(|(message, _)| message.name() == *name), "{name}");
            }
        }
        check(&samples::to_monitor());
        check(&samples::from_monitor());
    }

    #[test]
    fn in_words() {
        let words: Vec<_> = samples::to_monitor().iter().map(|(it, _)| it.to_string()).collect();
        let expected = [
            "Ready",
            "Monitoring (TCX in+out)",
            "Sample",
            "Sample",
            "Link Down (administratively down)",
            r#"Event (cannot read "operstate":\n\u{1b}[31mno)"#,
            "Link Set",
            "Link Set (Operation not permitted)",
            "Done (ticks: 18446744073709551615)",
            "List",
        ];
        assert_eq!(words, expected);
        let words: Vec<_> = samples::from_monitor().iter().map(|(it, _)| it.to_string()).collect();
        let rest = ["Set Link Up", "Shut Down (Ctrl-C)", "Processes", "Workers", "Workers"];
        assert_eq!(words, [&["Monitor"][..], &rest].concat());
    }

    #[test]
    fn long_texts_are_cut_and_then_fit_whatever_is_in_them() {
        // A control character takes six bytes, and the cut falls into a character of three.
        let texts = ["\u{1}".repeat(1_000_000), "€".repeat(1_000_000)];
        for (text, kept) in texts.into_iter().zip([4096, 1365]) {
            let message = FromMonitor::ShutDown { reason: text.clone() };
            let line = line(&message);
            assert!(line.len() <= LONGEST_LINE, "{}", line.len());
            let cut: String = text.chars().take(kept).collect();
            let received = Decoder::default().next::<FromMonitor>(&mut line.as_bytes()).unwrap();
            assert_eq!(received, Some(Received::Known(FromMonitor::ShutDown { reason: cut })));
            let error = ToMonitor::LinkSet(LinkSet { error: Some(text), denied: false });
            assert!(self::line(&error).len() <= LONGEST_LINE);
        }
    }

    #[test]
    fn a_line_that_nobody_would_take_is_not_printed() {
        let ready = |length: usize| {
            ToMonitor::Ready(Ready {
                version: 1,
                interface: "x".repeat(length),
                ifindex: 1,
                namespace: 1,
                pid: 1,
            })
        };
        let around = line(&ready(0)).len();
        let mut buffer = b"before\n".to_vec();
        print(&ready(LONGEST_LINE - around), &mut buffer).unwrap();
        assert_eq!(buffer.len(), 7 + LONGEST_LINE);
        buffer.truncate(7);
        let error = print(&ready(LONGEST_LINE - around + 1), &mut buffer).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the message \"Ready\" would be a line of 65537 bytes, over 65536"
        );
        assert_eq!(buffer, b"before\n");
    }

    #[test]
    fn any_number_of_workers_can_be_told() {
        let long = WorkerStatus { interface: "i".repeat(1_100), ..samples::worker() };
        for (workers, lines) in [
            (vec![], 1),
            (vec![samples::worker(); 64], 2),
            (vec![samples::worker(); 1_000], 17),
            // Few of these fit into a line.
            (vec![long; 65], 66),
        ] {
            let mut buffer = Vec::new();
            print_workers(&workers, &mut buffer).unwrap();
            let mut input = buffer.as_slice();
            let mut told: Vec<Vec<WorkerStatus>> = Vec::new();
            while let Some(message) = Decoder::default().next(&mut input).unwrap() {
                let Received::Known(FromMonitor::Workers(part)) = message else {
                    panic!("{message:?}");
                };
                told.push(part);
            }
            assert_eq!(told.len(), lines);
            assert_eq!(told.pop(), Some(Vec::new()), "the end");
            assert!(told.iter().all(|part| !part.is_empty()), "an end before the end");
            assert_eq!(told.concat(), workers);
        }
    }
}
