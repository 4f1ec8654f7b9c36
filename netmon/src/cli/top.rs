//! `netmon top`: who and what the traffic is, live in the terminal or as tables for scripts.

use std::io::{IsTerminal, stderr, stdin};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

use super::Failure;
use super::alone::{Start, program_log, tell_of_the_selection};
use super::args::TopArgs;
use super::places::Places;
use super::run::stdout;
use super::signals::Signals;
use crate::agent::{Counting, End, Inbox, Limits, Sink, Table};
use crate::config::{Layer, Settings};
use crate::model::human::{Scale, Unit, Units};
use crate::model::options::SourceChoice;
use crate::model::select::{Literal, Selector};
use crate::model::traffic::facts::{Missing, Part};
use crate::model::traffic::filter::Filter;
use crate::model::traffic::names::Names;
use crate::model::traffic::selection::{By, Order, Selection};
use crate::model::traffic::thresholds::Thresholds;
use crate::privileges;
use crate::sinks::messages::{Lines, Messages, Verbosity};
use crate::sinks::output::Output;
use crate::sinks::tui::{self, Live, LiveOptions};
use crate::sources::netlink::links::Links;
use crate::sources::resolver::Resolver;
use crate::sources::services;

pub(super) fn top(
    args: &TopArgs,
    quiet: bool,
    verbose: u8,
    lines: Lines,
) -> Result<ExitCode, Failure> {
    let mut settings = settings(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    let entered = runtime.enter();
    let links = Links::connect().map_err(Failure::other)?;
    let existing = runtime.block_on(links.0.list()).map_err(Failure::other)?;
    let names = names(args).map_err(Failure::other)?;
    let names = names.with_interfaces(existing.iter().map(|link| link.name.clone()));
    let table = args.script.wanted().then(|| table(args, &mut settings, names.clone()));
    let table = table.transpose()?;
    if table.is_none() {
        check_terminal()?;
        check_filter(&args.filter, &names)?;
    }
    if !settings.wait {
        let here = settings.selection.resolved(&existing, Literal::First);
        here.check(&existing).map_err(Failure::usage)?;
    }
    let signals = Signals::new().map_err(Failure::other)?;
    // What happens is shown in the live view, and a table is for programs.
    let messages = Messages::new(Verbosity::Own, lines.clone());
    settings = tell_of_the_selection(&settings, &existing, &messages);
    for word in Filter::parse(&args.filter, &names).of_no_interface(&names) {
        messages.warn(&format!("--filter {word}: there is no such interface now"));
    }
    if table.is_some() && settings.wants_xdp() && settings.traffic.wants(Part::Flows) {
        messages.warn("without XDP: flows are told apart at the TC hook");
    }
    let limits = Limits { reports: args.script.count(), duration: None };
    let log = program_log(quiet, verbose);
    drop(entered);
    let start = Start { settings, links, existing, signals, messages, limits, log };
    match table {
        Some(table) => start.watch(&runtime, |_, counting| on_stdout(table, counting)),
        None => {
            let _held = Held(&lines);
            start.watch(&runtime, |inbox, _| live(args, names, inbox, &lines))
        }
    }
}

fn settings(args: &TopArgs) -> Result<Settings, Failure> {
    let mut file = match &args.config {
        Some(path) => Layer::read(path).map_err(Failure::usage)?,
        None => Layer::default(),
    };
    let mut flags = args.layer();
    if !Places::take_out(&mut flags, &mut Layer::default())?.wanted.is_empty() {
        let why = "netmon top tells of this network namespace only: start it in the other one \
                   (`ip netns exec NAME netmon top`)";
        return Err(Failure::Use(anyhow::anyhow!(why)));
    }
    // What the file says of other namespaces is for `netmon run`.
    Places::take_out(&mut Layer::default(), &mut file)?;
    let mut settings = Layer::settings(flags, file).map_err(Failure::usage)?;
    if settings.selection.wanted.is_empty() {
        settings.selection.wanted.push(Selector::All);
    }
    // A viewer, whatever the file says.
    settings.recover = false;
    if settings.traffic.parts.is_empty() {
        settings.traffic.parts = Part::ALL.to_vec();
    }
    Ok(settings)
}

/// Ports and protocols by the machine's own files, addresses by reverse DNS where that is asked
/// for.
fn names(args: &TopArgs) -> std::io::Result<Names> {
    let names = services::read(Path::new("/etc"));
    if !args.resolve {
        return Ok(names);
    }
    Ok(names.with_hosts(Arc::new(Resolver::start()?)))
}

const fn units(args: &TopArgs) -> Units {
    let unit = if args.bits { Unit::Bits } else { Unit::Bytes };
    Units { unit, scale: Scale::Si }
}

fn table(args: &TopArgs, settings: &mut Settings, names: Names) -> Result<Table, Failure> {
    let by = args.script.by();
    let order = match &args.script.sort {
        Some(column) => Order::parse(by, column)
            .map_err(|error| Failure::Use(anyhow::anyhow!("--sort {column}: {error}")))?,
        None => Order::from(by),
    };
    let selection = Selection {
        filter: Filter::parse(&args.filter, &names),
        limit: Some(args.script.limit()),
        kernel_threads: args.kernel_threads,
    };
    selection.check(by).context("--filter").map_err(Failure::Use)?;
    load_only(by, args.parts.as_deref(), settings)?;
    Ok(Table { format: settings.format, order, selection, names, units: units(args) })
}

/// Only what the table tells of is loaded: flags decide, and a file may leave out what it could do
/// without.
fn load_only(by: By, flag: Option<&[Part]>, settings: &mut Settings) -> Result<(), Failure> {
    let part = by.part();
    if flag.is_some_and(|parts| !parts.contains(&part)) {
        let part = part.name();
        let why = format!("--by {by} is made of {part}, which --parts leaves out");
        return Err(Failure::Use(anyhow::anyhow!(why)));
    }
    let parts = &mut settings.traffic.parts;
    parts.retain(|part| by.parts().contains(part));
    if !parts.contains(&part) {
        parts.push(part);
    }
    // Others outside decide how many flows there are: they are kept only where they are shown, or
    // judged as the user wants.
    let judged = settings.traffic.options.thresholds.flow != Thresholds::DEFAULT;
    settings.traffic.keep_flows = by == By::Flow || judged;
    // Nothing at the interfaces is needed, and attaching to many of them takes seconds.
    if part != Part::Flows && settings.source == SourceChoice::Auto {
        settings.source = SourceChoice::Sysfs;
    }
    Ok(())
}

/// A table that cannot be had must not look like one with nothing in it.
fn on_stdout(table: Table, counting: &Counting) -> Result<Sink, Failure> {
    let by = table.order.by();
    if let Some(Missing { part, why }) = counting.missing().iter().find(|it| it.part == by.part()) {
        return Err(Failure::Other(anyhow::anyhow!("no {}: {why}", part.name())));
    }
    let stdout = stdout().context("cannot use stdout").map_err(Failure::Other)?;
    let first = || privileges::drop_all_but(&[]);
    let output = Output::to_file(stdout, &table.header(), first).map_err(Failure::other)?;
    Ok(Sink::table(output, table))
}

/// Writes what was held once the view is gone, also when that is by a panic.
struct Held<'a>(&'a Lines);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.release();
        // The process may end now, and with it the thread that writes them.
        self.0.flush();
    }
}

