//! The netmon process under test: its outputs collected, always killed and reaped.

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    process::{Child, ChildStdin, ExitStatus},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

pub use crate::command::AgentCommand;
use crate::{
    bpf::{self, Object},
    json::Tick,
    kernel::said_here,
    lines::Lines,
    report::{self, Block},
    wait,
};

/// A running process.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    input: Option<ChildStdin>,
    stdout: Option<Lines>,
    stderr: Option<Lines>,
    arguments: Vec<OsString>,
}

/// A process that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its exit code; none when a signal has ended it.
    pub code: Option<i32>,
    /// All that it wrote to standard output, if that was collected.
    pub stdout: String,
    /// All that it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// The report in it, strictly parsed.
    ///
    /// # Errors
    /// When anything is not exactly in the form of a report.
    pub fn blocks(&self) -> Result<Vec<Block>> {
        report::parse(&self.stdout).with_context(|| format!("{self:?}"))
    }

    /// The JSON report in it.
    ///
    /// # Errors
    /// When a line is not a tick.
    pub fn ticks(&self) -> Result<Vec<Tick>> {
        let ticks = self.stdout.lines().map(Tick::parse).collect::<Result<_>>();
        ticks.with_context(|| format!("{self:?}"))
    }
}

impl Agent {
    /// Takes charge of a process that has just been started.
    pub(crate) fn new(child: Child, arguments: Vec<OsString>) -> Result<Self> {
        // The guard first: it ends the child whatever fails.
        let mut agent = Self { child, input: None, stdout: None, stderr: None, arguments };
        agent.input = agent.child.stdin.take();
        agent.stdout = agent.child.stdout.take().map(Lines::collect).transpose()?;
        agent.stderr = agent.child.stderr.take().map(Lines::collect).transpose()?;
        Ok(agent)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output.
    ///
    /// # Errors
    /// When that goes elsewhere.
    pub fn stdout(&self) -> Result<&Lines> {
        self.stdout.as_ref().context("the output is not collected")
    }

    /// Its standard error.
    ///
    /// # Errors
    /// When that goes elsewhere.
    pub fn stderr(&self) -> Result<&Lines> {
        self.stderr.as_ref().context("the errors are not collected")
    }

    /// Begins to collect its standard output, from the other end of what that was sent to.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn collect(&mut self, output: impl Read + Send + 'static) -> Result<()> {
        self.stdout = Some(Lines::collect(output)?);
        Ok(())
    }

    /// Writes to its standard input.
    ///
    /// # Errors
    /// When that is not open.
    pub fn type_in(&mut self, text: &str) -> Result<()> {
        let input = self.input.as_mut().context("the input is not open")?;
        Ok(input.write_all(text.as_bytes())?)
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits for a line on standard error that contains all of these.
    ///
    /// # Errors
    /// When it does not come; the error tells all that came.
    pub fn says(&self, parts: &[&str]) -> Result<String> {
        let what = format!("{parts:?} on standard error");
        let line = self.stderr()?.wait_for_line(&what, |line| contains_all(line, parts));
        line.with_context(|| self.so_far())
    }

    /// How many lines on standard error so far contain all of these.
    ///
    /// # Errors
    /// Never for a process that [`AgentCommand::start`] gave.
    pub fn times_said(&self, parts: &[&str]) -> Result<usize> {
        Ok(self.stderr()?.count_of(|line| contains_all(line, parts)))
    }

    /// Waits for the line that says what counts an interface, and that it begins so (after the
    /// interface's name), `by` being what is said on a kernel with TCX: see [`said_here`].
    ///
    /// # Errors
    /// When it does not come, or says something else.
    pub fn says_counted(&self, link: &str, by: &str) -> Result<String> {
        let (what, by) = (format!("what counts {link}"), said_here(by));
        let line = self.stderr()?.wait_for_line(&what, |line| counted_by(line, link).is_some());
        let line = line.with_context(|| self.so_far())?;
        match counted_by(&line, link) {
            Some(said) if said.starts_with(&by) => Ok(line),
            _ => bail!("{line:?} does not say {by:?}: {}", self.so_far()),
        }
    }

    /// The ticks of a JSON report so far.
    ///
    /// # Errors
    /// When a line is not a tick.
    pub fn ticks(&self) -> Result<Vec<Tick>> {
        let ticks = self.stdout()?.all().iter().map(|line| Tick::parse(line)).collect();
        let ticks: Result<_> = ticks;
        ticks.with_context(|| self.so_far())
    }

    /// The first tick of a JSON report that has wholly been measured after this call.
    ///
    /// # Errors
    /// When it does not come.
    pub fn fresh_tick(&self) -> Result<Tick> {
        self.later_tick(2)
    }

    /// The tick of a JSON report that comes as the `ahead`th from now.
    ///
    /// # Errors
    /// When it does not come.
    pub fn later_tick(&self, ahead: usize) -> Result<Tick> {
        let stdout = self.stdout()?;
        let index = stdout.count() + ahead - 1;
        let line = stdout.wait_for("further ticks", |lines| lines.get(index).cloned());
        Tick::parse(&line.with_context(|| self.so_far())?)
    }

    /// Waits for a tick of a JSON report, from the first on, that `is_it`.
    ///
    /// # Errors
    /// When it does not come, or a line is not a tick.
    pub fn wait_for_tick(&self, what: &str, is_it: impl Fn(&Tick) -> bool) -> Result<Tick> {
        self.wait_for_tick_from(0, what, is_it)
    }

    /// As [`Agent::wait_for_tick`], from the line `first` (counted from 0) on.
    ///
    /// # Errors
    /// As there.
    pub fn wait_for_tick_from(
        &self,
        first: usize,
        what: &str,
        is_it: impl Fn(&Tick) -> bool,
    ) -> Result<Tick> {
        let mut seen = first;
        let found = self.stdout()?.wait_for(what, |lines| {
            while let Some(line) = lines.get(seen) {
                seen += 1;
                match Tick::parse(line) {
                    Ok(tick) if !is_it(&tick) => {}
                    other => return Some(other),
                }
            }
            None
        });
        found.with_context(|| self.so_far())?
    }

    /// The text report so far, as far as its blocks are whole.
    ///
    /// # Errors
    /// When anything is not exactly in its form.
    pub fn blocks(&self) -> Result<Vec<Block>> {
        let lines = self.stdout()?.all();
        let blocks = lines.chunks_exact(Block::LINES).map(Block::parse).collect::<Result<_>>();
        blocks.with_context(|| self.so_far())
    }

    /// Waits for a block of the text report, from the block `first` (counted from 0) on.
    ///
    /// # Errors
    /// When it does not come.
    pub fn wait_for_block(
        &self,
        first: usize,
        what: &str,
        is_it: impl Fn(&Block) -> bool,
    ) -> Result<Block> {
        let mut seen = first;
        let found = self.stdout()?.wait_for(what, |lines| {
            while let Some(lines) = lines.chunks_exact(Block::LINES).nth(seen) {
                seen += 1;
                match Block::parse(lines) {
                    Ok(block) if !is_it(&block) => {}
                    other => return Some(other),
                }
            }
            None
        });
        found.with_context(|| self.so_far())?
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?);
        kill(pid, signal).with_context(|| format!("sending {signal}"))
    }

