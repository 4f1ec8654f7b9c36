//! The live view fed with rows made by hand, as the agent would feed it: for the tests in a
//! pseudo-terminal, for measuring what it costs, and for looking at it without a router.

use std::{
    process::ExitCode,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use netmon::sinks::tui::{End, Live, LiveOptions, samples::Router};
use nix::sys::signal::{SigSet, Signal};

/// The live view with samples.
#[derive(Parser)]
struct Args {
    /// How many interfaces.
    #[arg(long, default_value_t = 8)]
    interfaces: u32,
    /// How many processes.
    #[arg(long, default_value_t = 40)]
    processes: u32,
    /// How many flows.
    #[arg(long, default_value_t = 300)]
    flows: u32,
    /// Milliseconds from tick to tick.
    #[arg(long, default_value_t = 1_000)]
    interval: u64,
    /// Ends after so many ticks, and tells what they cost.
    #[arg(long)]
    ticks: Option<u64>,
    /// Panics at this tick.
    #[arg(long)]
    panic: Option<u64>,
    /// Traffic cannot be had.
    #[arg(long)]
    missing: bool,
    /// The tables are full.
    #[arg(long)]
    full: bool,
}

enum News {
    Ended(End),
    Terminated,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let (send, received) = mpsc::channel();
    // Before there are other threads, so that it is blocked in all of them.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    let terminated = send.clone();
    thread::spawn(move || {
        if signals.wait().is_ok() {
            let _ = terminated.send(News::Terminated);
        }
    });
    let live = Live::start(&LiveOptions::of_environment(), move |end| {
        let _ = send.send(News::Ended(end));
    })?;
    let mut router = Router::new(args.interfaces, args.processes, args.flows);
    let mut cost = Cost::default();
    let mut due = Instant::now();
    for tick in 1.. {
        if args.panic == Some(tick) {
            panic!("as asked for");
        }
        live.take_back(&mut router.traffic);
        router.tick();
        if args.missing {
            router.lose_traffic();
        }
        if args.full {
            router.fill_tables();
        }
        cost.of(|| live.update(&router.view, Some(&mut router.traffic)))?;
        if args.ticks.is_some_and(|ticks| tick >= ticks) {
            cost.live_thread = thread_time("netmon-live")?;
            break;
        }
        due += Duration::from_millis(args.interval);
        match received.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(News::Terminated) => return Ok(ExitCode::SUCCESS),
            Ok(News::Ended(End::Quit)) => return Ok(ExitCode::SUCCESS),
            Ok(News::Ended(End::Failed(error))) => return Err(error.into()),
            Err(RecvTimeoutError::Disconnected) => bail!("the live view has ended without a word"),
        }
    }
    drop(live);
    cost.tell();
    Ok(ExitCode::SUCCESS)
}

/// CPU time.
#[derive(Default)]
struct Cost {
    started: Option<Instant>,
    update: Duration,
    updates: u32,
    live_thread: Duration,
}

impl Cost {
    fn of(&mut self, update: impl FnOnce()) -> Result<()> {
        self.started.get_or_insert_with(Instant::now);
        let before = thread_time("netmon-view-dem")?;
        update();
        self.update += thread_time("netmon-view-dem")?.saturating_sub(before);
        self.updates += 1;
        Ok(())
    }

    fn tell(&self) {
        let elapsed = self.started.map_or(Duration::ZERO, |started| started.elapsed());
        let share = self.live_thread.as_secs_f64() / elapsed.as_secs_f64() * 100.0;
        println!(
            "{} ticks in {elapsed:.1?}: an update {:?}, the live thread {:?} ({share:.2} % of a core)",
            self.updates,
            self.update / self.updates.max(1),
            self.live_thread,
        );
    }
}

/// CPU time of this process's thread of this name, to the nanosecond.
fn thread_time(name: &str) -> Result<Duration> {
    for entry in std::fs::read_dir("/proc/self/task")? {
        let path = entry?.path();
        if std::fs::read_to_string(path.join("comm"))?.trim_end() == name {
            let times = std::fs::read_to_string(path.join("schedstat"))?;
            let nanoseconds = times.split(' ').next().context("schedstat is empty")?;
            return Ok(Duration::from_nanos(nanoseconds.parse()?));
        }
    }
    bail!("no thread {name}")
}
