//! `netmon run`: settings, sources, sinks, agent.

use std::fs::File;
use std::io::{BufRead, IsTerminal, Write, stderr, stdin};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;

use super::Failure;
use super::args::RunArgs;
use super::prompt::{self, PromptError};
use super::signals::{self, Signals};
use crate::agent::{Agent, Counting, End, Inbox, Limits, own_sysfs};
use crate::config::{Layer, Settings};
use crate::model::link::Link;
use crate::model::select::{self, SelectError, Selection, Selector};
use crate::privileges;
use crate::sinks;
use crate::sinks::messages::{Lines, Messages, Verbosity};
use crate::sinks::output::Output;
use crate::sources::ebpf::object::ProgramLog;
use crate::sources::netlink::links::Links;

/// How long the end waits for stdout to take the last report.
const LAST_REPORT: Duration = Duration::from_secs(2);

pub(super) fn run(
    args: &RunArgs,
    quiet: bool,
    verbose: u8,
    lines: Lines,
) -> Result<ExitCode, Failure> {
    let file = match &args.config {
        Some(path) => Layer::read(path).map_err(Failure::usage)?,
        None => Layer::default(),
    };
    let mut settings = Layer::settings(args.layer(), file).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    let entered = runtime.enter();
    let (links, news) = Links::connect().map_err(Failure::other)?;
    let existing = runtime.block_on(links.list()).map_err(Failure::other)?;
    choose(&mut settings, &existing)?;
    // From the first line that is shown Ctrl-C ends in order; at the questions it just ends.
    let mut signals = Signals::new().map_err(Failure::other)?;
    privileges::raise_open_files();
    let inbox = Inbox::default();
    inbox.stop_at(async move { signals.first().await });

    let verbosity = if quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let messages = Messages::new(verbosity, lines);
    for doubled in settings.selection.deduplicate() {
        messages.say(&format!("'{doubled}' was named more than once; it is watched once"));
    }
    for idle in
        settings.selection.excluded.iter().filter(|s| !existing.iter().any(|l| s.matches(l)))
    {
        messages.say(&format!("--exclude '{idle}' matches nothing now"));
    }
    for missing in settings.selection.missing(&existing) {
        messages.say(&format!("waiting for '{missing}'"));
    }
    let log = match (quiet, verbose) {
        (true, _) => ProgramLog::Off,
        (false, 0) => ProgramLog::Warnings,
        (false, _) => ProgramLog::Debug,
    };
    let sysfs = runtime.block_on(own_sysfs(&links)).map_err(Failure::other)?;
    let counting = Counting::start(&settings, &existing, log, sysfs, &inbox, || {
        privileges::drop_all_but(&privileges::WHILE_RUNNING);
    })
    .map_err(Failure::other)?;
    if let Some(why) = counting.unavailable() {
        messages.warn(&format!("counting without eBPF: {why}"));
    }
    if counting.sysfs_is_foreign() {
        messages.warn(
            "/sys/class/net shows another network namespace: netlink tells the state of links; \
             `ip netns exec` enters a namespace with a sysfs of its own",
        );
    }
    let stdout = stdout().context("cannot use stdout").map_err(Failure::Other)?;
    let output = Output::to_file(stdout, sinks::header(settings.format)).map_err(Failure::other)?;
    let limits = Limits { reports: args.count, duration: args.duration };
    let sinks = (messages, output);
    let agent = Agent::new(settings, (links, news), &existing, counting, inbox, sinks);
    drop((entered, existing));
    watch(&runtime, agent, limits)
}

fn watch(runtime: &Runtime, agent: Agent, limits: Limits) -> Result<ExitCode, Failure> {
    let (end, output, messages) = runtime.block_on(agent.run(limits, signals::restore));
    let ended = output.finish(LAST_REPORT);
    if ended.skipped > 0 {
        let (skipped, what) = (ended.skipped, "reports were not written: stdout was blocked");
        messages.warn(&format!("{skipped} {what}"));
    }
    match end {
        End::Limit | End::Stopped(_) => Ok(ExitCode::SUCCESS),
        End::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        End::Output(error) => {
            Err(Failure::Other(anyhow::Error::new(error).context("cannot write the report")))
        }
        End::Clock(error) => {
            Err(Failure::Other(anyhow::Error::new(error).context("cannot use a timer")))
        }
        End::NoNews => Err(Failure::Other(anyhow::anyhow!("the netlink connection has ended"))),
    }
}

/// Stdout as a file: what is written is whole lines in one piece, which the standard library's
/// stdout would look through for line ends.
fn stdout() -> std::io::Result<File> {
    Ok(File::from(std::io::stdout().as_fd().try_clone_to_owned()?))
}

/// Asks which interfaces, if none was named, and checks those that were.
fn choose(settings: &mut Settings, existing: &[Link]) -> Result<(), Failure> {
    if settings.selection.wanted.is_empty() {
        let answers = stdin();
        let interactive = answers.is_terminal();
        if interactive {
            // Nobody to tell when this fails; the question fails next.
            let _ = writeln!(stderr(), "There are: {}", select::names(existing).join(", "));
        }
        let wait = settings.wait;
        settings.selection.wanted = ask(&mut answers.lock(), interactive, wait, existing)?;
    }
    if settings.wait {
        return Ok(());
    }
    settings.selection.check(existing).map_err(|error| match error {
        SelectError::Unknown { .. } | SelectError::NothingMatches { .. } => {
            let hint = "use --wait to wait for interfaces that come later";
            Failure::Use(anyhow::anyhow!("{error}\n{hint}"))
        }
        error => Failure::usage(error),
    })
}

fn ask(
    answers: &mut impl BufRead,
    interactive: bool,
    wait: bool,
    existing: &[Link],
) -> Result<Vec<Selector>, Failure> {
    let check = |name: &str| {
        let selector = Selector::parse(name).map_err(|error| error.to_string())?;
        if wait {
            return Ok(());
        }
        let selection = Selection { wanted: vec![selector], excluded: Vec::new() };
        selection.check(existing).map_err(|error| error.to_string())
    };
    let names =
        prompt::ask(answers, &mut stderr(), interactive, check).map_err(|error| match error {
            PromptError::Stream(_) => Failure::other(error),
            PromptError::Ended | PromptError::Wrong(_) => Failure::usage(error),
        })?;
    names.iter().map(|name| Selector::parse(name).map_err(Failure::usage)).collect()
}
