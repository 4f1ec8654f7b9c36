//! The live view of `netmon top`: tabs of interfaces, processes, flows, protocols, drops and
//! events on a terminal.
//!
//! It is a sink like the others: it knows the model only, and never makes the agent wait. The
//! agent hands over each tick ([`Live::update`]), of which the latest wins; a thread of its own
//! draws at most ten times a second, and only when something has changed, and reads the keys.
//! What data and inputs make of the screen is pure ([`screen`]); the terminal is put back in
//! order whatever happens, `kill -9` excepted (`reset` mends that).
//!
//! Degrades to: one colour (`NO_COLOR`, `TERM=vt…`), ASCII (a locale without UTF-8,
//! `TERM=linux`), 40 columns and 8 lines. Of a larger screen than any display has, the upper left
//! part is drawn. Needs nothing of the kernel but a terminal.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::model::human::Units;
use crate::model::traffic::names::Names;
use crate::model::traffic::view::TrafficView;
use crate::model::view::View;

mod canvas;
mod cell;
pub mod data;
pub mod history;
pub mod input;
pub mod keys;
mod mailbox;
#[doc(hidden)]
pub mod samples;
pub mod screen;
pub mod tabs;
mod terminal;
pub mod theme;
mod thread;

pub use cell::Cell;
pub use mailbox::{Happened, Shown};

use theme::Theme;

/// How the live view is to be.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// How numbers are shown at first.
    pub units: Units,
    /// Colours and signs.
    pub theme: Theme,
    /// Names of protocols, ports and addresses.
    pub names: Arc<Names>,
    /// The mouse works, and does not select text.
    pub mouse: bool,
    /// The filter of every tab at first.
    pub filter: String,
    /// The kernel's own processes are shown at first.
    pub kernel_threads: bool,
}

impl LiveOptions {
    /// By the environment (`NO_COLOR`, `TERM`, `LC_ALL`, `LC_CTYPE`, `LANG`).
    #[must_use]
    pub fn of_environment() -> Self {
        let theme = Theme::of(|name| std::env::var(name).ok());
        Self {
            units: Units::default(),
            theme,
            names: Arc::default(),
            mouse: true,
            filter: String::new(),
            kernel_threads: false,
        }
    }
}

/// Why the live view ended by itself.
#[derive(Debug)]
pub enum End {
    /// The user wants netmon to end.
    Quit,
    /// The terminal is gone, or a thread has panicked.
    Failed(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quit => f.write_str("quit"),
            Self::Failed(error) => write!(f, "the live view ended: {error}"),
        }
    }
}

/// The live view. Dropping it ends it and puts the terminal back in order.
pub struct Live {
    thread: thread::Thread,
    restore: terminal::Restore,
}

impl Live {
    /// Takes the terminal over and starts to draw. `on_end` is called once, by the view's own
    /// thread and after the terminal is back in order, when the view ends by itself; not when it
    /// is dropped.
    ///
    /// # Errors
    /// In words for the user, when stdout is no terminal or cannot be drawn on.
    pub fn start(
        options: &LiveOptions,
        on_end: impl FnOnce(End) + Send + 'static,
    ) -> io::Result<Self> {
        let (terminal, restore) = terminal::take(options.mouse)?;
        let thread = thread::Thread::start(terminal, options, restore.panicked(), on_end)?;
        Ok(Self { thread, restore })
    }

    /// Shows a tick, with the events in `view`. Never waits for the terminal. The flows of
    /// `traffic` are not copied but taken: see [`Self::take_back`].
    pub fn update(&self, view: &View, traffic: Option<&mut TrafficView>) {
        self.thread.put(view, traffic);
    }

    /// Gives `traffic` its flows back, for the next tick. Waits at most for a frame's making.
    pub fn take_back(&self, traffic: &mut TrafficView) {
        self.thread.take_back(traffic);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if !self.thread.end() {
            self.restore.at_once();
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// Shared with the thread.
type Mailbox = Arc<mailbox::Mailbox>;
