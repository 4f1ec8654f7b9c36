//! `netmon compare`: starts the comparison, shows how far it is, writes the result.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::Failure;
use super::args::CompareArgs;
use super::signals::{self, Signals};
use crate::compare::change::{self, Changes};
use crate::compare::outcome::Outcome;
use crate::compare::session::{self, Plan, Progress};
use crate::compare::text::{self, Verdict};
use crate::model::options::CompareFormat;
use crate::model::select::{Literal, Selection, Selector};
use crate::sinks::messages::{Lines, Messages, Verbosity};
use crate::sources::netlink::links::Links;
use crate::sources::process;

pub(super) fn compare(args: &CompareArgs, quiet: bool, lines: Lines) -> Result<ExitCode, Failure> {
    let before = args.with.as_deref().map(change::read).transpose().map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    let entered = runtime.enter();
    if !process::proc_is_ours() {
        return Err(Failure::Other(anyhow::anyhow!(
            "/proc shows no processes, or another PID namespace's, so nothing can be measured; \
             in a container: mount -t proc proc /proc"
        )));
    }
    let links = Links::connect_to_ask().map_err(Failure::other)?;
    let existing = runtime.block_on(links.list()).map_err(Failure::other)?;
    let selectors = |names: &[String]| -> Result<Vec<Selector>, Failure> {
        names.iter().map(|name| Selector::parse(name).map_err(Failure::usage)).collect()
    };
    let mut wanted = selectors(&args.interfaces)?;
    if wanted.is_empty() {
        wanted.push(Selector::All);
    }
    let selection = Selection { wanted, excluded: selectors(&args.exclude)? };
    let selection = selection.resolved(&existing, Literal::First);
    selection.check(&existing).map_err(Failure::usage)?;
    let count = existing.iter().filter(|link| selection.place_of(link).is_some()).count();
    let mut signals = Signals::new().map_err(Failure::other)?;
    drop(entered);

    let plan = plan(args)?;
    let verbosity = if quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let messages = Messages::new(verbosity, lines);
    let say = |progress| {
        if progress == Progress::Ending {
            signals::restore();
        }
        messages.say(&describe(progress, &plan, count));
    };
    let outcome = session::run(&plan, &links, signals.first(), say);
    let outcome = runtime.block_on(outcome).map_err(Failure::other)?;
    let changes = before.map(|before| change::changes(&before, &outcome));
    write(&outcome, changes.as_ref(), args.format)?;
    let Verdict { compared, unexplained, .. } = text::verdict_of(&outcome);
    let good = compared > 0 && unexplained == 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn plan(args: &CompareArgs) -> Result<Plan, Failure> {
    if args.duration < args.interval {
        return Err(Failure::usage(anyhow::anyhow!(
            "--duration {} is shorter than --interval {}: at least one tick must pass",
            humantime::format_duration(args.duration),
            humantime::format_duration(args.interval),
        )));
    }
    let interval = humantime::format_duration(args.interval).to_string();
    let hook = clap::ValueEnum::to_possible_value(&args.hook)
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default();
    let mut arguments = vec![format!("--interval={interval}"), format!("--hook={hook}")];
    arguments.extend(args.exclude.iter().map(|name| format!("--exclude={name}")));
    if args.interfaces.is_empty() {
        arguments.push("--all".to_owned());
    }
    arguments.push("--".to_owned());
    arguments.extend(args.interfaces.iter().cloned());
    let program = std::env::current_exe().map_err(Failure::other)?;
    Ok(Plan { program, arguments, hook, interval: args.interval, duration: args.duration })
}

fn describe(progress: Progress, plan: &Plan, count: usize) -> String {
    let time = |ticks: u64| {
        humantime::format_duration(plan.interval * u32::try_from(ticks).unwrap_or(u32::MAX))
    };
    match progress {
        Progress::Attaching => {
            let interfaces = if count == 1 { "interface" } else { "interfaces" };
            format!("starting eBPF and sysfs mode on {count} {interfaces}")
        }
        Progress::Comparing => {
            let duration = humantime::format_duration(plan.duration);
            format!("comparing for {duration}; Ctrl-C ends it earlier, with what there is then")
        }
        Progress::Looking(ticks) => {
            format!("a closer look for {}: system calls, time in the programs", time(ticks))
        }
        Progress::Ending => "detaching".to_owned(),
    }
}

/// JSON: the result, with the changes in it.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<&'a Changes>,
}

fn write(
    outcome: &Outcome,
    changes: Option<&Changes>,
    format: CompareFormat,
) -> Result<(), Failure> {
    let mut written = String::new();
    match format {
        CompareFormat::Text => {
            text::write(&mut written, outcome);
            if let Some(changes) = changes {
                text::write_changes(&mut written, changes);
            }
        }
        CompareFormat::Json => {
            let json = serde_json::to_string_pretty(&Json { outcome, changes });
            written = json.map_err(Failure::other)? + "\n";
        }
    }
    match write_all(written.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::other(error)),
        _ => Ok(()),
    }
}

/// Waits also for a stdout that somebody has made non-blocking.
fn write_all(mut text: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout();
    while !text.is_empty() {
        match stdout.write(text) {
            Ok(length) => text = &text[length..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
    stdout.flush()
}