    /// Sends a signal to its process group, as Ctrl-C does: see [`AgentCommand::leading_a_group`].
    ///
    /// # Errors
    /// When it leads none.
    pub fn signal_group(&self, signal: Signal) -> Result<()> {
        let group = Pid::from_raw(i32::try_from(self.pid())?);
        killpg(group, signal).with_context(|| format!("sending {signal} to the group"))
    }

    /// Whether it has not ended yet.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Resident memory, in KiB.
    ///
    /// # Errors
    /// When the process has gone.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let line = line.context("no VmRSS: the process has ended")?;
        let kib = line.trim().strip_suffix(" kB").context("VmRSS is not in kB")?;
        Ok(kib.trim().parse()?)
    }

    /// The eBPF programs, maps and links that it holds open.
    ///
    /// # Errors
    /// When the process has gone.
    pub fn bpf_objects(&self) -> Result<Vec<Object>> {
        bpf::held_by(self.pid()).with_context(|| self.so_far())
    }

    /// The id of the map with this name that it holds open.
    ///
    /// # Errors
    /// When it holds none.
    pub fn map(&self, name: &str) -> Result<u32> {
        bpf::map_named(self.pid(), name).with_context(|| self.so_far())
    }

    /// Waits until it has ended of itself.
    ///
    /// # Errors
    /// When it does not.
    pub fn finish(mut self) -> Result<Finished> {
        let status = self.wait()?;
        Ok(Finished { code: status.code(), stdout: self.text_out()?, stderr: self.text_err()? })
    }

    /// Kills it (SIGKILL) and waits until it has gone.
    ///
    /// # Errors
    /// When it has gone before.
    pub fn kill(mut self) -> Result<Finished> {
        if !self.is_running()? {
            bail!("it has ended before it was killed: {}", self.so_far());
        }
        self.child.kill()?;
        self.finish()
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let status = wait::until("the end of the process", || Ok(self.child.try_wait()?));
        let status = status.with_context(|| self.so_far())?;
        for output in [&self.stdout, &self.stderr].into_iter().flatten() {
            output.wait_for_end()?;
        }
        Ok(status)
    }

    fn text_out(&self) -> Result<String> {
        Ok(self.stdout.as_ref().map(Lines::text).unwrap_or_default())
    }

    fn text_err(&self) -> Result<String> {
        Ok(self.stderr.as_ref().map(Lines::text).unwrap_or_default())
    }

    /// Arguments and outputs, for errors.
    fn so_far(&self) -> String {
        let tail = |lines: &Option<Lines>| {
            let lines = lines.as_ref().map(Lines::all).unwrap_or_default();
            // A JSON report has long lines, of which the last ones tell most.
            let count =
                if lines.first().is_some_and(|line| line.starts_with('{')) { 2 } else { 40 };
            lines[lines.len().saturating_sub(count)..].join("\n")
        };
        let (stdout, stderr) = (tail(&self.stdout), tail(&self.stderr));
        format!("{:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---", self.arguments)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has either gone, or goes now; a zombie is all that could be left, until we end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn contains_all(line: &str, parts: &[&str]) -> bool {
    parts.iter().all(|part| line.contains(part))
}

/// What counts an interface, if this line says that.
fn counted_by<'a>(line: &'a str, link: &str) -> Option<&'a str> {
    let said = line.strip_prefix(link)?.strip_prefix(": ")?;
    ["TCX ", "clsact ", "XDP ", "sysfs ("].iter().any(|by| said.starts_with(by)).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_say_what_counts_are_told_from_others() {
        assert_eq!(counted_by("nt0: TCX in+out", "nt0"), Some("TCX in+out"));
        assert_eq!(counted_by("nt0: sysfs (no BTF)", "nt0"), Some("sysfs (no BTF)"));
        for line in ["nt01: TCX in+out", "nt0: up", "nt0 TCX in+out", "0: TCX in+out", ""] {
            assert_eq!(counted_by(line, "nt0"), None, "{line:?}");
        }
    }
}
