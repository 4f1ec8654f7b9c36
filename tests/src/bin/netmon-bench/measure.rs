//! What is to be measured, in which order, and what becomes of the figures.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use netmon_tests::privileges;
use serde::Serialize;

use crate::interfaces::Interfaces;
use crate::machine::Machine;
use crate::progress::Progress;
use crate::samples::Table;
use crate::tick::Ticks;
use crate::{forward, interrupt, markdown, packet, soak, start, text, traffic, workers};

/// Figures that are kept have a spread.
const FEWEST_TO_SAVE: u16 = 3;
/// In the long mode.
const LONG_SOAK: Duration = Duration::from_secs(600);
/// In the smoke test.
const SHORT_SOAK: Duration = Duration::from_secs(4);
/// The soak watches so many interfaces, or as many as there are at most elsewhere.
const SOAK_INTERFACES: usize = 64;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder of the eBPF objects.
    #[arg(long, value_name = "DIR")]
    objects: PathBuf,
    /// The release build of netmon.
    #[arg(long, value_name = "FILE")]
    netmon: PathBuf,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "save")]
    only: Vec<Part>,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// Rounds of each figure.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How many interfaces to watch: even numbers, since they are ends of veth pairs.
    #[arg(long, value_delimiter = ',', default_values_t = [2, 16, 64, 256, 1024])]
    interfaces: Vec<usize>,
    /// How many ports the router has: even numbers, since packets come in by one half of them.
    #[arg(long, value_delimiter = ',', default_values_t = [2, 16, 64])]
    ports: Vec<usize>,
    /// How long the soak is.
    #[arg(long, default_value_t = 1, value_name = "MINUTES", value_parser = clap::value_parser!(u16).range(1..))]
    minutes: u16,
    /// A soak of ten minutes.
    #[arg(long, conflicts_with_all = ["minutes", "smoke"])]
    long: bool,
    /// Run every part for a moment, and look only whether it gives figures.
    #[arg(long, conflicts_with_all = ["save", "rounds", "interfaces", "ports", "minutes"])]
    smoke: bool,
    /// Write the tables to this file, as Markdown.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// The command that is named there.
    #[arg(long, default_value = "netmon-bench", hide = true)]
    command: String,
    /// The commit that is named there.
    #[arg(long, default_value = "unknown", hide = true)]
    commit: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Nanoseconds a packet of each program, over an empty one.
    Packet,
    /// CPU time of a tick, against other programs.
    Tick,
    /// Time until the first report, until everything is attached and until the end; memory.
    Start,
    /// A process for each interface.
    Workers,
    /// What a router forwards, with netmon and without.
    Forward,
    /// What it costs to know who and what the traffic is.
    Traffic,
    /// Memory, wake-ups and system calls of a steady run.
    Soak,
}

/// A process for each of more interfaces is what nobody wants.
const MOST_WORKERS: usize = 256;

/// What the parts have to know.
pub(crate) struct Measure {
    pub(crate) objects: PathBuf,
    pub(crate) netmon: PathBuf,
    pub(crate) rounds: usize,
    /// Ticks of a round.
    pub(crate) ticks: u32,
    pub(crate) progress: Progress,
    pub(crate) smoke: bool,
    interfaces: Vec<usize>,
    ports: Vec<usize>,
    /// How long the soak is.
    pub(crate) soak: Duration,
}

