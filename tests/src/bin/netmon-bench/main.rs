//! netmon's costs: per packet in the kernel, per tick in user space, for what a router forwards,
//! for knowing who and what the traffic is, at the start and at the end, and in a long run.
//!
//! Every figure is taken alternately with the one it is compared to, in one run, and given as
//! the median of the rounds with their spread (half the distance between the quartiles). Needs
//! root. `cargo xtask bench` builds all that is measured, and calls this.

mod contenders;
mod floor;
mod flow;
mod forward;
mod interfaces;
mod interrupt;
mod machine;
mod markdown;
mod measure;
mod packet;
mod processes;
mod progress;
mod reader;
mod samples;
mod soak;
mod start;
mod system_calls;
mod test_run;
mod text;
mod tick;
mod tools;
mod traffic;
mod workers;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure and print.
    Measure(measure::Args),
    /// The process to compare with: reads the eleven sysfs files of each interface every tick.
    #[command(hide = true)]
    Reader(reader::Reader),
    /// netmon's system calls of a tick, and nothing else.
    #[command(hide = true)]
    Floor(floor::Floor),
    /// A process that sends a datagram a second.
    #[command(hide = true)]
    Talker(traffic::Talker),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Reader(reader) => reader.run().map(|()| ExitCode::SUCCESS),
        Command::Floor(floor) => floor.run().map(|()| ExitCode::SUCCESS),
        Command::Talker(talker) => talker.run().map(|()| ExitCode::SUCCESS),
        Command::Measure(args) => args.run(),
    }
}
