//! `netmon-peer` as the tests run it: a process whose traffic is known to the byte.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{lines::Lines, netns::Namespace};

/// A running peer, killed and reaped when this value is dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines,
    read: usize,
}

impl Peer {
    /// Starts `program` in a namespace.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(namespace: &Namespace, program: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_as(namespace, 0, program, arguments)
    }

    /// The same as another user.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_as(
        namespace: &Namespace,
        user: u32,
        program: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(program);
        if user != 0 {
            command.uid(user);
        }
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = namespace.run(move || Ok(command.spawn()?))?;
        let input = child.stdin.take();
        let lines = Lines::collect(child.stdout.take().context("no output")?)?;
        Ok(Self { child, input, lines, read: 0 })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its next line, which must begin with this word, and gives the rest of it.
    ///
    /// # Errors
    /// When it says something else, or nothing more.
    pub fn says(&mut self, word: &str) -> Result<String> {
        let line = self.lines.wait_for(word, |lines| lines.get(self.read).cloned())?;
        self.read += 1;
        let rest = line.strip_prefix(word);
        let rest = rest.with_context(|| format!("{line:?} in the place of {word}"))?;
        Ok(rest.trim().to_owned())
    }

    /// The same, a number.
    ///
    /// # Errors
    /// As for [`Peer::says`], and when it is none.
    pub fn tells(&mut self, word: &str) -> Result<u64> {
        Ok(self.says(word)?.parse()?)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn go(&mut self) -> Result<()> {
        Ok(writeln!(self.input.as_ref().context("its input is closed")?)?)
    }

    /// Lets it end, and waits until it has.
    ///
    /// # Errors
    /// When it fails.
    pub fn end(&mut self) -> Result<()> {
        self.input = None;
        let status = self.child.wait()?;
        ensure!(status.success(), "{:?}: {status}", self.child);
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets sockets of IPv6 work in a namespace, on its `lo`.
///
/// # Errors
/// When the kernel has no IPv6.
pub fn enable_loopback(namespace: &Namespace) -> Result<()> {
    namespace.run(|| {
        for interface in ["default", "lo"] {
            let switch = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
            if Path::new(&switch).exists() {
                std::fs::write(&switch, "0").context(switch)?;
            }
        }
        Ok(())
    })?;
    namespace.set_up("lo")
}
