//! What the network monitor and an interface monitor say to one another: a JSON object a line,
//! which has the message's name as its only key. Pure; the lines are the printer's and the decoder's
//! matter.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

pub use super::printer::{PrintError, print, print_workers};
use crate::model::event::EventKind;
use crate::model::link::LinkState;
use crate::model::options::{Hook, LONGEST_INTERVAL, SourceChoice, check_interval};
use crate::model::snapshot::{InterfaceFacts, Source};

/// The version of the protocol. What is added within one must be of no matter to those who do
/// not know it: unknown messages and fields are skipped.
pub const VERSION: u32 = 1;

/// The longest line, its line feed included.
pub const LONGEST_LINE: usize = 64 * 1024;

/// What is longer of a text for people is cut off (a verifier's log can be megabytes). Six times
/// as much, which escapes can make of it, fit into a line.
const LONGEST_TEXT: usize = 4 * 1024;

/// The longest name of an interface: the kernel's have 15 bytes, each of which may stand for three
/// where it is no UTF-8.
const LONGEST_NAME: usize = 64;

/// A message, of whichever side.
pub trait Message: Serialize + DeserializeOwned + fmt::Display {
    /// The names of all of that side.
    const NAMES: &'static [&'static str];

    /// Its name, as in the line.
    fn name(&self) -> &'static str;

    /// The version of the protocol, where it is told.
    fn version(&self) -> Option<u32>;

    /// Whether what is in it can be: it comes from another process.
    ///
    /// # Errors
    /// In words for people.
    fn check(&self) -> Result<(), String>;
}

/// What an interface monitor says (and `netmon workers`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToMonitor {
    /// Connected.
    Ready(Ready),
    /// The answer to `Monitor`, and again when another source counts.
    Monitoring(Monitoring),
    /// A tick.
    Sample(Box<Sample>),
    /// The interface went down.
    #[serde(rename = "Link Down")]
    LinkDown(LinkDown),
    /// Something that people are to know.
    Event(Told),
    /// The answer to `Set Link Up`.
    #[serde(rename = "Link Set")]
    LinkSet(LinkSet),
    /// A clean end.
    Done(Done),
    /// In the place of `Ready`: asks for `Workers`.
    List(List),
}

/// What the network monitor says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromMonitor {
    /// Start.
    Monitor(Orders),
    /// Its decision to set the interface up.
    #[serde(rename = "Set Link Up")]
    SetLinkUp {},
    /// End.
    #[serde(rename = "Shut Down")]
    ShutDown {
        /// Why, for people.
        #[serde(serialize_with = "text")]
        reason: String,
    },
    /// The first part of the answer to `List`.
    Processes(Processes),
    /// A further part of the answer to `List`; an empty one is the last. See [`print_workers`].
    Workers(Vec<WorkerStatus>),
}

/// See [`ToMonitor::Ready`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// [`VERSION`].
    pub version: u32,
    /// The interface's name.
    pub interface: String,
    /// Its number.
    pub ifindex: u32,
    /// The inode of its network namespace.
    pub namespace: u64,
    /// The worker's process id.
    pub pid: u32,
}

/// See [`ToMonitor::Monitoring`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitoring {
    /// What gives packets and bytes.
    pub source: Source,
    /// What counts the interface, or why not the programs.
    #[serde(serialize_with = "text")]
    pub hook: String,
}

/// See [`ToMonitor::Sample`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The worker's number of the tick, from 1.
    pub tick: u64,
    /// When (`CLOCK_MONOTONIC`), which all processes share.
    pub at_ns: u64,
    /// How long reading the counters took.
    pub reading_ns: u64,
    /// The raw facts.
    pub facts: InterfaceFacts,
}

/// See [`ToMonitor::LinkDown`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkDown {
    /// Why, for people.
    #[serde(serialize_with = "text")]
    pub reason: String,
    /// `IFF_UP`.
    pub admin_up: Option<bool>,
    /// Its state.
    pub state: LinkState,
}

/// See [`ToMonitor::Event`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its kind.
    pub kind: EventKind,
    /// For people, without the interface's name.
    #[serde(serialize_with = "text")]
    pub message: String,
}

/// See [`ToMonitor::LinkSet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSet {
    /// Why not, or nothing when it is done.
    #[serde(serialize_with = "optional_text")]
    pub error: Option<String>,
    /// The privilege for it is missing: no attempt will ever succeed.
    pub denied: bool,
}

/// See [`ToMonitor::Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How many ticks it has done.
    pub ticks: u64,
}

/// See [`ToMonitor::List`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// [`VERSION`].
    pub version: u32,
}

