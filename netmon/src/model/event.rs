//! Something that happened to an interface, for people and for JSON.

use std::fmt;

use ecow::EcoString;

/// What kind of thing happened. The names are stable: JSON shows them in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It is now known what counts the interface.
    Counting,
    /// The programs do not see the interface's packets any more; the kernel's own counters are
    /// reported.
    CountingLost,
    /// The interface was removed.
    Gone,
    /// It is there again (re-created or re-plugged).
    Back,
    /// It came while netmon ran and is wanted.
    Appeared,
    /// Its name changed.
    Renamed,
    /// Recovery is about to set it up.
    SetUp,
    /// Setting it up failed.
    SetUpFailed,
    /// It is operational again after it was not.
    Up,
    /// It was operational and is not any more.
    Down,
    /// It is up but has no carrier: nothing that software can set.
    NoCarrier,
    /// A program talks to the network for the first time since the start.
    NewProgram,
    /// Something that netmon itself could not do.
    Warning,
}

impl EventKind {
    /// Whether `-q` still shows it.
    #[must_use]
    pub const fn is_warning(self) -> bool {
        match self {
            Self::CountingLost
            | Self::Gone
            | Self::Down
            | Self::SetUp
            | Self::SetUpFailed
            | Self::NoCarrier
            | Self::Warning => true,
            Self::Counting
            | Self::Back
            | Self::Appeared
            | Self::Renamed
            | Self::Up
            | Self::NewProgram => false,
        }
    }
}

/// One event. `interface` is the name at that time.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Event {
    /// The interface, or `None` when it concerns netmon itself.
    pub interface: Option<EcoString>,
    /// Its kind.
    pub kind: EventKind,
    /// One line for people, without the interface's name.
    pub message: String,
}

impl Event {
    /// An event of an interface.
    pub fn of(interface: &EcoString, kind: EventKind, message: impl Into<String>) -> Self {
        Self { interface: Some(interface.clone()), kind, message: message.into() }
    }

    /// An event of netmon itself.
    pub fn own(kind: EventKind, message: impl Into<String>) -> Self {
        Self { interface: None, kind, message: message.into() }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.interface.as_deref().unwrap_or("netmon");
        write!(f, "{name}: {}", self.message)
    }
}
