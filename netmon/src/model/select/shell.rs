//! Reads a text as a shell reads it: `*`, `?` and `[…]` are wildcards, a backslash takes away the
//! meaning of the character after it, and a `[` that is never closed stands for itself.

use std::fmt;

use glob::{MatchOptions, Pattern};

/// A text with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellPattern {
    /// As it was written.
    text: String,
    /// As the crate wants it, which knows no backslash.
    pattern: Pattern,
}

/// What a text means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It has no wildcard: this is what is left when backslashes have done their work.
    Name(String),
    /// It has wildcards.
    Pattern(ShellPattern),
}

impl fmt::Display for ShellPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ShellPattern {
    /// The text as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a name is like this.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.pattern.matches(name)
    }

    /// Whether a name is like this, whatever the case.
    #[must_use]
    pub fn matches_in_any_case(&self, name: &str) -> bool {
        let how = MatchOptions {
            case_sensitive: false,
            require_literal_separator: false,
            require_literal_leading_dot: false,
        };
        self.pattern.matches_with(name, how)
    }
}

/// Reads a text. Every text means something.
#[must_use]
pub fn read(text: &str) -> Meaning {
    let (mut name, mut pattern, mut is_pattern) = (String::new(), String::new(), false);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        match first {
            '*' | '?' => {
                is_pattern = true;
                // Two are no more than one, and something else to the crate.
                if first == '?' || !pattern.ends_with('*') {
                    pattern.push(first);
                }
            }
            '[' if let Some((class, after)) = class(rest) => {
                is_pattern = true;
                pattern.push_str(&class);
                rest = after;
            }
            first => {
                let quoted = if first == '\\' { rest.chars().next() } else { None };
                rest = &rest[quoted.map_or(0, char::len_utf8)..];
                let character = quoted.unwrap_or(first);
                name.push(character);
                pattern.push_str(&Pattern::escape(character.encode_utf8(&mut [0; 4])));
            }
        }
    }
    match Pattern::new(&pattern) {
        Ok(pattern) if is_pattern => Meaning::Pattern(ShellPattern { text: text.into(), pattern }),
        Ok(_) => Meaning::Name(name),
        Err(_) => Meaning::Name(text.to_owned()),
    }
}

/// What follows a `[`, up to the `]` that closes it, as the crate wants it, and what is left.
/// `None`: nothing closes it.
fn class(rest: &str) -> Option<(String, &str)> {
    let (inner, negated) = match rest.strip_prefix(['!', '^']) {
        Some(inner) => (inner, "!"),
        None => (rest, ""),
    };
    // A `]` is a member of the class where it stands first.
    let (mut bracket, mut members) = ("", String::new());
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            ']' if at > 0 => {
                return Some((format!("[{negated}{bracket}{members}]"), &inner[at + 1..]));
            }
            ']' => bracket = "]",
            '\\' => match characters.next()?.1 {
                ']' => bracket = "]",
                quoted => members.push(quoted),
            },
            other => members.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_wildcard_is_a_name() {
        for (text, name) in [
            ("eth0", "eth0"),
            (r"eth\[1\]", "eth[1]"),
            (r"eth\*", "eth*"),
            (r"a\\b", r"a\b"),
            (r"ends\", r"ends\"),
            ("[lan", "[lan"),
            ("lan]", "lan]"),
            ("[]", "[]"),
            ("[!]", "[!]"),
            (r"[a\]", "[a]"),
            ("", ""),
            (r"\é", "é"),
        ] {
            assert_eq!(read(text), Meaning::Name(name.to_owned()), "{text}");
        }
    }

    #[test]
    fn wildcards_are_those_of_shells() {
        for (text, likes, unlike) in [
            ("eth[1]", &["eth1"][..], &["eth[1]", "eth2"][..]),
            ("eth[[]1]", &["eth[1]"], &["eth1"]),
            ("eth[]]", &["eth]"], &["eth"]),
            (r"eth[a\]]", &["eth]", "etha"], &[r"eth\"]),
            (r"eth[\-x]", &["eth-", "ethx"], &["ethy"]),
            ("eth[!0-1]", &["eth2"], &["eth0", "eth1"]),
            ("eth[^0]", &["eth2", "eth^"], &["eth0"]),
            (r"eth\[*\]", &["eth[]", "eth[7]"], &["eth7"]),
            (r"a\*?", &["a*b"], &["abc"]),
            ("**", &["", "eth0"], &[]),
            ("*?", &["e", "eth0"], &[""]),
            ("[lan*", &["[lan", "[lan7"], &["lan7", "l"]),
        ] {
            let Meaning::Pattern(pattern) = read(text) else { panic!("{text} is no pattern") };
            assert_eq!(pattern.to_string(), text);
            likes.iter().for_each(|name| assert!(pattern.matches(name), "{text} {name}"));
            unlike.iter().for_each(|name| assert!(!pattern.matches(name), "{text} {name}"));
        }
    }

    #[test]
    fn the_case_may_be_passed_over() {
        let Meaning::Pattern(pattern) = read("Eth*") else { panic!("no pattern") };
        assert!(pattern.matches_in_any_case("eTH0") && !pattern.matches("eth0"));
    }
}
