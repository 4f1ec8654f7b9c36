//! What a process writes, collected line by line while it runs.

use std::{
    io::Read,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::wait::PATIENCE;

/// An output that a thread of its own reads to the end.
#[derive(Clone, Debug)]
pub struct Lines {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    read: Mutex<Collected>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Collected {
    lines: Vec<String>,
    /// What has come after the last line's end.
    rest: Vec<u8>,
    ended: bool,
}

impl Collected {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.lines.push(String::from_utf8_lossy(&self.rest).into_owned());
                self.rest.clear();
            } else {
                self.rest.push(byte);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Collected> {
        // A reader that panicked has left whole lines behind.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Begins to read.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn collect(mut from: impl Read + Send + 'static) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("lines".to_owned()).spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let count = from.read(&mut buffer).unwrap_or(0);
                let mut collected = writer.lock();
                collected.push(&buffer[..count]);
                collected.ended = count == 0;
                writer.changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        })?;
        Ok(Self { shared })
    }

    /// The whole lines so far.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.shared.lock().lines.clone()
    }

    /// How many whole lines there are so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.lock().lines.len()
    }

    /// How many whole lines so far are such.
    #[must_use]
    pub fn count_of(&self, such: impl Fn(&str) -> bool) -> usize {
        self.shared.lock().lines.iter().filter(|line| such(line)).count()
    }

    /// Everything so far, with line ends as written.
    #[must_use]
    pub fn text(&self) -> String {
        let collected = self.shared.lock();
        let mut text = collected.lines.join("\n");
        if !collected.lines.is_empty() {
            text.push('\n');
        }
        text + &String::from_utf8_lossy(&collected.rest)
    }

    /// Waits for what `find` sees in the lines so far.
    ///
    /// # Errors
    /// When it has not come by the end of the output, or within [`PATIENCE`].
    pub fn wait_for<T>(
        &self,
        what: &str,
        mut find: impl FnMut(&[String]) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut collected = self.shared.lock();
        loop {
            if let Some(found) = find(&collected.lines) {
                return Ok(found);
            }
            if collected.ended {
                bail!("the output has ended without {what}");
            }
            let left = deadline.checked_duration_since(Instant::now());
            let left = left.with_context(|| format!("waited {PATIENCE:?} in vain: {what}"))?;
            let waited = self.shared.changed.wait_timeout(collected, left);
            collected = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a line that `is_it`.
    ///
    /// # Errors
    /// As [`Lines::wait_for`].
    pub fn wait_for_line(&self, what: &str, is_it: impl Fn(&str) -> bool) -> Result<String> {
        self.wait_for(what, |lines| lines.iter().find(|line| is_it(line)).cloned())
    }

    /// Waits for what has been begun but not ended by a line's end: a prompt.
    ///
    /// # Errors
    /// As [`Lines::wait_for`].
    pub fn wait_for_text(&self, what: &str) -> Result<()> {
        crate::wait::until_true(format!("{what:?} in {:?}", self.text()), || {
            Ok(self.text().contains(what))
        })
    }

    /// Waits for the end of the output.
    ///
    /// # Errors
    /// When it has not come within [`PATIENCE`].
    pub fn wait_for_end(&self) -> Result<()> {
        crate::wait::until_true("the end of an output", || Ok(self.shared.lock().ended))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Write, pipe};

    use super::*;

    #[test]
    fn lines_are_whole_and_the_text_is_exact() -> Result<()> {
        let (reader, mut writer) = pipe()?;
        let lines = Lines::collect(reader)?;
        writer.write_all(b"one\ntw")?;
        assert_eq!(lines.wait_for_line("one", |line| line == "one")?, "one");
        lines.wait_for_text("tw")?;
        assert_eq!(lines.all(), ["one"]);
        writer.write_all(b"o\n\nthree")?;
        drop(writer);
        lines.wait_for_end()?;
        assert_eq!(lines.all(), ["one", "two", ""]);
        assert_eq!(lines.text(), "one\ntwo\n\nthree");
        assert_eq!(lines.count_of(str::is_empty), 1);
        Ok(())
    }

    #[test]
    fn the_end_ends_the_wait() -> Result<()> {
        let lines = Lines::collect(&b"one\n"[..])?;
        let wait = lines.wait_for_line("two", |line| line == "two");
        let error = wait.map_err(|error| error.to_string());
        assert_eq!(error, Err("the output has ended without two".to_owned()));
        Ok(())
    }
}
