//! Reads what was typed.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use glob::Pattern;

use super::{Filter, FilterError, Key, Wanted, Word};
use crate::model::human::Printable;
use crate::model::select::shell::{self, Meaning};
use crate::model::traffic::names::Names;
use crate::model::traffic::protocol::Protocol;

impl Filter {
    /// Reads a filter. It always can be used: see [`Filter::errors`] for what is wrong.
    #[must_use]
    pub fn parse(text: &str, names: &Names) -> Self {
        let mut filter = Self::default();
        for word in text.split_whitespace() {
            // Each word is a part of the text.
            let start = word.as_ptr().addr() - text.as_ptr().addr();
            let at = start..start + word.len();
            match read(word, names) {
                Ok(None) => {}
                Ok(Some((negated, key, wanted))) => {
                    filter.words.push(Word { at, text: word.to_owned(), negated, key, wanted });
                }
                Err(why) => filter.errors.push(FilterError { at, word: word.to_owned(), why }),
            }
        }
        filter
    }
}

type Read = Option<(bool, Option<Key>, Wanted)>;

/// `None`: it is not finished.
fn read(word: &str, names: &Names) -> Result<Read, String> {
    let (negated, rest) = match word.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    if is_network(rest) {
        return Ok(network(rest)?.map(|network| (negated, None, network)));
    }
    let Some((name, value)) = rest.split_once(':') else {
        return Ok((!rest.is_empty()).then(|| (negated, None, text(rest))));
    };
    let key = Key::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let Some((_, key)) = key else { return Err(unknown(name)) };
    let wanted = if value.is_empty() { None } else { wanted(*key, value, names)? };
    Ok(wanted.map(|wanted| (negated, Some(*key), wanted)))
}

/// An address, whatever comes after a slash.
fn is_network(text: &str) -> bool {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    address.parse::<IpAddr>().is_ok()
}

fn network(text: &str) -> Result<Option<Wanted>, String> {
    if text.ends_with('/') && is_network(text) {
        return Ok(None);
    }
    Ok(Some(Wanted::Within(text.parse()?)))
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = Key::ALL.iter().map(|(known, _)| *known).collect();
    format!("there is no '{}:'; there are: {}", Printable(name), known.join(", "))
}

/// `None`: it is not finished.
fn wanted(key: Key, value: &str, names: &Names) -> Result<Option<Wanted>, String> {
    let wanted = match key {
        Key::Process | Key::User | Key::Cgroup | Key::Reason => text(value),
        Key::Interface => interface(value, names),
        Key::Pid => numbers(value, "a process id", u32::MAX.into())?,
        Key::Vlan => numbers(value, "a VLAN's number", 4_095)?,
        Key::Port | Key::SourcePort | Key::DestinationPort => ports(value, names)?,
        Key::Source | Key::Destination => return network(value),
        Key::Direction if value.eq_ignore_ascii_case("r") || value.eq_ignore_ascii_case("t") => {
            return Ok(None);
        }
        Key::Direction if !["rx", "tx"].iter().any(|way| value.eq_ignore_ascii_case(way)) => {
            return Err("the direction is rx or tx".to_owned());
        }
        Key::Direction => whole(value),
        Key::Protocol => match value.parse() {
            Ok(number) => whole(&names.protocol(Protocol::Ip(number))),
            Err(_) => whole(value),
        },
    };
    Ok(Some(wanted))
}

/// As an argument is read, whatever the case but where an interface has exactly that name.
fn interface(value: &str, names: &Names) -> Wanted {
    let exists = |name: &str| names.interfaces().iter().any(|existing| existing == name);
    if exists(value) {
        return Wanted::Exactly(value.to_owned());
    }
    match shell::read(value) {
        Meaning::Name(name) if exists(&name) => Wanted::Exactly(name),
        Meaning::Name(name) => Wanted::Whole(name),
        Meaning::Pattern(pattern) => Wanted::Alike(pattern),
    }
}

/// A pattern where it can be one, else a part.
fn text(value: &str) -> Wanted {
    pattern(value).map_or_else(|| Wanted::Part(value.to_owned()), Wanted::Like)
}

/// A pattern where it can be one, else all of it.
fn whole(value: &str) -> Wanted {
    pattern(value).map_or_else(|| Wanted::Whole(value.to_owned()), Wanted::Like)
}

/// A bracket that is still open is an ordinary character.
fn pattern(value: &str) -> Option<Pattern> {
    value.contains(['*', '?', '[']).then(|| Pattern::new(value).ok()).flatten()
}

fn ports(value: &str, names: &Names) -> Result<Wanted, String> {
    if value.starts_with(|first: char| first.is_ascii_digit()) {
        return numbers(value, "a port", u16::MAX.into());
    }
    let one = |port: u16| u64::from(port)..=u64::from(port);
    let ports: Vec<RangeInclusive<u64>> = names.ports(value).into_iter().map(one).collect();
    if ports.is_empty() {
        return Err("no service has this name".to_owned());
    }
    Ok(Wanted::Numbers(ports))
}

/// `7`, or `7-9`; while the end is still to be typed, from 7 on.
fn numbers(value: &str, what: &str, most: u64) -> Result<Wanted, String> {
    let number = |text: &str| match text.parse::<u64>() {
        Ok(number) if number <= most && !text.starts_with('+') => Ok(number),
        _ => Err(format!("{what} is a number from 0 to {most}")),
    };
    let (start, end) = match value.split_once('-') {
        None => (number(value)?, number(value)?),
        Some((start, "")) => (number(start)?, most),
        Some((start, end)) => (number(start)?, number(end)?),
    };
    Ok(Wanted::Numbers(vec![RangeInclusive::new(start, end)]))
}
