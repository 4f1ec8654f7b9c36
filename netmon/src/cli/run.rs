//! `netmon run`: settings, sources, sinks, agent.

use std::fs::File;
use std::io::{BufRead, IsTerminal, Write, stderr, stdin};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use super::Failure;
use super::alone::{Start, program_log, tell_of_the_selection};
use super::args::{InterfaceMonitorArgs, RunArgs};
use super::network_monitor::{self, Asked};
use super::places::Places;
use super::prompt::{self, PromptError};
use super::signals::Signals;
use crate::agent::{Limits, LineFormat, Sink};
use crate::config::{Layer, Settings};
use crate::model::human;
use crate::model::link::Link;
use crate::model::options::Format;
use crate::model::select::{self, Literal, SelectError, Selection, Selector};
use crate::model::traffic::names::Names;
use crate::model::traffic::selection as traffic;
use crate::privileges;
use crate::sinks;
use crate::sinks::messages::{Lines, Messages, Verbosity};
use crate::sinks::output::{Locked, Output};
use crate::sources::netlink::links::Links;
use crate::sources::services;
use crate::workers::namespace;

pub(super) fn run(
    args: &RunArgs,
    quiet: bool,
    verbose: u8,
    lines: Lines,
) -> Result<ExitCode, Failure> {
    run_with(args, quiet, verbose, lines, Sharing::default())
}

/// The same, with a stdout that others may write to as well.
pub(super) fn run_with(
    args: &RunArgs,
    quiet: bool,
    verbose: u8,
    lines: Lines,
    sharing: Sharing,
) -> Result<ExitCode, Failure> {
    let mut file = match &args.config {
        Some(path) => Layer::read(path).map_err(Failure::usage)?,
        None => Layer::default(),
    };
    let mut flags = args.layer();
    let mut places = Places::take_out(&mut flags, &mut file)?;
    let mut settings = Layer::settings(flags, file).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    check_traffic(&mut settings, args.asks_for_traffic(), &places)?;
    let entered = runtime.enter();
    let (links, news) = Links::connect().map_err(Failure::other)?;
    let existing = runtime.block_on(links.list()).map_err(Failure::other)?;
    choose(&mut settings, &mut places, &existing)?;
    if args.all_netns {
        places.everywhere(&settings.selection);
    }
    // From the first line that is shown Ctrl-C ends in order; at the questions it just ends.
    let signals = Signals::new().map_err(Failure::other)?;
    let verbosity = if quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let messages = Messages::new(verbosity, lines);
    let here = tell_of_the_selection(&settings, &existing, &messages);
    let stdout = stdout().context("cannot use stdout").map_err(Failure::Other)?;
    let header = sinks::header(settings.format);
    let output = sharing.output(stdout, header).map_err(Failure::other)?;
    let limits = Limits { reports: args.count, duration: args.duration };
    let sinks = (messages, output);
    drop(entered);
    if args.workers || args.all_netns || !places.wanted.is_empty() {
        let Places { wanted: elsewhere, excluded: elsewhere_excluded } = places;
        let (socket, log) = (args.socket.clone(), verbose > 0);
        let asked = Asked { settings, elsewhere, elsewhere_excluded, socket, limits, log };
        return network_monitor::start(asked, &runtime, (links, news), &existing, signals, sinks);
    }
    let log = program_log(quiet, verbose);
    let (messages, output) = sinks;
    let selection = traffic::Selection { limit: Some(args.limit), ..Default::default() };
    let names = match settings.format {
        Format::Json => services::read(Path::new("/etc")),
        Format::Text | Format::Csv => Names::default(),
    };
    let format = LineFormat::of(settings.format, selection, names);
    let (settings, links) = (here, (links, news));
    let start = Start { settings, links, existing, signals, messages, limits, log };
    start.watch(&runtime, |_, _| Ok(Sink::lines(output, format)))
}