/// A wrong word says nothing while one types; here it is wrong use. What another tab has no column
/// for says nothing there.
fn check_filter(filter: &str, names: &Names) -> Result<(), Failure> {
    match Filter::parse(filter, names).errors.into_iter().next() {
        Some(error) => Err(Failure::Use(anyhow::Error::new(error).context("--filter"))),
        None => Ok(()),
    }
}

fn check_terminal() -> Result<(), Failure> {
    if stdin().is_terminal() && std::io::stdout().is_terminal() {
        return Ok(());
    }
    let why = "the live view needs a terminal; for a table use --once, or --format text|json|csv";
    Err(Failure::Use(anyhow::anyhow!(why)))
}

fn live(args: &TopArgs, names: Names, inbox: &Inbox, lines: &Lines) -> Result<Sink, Failure> {
    let orders = inbox.orders();
    let options = LiveOptions {
        units: units(args),
        names: Arc::new(names),
        filter: args.filter.clone(),
        kernel_threads: args.kernel_threads,
        ..LiveOptions::of_environment()
    };
    // What is said meanwhile would be written over the view.
    if stderr().is_terminal() {
        lines.hold();
    }
    let live = Live::start(&options, move |end| {
        orders.end(match end {
            tui::End::Quit => End::Ordered("quit".to_owned()),
            tui::End::Failed(error) => End::Output(error),
        });
    });
    live.map(Sink::Live).map_err(Failure::other)
}
