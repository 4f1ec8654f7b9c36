//! Asks which interfaces to watch, as the classic tool does. Pure but for the two streams.

use std::io::{BufRead, Write};

use crate::model::human;

/// More are better asked for by a pattern.
const MOST: usize = 4096;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PromptError {
    /// The input ended.
    #[error(
        "the answers ended before every interface was named; \
         name them as arguments (`netmon run eth0`), or use --all"
    )]
    Ended,
    /// The answer is wrong, and nobody is there to answer again.
    #[error("{0}")]
    Wrong(String),
    /// Reading or writing failed.
    #[error("cannot ask: {0}")]
    Stream(#[from] std::io::Error),
}

/// Asks for the number of interfaces, then for each of them. `check` says what is wrong with a
/// name. Where `interactive`, a wrong answer is explained and asked for again; else it is an
/// error.
pub(crate) fn ask(
    answers: &mut impl BufRead,
    questions: &mut impl Write,
    interactive: bool,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Vec<String>, PromptError> {
    let mut dialog = Dialog { answers, questions, interactive };
    let question = "Please enter the number of interfaces to monitor: ";
    let number = dialog.ask(question, |answer| match answer.parse() {
        Ok(number @ 1..=MOST) => Ok(number),
        _ => Err(format!("'{answer}' is not a number from 1 to {MOST}")),
    })?;
    let mut names: Vec<String> = Vec::with_capacity(number);
    for place in 1..=number {
        let name = dialog.ask(&format!("Interface number {place}: "), |answer| {
            check(answer)?;
            if names.iter().any(|name| name == answer) {
                return Err(format!("'{answer}' was named before"));
            }
            Ok(answer.to_owned())
        })?;
        names.push(name);
    }
    Ok(names)
}

struct Dialog<'a, A, Q> {
    answers: &'a mut A,
    questions: &'a mut Q,
    interactive: bool,
}

impl<A: BufRead, Q: Write> Dialog<'_, A, Q> {
    fn ask<T>(
        &mut self,
        question: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, PromptError> {
        loop {
            write!(self.questions, "{question}")?;
            self.questions.flush()?;
            let mut line = String::new();
            let length = match self.answers.read_line(&mut line) {
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    return Err(PromptError::Wrong("the answer is not UTF-8".to_owned()));
                }
                result => result?,
            };
            if length == 0 {
                writeln!(self.questions)?;
                return Err(PromptError::Ended);
            }
            if !self.interactive {
                // Answers from a pipe are not seen, nor is their end of line.
                writeln!(self.questions)?;
            }
            match read(line.trim()) {
                Ok(answer) => return Ok(answer),
                Err(why) if self.interactive => {
                    // It names interfaces, and what was typed.
                    writeln!(self.questions, "{}", human::on_terminal(&why))?;
                }
                Err(why) => return Err(PromptError::Wrong(why)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_ask(answers: &str, interactive: bool) -> (Result<Vec<String>, String>, String) {
        let mut questions = Vec::new();
        let check = |name: &str| match name {
            "eth0" | "lo" => Ok(()),
            _ => Err(format!("there is no interface '{name}'")),
        };
        let result = ask(&mut answers.as_bytes(), &mut questions, interactive, check)
            .map_err(|error| error.to_string());
        (result, String::from_utf8(questions).unwrap())
    }

    #[test]
    fn asks_as_the_classic_tool() {
        let (names, questions) = try_ask("2\neth0\nlo\n", true);
        assert_eq!(names.unwrap(), ["eth0", "lo"]);
        assert_eq!(
            questions,
            "Please enter the number of interfaces to monitor: \
             Interface number 1: Interface number 2: "
        );
    }

    #[test]
    fn an_answer_that_is_no_text_is_a_wrong_one() {
        let check = |_: &str| Ok(());
        let error = ask(&mut &b"\xff\n"[..], &mut Vec::new(), false, check).unwrap_err();
        assert!(matches!(error, PromptError::Wrong(_)), "{error}");
    }

    #[test]
    fn the_last_line_needs_no_end() {
        assert_eq!(try_ask("1\nlo", false).0.unwrap(), ["lo"]);
        assert_eq!(try_ask(" 1 \r\n\tlo \r\n", false).0.unwrap(), ["lo"]);
    }

    #[test]
    fn at_a_terminal_wrong_answers_are_explained_and_asked_again() {
        let (names, questions) = try_ask("none\n0\n-1\n99999\n2\neht0\neth0\neth0\n\nlo\n", true);
        assert_eq!(names.unwrap(), ["eth0", "lo"]);
        for said in [
            "'none' is not a number from 1 to 4096",
            "'99999' is not a number",
            "there is no interface 'eht0'",
            "'eth0' was named before",
            "there is no interface ''",
        ] {
            assert!(questions.contains(said), "{said}: {questions}");
        }
    }

    #[test]
    fn what_is_explained_is_shown_and_not_obeyed() {
        let (_, questions) = try_ask("\u{1b}[2J\n1\ne\u{1b}[31m\nlo\n", true);
        assert!(!questions.contains('\u{1b}'), "{questions:?}");
        for said in [r"'\u{1b}[2J' is not a number", r"no interface 'e\u{1b}[31m'"] {
            assert!(questions.contains(said), "{said}: {questions}");
        }
    }

    #[test]
    fn from_a_pipe_a_wrong_answer_is_an_error() {
        assert!(try_ask("two\n", false).0.unwrap_err().contains("'two' is not a number"));
        assert!(try_ask("1\neht0\n", false).0.unwrap_err().contains("'eht0'"));
    }

    #[test]
    fn answers_that_end_say_what_else_to_do() {
        for answers in ["", "2\n", "2\nlo\n"] {
            for interactive in [true, false] {
                let error = try_ask(answers, interactive).0.unwrap_err();
                assert!(error.contains("--all"), "{answers:?}: {error}");
            }
        }
    }
}
