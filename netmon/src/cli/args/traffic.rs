//! What `netmon top` takes, and what it has in common with `netmon run --traffic`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::{Layer, TrafficLayer};
use crate::model::options::{Format, Hook, SourceChoice, parse_interval};
use crate::model::traffic::facts::Part;
use crate::model::traffic::selection::By;
use crate::model::traffic::thresholds::{parse_alpha, parse_threshold};

pub(in crate::cli) const TOP_HELP: &str = "\
Examples:
  netmon top                                       live: ? shows the keys
  netmon top eth0 'wan*' --parts flows             some interfaces, and only flows
  netmon top --once --by process --limit 10        one table, of one second
  netmon top --once --by flow --filter 'port:443 10.0.0.0/8' --format json
  netmon top --by drop --format csv --count 60     every second for a minute

Filters: words that must all hold. proc: pid: user: cgroup: port: src: dst: if: dir: proto:
reason: and an address or network alone; !word must not hold; any other word is looked for in
every column.";

/// Flows, processes and drops in a line of JSON, and rows of a table.
pub(in crate::cli) const DEFAULT_LIMIT: usize = 50;

/// How traffic is counted and judged.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Traffic")]
pub(in crate::cli) struct TrafficArgs {
    /// How many flows are kept at most [default: 65536]
    #[arg(long, value_name = "N")]
    flow_capacity: Option<u32>,

    /// Look at one packet in N for its flow; the flows' numbers are estimates then [default: 1]
    #[arg(long, value_name = "N")]
    flow_sample: Option<u32>,

    /// The weight of a second in averages, above 0 and at most 1 [default: 0.4]
    #[arg(long, value_name = "WEIGHT", value_parser = parse_alpha)]
    alpha: Option<f64>,

    /// Mark processes from so much a second on: 10MB, 100Mbit, 1GiB [default: 10MB]
    #[arg(long, value_name = "RATE", value_parser = parse_threshold)]
    alert_process: Option<f64>,

    /// Mark flows from so much a second on [default: 10MB]
    #[arg(long, value_name = "RATE", value_parser = parse_threshold)]
    alert_flow: Option<f64>,

    /// Mark interfaces from so much a second on [default: 10MB]
    #[arg(long, value_name = "RATE", value_parser = parse_threshold)]
    alert_interface: Option<f64>,
}

impl TrafficArgs {
    pub(super) fn layer(&self, parts: Option<Vec<Part>>) -> TrafficLayer {
        let Self { flow_capacity, flow_sample, alpha, alert_process, alert_flow, alert_interface } =
            self.clone();
        TrafficLayer {
            parts,
            flow_capacity,
            flow_sample,
            alpha,
            alert_process,
            alert_flow,
            alert_interface,
        }
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct TopArgs {
    /// Interfaces or shell patterns; without, those of --config or every one
    #[arg(value_name = "INTERFACE|PATTERN")]
    interfaces: Vec<String>,

    /// Leave these out (may be given more than once)
    #[arg(short = 'x', long, value_name = "INTERFACE|PATTERN")]
    exclude: Vec<String>,

    /// Only these parts [default: all]
    #[arg(long, value_name = "PART,…", value_enum, value_delimiter = ',')]
    pub(in crate::cli) parts: Option<Vec<Part>>,

    /// Where packets and bytes come from [default: auto]
    #[arg(short, long, value_enum)]
    source: Option<SourceChoice>,

    /// Where to count [default: auto]
    #[arg(long, value_enum)]
    hook: Option<Hook>,

    /// Between ticks, from 100ms to 1h [default: 1s]
    #[arg(short, long, value_name = "TIME", value_parser = parse_interval)]
    interval: Option<Duration>,

    /// Read settings from a TOML file; flags win over it
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,

    /// Show rates in bits
    #[arg(short, long)]
    pub(in crate::cli) bits: bool,

    /// Show the names of addresses (reverse DNS, asked for in the background)
    #[arg(long)]
    pub(in crate::cli) resolve: bool,

    /// Kernel threads, too
    #[arg(short, long)]
    pub(in crate::cli) kernel_threads: bool,

    /// Only what this matches; see below
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    pub(in crate::cli) filter: String,

    #[command(flatten)]
    pub(in crate::cli) script: ScriptArgs,

    #[command(flatten)]
    judging: TrafficArgs,
}

/// A table for scripts, in the place of the live view.
#[derive(Args, Debug)]
#[command(next_help_heading = "Tables in the place of the live view")]
pub(in crate::cli) struct ScriptArgs {
    /// One table, of one interval, and then end: the same as --count 1
    #[arg(short = '1', long, conflicts_with = "count")]
    once: bool,

    /// End after so many tables
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// How they are written [default: text]
    #[arg(short, long, value_enum)]
    format: Option<Format>,

    /// What is in the rows [default: process]
    #[arg(long, value_enum)]
    by: Option<By>,

    /// At most so many rows [default: 50]
    #[arg(short, long, value_name = "N")]
    limit: Option<usize>,

    /// The column to sort by, the greatest first [default: the rate]
    #[arg(long, value_name = "COLUMN")]
    pub(in crate::cli) sort: Option<String>,
}

impl TopArgs {
    /// What the flags say of the settings. A viewer sets no link up.
    pub(in crate::cli) fn layer(&self) -> Layer {
        Layer {
            interfaces: self.interfaces.clone(),
            all: None,
            exclude: self.exclude.clone(),
            source: self.source,
            hook: self.hook,
            interval: self.interval,
            format: self.script.format,
            recover: Some(false),
            wait: None,
            max_workers: None,
            max_workers_per_namespace: None,
            traffic: self.judging.layer(self.parts.clone()),
            interface: Vec::new(),
        }
    }
}

impl ScriptArgs {
    /// Whether tables are wanted.
    pub(in crate::cli) const fn wanted(&self) -> bool {
        let Self { once, count, format, by, limit, sort } = self;
        *once
            || count.is_some()
            || format.is_some()
            || by.is_some()
            || limit.is_some()
            || sort.is_some()
    }

    /// How many; `None`: until it is ended.
    pub(in crate::cli) const fn count(&self) -> Option<u64> {
        if self.once { Some(1) } else { self.count }
    }

    /// What is in the rows.
    pub(in crate::cli) fn by(&self) -> By {
        self.by.unwrap_or_default()
    }

    /// How many rows.
    pub(in crate::cli) fn limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT)
    }
}
