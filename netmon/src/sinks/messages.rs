//! Lines for people, to stderr, by a thread with a bounded queue: a stderr that is blocked must
//! not make the tick wait either. What does not fit is counted and told when there is room.
//! Events, words about netmon itself and logs all go this way.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use super::output::patiently;
use crate::model::event::{Event, EventKind};
use crate::model::human;
use crate::open_files;

/// Lines that may wait.
const QUEUE: usize = 1024;
/// How long the end waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// Which lines are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Only what is wrong with netmon itself: for what tells of traffic and not of links.
    Own,
    /// Only what is wrong (`-q`).
    Quiet,
    /// Also what happens.
    Normal,
}

enum Item {
    Line(Vec<u8>),
    /// Everything before it is written when this is answered.
    Flush(mpsc::Sender<()>),
    /// Lines are kept from now on, or written again.
    Hold(bool),
}

/// A way to the thread; clones share it. Each write is one line or more, whole.
#[derive(Clone)]
pub struct Lines {
    items: SyncSender<Item>,
    lost: Arc<AtomicU64>,
    /// What helps when too many files are open is said once.
    advised: Arc<AtomicBool>,
}

impl Lines {
    /// Starts the thread, which calls `first` before anything else.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        mut to: impl Write + Send + 'static,
        first: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (items, received) = mpsc::sync_channel(QUEUE);
        thread::Builder::new().name("netmon-stderr".to_owned()).spawn(move || {
            first();
            let mut held: Option<VecDeque<Vec<u8>>> = None;
            for item in received {
                match item {
                    Item::Line(line) => match &mut held {
                        Some(held) => {
                            held.push_back(line);
                            held.drain(..held.len().saturating_sub(QUEUE));
                        }
                        // When nobody reads, the rest is taken and dropped, so that nobody waits.
                        None => drop(patiently(&mut to, &line)),
                    },
                    Item::Flush(done) => drop(done.send(())),
                    Item::Hold(true) => held = Some(held.unwrap_or_default()),
                    Item::Hold(false) => {
                        for line in held.take().into_iter().flatten() {
                            drop(patiently(&mut to, &line));
                        }
                    }
                }
            }
        })?;
        Ok(Self { items, lost: Arc::default(), advised: Arc::default() })
    }

    /// Waits a little until all lines so far are written.
    pub fn flush(&self) {
        let (done, wait) = mpsc::channel();
        if self.items.try_send(Item::Flush(done)).is_ok() {
            // When stderr is blocked for longer, the last lines are lost.
            let _ = wait.recv_timeout(PATIENCE);
        }
    }

    /// From now on lines are kept (the last thousand of them), because something else is on the
    /// terminal.
    pub fn hold(&self) {
        // When stderr is blocked, nothing is written in any case.
        let _ = self.items.try_send(Item::Hold(true));
    }

    /// Writes what was kept.
    pub fn release(&self) {
        let _ = self.items.try_send(Item::Hold(false));
    }

    fn send(&self, line: Vec<u8>) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let told = format!("netmon: {lost} lines were lost\n").into_bytes();
            if self.items.try_send(Item::Line(told)).is_err() {
                self.lost.fetch_add(lost, Ordering::Relaxed);
            }
        }
        let line = String::from_utf8_lossy(&line);
        // Names in it may hold what a terminal would obey, and a log's reader likewise.
        let mut text = human::on_terminal(&line).into_owned();
        if let Some(help) = open_files::help_for(&line)
            && !self.advised.swap(true, Ordering::Relaxed)
        {
            text = text + "netmon: " + &help + "\n";
        }
        if let Err(TrySendError::Full(_)) = self.items.try_send(Item::Line(text.into_bytes())) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What netmon says. Dropping it waits a little for the last lines.
pub struct Messages {
    verbosity: Verbosity,
    lines: Lines,
}

impl Messages {
    /// Says it by these lines.
    #[must_use]
    pub const fn new(verbosity: Verbosity, lines: Lines) -> Self {
        Self { verbosity, lines }
    }

    /// Shows an event, if its kind is wanted.
    pub fn event(&self, event: &Event) {
        let wanted = match self.verbosity {
            Verbosity::Own => {
                matches!(event.kind, EventKind::Warning | EventKind::CountingLost)
            }
            Verbosity::Quiet => event.kind.is_warning(),
            Verbosity::Normal => true,
        };
        if wanted {
            self.lines.send(format!("{event}\n").into_bytes());
        }
    }

    /// Shows a line about netmon itself, if such lines are wanted.
    pub fn say(&self, text: &str) {
        if self.verbosity == Verbosity::Normal {
            self.warn(text);
        }
    }

    /// Shows a line about something that is wrong.
    pub fn warn(&self, text: &str) {
        self.lines.send(format!("netmon: {text}\n").into_bytes());
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.lines.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(verbosity: Verbosity) -> String {
        let written = Shared::default();
        let lines = Lines::start(written.clone(), || {}).unwrap();
        let messages = Messages::new(verbosity, lines);
        let eth0 = "eth0".into();
        messages.event(&Event::of(&eth0, EventKind::Counting, "TCX in+out"));
        messages.event(&Event::of(&eth0, EventKind::SetUpFailed, "no"));
        messages.event(&Event::own(EventKind::Warning, "told once"));
        messages.say("bye");
        messages.warn("careful");
        drop(messages);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn quiet_shows_only_what_is_wrong() {
        let all = "eth0: TCX in+out\neth0: no\nnetmon: told once\nnetmon: bye\nnetmon: careful\n";
        assert_eq!(shown(Verbosity::Normal), all);
        assert_eq!(shown(Verbosity::Quiet), "eth0: no\nnetmon: told once\nnetmon: careful\n");
        assert_eq!(shown(Verbosity::Own), "netmon: told once\nnetmon: careful\n");
    }

    #[test]
    fn what_is_held_comes_later() {
        let written = Shared::default();
        let lines = Lines::start(written.clone(), || {}).unwrap();
        let messages = Messages::new(Verbosity::Normal, lines.clone());
        let text = || String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        messages.say("before");
        lines.hold();
        for number in 0..QUEUE + 1 {
            messages.warn(&number.to_string());
            // No more lines wait than there is room for.
            lines.flush();
        }
        assert_eq!(text(), "netmon: before\n");
        lines.release();
        messages.say("after");
        drop(messages);
        let text = text();
        assert!(text.starts_with("netmon: before\nnetmon: 1\nnetmon: 2\n"), "the first is lost");
        assert!(text.ends_with(&format!("netmon: {QUEUE}\nnetmon: after\n")));
    }
}
