//! The command line: one file for each subcommand. Exit codes: 0 fine, 1 something failed,
//! 2 wrong use. Reports go to stdout, everything else to stderr.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing::Level;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

mod alone;
mod args;
mod compare;
mod doctor;
mod generate;
mod interface_monitor;
mod launcher;
mod network_monitor;
mod places;
pub(crate) mod prompt;
mod run;
mod signals;
mod top;
mod workers;

use crate::model::human;
use crate::open_files;
use crate::privileges;
use crate::sinks::messages::Lines;
use crate::workers::launcher::Reach;
use args::{Cli, Command};

/// Wrong use: what was asked for cannot be.
const WRONG_USE: u8 = 2;

/// Why a command failed, which decides the exit code.
#[derive(Debug)]
enum Failure {
    /// The user can mend it by asking for something else.
    Use(anyhow::Error),
    /// Anything else.
    Other(anyhow::Error),
}

impl Failure {
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Use(error.into())
    }

    fn other(error: impl Into<anyhow::Error>) -> Self {
        Self::Other(error.into())
    }
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    // Before anything else, and before there is a thread.
    if let Err(error) = privileges::forbid_tracing() {
        let why = format!("netmon: cannot keep others out of its memory (prctl): {error}\n");
        // A closed stderr leaves nobody to report it to.
        let _ = std::io::stderr().write_all(why.as_bytes());
        return ExitCode::FAILURE;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed stderr leaves nobody to report it to. What was typed is shown, not obeyed.
            let _ = if error.use_stderr() {
                let message = error.render().to_string();
                std::io::stderr().write_all(human::on_terminal(&message).as_bytes())
            } else {
                error.print()
            };
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG_USE));
        }
    };
    // What writes a file needs no more than that one.
    let is_of_the_shell =
        matches!(&cli.command, Command::Completions { .. } | Command::GenerateMan { .. });
    if !is_of_the_shell && let Err(error) = open_files::raise() {
        let _ = writeln!(std::io::stderr(), "netmon: {error}");
        return ExitCode::FAILURE;
    }
    if let Command::Launcher { here } = cli.command {
        return launcher::launcher(Reach::of(here));
    }
    // The thread that writes stderr has no business with privileges.
    let lines = match Lines::start(std::io::stderr(), || privileges::drop_all_but(&[])) {
        Ok(lines) => lines,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "netmon: cannot start a thread: {error}");
            return ExitCode::FAILURE;
        }
    };
    start_log(cli.verbose, cli.quiet, lines.clone());
    let result = match cli.command {
        Command::Run(args) => run::run(&args, cli.quiet, cli.verbose, lines.clone()),
        Command::Top(args) => top::top(&args, cli.quiet, cli.verbose, lines.clone()),
        Command::InterfaceMonitor(args) => {
            interface_monitor::run(&args, cli.quiet, cli.verbose, lines.clone())
        }
        Command::Workers(args) => workers::workers(&args),
        Command::Compare(args) => compare::compare(&args, cli.quiet, lines.clone()),
        Command::Launcher { here } => Ok(launcher::launcher(Reach::of(here))),
        Command::Doctor => doctor::doctor(),
        Command::Completions { shell } => generate::completions(shell),
        Command::GenerateMan { dir } => generate::man(&dir),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            let (error, code) = match failure {
                Failure::Use(error) => (error, ExitCode::from(WRONG_USE)),
                Failure::Other(error) => (error, ExitCode::FAILURE),
            };
            lines.flush();
            let mut message = format!("netmon: {error:#}");
            if let Some(help) = open_files::help_for(&message) {
                message = message + "; " + &help;
            }
            message.push('\n');
            let _ = std::io::stderr().write_all(human::on_terminal(&message).as_bytes());
            code
        }
    }
}

/// The command line's description, for completions and man pages.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Our own logs, and those of libraries and of the kernel programs (crate `log`), to stderr.
fn start_log(verbose: u8, quiet: bool, to: Lines) {
    let (ours, others) = match (quiet, verbose) {
        (true, _) => (Level::ERROR, Level::ERROR),
        (false, 0) => (Level::WARN, Level::WARN),
        (false, 1) => (Level::DEBUG, Level::WARN),
        (false, _) => (Level::TRACE, Level::DEBUG),
    };
    let levels =
        Targets::new().with_default(others).with_targets([("netmon", ours), ("netmon_ebpf", ours)]);
    // They print whole messages, which hold what others have named.
    let of_netlink = if verbose > 1 { LevelFilter::WARN } else { LevelFilter::OFF };
    let crates = ["netlink_sys", "netlink_proto", "netlink_packet_core", "netlink_packet_route"];
    let levels = levels.with_targets(crates.map(|name| (name, of_netlink)));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || to.clone())
        .with_target(verbose > 1)
        .without_time()
        .with_ansi(false);
    let started = tracing_subscriber::registry().with(lines.with_filter(levels)).try_init();
    if let Err(error) = started {
        let _ = writeln!(std::io::stderr(), "netmon: no log: {error}");
    }
}
