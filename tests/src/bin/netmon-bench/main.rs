//! netmon's costs: per packet in the kernel, per tick in user space, and at the start.
//!
//! Every figure is taken alternately with the one it is compared to, in one run, and given as
//! the median of the rounds with their spread (half the distance between the quartiles). Needs
//! root. `cargo xtask bench` builds all that is measured, and calls this.

mod packet;
mod reader;
mod samples;
mod start;
mod test_run;
mod tick;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use netmon_tests::privileges;
use samples::Row;
use serde::Serialize;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure and print.
    Measure(Measure),
    /// The process to compare with: reads the eleven sysfs files of each interface every tick.
    #[command(hide = true)]
    Reader(reader::Reader),
}

#[derive(Args)]
struct Measure {
    /// The eBPF object.
    #[arg(long, value_name = "FILE")]
    object: PathBuf,
    /// The release build of netmon.
    #[arg(long, value_name = "FILE")]
    netmon: PathBuf,
    /// Only these parts.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// Rounds of each figure.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many interfaces to watch, at least 2 and even.
    #[arg(long, default_value_t = 64)]
    interfaces: usize,
    /// Netmon's interval, and the reader's.
    #[arg(long, default_value_t = 100, value_name = "MILLISECONDS")]
    interval: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Nanoseconds a packet of each program, over an empty one.
    Packet,
    /// CPU time a tick and resident memory.
    Tick,
    /// Time until the first report, and until everything is attached.
    Start,
}

/// One table.
#[derive(Serialize)]
struct Table {
    name: &'static str,
    about: String,
    rows: Vec<Row>,
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Reader(reader) => reader.run().map(|()| ExitCode::SUCCESS),
        Command::Measure(measure) => measure.run(),
    }
}

impl Measure {
    fn run(&self) -> Result<ExitCode> {
        ensure!(privileges::is_root(), "the benchmark makes namespaces: run it as root");
        ensure!(self.rounds > 0, "--rounds must be at least 1");
        ensure!(
            self.interfaces >= 2 && self.interfaces.is_multiple_of(2),
            "--interfaces are the ends of veth pairs: give an even number"
        );
        let mut tables = Vec::new();
        if self.wants(Part::Packet) {
            tables.push(packet::measure(&self.object, self.rounds)?);
        }
        if self.wants(Part::Tick) {
            tables.push(tick::measure(self)?);
        }
        if self.wants(Part::Start) {
            tables.push(start::measure(self)?);
        }
        if self.json {
            println!("{}", serde_json::to_string(&tables)?);
        } else {
            tables.iter().for_each(samples::print);
        }
        let over = tables.iter().flat_map(|table| &table.rows).filter(|row| !row.within());
        Ok(match over.count() {
            0 => ExitCode::SUCCESS,
            count => {
                eprintln!("{count} figures are over their bound");
                ExitCode::FAILURE
            }
        })
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(self.interval)
    }

    /// A namespace with the interfaces to watch, `nb0`, `nb1`, …, all up.
    fn namespace(&self) -> Result<netmon_tests::netns::Namespace> {
        let namespace = netmon_tests::netns::Namespace::new()?;
        for pair in (0..self.interfaces).step_by(2) {
            let (one, other) = (format!("nb{pair}"), format!("nb{}", pair + 1));
            namespace
                .add_veth_up(&one, &other)
                .with_context(|| format!("making {one} and {other}"))?;
        }
        Ok(namespace)
    }
}
