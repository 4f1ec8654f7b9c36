//! The command line: one file for each subcommand. Exit codes: 0 fine, 1 something failed,
//! 2 wrong use. Reports go to stdout, everything else to stderr.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

mod args;
mod doctor;
mod generate;
mod prompt;
mod run;
mod signals;

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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG_USE));
        }
    };
    start_log(cli.verbose, cli.quiet);
    let result = match cli.command {
        Command::Run(args) => run::run(&args, cli.quiet, cli.verbose),
        Command::Doctor => doctor::doctor(),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { dir } => generate::man(&dir),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            let (error, code) = match failure {
                Failure::Use(error) => (error, ExitCode::from(WRONG_USE)),
                Failure::Other(error) => (error, ExitCode::FAILURE),
            };
            let _ = writeln!(std::io::stderr(), "netmon: {error:#}");
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
fn start_log(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => tracing::Level::ERROR,
        (false, 0) => tracing::Level::WARN,
        (false, 1) => tracing::Level::DEBUG,
        (false, _) => tracing::Level::TRACE,
    };
    let started = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(verbose > 1)
        .without_time()
        .with_ansi(false)
        .try_init();
    if let Err(error) = started {
        let _ = writeln!(std::io::stderr(), "netmon: no log: {error}");
    }
}
