//! `cargo xtask test`: every test there is, and the names of those that could not run.
//!
//! Needs stable Rust and nothing else. The tests against the kernel (package netmon-tests) need
//! root; without it they are listed as ignored, and named at the end. Under CI that is a failure.

use std::io::{IsTerminal, stdout};
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process;
use crate::workspace::Workspace;

/// Build and run every test; as root, those against the kernel too.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only the tests whose name contains one of these.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let mut outcome = Outcome::default();
    let mut failure = None;
    for command in [kernel_side, workspace_tests] {
        for filter in filters(&args.filters) {
            let mut command = command(workspace);
            command.arg("--no-fail-fast").arg("--").args(filter);
            if stdout().is_terminal() {
                command.arg("--color=always");
            }
            let status = process::lines(&mut command, |line| {
                println!("{line}");
                outcome.read(line);
            })?;
            if !status.success() {
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                failure = Some(code.unwrap_or(1));
            }
        }
    }
    outcome.tell();
    if !outcome.skipped.is_empty() && !process::is_root() {
        eprintln!("xtask: what is skipped needs root; to run it too:\n  {AS_ROOT}");
    }
    if let Some(code) = failure {
        return Ok(ExitCode::from(code));
    }
    if outcome.passed == 0 && outcome.skipped.is_empty() {
        eprintln!("xtask: no test has such a name");
        return Ok(ExitCode::FAILURE);
    }
    if process::in_ci() && !outcome.skipped.is_empty() {
        eprintln!("xtask: under CI a skipped test is a failure");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The part of the kernel programs that runs in user space too, on the host's own target.
fn kernel_side(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args(["test", "--locked", "--lib"]);
    command.args(["--manifest-path", "netmon-ebpf/Cargo.toml", "--target-dir"]);
    command.arg(workspace.target().join("ebpf-host"));
    command
}

/// Unit tests, and the tests against the kernel.
fn workspace_tests(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args(["test", "--workspace"]);
    command
}

/// One run for each filter, since libtest-mimic takes no more than one; one without any.
fn filters(all: &[String]) -> Vec<Option<&String>> {
    if all.is_empty() {
        return vec![None];
    }
    all.iter().map(Some).collect()
}

/// The same command as root, with this user's Rust. Its build output goes to a folder of its
/// own, for a file of root's in the user's would end the user's next build.
const AS_ROOT: &str = r#"sudo env "PATH=$PATH" "RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}" CARGO_TARGET_DIR=target/root cargo xtask test"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_filter_is_a_run_of_its_own() {
        assert_eq!(filters(&[]), [None]);
        let two = ["a".to_owned(), "b".to_owned()];
        assert_eq!(filters(&two), [Some(&two[0]), Some(&two[1])]);
    }
}
