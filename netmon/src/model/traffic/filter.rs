//! Filters, as they are typed: words with white space between, and a row is shown when it has
//! all of them.
//!
//! | word | a row has it when |
//! |---|---|
//! | `proc:curl`, `user:alice`, `cgroup:ssh`, `reason:QDISC` | the text contains it, whatever the case; with `*`, `?` or `[…]`, when the whole text is like that |
//! | `if:eth0`, `if:eth*`, `if:eth\[1\]` | the interface has that name, or is like that, as with arguments: an interface of exactly that name comes first |
//! | `pid:123`, `user:1000`, `vlan:7`, `port:443`, `sport:`, `dport:`, `port:8000-8099`, `port:https` | the number is that, or in between; `port:` is either end |
//! | `src:`, `dst:` with `10.0.0.1` or `10.0.0.0/8` | the address is that, or in the network |
//! | `dir:rx`, `proto:udp`, `proto:17` | the direction, the protocol |
//! | `10.0.0.1`, `2001:db8::/32` | either end is that, or in the network |
//! | any other word | any text or address in the row contains it, whatever the case |
//! | `!` before any of these | the row has it not |
//!
//! A word about something that a table does not have says nothing there. While a word is being
//! typed (`port:`, `!`) it says nothing either, and neither does one that is wrong, which is told:
//! a typing error does not clear the screen.

use std::ops::{Range, RangeInclusive};

use glob::{MatchOptions, Pattern};

use super::columns::{Column, Kind, Value};
use super::names::Names;
use crate::model::human::{Printable, Short};
use crate::model::select::shell::ShellPattern;

mod network;
mod parse;

pub use network::Network;

/// What comes before the colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `proc`: the process's name.
    Process,
    /// `pid`.
    Pid,
    /// `user`: name or number.
    User,
    /// `cgroup`.
    Cgroup,
    /// `port`: of either end.
    Port,
    /// `sport`.
    SourcePort,
    /// `dport`.
    DestinationPort,
    /// `src`.
    Source,
    /// `dst`.
    Destination,
    /// `if`.
    Interface,
    /// `dir`.
    Direction,
    /// `proto`.
    Protocol,
    /// `vlan`.
    Vlan,
    /// `reason`.
    Reason,
}

impl Key {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 14] = [
        ("proc", Self::Process),
        ("pid", Self::Pid),
        ("user", Self::User),
        ("cgroup", Self::Cgroup),
        ("port", Self::Port),
        ("sport", Self::SourcePort),
        ("dport", Self::DestinationPort),
        ("src", Self::Source),
        ("dst", Self::Destination),
        ("if", Self::Interface),
        ("dir", Self::Direction),
        ("proto", Self::Protocol),
        ("vlan", Self::Vlan),
        ("reason", Self::Reason),
    ];

    /// Whether a word with this key looks into a column with that key.
    fn looks_into(self, column: Self) -> bool {
        let port = matches!(column, Self::SourcePort | Self::DestinationPort);
        self == column || self == Self::Port && port
    }
}

/// What is wrong with a word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}': {why}", Printable(word))]
pub struct FilterError {
    /// Where the word is, in bytes of the text.
    pub at: Range<usize>,
    /// The word.
    pub word: String,
    /// Why, in words for people.
    pub why: String,
}

/// A filter that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    words: Vec<Word>,
    /// What is wrong with it; those words say nothing.
    pub errors: Vec<FilterError>,
}

#[derive(Clone, Debug, PartialEq)]
struct Word {
    at: Range<usize>,
    text: String,
    negated: bool,
    /// Where it looks; `None`: everywhere.
    key: Option<Key>,
    wanted: Wanted,
}

/// What a value is held against.
#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    /// Contains this, whatever the case.
    Part(String),
    /// Is this, whatever the case.
    Whole(String),
    /// Is like this.
    Like(Pattern),
    /// Is exactly this.
    Exactly(String),
    /// Is like this, or written like it.
    Alike(ShellPattern),
    /// Is one of these numbers.
    Numbers(Vec<RangeInclusive<u64>>),
    /// Is in this network.
    Within(Network),
}

impl Filter {
    /// Whether everything is shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether a row is shown.
    #[must_use]
    pub fn shows<C: Column>(&self, row: &C::Row, names: &Names) -> bool {
        self.words.iter().all(|word| word.allows::<C>(row, names))
    }

    /// The words about interfaces that mean none of those that there are.
    pub fn of_no_interface<'a>(&'a self, names: &'a Names) -> impl Iterator<Item = &'a str> {
        let of_interfaces = self.words.iter().filter(|word| word.key == Some(Key::Interface));
        let idle = of_interfaces
            .filter(|word| !names.interfaces().iter().any(|name| word.wanted.is_text(name)));
        idle.map(|word| &*word.text)
    }

    /// The words that say nothing about this table.
    #[must_use]
    pub fn foreign<C: Column>(&self) -> Vec<FilterError> {
        let foreign = self.words.iter().filter(|word| word.columns::<C>().next().is_none());
        let why = "this table has no such column";
        foreign
            .map(|Word { at, text, .. }| FilterError {
                at: at.clone(),
                word: text.clone(),
                why: why.to_owned(),
            })
            .collect()
    }
}

impl Word {
    /// Where it looks in this table.
    fn columns<C: Column>(&self) -> impl Iterator<Item = C> {
        C::ALL.iter().copied().filter(|column| match self.key {
            Some(key) => column.key().is_some_and(|other| key.looks_into(other)),
            None => match self.wanted {
                Wanted::Within(_) => column.kind() == Kind::Address,
                _ => matches!(column.kind(), Kind::Text | Kind::Address),
            },
        })
    }

    fn allows<C: Column>(&self, row: &C::Row, names: &Names) -> bool {
        let (mut somewhere, mut found) = (false, false);
        for column in self.columns::<C>() {
            somewhere = true;
            found = found || self.wanted.is(&column.value(row, names));
        }
        !somewhere || found != self.negated
    }
}

impl Wanted {
    fn is(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Within(network), Value::Address(address)) => network.contains(*address),
            (Self::Numbers(ranges), Value::Integer(number)) => {
                ranges.iter().any(|range| range.contains(number))
            }
            (wanted, Value::Address(address)) => {
                wanted.is_text(&Short::of(format_args!("{address}")))
            }
            // A user has a number, and may be asked for by it.
            (Self::Part(part), Value::Integer(number)) => part.parse() == Ok(*number),
            (wanted, value) => value.text().is_some_and(|text| wanted.is_text(text)),
        }
    }

    fn is_text(&self, text: &str) -> bool {
        match self {
            Self::Part(part) => {
                let mut parts = text.as_bytes().windows(part.len().max(1));
                parts.any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
            }
            Self::Whole(whole) => text.eq_ignore_ascii_case(whole),
            Self::Like(pattern) => pattern.matches_with(text, ANY_CASE),
            Self::Exactly(exactly) => text == exactly,
            Self::Alike(pattern) => {
                pattern.matches_in_any_case(text) || text.eq_ignore_ascii_case(pattern.text())
            }
            Self::Numbers(_) | Self::Within(_) => false,
        }
    }
}

const ANY_CASE: MatchOptions = MatchOptions {
    case_sensitive: false,
    require_literal_separator: false,
    require_literal_leading_dot: false,
};

#[cfg(test)]
mod tests;
