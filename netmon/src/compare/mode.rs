//! One mode: a netmon process that reports as JSON into a pipe. It is in a process group of its
//! own, so that Ctrl-C reaches only us and the end is ours to order. Should we die without
//! ordering it, the pipe closes and it ends at its next report.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::tick::Tick;
use crate::model::snapshot::Source;
use crate::sources::process;

/// A mode that reports nothing for so much longer than its interval is given up.
const SILENCE: Duration = Duration::from_secs(20);
/// A report is written last; what is left to do for a tick then takes a few microseconds.
pub(super) const REST: Duration = Duration::from_millis(5);
/// A process that has closed its output ends within this time.
const ABOUT_TO_END: Duration = Duration::from_secs(5);
/// Detaching takes the kernel some 25 ms an interface, and this is for a thousand.
const DETACHING: Duration = Duration::from_secs(60);
/// The longest message of a process that failed.
const LONGEST_MESSAGE: u64 = 16 << 10;

/// Why a mode does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ModeError {
    /// It could not be started.
    #[error("cannot start {program}: {error}")]
    Start {
        /// What was to be started.
        program: String,
        /// The system's answer.
        error: io::Error,
    },
    /// It has ended before it was told to.
    #[error("the {mode} mode ended ({status}): {message}")]
    Ended {
        /// Which.
        mode: &'static str,
        /// How.
        status: ExitStatus,
        /// What it said.
        message: String,
    },
    /// It is there and does nothing.
    #[error("the {mode} mode has reported nothing for {silence:?}")]
    Silent {
        /// Which.
        mode: &'static str,
        /// How long.
        silence: Duration,
    },
    /// What it reported cannot be read.
    #[error("the {mode} mode reported what is no tick: {why}")]
    NoTick {
        /// Which.
        mode: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be waited for.
    #[error("the {mode} mode is lost: {error}")]
    Lost {
        /// Which.
        mode: &'static str,
        /// The system's answer.
        error: io::Error,
    },
}

/// A running mode. Dropping it ends and reaps the process.
#[derive(Debug)]
pub struct Mode {
    name: &'static str,
    child: Child,
    stderr: Option<ChildStderr>,
    ticks: UnboundedReceiver<Result<Tick, String>>,
    /// The number of the last tick that was received.
    last: u64,
    /// When that was, and how long it may take to the next.
    heard: Instant,
    patience: Duration,
    /// It was asked to end.
    asked: bool,
}

/// What a mode has used up to a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// Time on a CPU.
    pub cpu: Duration,
    /// Number of the last tick.
    pub ticks: u64,
}

impl Mode {
    /// Starts `program run --source …` with these further arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        program: &Path,
        source: Source,
        arguments: &[String],
        interval: Duration,
    ) -> Result<Self, ModeError> {
        let heard = Instant::now();
        let name = match source {
            Source::Sysfs => "sysfs",
            Source::Ebpf | Source::Kernel => "ebpf",
        };
        let failed = |error| ModeError::Start { program: program.display().to_string(), error };
        let mut command = Command::new(program);
        command
            .args(["run", "--quiet", "--no-recover", "--format", "json", "--source", name])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (sender, ticks) = unbounded_channel();
        let mode = Self {
            name,
            child,
            stderr,
            ticks,
            last: 0,
            heard,
            patience: interval + SILENCE,
            asked: false,
        };
        let stdout = stdout.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let reader = std::thread::Builder::new().name(format!("{name} ticks"));
        reader.spawn(move || read(stdout, &sender)).map_err(failed)?;
        Ok(mode)
    }

    /// Its process id.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next tick. Cancelling it loses nothing.
    ///
    /// # Errors
    /// When the process has ended.
    pub async fn tick(&mut self) -> Result<Tick, ModeError> {
        let limit = (self.heard + self.patience).into();
        match tokio::time::timeout_at(limit, self.ticks.recv()).await {
            Ok(Some(Ok(tick))) => {
                (self.last, self.heard) = (tick.tick, Instant::now());
                Ok(tick)
            }
            Ok(Some(Err(why))) => Err(ModeError::NoTick { mode: self.name, why }),
            Ok(None) => Err(self.ended()),
            Err(_) => Err(ModeError::Silent { mode: self.name, silence: self.heard.elapsed() }),
        }
    }

    /// Waits for the next tick and until all work for it is done, and says what was used up to
    /// then. Cancelling it loses ticks.
    ///
    /// # Errors
    /// As [`Mode::tick`].
    pub async fn at_rest(&mut self) -> Result<(Tick, Used), ModeError> {
        loop {
            let tick = self.tick().await?;
            tokio::time::sleep(REST).await;
            if self.ticks.is_empty() {
                return Ok((tick, self.used()?));
            }
        }
    }

    /// What it has used so far, with the ticks that came while nobody looked.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn used_by_now(&mut self) -> Result<Used, ModeError> {
        while let Ok(Ok(tick)) = self.ticks.try_recv() {
            (self.last, self.heard) = (tick.tick, Instant::now());
        }
        self.used()
    }

    /// What it has used up to the last tick that was received, or a little later.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn used(&self) -> Result<Used, ModeError> {
        let cpu = process::cpu_time(self.process());
        let cpu = cpu.map_err(|error| ModeError::Lost { mode: self.name, error })?;
        Ok(Used { cpu, ticks: self.last })
    }

    /// Asks it to end. Dropping it waits for that. Only once: a second time would end it at once,
    /// without detaching.
    pub fn ask_to_end(&mut self) {
        if std::mem::replace(&mut self.asked, true) {
            return;
        }
        if let Ok(pid) = i32::try_from(self.process()) {
            // It has ended of itself when this fails; one that was stopped has to go on for it.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
    }

    /// Waits a limited time for its end.
    fn wait(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ended(&mut self) -> ModeError {
        let mode = self.name;
        // Its output is closed, so it is about to end.
        let status = match self.wait(ABOUT_TO_END) {
            Ok(status) => status,
            Err(error) => return ModeError::Lost { mode, error },
        };
        let mut message = String::new();
        if let Some(stderr) = self.stderr.take() {
            // What cannot be read is not told.
            let _ = stderr.take(LONGEST_MESSAGE).read_to_string(&mut message);
        }
        let message = message.trim().trim_start_matches("netmon: ").to_owned();
        ModeError::Ended { mode, status, message }
    }
}

impl Drop for Mode {
    /// In order, so that it detaches; else by force.
    fn drop(&mut self) {
        self.ask_to_end();
        if self.wait(DETACHING).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Ends with the pipe, with nobody to tell, or with a line that is no tick.
fn read(stdout: ChildStdout, to: &UnboundedSender<Result<Tick, String>>) {
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let tick = Tick::parse(&line).map_err(|error| error.to_string());
        let is_tick = tick.is_ok();
        if to.send(tick).is_err() || !is_tick {
            return;
        }
    }
}