/// All that is known at the end.
#[derive(Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) command: String,
    pub(crate) tables: Vec<Table>,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        ensure!(privileges::is_root(), "the benchmark makes namespaces: run it as root");
        let few = self.save.is_some() && self.rounds < FEWEST_TO_SAVE;
        ensure!(!few, "--save wants {FEWEST_TO_SAVE} rounds at least: fewer have no spread");
        for number in self.interfaces.iter().chain(&self.ports) {
            ensure!(*number >= 2 && number.is_multiple_of(2), "{number} is no even number");
        }
        interrupt::handle()?;
        let measure = self.measure();
        let results = Results {
            machine: Machine::this()?,
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            commit: self.commit.clone(),
            command: self.command.clone(),
            tables: self.tables(&measure)?,
        };
        if self.json {
            println!("{}", serde_json::to_string(&results)?);
        } else {
            results.tables.iter().for_each(text::print);
        }
        if let Some(file) = &self.save {
            fs::write(file, markdown::document(&results))
                .with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(self.judge(&results.tables))
    }

    fn measure(&self) -> Measure {
        let mut interfaces = if self.smoke { vec![2, 4] } else { self.interfaces.clone() };
        interfaces.sort_unstable();
        let soak = match (self.smoke, self.long) {
            (true, _) => SHORT_SOAK,
            (_, true) => LONG_SOAK,
            _ => Duration::from_secs(60) * u32::from(self.minutes),
        };
        let rounds = if self.smoke { 1 } else { usize::from(self.rounds) };
        Measure {
            objects: self.objects.clone(),
            netmon: self.netmon.clone(),
            rounds,
            smoke: self.smoke,
            ticks: if self.smoke { 1 } else { 3 },
            progress: Progress::begin(self.estimate(rounds, soak)),
            interfaces,
            ports: if self.smoke { vec![2] } else { self.ports.clone() },
            soak,
        }
    }

    /// As it was on two CPUs.
    fn estimate(&self, rounds: usize, soak: Duration) -> Duration {
        if self.smoke {
            return Duration::from_secs(45);
        }
        let rounds = rounds as u64;
        let attaching: u64 = self.interfaces.iter().map(|count| *count as u64 / 20).sum();
        let counts = self.interfaces.len() as u64;
        let worked = self.interfaces.iter().filter(|count| **count <= MOST_WORKERS).count() as u64;
        let seconds = [
            (Part::Packet, 5 + rounds),
            (Part::Tick, attaching + counts * (10 + 45 * rounds)),
            (Part::Start, rounds.min(3) * (counts * 4 + attaching)),
            (Part::Workers, worked * (rounds.min(3) * 12 + 10 + 8 * rounds)),
            (Part::Forward, self.ports.iter().map(|ports| forward::seconds(*ports, rounds)).sum()),
            (Part::Traffic, traffic::seconds(rounds)),
            (Part::Soak, soak.as_secs() + 10),
        ];
        let wanted = seconds.into_iter().filter(|(part, _)| self.wants(*part));
        Duration::from_secs(wanted.map(|(_, seconds)| seconds).sum())
    }

    fn tables(&self, measure: &Measure) -> Result<Vec<Table>> {
        let mut tables = Vec::new();
        if self.wants(Part::Packet) {
            measure.progress.say("packet");
            tables.push(packet::measure(measure)?);
        }
        if [Part::Tick, Part::Start, Part::Workers].into_iter().any(|part| self.wants(part)) {
            tables.extend(self.by_interfaces(measure)?);
        }
        if self.wants(Part::Forward) {
            for ports in &measure.ports {
                tables.extend(forward::measure(measure, *ports)?);
            }
        }
        if self.wants(Part::Traffic) {
            tables.extend(traffic::stack(measure)?);
            tables.push(traffic::many(measure)?);
            tables.push(traffic::seen(measure)?);
        }
        if self.wants(Part::Soak) {
            tables.push(soak::measure(measure)?);
        }
        Ok(tables)
    }

    /// Interfaces take time to make, so those that there are serve both parts.
    fn by_interfaces(&self, measure: &Measure) -> Result<Vec<Table>> {
        let (mut of_ticks, mut of_starts, mut of_workers) = (Vec::new(), Vec::new(), Vec::new());
        let mut ticks = Ticks::default();
        let mut interfaces = Interfaces::none()?;
        for count in &measure.interfaces {
            measure.progress.say(&format!("making {count} interfaces"));
            interfaces.grow(*count)?;
            if self.wants(Part::Tick) {
                of_ticks.push(ticks.measure(measure, &interfaces)?);
            }
            if self.wants(Part::Start) {
                of_starts.push(start::measure(measure, &interfaces)?);
            }
            if self.wants(Part::Workers) && *count <= MOST_WORKERS {
                of_workers.push(workers::measure(measure, &interfaces)?);
            }
        }
        if of_ticks.len() > 1 {
            of_ticks.push(ticks.growth());
        }
        of_ticks.extend(of_starts);
        of_ticks.extend(of_workers);
        Ok(of_ticks)
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// A figure that is none is an error always, one over its bound unless this is a smoke test.
    fn judge(&self, tables: &[Table]) -> ExitCode {
        let none: Vec<_> = tables.iter().flat_map(Table::not_finite).collect();
        let over: Vec<_> = tables.iter().flat_map(Table::exceeded).collect();
        none.iter().for_each(|name| eprintln!("bench: no figure: {name}"));
        if self.smoke {
            eprintln!("bench: a smoke test, so bounds are not judged");
        } else {
            over.iter().for_each(|name| eprintln!("bench: over its bound: {name}"));
        }
        if none.is_empty() && (over.is_empty() || self.smoke) {
            return ExitCode::SUCCESS;
        }
        ExitCode::FAILURE
    }
}

impl Measure {
    /// Whether other programs are measured with so many interfaces; a smoke test does it once.
    pub(crate) fn others(&self, interfaces: usize) -> bool {
        !self.smoke || self.interfaces.first() == Some(&interfaces)
    }

    pub(crate) fn soak_interfaces(&self) -> usize {
        self.interfaces.iter().copied().max().unwrap_or(SOAK_INTERFACES).min(SOAK_INTERFACES)
    }
}
