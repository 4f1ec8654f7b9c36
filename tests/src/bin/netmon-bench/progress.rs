//! What is being done, on stderr: the benchmark takes minutes.

use std::time::{Duration, Instant};

/// Tells, with the time since the beginning.
pub(crate) struct Progress(Instant);

impl Progress {
    pub(crate) fn begin(all: Duration) -> Self {
        eprintln!("bench: about {} in all", minutes(all));
        Self(Instant::now())
    }

    pub(crate) fn say(&self, what: &str) {
        let seconds = self.0.elapsed().as_secs();
        eprintln!("bench: {:2}:{:02} {what}", seconds / 60, seconds % 60);
    }
}

/// A time as one would tell it.
pub(crate) fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 90 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", (seconds + 30) / 60),
    }
}
