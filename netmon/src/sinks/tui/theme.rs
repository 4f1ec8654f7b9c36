//! Colours and signs. Nothing is told by a colour alone: each has a word, a sign or a place, so
//! everything can be read in one colour. Of the 16 colours only cyan, yellow and blue are used,
//! which people tell apart who do not see red and green as two; what is wrong is bold or reversed.

use ratatui_core::style::{Color, Modifier, Style};

/// What something means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As usual.
    #[default]
    Plain,
    /// Less important, or over.
    Faint,
    /// A name or title.
    Title,
    /// Worth a look: above its threshold, down.
    Warning,
}

/// How the screen is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// With colours.
    pub color: bool,
    /// With signs beyond ASCII.
    pub unicode: bool,
}

impl Theme {
    /// By the environment: `NO_COLOR` (no-color.org), `TERM`, and the locale.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let term = set("TERM").unwrap_or_default();
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        Self {
            // A DEC terminal has none, and blinks instead of 256-colour sequences.
            color: set("NO_COLOR").is_none() && !term.starts_with("vt"),
            // The Linux console's font lacks most of the signs.
            unicode: (locale.contains("utf-8") || locale.contains("utf8")) && term != "linux",
        }
    }

    /// How a meaning looks.
    #[must_use]
    pub const fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        match (tone, self.color) {
            (Tone::Plain, _) | (Tone::Faint, false) => style,
            (Tone::Faint, true) => style.add_modifier(Modifier::DIM),
            (Tone::Title, false) | (Tone::Warning, false) => style.add_modifier(Modifier::BOLD),
            (Tone::Title, true) => style.fg(Color::Cyan),
            (Tone::Warning, true) => style.fg(Color::Yellow).add_modifier(Modifier::BOLD),
        }
    }

    /// What is selected.
    #[must_use]
    pub const fn selected(self, style: Style) -> Style {
        style.add_modifier(Modifier::REVERSED)
    }

    /// A sign, or what stands for it in ASCII.
    #[must_use]
    pub const fn sign(self, sign: Sign) -> &'static str {
        let (unicode, ascii) = match sign {
            Sign::Up => ("▲", "+"),
            Sign::Down => ("▼", "-"),
            Sign::Ascending => ("▲", "^"),
            Sign::Descending => ("▼", "v"),
            Sign::Cut => ("…", "~"),
            Sign::Arrow => ("→", ">"),
            Sign::Dot => ("·", "|"),
            Sign::Estimate => ("≈", "~"),
            Sign::Line => ("─", "-"),
        };
        if self.unicode { unicode } else { ascii }
    }

    /// Eight heights for a sparkline.
    #[must_use]
    pub const fn heights(self) -> [&'static str; 8] {
        if self.unicode {
            ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
        } else {
            [".", ".", ":", ":", "-", "=", "*", "#"]
        }
    }
}

/// A sign that has one character in ASCII and one beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// An interface works.
    Up,
    /// It does not.
    Down,
    /// The smallest first.
    Ascending,
    /// The largest first.
    Descending,
    /// Something was cut off.
    Cut,
    /// Leads to.
    Arrow,
    /// Between two things.
    Dot,
    /// Not exact.
    Estimate,
    /// A line.
    Line,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theme(variables: &[(&str, &str)]) -> (bool, bool) {
        let theme = Theme::of(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        (theme.color, theme.unicode)
    }

    #[test]
    fn the_environment_decides() {
        let utf8 = ("LANG", "de_DE.UTF-8");
        assert_eq!(theme(&[]), (true, false));
        assert_eq!(theme(&[utf8]), (true, true));
        assert_eq!(theme(&[utf8, ("LC_ALL", "C")]), (true, false));
        assert_eq!(theme(&[utf8, ("LC_ALL", "")]), (true, true));
        assert_eq!(theme(&[("LC_CTYPE", "C.utf8"), ("NO_COLOR", "1")]), (false, true));
        assert_eq!(theme(&[utf8, ("NO_COLOR", "")]), (true, true));
        assert_eq!(theme(&[utf8, ("TERM", "vt220")]), (false, true));
        assert_eq!(theme(&[utf8, ("TERM", "linux")]), (true, false));
    }
}
