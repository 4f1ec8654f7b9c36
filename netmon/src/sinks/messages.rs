//! Lines for people, to stderr, by a thread with a bounded queue: a stderr that is blocked must
//! not make the tick wait either. What does not fit is counted and told when there is room.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

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

/// The thread's handle. Dropping it waits a little for the last lines.
pub struct Messages {
    verbosity: Verbosity,
    lines: Option<SyncSender<String>>,
    done: mpsc::Receiver<()>,
    lost: u64,
}

impl Messages {
    /// Starts the thread.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        verbosity: Verbosity,
        mut to: impl Write + Send + 'static,
    ) -> std::io::Result<Self> {
        let (lines, received) = mpsc::sync_channel::<String>(QUEUE);
        let (finished, done) = mpsc::channel();
        thread::Builder::new().name("netmon-stderr".to_owned()).spawn(move || {
            for mut line in received {
                line.push('\n');
                if to.write_all(line.as_bytes()).is_err() {
                    // Nobody reads: the rest is taken and dropped, so that nobody waits.
                    continue;
                }
            }
            let _ = finished.send(());
        })?;
        Ok(Self { verbosity, lines: Some(lines), done, lost: 0 })
    }

    /// Shows an event, if its kind is wanted.
    pub fn event(&mut self, event: &Event) {
        if self.verbosity == Verbosity::Normal || event.kind.is_warning() {
            self.line(event.to_string());
        }
    }

    /// Shows a line about netmon itself, if such lines are wanted.
    pub fn say(&mut self, text: &str) {
        if self.verbosity == Verbosity::Normal {
            self.line(format!("netmon: {text}"));
        }
    }

    fn line(&mut self, line: String) {
        let Some(lines) = &self.lines else { return };
        if self.lost > 0 && lines.try_send(format!("netmon: {} lines were lost", self.lost)).is_ok()
        {
            self.lost = 0;
        }
        if let Err(TrySendError::Full(_)) = lines.try_send(line) {
            self.lost += 1;
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.lines = None;
        if let Err(RecvTimeoutError::Timeout) = self.done.recv_timeout(PATIENCE) {
            tracing::debug!("stderr is blocked; the last lines are lost");
        }
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
        let mut messages = Messages::start(verbosity, written.clone()).unwrap();
        let eth0 = "eth0".into();
        messages.event(&Event::of(&eth0, EventKind::Counting, "TCX in+out"));
        messages.event(&Event::of(&eth0, EventKind::SetUpFailed, "no"));
        messages.say("bye");
        drop(messages);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn quiet_shows_only_what_is_wrong() {
        assert_eq!(shown(Verbosity::Normal), "eth0: TCX in+out\neth0: no\nnetmon: bye\n");
        assert_eq!(shown(Verbosity::Quiet), "eth0: no\n");
    }
}
