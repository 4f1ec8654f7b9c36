//! Which interfaces are wanted: names, shell patterns, all; and what is left out.

use std::fmt;

use glob::Pattern;

use super::link::{IfIndex, Link};
use super::natural;

/// IFNAMSIZ − 1 of linux/if.h.
const LONGEST_NAME: usize = 15;
/// ALTIFNAMSIZ − 1 of linux/netdevice.h.
const LONGEST_ALTNAME: usize = 127;
/// How many similar names an error offers.
const SUGGESTIONS: usize = 3;

/// What the user asked for, one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A name or an alternative name.
    Name(String),
    /// A shell pattern: `*`, `?`, `[a-z]`.
    Pattern(Pattern),
    /// This very interface, whatever its name becomes. Nobody types that in: an interface monitor
    /// is for one.
    Index(IfIndex),
}

/// Why what was asked for cannot be watched.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// An empty name.
    #[error("an interface's name cannot be empty")]
    Empty,
    /// A name that no interface can have.
    #[error("'{0}' cannot be an interface's name: {1}")]
    Impossible(String, &'static str),
    /// A pattern that cannot be read.
    #[error("'{0}' is not a pattern: {1}")]
    Pattern(String, String),
    /// Names that do not exist.
    #[error("{}", unknown_message(.unknown, .existing))]
    Unknown {
        /// The names asked for.
        unknown: Vec<String>,
        /// All names that exist, in natural order.
        existing: Vec<String>,
    },
    /// A pattern that matches nothing.
    #[error("no interface matches '{pattern}'; there are: {}", .existing.join(", "))]
    NothingMatches {
        /// The pattern.
        pattern: String,
        /// All names that exist, in natural order.
        existing: Vec<String>,
    },
    /// Everything was left out again.
    #[error("no interface is left to watch after --exclude")]
    NothingLeft,
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Pattern(pattern) => f.write_str(pattern.as_str()),
            Self::Index(ifindex) => write!(f, "ifindex {ifindex}"),
        }
    }
}

impl Selector {
    /// Reads one argument.
    ///
    /// # Errors
    /// A name that no interface can have (net/core/dev.c, `dev_valid_name`), or a pattern that
    /// cannot be read.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        if text.is_empty() {
            return Err(SelectError::Empty);
        }
        if text.contains(['*', '?', '[']) {
            return Pattern::new(text)
                .map(Self::Pattern)
                .map_err(|error| SelectError::Pattern(text.to_owned(), error.msg.to_owned()));
        }
        let impossible = |why| Err(SelectError::Impossible(text.to_owned(), why));
        if text == "." || text == ".." {
            return impossible("the kernel does not allow it");
        }
        if text.contains('/') || text.contains(char::is_whitespace) {
            return impossible("it contains a slash or white space");
        }
        if text.len() > LONGEST_ALTNAME {
            return impossible("it is longer than any name or alternative name");
        }
        Ok(Self::Name(text.to_owned()))
    }

    /// Whether the interface is meant.
    #[must_use]
    pub fn matches(&self, link: &Link) -> bool {
        match self {
            Self::Name(name) => *link.name == **name || link.altnames.contains(name),
            Self::Pattern(pattern) => pattern.matches(&link.name),
            Self::Index(ifindex) => *ifindex == link.ifindex,
        }
    }

    /// Whether the user named this very interface, so that it is theirs to have up.
    #[must_use]
    pub const fn is_name(&self) -> bool {
        matches!(self, Self::Name(_))
    }
}

/// Everything that is wanted, in the order asked for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// What to watch; the place in this list is the first key of the report's order.
    pub wanted: Vec<Selector>,
    /// What not to watch after all.
    pub excluded: Vec<Selector>,
}

impl Selection {
    /// The place of the first selector that means this interface; `None` when it is not wanted.
    /// A name goes before a pattern, wherever it stands.
    #[must_use]
    pub fn place_of(&self, link: &Link) -> Option<usize> {
        if self.excludes(link) {
            return None;
        }
        let by_name = self.wanted.iter().position(|s| s.is_name() && s.matches(link));
        by_name.or_else(|| self.wanted.iter().position(|s| s.matches(link)))
    }

    /// Whether the interface is left out.
    #[must_use]
    pub fn excludes(&self, link: &Link) -> bool {
        self.excluded.iter().any(|selector| selector.matches(link))
    }

    /// Whether the interface was asked for by name.
    #[must_use]
    pub fn is_named(&self, link: &Link) -> bool {
        self.wanted.iter().any(|selector| selector.is_name() && selector.matches(link))
    }

    /// Takes out what is asked for twice and returns it.
    pub fn deduplicate(&mut self) -> Vec<String> {
        let mut kept: Vec<Selector> = Vec::with_capacity(self.wanted.len());
        let mut doubled = Vec::new();
        for selector in self.wanted.drain(..) {
            if kept.contains(&selector) {
                doubled.push(selector.to_string());
            } else {
                kept.push(selector);
            }
        }
        self.wanted = kept;
        doubled
    }

    /// What is asked for and does not exist.
    pub fn missing(&self, links: &[Link]) -> impl Iterator<Item = &Selector> {
        self.wanted.iter().filter(|selector| !links.iter().any(|link| selector.matches(link)))
    }

