//! `cargo xtask fuzz`: libFuzzer on the parsers of what comes from outside (tests/src/fuzz).
//!
//! Needs cargo-fuzz and a C++ compiler, and no nightly Rust: the flags for coverage are stable,
//! and the sanitizers, which are not, are left out, since the targets have no unsafe code. What
//! libFuzzer finds worth keeping goes to cargo's target folder; the seeds that are kept with the
//! sources are read only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::process;
use crate::workspace::Workspace;

const PROJECT: &str = "tests/fuzz";
/// The program that has all targets.
const PROGRAM: &str = "any";

/// Run the fuzz targets, which try inputs at random that lead to new ways through the code.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The target [default: each in turn].
    target: Option<String>,
    /// How long each is run, such as 60s, 10m or 8h.
    #[arg(long, default_value = "60s", value_parser = seconds)]
    time: u64,
}

pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let all = targets(&workspace.path(PROJECT).join("corpus"))?;
    let wanted: Vec<&String> = match &args.target {
        Some(name) => all.iter().filter(|target| *target == name).collect(),
        None => all.iter().collect(),
    };
    ensure!(!wanted.is_empty(), "there is no such target; there are: {}", all.join(", "));
    let program = build(workspace)?;
    let mut failed = Vec::new();
    for target in wanted {
        println!("xtask: fuzzing {target} for {} s", args.time);
        if !run(workspace, &program, target, args.time)? {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(
        "{} failed; add the input that libFuzzer wrote above to {PROJECT}/corpus, so that the \
         ordinary tests try it, too",
        failed.join(", ")
    );
}

/// The targets, of which each has a folder of seeds (a test holds the two together).
fn targets(corpus: &Path) -> Result<Vec<String>> {
    let folders = fs::read_dir(corpus).with_context(|| corpus.display().to_string())?;
    let names = folders.map(|folder| Ok(folder?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    ensure!(
        process::output(cargo.args(["fuzz", "--version"])).is_ok(),
        "cargo-fuzz is missing; to get it:\n  cargo install --locked cargo-fuzz\n\
         It also takes a C++ compiler (Debian: apt-get install g++)"
    );
    let host = host()?;
    let target = workspace.target().join("fuzz");
    let mut cargo = workspace.cargo();
    cargo.args(["fuzz", "build", "--fuzz-dir", PROJECT, "--sanitizer", "none"]);
    cargo.args(["--target", &host, "--target-dir"]).arg(&target).arg(PROGRAM);
    process::run(&mut cargo)?;
    Ok(target.join(host).join("release").join(PROGRAM))
}

/// The machine that we are on, as rustc names it.
fn host() -> Result<String> {
    let text = process::output(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

/// Whether the target has passed.
fn run(workspace: &Workspace, program: &Path, target: &str, time: u64) -> Result<bool> {
    let findings = workspace.target().join("fuzz").join(target);
    let (found, failures) = (findings.join("found"), findings.join("failures/"));
    for folder in [&found, &failures] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut fuzzer = Command::new(program);
    fuzzer.env("NETMON_FUZZ", target);
    fuzzer.arg(format!("-max_total_time={time}"));
    fuzzer.arg(format!("-artifact_prefix={}", failures.display()));
    fuzzer.args(["-print_final_stats=1", "-timeout=10"]);
    // What is new goes to the first folder.
    fuzzer.arg(found).arg(workspace.path(PROJECT).join("corpus").join(target));
    Ok(process::status(&mut fuzzer)?.success())
}

/// Reads a time such as 60s, 10m or 8h.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a time such as 60s, 10m or 8h");
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => return Err(wrong()),
    };
    let seconds_of_unit = match unit {
        "h" => 3600,
        "m" => 60,
        _ => 1,
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    // Without an end, as libFuzzer takes 0, nothing would come after it.
    number.checked_mul(seconds_of_unit).filter(|time| *time > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let good = ["60s", "10m", "8h"].map(|text| seconds(text).ok());
        assert_eq!(good, [Some(60), Some(600), Some(28_800)]);
        for wrong in ["60", "", "s", "0s", "-1s", "1.5m", "1m30s", "99999999999999999999h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
