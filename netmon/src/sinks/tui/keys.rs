//! The keys, in one table: what they do is read from it, and so is the help.

use super::input::Key;
use super::tabs::TabName;

/// Something that a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Ends netmon.
    Quit,
    /// Stops it until `fg`.
    Suspend,
    /// Shows or hides the keys.
    Help,
    /// The tab to the right.
    NextTab,
    /// The tab to the left.
    PreviousTab,
    /// A tab.
    Tab(TabName),
    /// Sorts by the column to the left.
    SortLeft,
    /// Sorts by the column to the right.
    SortRight,
    /// Turns the order around.
    Reverse,
    /// Starts to type a filter.
    Filter,
    /// Stands still, or goes on.
    Pause,
    /// The row above.
    Up,
    /// The row below.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// The first row.
    First,
    /// The last row.
    Last,
    /// Into the row.
    Enter,
    /// Out again.
    Back,
    /// Bits or bytes.
    Bits,
    /// Short or exact numbers.
    Human,
    /// With or without the kernel's own.
    KernelThreads,
    /// Each interface or all together.
    PerInterface,
    /// Everything anew.
    Redraw,
}

/// Keys that do the same.
pub struct Binding {
    /// The keys.
    pub keys: &'static [Key],
    /// What they are called.
    pub shown: &'static str,
    /// What they do.
    pub command: Command,
    /// In words; empty: told together with the binding before.
    pub help: &'static str,
}

const fn bind(
    keys: &'static [Key],
    shown: &'static str,
    command: Command,
    help: &'static str,
) -> Binding {
    Binding { keys, shown, command, help }
}

/// All keys, in the order of the help.
#[rustfmt::skip]
pub const KEYS: &[Binding] = {
    use Key::{BackTab, Backspace, Char, Ctrl, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Tab, Up};
    &[
        bind(&[Char('1')], "1 … 6", Command::Tab(TabName::Interfaces), "a tab"),
        bind(&[Char('2')], "", Command::Tab(TabName::Processes), ""),
        bind(&[Char('3')], "", Command::Tab(TabName::Flows), ""),
        bind(&[Char('4')], "", Command::Tab(TabName::Protocols), ""),
        bind(&[Char('5')], "", Command::Tab(TabName::Drops), ""),
        bind(&[Char('6')], "", Command::Tab(TabName::Events), ""),
        bind(&[Tab, Right], "Tab, Left Right", Command::NextTab, "next tab, previous tab"),
        bind(&[BackTab, Left], "", Command::PreviousTab, ""),
        bind(&[Up, Char('k')], "Up Down, k j", Command::Up, "row above, row below"),
        bind(&[Down, Char('j')], "", Command::Down, ""),
        bind(&[PageUp, Ctrl('b')], "PgUp PgDn", Command::PageUp, "page up, page down"),
        bind(&[PageDown, Ctrl('f')], "", Command::PageDown, ""),
        bind(&[Home, Char('g')], "Home End, g G", Command::First, "first row, last row"),
        bind(&[End, Char('G')], "", Command::Last, ""),
        bind(&[Enter], "Enter", Command::Enter, "into the row: interface, its flows, a flow's process"),
        bind(&[Esc, Backspace], "Esc Backspace", Command::Back, "back: drops the filter, leaves the row, drops the selection"),
        bind(&[Char('<'), Char(',')], "< >", Command::SortLeft, "sort by the next column to the left, to the right: any"),
        bind(&[Char('>'), Char('.')], "", Command::SortRight, ""),
        bind(&[Char('r')], "r", Command::Reverse, "reverse the order"),
        bind(&[Char('/')], "/", Command::Filter, "filter: words, proc:curl port:443 10.0.0.0/8"),
        bind(&[Char(' '), Char('p')], "Space p", Command::Pause, "pause; counting goes on"),
        bind(&[Char('u')], "u", Command::Bits, "bits or bytes"),
        bind(&[Char('h')], "h", Command::Human, "short or exact numbers"),
        bind(&[Char('K')], "K", Command::KernelThreads, "kernel threads"),
        bind(&[Char('i')], "i", Command::PerInterface, "protocols of each interface, or of all"),
        bind(&[Ctrl('l')], "Ctrl-L", Command::Redraw, "draw everything anew"),
        bind(&[Ctrl('z')], "Ctrl-Z", Command::Suspend, "stop until fg"),
        bind(&[Char('?')], "?", Command::Help, "these keys"),
        bind(&[Char('q'), Ctrl('c')], "q Ctrl-C", Command::Quit, "quit"),
    ]
};

/// What the mouse does, for the help.
pub const MOUSE: [(&str, &str); 2] = [
    ("click", "a tab; a title: sort by it; a row: select, again: into it"),
    ("wheel", "rows up, rows down"),
];

/// What a key does.
#[must_use]
pub fn command(key: Key) -> Option<Command> {
    KEYS.iter().find(|binding| binding.keys.contains(&key)).map(|binding| binding.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_one_thing() {
        let all: Vec<Key> = KEYS.iter().flat_map(|binding| binding.keys).copied().collect();
        for (index, key) in all.iter().enumerate() {
            assert!(!all[..index].contains(key), "{key:?} twice");
        }
    }

    #[test]
    fn each_has_a_name_and_words_or_neither() {
        for binding in KEYS {
            assert_eq!(binding.shown.is_empty(), binding.help.is_empty(), "{:?}", binding.command);
        }
    }
}
