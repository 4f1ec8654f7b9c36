//! `cargo xtask run`: builds netmon and becomes it, as root where that can be had.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

/// Build netmon and start `netmon run` with these arguments, with sudo when not root.
///
/// `cargo xtask run -- --all` watches every interface.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What `netmon run` gets; see `cargo xtask run -- --help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--package", "netmon", "--bin", "netmon"]);
    let netmon = process::built_executable(&mut build)?;

    let mut command = if process::is_root() {
        Command::new(&netmon)
    } else if let Some(sudo) = process::on_path("sudo") {
        let mut command = Command::new(sudo);
        command.arg("--").arg(&netmon);
        command
    } else {
        eprintln!(
            "xtask: not root, and sudo is not installed: netmon runs without privileges, so it \
             reports from sysfs and sets no link up. For all of it, run this as root."
        );
        Command::new(&netmon)
    };
    command.arg("run").args(&args.args);
    // From here on signals, stdin and the exit code are netmon's own.
    let error = command.exec();
    Err(error).with_context(|| format!("`{}` could not be started", process::describe(&command)))
}