/// See [`FromMonitor::Monitor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// [`VERSION`].
    pub version: u32,
    /// The time between ticks.
    pub interval_ns: u64,
    /// Where packets and bytes are to come from.
    pub source: SourceChoice,
    /// Where to count.
    pub hook: Hook,
    /// Links may have to be set up.
    pub recovery: bool,
    /// The worker is to log.
    pub log: bool,
}

/// See [`FromMonitor::Processes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// The network monitor's process id.
    pub monitor: u32,
    /// That of what starts interface monitors, as long as it lives.
    pub launcher: Option<u32>,
}

/// One line of `netmon workers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// As in the report (`blue/eth0`).
    pub interface: String,
    /// The namespace's name; `None`: the monitor's own.
    pub namespace: Option<String>,
    /// The interface's number.
    pub ifindex: Option<u32>,
    /// The worker's process id.
    pub pid: Option<u32>,
    /// In a word.
    #[serde(serialize_with = "text")]
    pub state: String,
    /// How often it was started again.
    pub restarts: u32,
    /// The name of the last message from it.
    pub last_message: Option<String>,
    /// How long ago that was.
    pub last_message_ms: Option<u64>,
    /// The monitor has started it; else somebody by hand.
    pub launched: bool,
}

impl Message for ToMonitor {
    const NAMES: &'static [&'static str] =
        &["Ready", "Monitoring", "Sample", "Link Down", "Event", "Link Set", "Done", "List"];

    fn name(&self) -> &'static str {
        match self {
            Self::Ready(_) => "Ready",
            Self::Monitoring(_) => "Monitoring",
            Self::Sample(_) => "Sample",
            Self::LinkDown(_) => "Link Down",
            Self::Event(_) => "Event",
            Self::LinkSet(_) => "Link Set",
            Self::Done(_) => "Done",
            Self::List(_) => "List",
        }
    }

    fn version(&self) -> Option<u32> {
        match self {
            Self::Ready(Ready { version, .. }) | Self::List(List { version }) => Some(*version),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Ready(ready) => ready.check(),
            Self::Sample(sample) => sample.check(),
            Self::Monitoring(Monitoring { hook: text, .. })
            | Self::LinkDown(LinkDown { reason: text, .. })
            | Self::Event(Told { message: text, .. })
            | Self::LinkSet(LinkSet { error: Some(text), .. }) => check_text(text),
            Self::LinkSet(_) | Self::Done(_) | Self::List(_) => Ok(()),
        }
    }
}

impl Message for FromMonitor {
    const NAMES: &'static [&'static str] =
        &["Monitor", "Set Link Up", "Shut Down", "Processes", "Workers"];

    fn name(&self) -> &'static str {
        match self {
            Self::Monitor(_) => "Monitor",
            Self::SetLinkUp {} => "Set Link Up",
            Self::ShutDown { .. } => "Shut Down",
            Self::Processes(_) => "Processes",
            Self::Workers(_) => "Workers",
        }
    }

    fn version(&self) -> Option<u32> {
        match self {
            Self::Monitor(orders) => Some(orders.version),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Monitor(orders) => orders.check(),
            Self::ShutDown { reason } => check_text(reason),
            Self::Workers(workers) => workers.iter().try_for_each(|it| check_text(&it.state)),
            Self::SetLinkUp {} | Self::Processes(_) => Ok(()),
        }
    }
}

impl Ready {
    fn check(&self) -> Result<(), String> {
        match self.interface.len() {
            0 => Err("an interface without a name".to_owned()),
            length if length > LONGEST_NAME => {
                Err(format!("an interface's name of {length} bytes, over {LONGEST_NAME}"))
            }
            // Of the kernel's numbers (int) none is 0 or less.
            _ if i32::try_from(self.ifindex).is_ok_and(|ifindex| ifindex > 0) => Ok(()),
            _ => Err(format!("no interface has the number {}", self.ifindex)),
        }
    }
}

impl Sample {
    fn check(&self) -> Result<(), String> {
        if Duration::from_nanos(self.reading_ns) > LONGEST_INTERVAL {
            return Err(format!("the counters were read in {} ns, over an hour", self.reading_ns));
        }
        Ok(())
    }
}

impl Orders {
    fn check(&self) -> Result<(), String> {
        check_interval(Duration::from_nanos(self.interval_ns))
            .map_err(|why| format!("an interval of {} ns: {why}", self.interval_ns))
    }
}

/// What the other side should have cut.
fn check_text(text: &str) -> Result<(), String> {
    if text.len() > LONGEST_TEXT {
        return Err(format!("a text of {} bytes, over {LONGEST_TEXT}", text.len()));
    }
    Ok(())
}

fn text<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text[..text.floor_char_boundary(LONGEST_TEXT)])
}

#[expect(clippy::ref_option, reason = "serde calls it like this")]
fn optional_text<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_ref().map(|text| &text[..text.floor_char_boundary(LONGEST_TEXT)]).serialize(serializer)
}
