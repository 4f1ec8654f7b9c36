//! The developer's commands, `cargo xtask <command>`: one module each.
//!
//! Light on purpose: `cargo xtask run` stands first in the README, so whatever this crate
//! depends on is built before anything else is seen.

mod apt;
mod bench;
mod build_ebpf;
mod ci;
mod fuzz;
mod man;
mod outcome;
mod process;
mod run;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// netmon's developer commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Test(test::Args),
    Vm(vm::Args),
    BuildEbpf(build_ebpf::Args),
    Man(man::Args),
    Bench(bench::Args),
    Fuzz(fuzz::Args),
    Ci(ci::Args),
}

fn main() -> ExitCode {
    build_ebpf::become_rustc().and_then(|()| run_command(Cli::parse())).unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_command(cli: Cli) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match cli.command {
        Command::Run(args) => run::main(&workspace, &args),
        Command::Test(args) => test::main(&workspace, &args),
        Command::Vm(args) => vm::main(&workspace, &args),
        Command::BuildEbpf(args) => build_ebpf::main(&workspace, &args),
        Command::Man(args) => man::main(&workspace, &args),
        Command::Bench(args) => bench::main(&workspace, &args),
        Command::Fuzz(args) => fuzz::main(&workspace, &args),
        Command::Ci(args) => ci::main(&workspace, &args),
    }
}
