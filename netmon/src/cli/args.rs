//! What the command line takes.

mod limits;
mod traffic;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::Layer;
use crate::model::options::{
    CompareFormat, Format, Hook, SourceChoice, parse_duration, parse_interval, parse_short_interval,
};
use crate::model::traffic::facts::Part;

use limits::WorkerLimitArgs;
pub(super) use traffic::TopArgs;
use traffic::{DEFAULT_LIMIT, TOP_HELP, TrafficArgs};

/// Watches network interfaces at high rates: counts in the kernel, reports every second, and
/// sets downed links up again
#[derive(Debug, Parser)]
#[command(name = "netmon", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,

    /// Say more (twice: still more)
    #[arg(
        short,
        long,
        global = true,
        action = clap::ArgAction::Count,
        conflicts_with = "quiet",
        display_order = 100
    )]
    pub(super) verbose: u8,

    /// Say only what is wrong
    #[arg(short, long, global = true, display_order = 101)]
    pub(super) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Watch interfaces and report
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Show who and what the traffic is, live in the terminal or once for a script
    #[command(after_help = TOP_HELP)]
    Top(TopArgs),
    /// Compare eBPF with sysfs on live traffic: the numbers, and what each costs
    #[command(after_help = COMPARE_HELP)]
    Compare(CompareArgs),
    /// Watch one interface for a network monitor (`netmon run --workers`), or alone with --print
    #[command(after_help = INTERFACE_MONITOR_HELP)]
    InterfaceMonitor(InterfaceMonitorArgs),
    /// Show the processes of the running network monitor
    Workers(WorkersArgs),
    /// Say what this kernel and these privileges allow, and what helps
    ///
    /// Exits with 0 when packets can be counted with eBPF, with 1 when only sysfs is left.
    Doctor,
    /// Write shell completions to stdout
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Open namespaces and start interface monitors for a netmon that has no privileges
    #[command(hide = true)]
    Launcher {
        /// Open none, and keep no privilege for it
        #[arg(long)]
        here: bool,
    },
    /// Write the man pages into a folder
    #[command(hide = true)]
    GenerateMan {
        /// The folder
        dir: PathBuf,
    },
}

const RUN_HELP: &str = "\
Examples:
  netmon run eth0 wan0         these two, in this order
  netmon run 'eth*' --exclude eth9
  netmon run --all --format json | jq .
  netmon run 'eth\\[1\\]'        the interface eth[1], not eth1
  netmon run                   asks which

An interface that has exactly the name that is written comes before a pattern. A backslash takes
the meaning of '*', '?' and '[' away.

Without an interface, netmon asks how many and which; the answers may come from a pipe.
Ctrl-C ends it and detaches everything; a second Ctrl-C leaves that to the kernel.";

const INTERFACE_MONITOR_HELP: &str = "\
Examples:
  netmon run --workers eth0        starts one by itself
  netmon interface-monitor eth0    waits for a network monitor, and comes back to the next one
  netmon interface-monitor eth0 --print --lock /tmp/report.lock";

const COMPARE_HELP: &str = "\
Examples:
  netmon compare eth0 wan0                     ten seconds of their traffic
  netmon compare --duration 1m --format json > before.json
  netmon compare --hook xdp eth0 --with before.json

For each interface: packets and bytes by eBPF as the stack handles them (skb) and as a cable
carries them (wire), by the kernel's own counters, and the rules that explain the difference.
For each mode: CPU time and system calls a tick, and the time a packet spends in the programs.
Exits with 1 when a difference stays unexplained, or nothing could be compared.";

#[derive(Args, Debug)]
pub(super) struct CompareArgs {
    /// Interfaces or shell patterns; without, every one
    #[arg(value_name = "INTERFACE|PATTERN")]
    pub(super) interfaces: Vec<String>,

    /// Leave these out (may be given more than once)
    #[arg(short = 'x', long, value_name = "INTERFACE|PATTERN")]
    pub(super) exclude: Vec<String>,

    /// How long; a closer look at what it costs follows, a fifth of it but three ticks at least
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(super) duration: Duration,

