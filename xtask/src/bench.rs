//! `cargo xtask bench`: what a packet, a tick and a start cost.
//!
//! Builds what is measured, and hands over to the binary netmon-bench of the package
//! netmon-tests, which has the namespaces for it.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::build_ebpf;
use crate::process;
use crate::workspace::Workspace;

/// Measure what a packet, a tick and a start cost; as root.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The eBPF object to measure [default: the kept one].
    #[arg(long, value_name = "FILE")]
    object: Option<PathBuf>,
    /// What netmon-bench gets, such as `--json` or `--only packet`; see `-- --help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    ensure!(process::is_root(), "the benchmark makes network namespaces: run it as root");
    let here = env::current_dir()?;
    let other = args.object.as_ref().map(|path| here.join(path));
    let build = |package: &str, name: &str| {
        let mut cargo = workspace.cargo();
        cargo.args(["build", "--release", "--package", package, "--bin", name]);
        cargo.envs(other.iter().map(|path| ("NETMON_EBPF_OBJECT", path)));
        process::built_executable(&mut cargo)
    };
    let netmon = build("netmon", "netmon")?;
    let bench = build("netmon-tests", "netmon-bench")?;
    let object = other.unwrap_or_else(|| build_ebpf::kept_object(workspace));
    let mut command = Command::new(bench);
    command.arg("measure").arg("--object").arg(object);
    command.arg("--netmon").arg(netmon);
    let error = command.args(&args.args).exec();
    Err(error).with_context(|| format!("`{}` could not be started", process::describe(&command)))
}
