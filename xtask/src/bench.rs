//! `cargo xtask bench`: what a packet, a tick, a start and a long run cost, and what a router
//! forwards.
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

/// Where `--save` writes.
const RESULTS: &str = "BENCHMARKS.md";

/// Measure what a packet, a tick, a start and a long run cost, and what a router forwards; as root.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder of the eBPF objects to measure [default: the kept ones].
    #[arg(long, value_name = "DIR")]
    objects: Option<PathBuf>,
    /// Write the figures to BENCHMARKS.md, too.
    #[arg(long)]
    save: bool,
    /// Build quickly, run every part for a moment, and look only whether it gives figures.
    #[arg(long, conflicts_with = "save")]
    smoke: bool,
    /// What netmon-bench gets, such as `--long`, `--json` or `--only packet`; see `-- --help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    ensure!(process::is_root(), "the benchmark makes network namespaces: run it as root");
    let mut theirs = args.args.clone();
    let save = given(args.save, "--save", &mut theirs);
    let smoke = given(args.smoke, "--smoke", &mut theirs);
    let here = env::current_dir()?;
    let other = args.objects.as_ref().map(|path| here.join(path));
    let build = |package: &str, name: &str| {
        let mut cargo = workspace.cargo();
        cargo.args(["build", "--package", package, "--bin", name]);
        if !smoke {
            cargo.arg("--release");
        }
        cargo.envs(other.iter().map(|path| ("NETMON_EBPF_OBJECTS", path)));
        process::built_executable(&mut cargo)
    };
    let netmon = build("netmon", "netmon")?;
    // It is looked for beside netmon-bench.
    build("netmon-tests", "netmon-peer")?;
    let bench = build("netmon-tests", "netmon-bench")?;
    let objects = other.unwrap_or_else(|| build_ebpf::kept_objects(workspace));
    let mut command = Command::new(bench);
    command.arg("measure").arg("--objects").arg(objects);
    command.arg("--netmon").arg(netmon);
    if smoke {
        command.arg("--smoke");
    }
    command.args(&theirs);
    if save {
        command.arg("--save").arg(workspace.root().join(RESULTS));
        command.arg("--command").arg(typed(args, &theirs));
        command.arg("--commit").arg(commit(workspace)?);
    }
    let error = command.exec();
    Err(error).with_context(|| format!("`{}` could not be started", process::describe(&command)))
}

/// Whether a flag of ours was given, also where it stands behind those of netmon-bench.
fn given(flag: bool, name: &str, theirs: &mut Vec<OsString>) -> bool {
    let before = theirs.len();
    theirs.retain(|argument| argument != name);
    flag || theirs.len() < before
}

/// The command as it was typed, or nearly so.
fn typed(args: &Args, theirs: &[OsString]) -> String {
    let mut command = Command::new("cargo");
    command.args(["xtask", "bench"]);
    if args.objects.is_some() {
        command.args(["--objects", "DIR"]);
    }
    command.arg("--save").args(theirs);
    process::describe(&command)
}

/// What was measured, by name.
fn commit(workspace: &Workspace) -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(workspace.root()).args(["describe", "--always", "--dirty", "--exclude", "*"]);
    Ok(process::output(&mut git)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_of_ours_may_stand_anywhere() {
        let mut theirs = ["--rounds", "2", "--save"].map(OsString::from).to_vec();
        assert!(given(false, "--save", &mut theirs));
        assert_eq!(theirs, ["--rounds", "2"]);
        assert!(!given(false, "--save", &mut theirs) && given(true, "--save", &mut theirs));
    }
}
