//! Waiting for something to become true, with a deadline and no fixed sleeps in the tests.

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long anything may take that is expected to happen. Generous: two slow CPUs run several
/// tests at once, nothing here measures speed, and on a starved machine the kernel alone was seen
/// to take 20 s for an RCU grace period, with the lock of route netlink held.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks. Short against a tick of netmon (100 ms at least), long against a system call.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `look` gives a value, which it returns.
///
/// # Errors
/// When `look` fails, or has given nothing for [`PATIENCE`]: then the error says what was awaited.
pub fn until<T>(what: impl Display, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("waited {PATIENCE:?} in vain: {what}");
        }
        thread::sleep(PAUSE);
    }
}

/// Looks until `look` is true.
///
/// # Errors
/// As [`until`].
pub fn until_true(what: impl Display, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, || Ok(look()?.then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_value_when_it_comes() -> Result<()> {
        let mut looks = 0;
        let value = until("the third look", || {
            looks += 1;
            Ok((looks == 3).then_some("seen"))
        })?;
        assert_eq!((value, looks), ("seen", 3));
        Ok(())
    }

    #[test]
    fn an_error_ends_the_wait() {
        let wait = until_true("never", || bail!("broken"));
        assert_eq!(wait.map_err(|error| error.to_string()), Err("broken".to_owned()));
    }
}