    /// Checks the selection against what exists.
    ///
    /// # Errors
    /// The first of: names that do not exist, a pattern that matches nothing, nothing left.
    pub fn check(&self, links: &[Link]) -> Result<(), SelectError> {
        let missing: Vec<&Selector> = self.missing(links).collect();
        let unknown: Vec<String> =
            missing.iter().filter(|s| s.is_name()).map(ToString::to_string).collect();
        if let Some(long) = unknown.iter().find(|name| name.len() > LONGEST_NAME) {
            let why = "it is longer than 15 bytes, and no alternative name";
            return Err(SelectError::Impossible(long.clone(), why));
        }
        if !unknown.is_empty() {
            return Err(SelectError::Unknown { unknown, existing: names(links) });
        }
        if let Some(pattern) = missing.first() {
            let (pattern, existing) = (pattern.to_string(), names(links));
            return Err(SelectError::NothingMatches { pattern, existing });
        }
        if !links.iter().any(|link| self.place_of(link).is_some()) {
            return Err(SelectError::NothingLeft);
        }
        Ok(())
    }
}

/// The names of all, in natural order.
#[must_use]
pub fn names(links: &[Link]) -> Vec<String> {
    let mut names: Vec<String> = links.iter().map(|link| link.name.to_string()).collect();
    names.sort_by(|a, b| natural::compare(a, b));
    names
}

fn unknown_message(unknown: &[String], existing: &[String]) -> String {
    use fmt::Write;
    let mut message = String::new();
    for name in unknown {
        let _ = write!(message, "there is no interface '{name}'");
        let near = nearest(name, existing);
        if near.is_empty() {
            message.push_str("; ");
        } else {
            let _ = write!(message, " (did you mean '{}'?); ", near.join("' or '"));
        }
    }
    let _ = write!(message, "there are: {}", existing.join(", "));
    message
}

/// The names that are most like `name`, best first; none when nothing is like it.
fn nearest<'a>(name: &str, existing: &'a [String]) -> Vec<&'a str> {
    let mut ranked: Vec<(f64, &str)> = existing
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= 2.min(candidate.len() / 2))
        .map(|(edits, candidate)| (edits as f64, candidate.as_str()))
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    ranked.into_iter().take(SUGGESTIONS).map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str) -> Link {
        let altnames = vec![format!("alternative-of-{name}")];
        Link { altnames, ..Link::sample(1, name) }
    }

    fn selection(wanted: &[&str], excluded: &[&str]) -> Selection {
        let parse = |texts: &[&str]| {
            texts.iter().map(|text| Selector::parse(text).unwrap()).collect::<Vec<_>>()
        };
        Selection { wanted: parse(wanted), excluded: parse(excluded) }
    }

    #[test]
    fn arguments_that_cannot_be() {
        let why = |text: &str| Selector::parse(text).unwrap_err().to_string();
        assert_eq!(why(""), "an interface's name cannot be empty");
        assert!(why("a/b").contains("slash"));
        assert!(why("a b").contains("white space"));
        assert!(why("..").contains("not allow"));
        assert!(why("eth[").contains("not a pattern"));
        assert!(why(&"x".repeat(128)).contains("longer"));
    }

    #[test]
    fn order_and_exclusion() {
        let selection = selection(&["lo", "eth*", "eth7"], &["eth1?"]);
        assert_eq!(selection.place_of(&link("lo")), Some(0));
        assert_eq!(selection.place_of(&link("eth2")), Some(1));
        assert_eq!(selection.place_of(&link("eth7")), Some(2), "a name goes before a pattern");
        assert_eq!(selection.place_of(&link("eth10")), None, "excluded");
        assert_eq!(selection.place_of(&link("wan")), None);
        assert!(selection.is_named(&link("eth7")) && !selection.is_named(&link("eth2")));
    }

    #[test]
    fn a_number_means_one_interface_whatever_the_names() {
        let of = |ifindex, name| Link::sample(ifindex, name);
        let wanted = vec![Selector::Index(IfIndex(7))];
        let selection = Selection { wanted, excluded: Vec::new() };
        assert_eq!(selection.place_of(&of(7, "old0")), Some(0));
        assert_eq!(selection.place_of(&of(8, "eth0")), None);
    }

    #[test]
    fn alternative_names_are_names() {
        let selection = selection(&["alternative-of-eth0"], &[]);
        assert_eq!(selection.place_of(&link("eth0")), Some(0));
        assert_eq!(selection.check(&[link("eth0")]), Ok(()));
    }

    #[test]
    fn doubled_is_told_and_watched_once() {
        let mut selection = selection(&["lo", "eth*", "lo", "eth*"], &[]);
        assert_eq!(selection.deduplicate(), ["lo", "eth*"]);
        assert_eq!(selection.wanted.len(), 2);
    }

    #[test]
    fn unknown_names_get_the_nearest_and_the_list() {
        let links = [link("eth10"), link("eth0"), link("lo")];
        let error = selection(&["eht0"], &[]).check(&links).unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no interface 'eht0' (did you mean 'eth0' or 'eth10'?); \
             there are: eth0, eth10, lo"
        );
        let error = selection(&["wireguard7"], &[]).check(&links).unwrap_err().to_string();
        assert_eq!(error, "there is no interface 'wireguard7'; there are: eth0, eth10, lo");
        let error = selection(&["sixteen-bytes-00"], &[]).check(&links).unwrap_err();
        assert!(error.to_string().contains("longer than 15"));
    }

    #[test]
    fn nothing_matches_and_nothing_left() {
        let links = [link("eth0")];
        let error = selection(&["wan*"], &[]).check(&links).unwrap_err().to_string();
        assert_eq!(error, "no interface matches 'wan*'; there are: eth0");
        let error = selection(&["eth*"], &["eth0"]).check(&links).unwrap_err();
        assert_eq!(error, SelectError::NothingLeft);
    }
}
