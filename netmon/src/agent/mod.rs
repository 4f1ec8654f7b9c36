//! The composition root: joins the sources to the sinks, owns the tick, and acts on what comes
//! in between. The tick is the only clock; it never waits for an interface to be attached, for
//! a link to be set up, or for a reader of stdout.

mod beside;
mod clock;
mod collect;
mod counting;
mod inbox;
mod lost;
mod news;
mod recover;
mod run;
mod sight;
pub(crate) mod ticker;
mod traffic;
mod upward;
mod watchdog;
pub(crate) mod watchlist;

pub use beside::beside;
pub use counting::{Counting, Room, own_sysfs};
pub use inbox::{End, Inbox, Orders};
pub use run::{Agent, Limits};
pub use upward::{LineFormat, Report, Sink, Superior, Table, Upward};
