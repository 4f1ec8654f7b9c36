//! What the command line takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::Layer;
use crate::model::options::{Format, Hook, SourceChoice, parse_duration, parse_interval};

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
    /// Say what this kernel and these privileges allow, and what helps
    ///
    /// Exits with 0 when packets can be counted with eBPF, with 1 when only sysfs is left.
    Doctor,
    /// Write shell completions to stdout
    Completions {
        /// The shell
        shell: clap_complete::Shell,
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
  netmon run                   asks which

Without an interface, netmon asks how many and which; the answers may come from a pipe.
Ctrl-C ends it and detaches everything; a second Ctrl-C leaves that to the kernel.";

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
}

impl RunArgs {
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