    /// Between ticks, from 100ms to 10s
    #[arg(
        short,
        long,
        value_name = "TIME",
        default_value = "1s",
        value_parser = parse_short_interval
    )]
    pub(super) interval: Duration,

    /// Where eBPF counts
    #[arg(long, value_enum, default_value_t)]
    pub(super) hook: Hook,

    /// How the result is written
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) format: CompareFormat,

    /// Compare also with an earlier result, written with --format json
    #[arg(long, value_name = "FILE")]
    pub(super) with: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Interfaces or shell patterns ('eth*', quoted), in the report's order. Those that are named
    /// are set up when they are down, also from the start (see --no-recover)
    #[arg(value_name = "INTERFACE|PATTERN")]
    interfaces: Vec<String>,

    /// Every interface, also those that come later
    #[arg(short, long)]
    all: bool,

    /// Leave these out (may be given more than once)
    #[arg(short = 'x', long, value_name = "INTERFACE|PATTERN")]
    exclude: Vec<String>,

    /// Where packets and bytes come from [default: auto]
    #[arg(short, long, value_enum)]
    source: Option<SourceChoice>,

    /// Where to count [default: auto]
    #[arg(long, value_enum)]
    hook: Option<Hook>,

    /// Between reports, from 100ms to 1h [default: 1s]
    #[arg(short, long, value_name = "TIME", value_parser = parse_interval)]
    interval: Option<Duration>,

    /// End after so many reports
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,

    /// End after so much time
    #[arg(short, long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) duration: Option<Duration>,

    /// How the report is written [default: text]
    #[arg(short, long, value_enum)]
    format: Option<Format>,

    /// Leave downed links down
    #[arg(long)]
    no_recover: bool,

    /// Wait for interfaces that do not exist yet
    #[arg(short, long)]
    wait: bool,

    /// Read settings from a TOML file; flags win over it
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Tell in JSON also who and what the traffic is, or only parts of it: flows, processes, drops
    #[arg(
        long,
        value_name = "PART,…",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        value_delimiter = ',',
        default_missing_values = ["flows", "processes", "drops"],
        conflicts_with_all = ["workers", "all_netns"]
    )]
    traffic: Option<Vec<Part>>,

    /// At most so many flows, processes and drops in a JSON line, the busiest first
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT, requires = "traffic")]
    pub(super) limit: usize,

    #[command(flatten)]
    judging: TrafficArgs,

    /// A process for each interface, told what to do over a Unix socket. Interfaces of other
    /// namespaces (blue/eth0, '*/eth*', /proc/PID/ns/net/eth0, container:ID/eth0) are watched so
    /// in any case
    #[arg(long)]
    pub(super) workers: bool,

    #[command(flatten)]
    limits: WorkerLimitArgs,

    /// What is asked for is meant in every network namespace of /run/netns, too
    #[arg(long)]
    pub(super) all_netns: bool,

    /// Where the processes connect to [default: netmon/netmon.sock in /run for root, else in $XDG_RUNTIME_DIR]
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct InterfaceMonitorArgs {
    /// The interface
    pub(super) interface: String,

    /// Where the network monitor listens
    /// [default: netmon/netmon.sock in /run for root, else in $XDG_RUNTIME_DIR]
    #[arg(long, value_name = "PATH", conflicts_with = "print")]
    pub(super) socket: Option<PathBuf>,

    /// Report for itself, without a network monitor
    #[arg(long)]
    pub(super) print: bool,

    /// Hold this file's lock while a report is written: several processes that share a terminal
    /// or a file tear none of their reports apart
    #[arg(long, value_name = "FILE", requires = "print")]
    pub(super) lock: Option<PathBuf>,

    /// Where packets and bytes come from [default: auto]
    #[arg(short, long, value_enum, requires = "print")]
    source: Option<SourceChoice>,

    /// Where to count [default: auto]
    #[arg(long, value_enum, requires = "print")]
    hook: Option<Hook>,

    /// Between reports, from 100ms to 1h [default: 1s]
    #[arg(short, long, value_name = "TIME", value_parser = parse_interval, requires = "print")]
    interval: Option<Duration>,

    /// End after so many reports
    #[arg(short = 'n', long, value_name = "N", requires = "print")]
    count: Option<u64>,

    /// How the report is written [default: text]
    #[arg(short, long, value_enum, requires = "print")]
    format: Option<Format>,

    /// Leave a downed link down
    #[arg(long, requires = "print")]
    no_recover: bool,

    /// The network monitor has started it
    #[arg(long, hide = true, requires = "socket")]
    pub(super) launched: bool,

    /// The interface's number, which means it whatever its name is and becomes
    #[arg(long, hide = true, value_name = "N", requires = "launched")]
    pub(super) ifindex: Option<u32>,

    /// The process that was started by hand, which has started it
    #[arg(long, hide = true, value_name = "PID", requires = "launched")]
    pub(super) child_of: Option<u32>,
}

impl InterfaceMonitorArgs {
    /// The main job, for this one interface.
    pub(super) fn as_run(&self) -> RunArgs {
        RunArgs {
            interfaces: vec![self.interface.clone()],
            all: false,
            exclude: Vec::new(),
            source: self.source,
            hook: self.hook,
            interval: self.interval,
            count: self.count,
            duration: None,
            format: self.format,
            no_recover: self.no_recover,
            wait: false,
            config: None,
            workers: false,
            all_netns: false,
            socket: None,
            traffic: None,
            limit: DEFAULT_LIMIT,
            judging: TrafficArgs::default(),
            limits: WorkerLimitArgs::default(),
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct WorkersArgs {
    /// Where the network monitor listens
    /// [default: netmon/netmon.sock in /run for root, else in $XDG_RUNTIME_DIR]
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,

    /// How the list is written
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) format: CompareFormat,
}

impl RunArgs {
    /// Whether the flags ask who and what the traffic is.
    pub(super) const fn asks_for_traffic(&self) -> bool {
        self.traffic.is_some()
    }

    /// What the flags say of the settings; what they do not say is left to the file.
    pub(super) fn layer(&self) -> Layer {
        Layer {
            interfaces: self.interfaces.clone(),
            all: self.all.then_some(true),
            exclude: self.exclude.clone(),
            source: self.source,
            hook: self.hook,
            interval: self.interval,
            format: self.format,
            recover: self.no_recover.then_some(false),
            wait: self.wait.then_some(true),
            max_workers: self.limits.max_workers,
            max_workers_per_namespace: self.limits.max_workers_per_namespace,
            traffic: self.judging.layer(self.traffic.clone()),
            interface: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_not_said_is_left_to_the_file() {
        let cli = Cli::try_parse_from(["netmon", "run", "eth0", "--no-recover"]).unwrap();
        let Command::Run(args) = cli.command else { panic!("not run") };
        let expected =
            Layer { interfaces: vec!["eth0".to_owned()], recover: Some(false), ..Layer::default() };
        assert_eq!(args.layer(), expected);
    }

    #[test]
    fn wrong_arguments_are_wrong_use() {
        for wrong in [
            &["run", "--interval", "10ms"][..],
            &["run", "--interval", "2h"],
            &["run", "--count", "0"],
            &["run", "--duration", "0s"],
            &["run", "--hook", "netfilter"],
            &["run", "-q", "-v"],
            &["watch"],
            &[],
        ] {
            let arguments = std::iter::once(&"netmon").chain(wrong);
            let error = Cli::try_parse_from(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
        }
    }
}
