//! Debian's packages, by the machine's own apt and its own sources.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// Sees to it that packages are installed, of which the caller knows that they are missing.
/// Where they cannot be, or without leave to `install`, the error says what else can be done.
pub(crate) fn ensure_packages(packages: &[String], install: bool, else_how: &str) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !install || process::on_path("apt-get").is_none() {
        let sudo = if process::is_root() { "" } else { "sudo " };
        let command = format!("{sudo}apt-get install --no-install-recommends {list}");
        bail!("missing: {list}: run `{command}`, {else_how}");
    }
    eprintln!("xtask: installing {list}");
    update()?;
    let mut apt = apt_get()?;
    apt.args(["install", "--yes", "--quiet=2", "--no-install-recommends"]);
    process::run(apt.args(packages))
}

/// Asks the sources what there is now.
pub(crate) fn update() -> Result<()> {
    process::run(apt_get()?.args(["update", "--quiet=2"]))
}

/// apt-get that asks nothing, as root.
fn apt_get() -> Result<Command> {
    const QUIET: &str = "DEBIAN_FRONTEND=noninteractive";
    let mut command = Command::new("env");
    if !process::is_root() {
        if process::on_path("sudo").is_none() {
            bail!("apt-get needs root, and sudo is not installed: run this as root");
        }
        command = Command::new("sudo");
        command.arg("env");
    }
    command.args([QUIET, "apt-get"]);
    Ok(command)
}