/// Who and what the traffic is, is told in JSON, and of this namespace. What the flags ask for is
/// then wrong, and what the file does is left out.
fn check_traffic(settings: &mut Settings, flag: bool, places: &Places) -> Result<(), Failure> {
    let wrong = if settings.traffic.parts.is_empty() {
        return Ok(());
    } else if settings.format != Format::Json {
        "--traffic is told in JSON: add --format json, or use `netmon top`"
    } else if !places.wanted.is_empty() {
        "--traffic tells of this network namespace only: leave the others' interfaces out, or \
         start netmon there (`ip netns exec NAME netmon …`)"
    } else {
        return Ok(());
    };
    settings.traffic.parts.clear();
    if flag { Err(Failure::Use(anyhow::anyhow!(wrong))) } else { Ok(()) }
}

/// How stdout is shared with others.
#[derive(Default)]
pub(super) struct Sharing {
    lock: Option<File>,
}

impl Sharing {
    /// What an interface monitor that prints was asked for.
    ///
    /// # Errors
    /// When the lock file cannot be had.
    pub(super) fn of(args: &InterfaceMonitorArgs) -> Result<Self, Failure> {
        let open = |path: &PathBuf| {
            open_lock(path).with_context(|| {
                format!("cannot use the lock file {}; choose another with --lock", path.display())
            })
        };
        Ok(Self { lock: args.lock.as_ref().map(open).transpose().map_err(Failure::Other)? })
    }

    fn output(self, stdout: File, header: &str) -> std::io::Result<Output> {
        // The thread that writes stdout has no business with privileges.
        let first = || privileges::drop_all_but(&[]);
        match self.lock {
            None => Output::to_file(stdout, header, first),
            Some(lock) => Output::start(Locked::new(stdout, lock), header, first),
        }
    }
}

/// Opens a lock file, or makes it. In a directory of all, as /tmp is, a link could be somebody's
/// who wants another file made, and a FIFO would be waited for.
fn open_lock(path: &Path) -> anyhow::Result<File> {
    let mut how = File::options();
    how.create(true).append(true).mode(0o600);
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let is_link = || path.symlink_metadata().is_ok_and(|found| found.is_symlink());
    let lock = how.custom_flags(flags).open(path).map_err(|error| match is_link() {
        true => anyhow::anyhow!("it is a symbolic link"),
        false => error.into(),
    })?;
    anyhow::ensure!(lock.metadata()?.is_file(), "it is no regular file");
    Ok(lock)
}

/// Stdout as a file: what is written is whole lines in one piece, which the standard library's
/// stdout would look through for line ends.
pub(super) fn stdout() -> std::io::Result<File> {
    Ok(File::from(std::io::stdout().as_fd().try_clone_to_owned()?))
}

/// Asks which interfaces, if none was named, and checks those that were.
fn choose(settings: &mut Settings, places: &mut Places, existing: &[Link]) -> Result<(), Failure> {
    if settings.selection.wanted.is_empty() && places.wanted.is_empty() {
        let answers = stdin();
        let interactive = answers.is_terminal();
        if interactive {
            let names = select::names(existing).join(", ");
            // Nobody to tell when this fails; the question fails next.
            let _ = writeln!(stderr(), "There are: {}", human::on_terminal(&names));
        }
        let wait = settings.wait;
        let mut names = ask(&mut answers.lock(), interactive, wait, existing)?;
        places.add(&mut names)?;
        let selectors = names.iter().map(|name| Selector::parse(name).map_err(Failure::usage));
        settings.selection.wanted = selectors.collect::<Result<_, _>>()?;
    }
    // Namespaces come and go, and so do the interfaces in them: those are waited for.
    if settings.wait || settings.selection.wanted.is_empty() {
        return Ok(());
    }
    let here = settings.selection.resolved(existing, Literal::First);
    here.check(existing).map_err(|error| match error {
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
) -> Result<Vec<String>, Failure> {
    let check = |name: &str| {
        if namespace::parse(name).map_err(|error| error.to_string())?.is_some() {
            return Ok(());
        }
        let selector = Selector::parse(name).map_err(|error| error.to_string())?;
        if wait {
            return Ok(());
        }
        let selection = Selection { wanted: vec![selector], excluded: Vec::new() };
        selection
            .resolved(existing, Literal::First)
            .check(existing)
            .map_err(|error| error.to_string())
    };
    prompt::ask(answers, &mut stderr(), interactive, check).map_err(|error| match error {
        PromptError::Stream(_) => Failure::other(error),
        PromptError::Ended | PromptError::Wrong(_) => Failure::usage(error),
    })
}
