//! Lines for people, to stderr, by a thread with a bounded queue: a stderr that is blocked must
//! not make the tick wait either. What does not fit is counted and told when there is room.
//! Events, words about netmon itself and logs all go this way.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use super::output::patiently;
use crate::model::event::Event;

/// Lines that may wait.
const QUEUE: usize = 1024;
/// How long the end waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// Which lines are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Only what is wrong (`-q`).
    Quiet,
    /// Also what happens.
    Normal,
}

enum Item {
    Line(Vec<u8>),
    /// Everything before it is written when this is answered.
    Flush(mpsc::Sender<()>),
}

/// A way to the thread; clones share it. Each write is one line or more, whole.
#[derive(Clone)]
pub struct Lines {
    items: SyncSender<Item>,
    lost: Arc<AtomicU64>,
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
            for item in received {
                match item {
                    // When nobody reads, the rest is taken and dropped, so that nobody waits.
                    Item::Line(line) => drop(patiently(&mut to, &line)),
                    Item::Flush(done) => drop(done.send(())),
                }
            }
        })?;
        Ok(Self { items, lost: Arc::default() })
    }

    /// Waits a little until all lines so far are written.
    pub fn flush(&self) {
        let (done, wait) = mpsc::channel();
        if self.items.try_send(Item::Flush(done)).is_ok() {
            // When stderr is blocked for longer, the last lines are lost.
            let _ = wait.recv_timeout(PATIENCE);
        }
    }

    fn send(&self, line: Vec<u8>) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let told = format!("netmon: {lost} lines were lost\n").into_bytes();
            if self.items.try_send(Item::Line(told)).is_err() {
                self.lost.fetch_add(lost, Ordering::Relaxed);
            }
        }
        if let Err(TrySendError::Full(_)) = self.items.try_send(Item::Line(line)) {
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
        if self.verbosity == Verbosity::Normal || event.kind.is_warning() {
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
    use crate::model::event::EventKind;
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
        messages.say("bye");
        messages.warn("careful");
        drop(messages);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn quiet_shows_only_what_is_wrong() {
        assert_eq!(
            shown(Verbosity::Normal),
            "eth0: TCX in+out\neth0: no\nnetmon: bye\nnetmon: careful\n"
        );
        assert_eq!(shown(Verbosity::Quiet), "eth0: no\nnetmon: careful\n");
    }
}
