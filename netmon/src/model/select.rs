//! Which interfaces are wanted: names, shell patterns, all; and what is left out.
//!
//! A text may be a name or a pattern: an interface that has exactly that name comes first. Which
//! names there are is known later than the text is read, so [`Selection::resolved`] decides.

use std::fmt;

use super::link::{IfIndex, Link};
use super::natural;
use shell::{Meaning, ShellPattern};

pub mod shell;

/// IFNAMSIZ − 1 of linux/if.h.
const LONGEST_NAME: usize = 15;
/// ALTIFNAMSIZ − 1 of linux/netdevice.h.
const LONGEST_ALTNAME: usize = 127;
/// How many similar names an error offers.
const SUGGESTIONS: usize = 3;

/// What the user asked for, one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Every interface, and none in particular.
    All,
    /// A name or an alternative name.
    Name(String),
    /// A name with backslashes in it that quote: `eth\[1\]`.
    Quoted {
        /// As it was written, which may be a name, too.
        text: String,
        /// Without the backslashes that quote.
        name: String,
    },
    /// A shell pattern (`*`, `?`, `[a-z]`), or the name that is written like it.
    Pattern(ShellPattern),
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

/// How a text is understood that is an interface's name and a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Literal {
    /// As the name, always: the user knows the namespace that is meant.
    First,
    /// As the name, unless the pattern means that interface, too: in namespaces that were not
    /// named one by one, whoever names interfaces there is not to hide the others.
    Included,
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Name(name) => f.write_str(name),
            Self::Quoted { text, .. } => f.write_str(text),
            Self::Pattern(pattern) => pattern.fmt(f),
            Self::Index(ifindex) => write!(f, "ifindex {ifindex}"),
        }
    }
}

impl Selector {
    /// Reads one argument.
    ///
    /// # Errors
    /// A name that no interface can have (net/core/dev.c, `dev_valid_name`).
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        if text.is_empty() {
            return Err(SelectError::Empty);
        }
        let name = match shell::read(text) {
            Meaning::Pattern(pattern) => return Ok(Self::Pattern(pattern)),
            Meaning::Name(name) => name,
        };
        let impossible = |why| Err(SelectError::Impossible(text.to_owned(), why));
        if name == "." || name == ".." {
            return impossible("the kernel does not allow it");
        }
        if name.contains('/') || name.contains(char::is_whitespace) {
            return impossible("it contains a slash or white space");
        }
        if name.len() > LONGEST_ALTNAME {
            return impossible("it is longer than any name or alternative name");
        }
        let text = text.to_owned();
        Ok(if name == text { Self::Name(name) } else { Self::Quoted { text, name } })
    }

    /// Whether the interface is meant.
    #[must_use]
    pub fn matches(&self, link: &Link) -> bool {
        match self {
            Self::All => true,
            Self::Pattern(pattern) => pattern.matches(&link.name) || self.names(link),
            Self::Index(ifindex) => *ifindex == link.ifindex,
            Self::Name(_) | Self::Quoted { .. } => self.names(link),
        }
    }

    /// Whether it is this very interface's name, so that it is theirs to have up.
    #[must_use]
    pub fn names(&self, link: &Link) -> bool {
        match self {
            Self::All | Self::Index(_) => false,
            Self::Name(name) => is_called(link, name),
            Self::Quoted { text, name } => is_called(link, name) || is_called(link, text),
            Self::Pattern(pattern) => is_called(link, pattern.text()),
        }
    }

    /// Whether it is one name.
    #[must_use]
    pub const fn is_name(&self) -> bool {
        matches!(self, Self::Name(_) | Self::Quoted { .. })
    }

    /// What it means where these interfaces exist.
    #[must_use]
    pub fn resolved(&self, links: &[Link], literal: Literal) -> Self {
        let exists = |name: &str| links.iter().any(|link| is_called(link, name));
        match self {
            Self::Quoted { text, .. } if exists(text) => Self::Name(text.clone()),
            Self::Quoted { name, .. } => Self::Name(name.clone()),
            Self::Pattern(pattern)
                if (literal == Literal::First || !pattern.matches(pattern.text()))
                    && exists(pattern.text()) =>
            {
                Self::Name(pattern.text().to_owned())
            }
            other => other.clone(),
        }
    }
}

fn is_called(link: &Link, name: &str) -> bool {
    *link.name == *name || link.altnames.iter().any(|altname| altname == name)
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
        let by_name = self.wanted.iter().position(|s| s.names(link));
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
        self.wanted.iter().any(|selector| selector.names(link))
    }

    /// What it means where these interfaces exist.
    #[must_use]
    pub fn resolved(&self, links: &[Link], literal: Literal) -> Self {
        let resolve = |selectors: &[Selector]| {
            selectors.iter().map(|selector| selector.resolved(links, literal)).collect()
        };
        Self { wanted: resolve(&self.wanted), excluded: resolve(&self.excluded) }
    }

    /// What could be a pattern for others of these interfaces, and is the name of one.
    pub fn names_like_patterns(&self, links: &[Link]) -> impl Iterator<Item = &str> {
        self.wanted.iter().chain(&self.excluded).filter_map(|selector| match selector {
            Selector::Pattern(pattern) => {
                let named = links.iter().any(|link| selector.names(link));
                let others =
                    links.iter().any(|it| pattern.matches(&it.name) && !selector.names(it));
                (named && others).then_some(pattern.text())
            }
            _ => None,
        })
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
        if !near.is_empty() {
            let _ = write!(message, " (did you mean '{}'?)", near.join("' or '"));
        }
        message.push_str(if name.contains('[') {
            " (a '[' that nothing closes, or with '\\' before it, stands for itself); "
        } else {
            "; "
        });
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
mod tests;
