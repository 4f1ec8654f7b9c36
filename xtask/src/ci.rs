//! `cargo xtask ci`: what continuous integration runs, and what a developer may run before.
//!
//! Each step is announced and timed; the first that fails ends it. What is proven about a fresh
//! clone is proven in one: the committed tree in a folder of its own, without our build output.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::build_ebpf::{self, Choice, OBJECT, Toolchain};
use crate::process;
use crate::workspace::Workspace;

/// Run every check there is; what .ci/run calls.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What builds the eBPF object from source.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    toolchain: Choice,
}

type Check = fn(&mut State) -> Result<()>;

/// In the order of what is fastest to fail.
const STEPS: [(&str, Check); 8] = [
    ("formatting", formatting),
    ("clippy on the host", clippy),
    ("the kept eBPF object is the sources' own", kept_object),
    ("the eBPF object from source", build_object),
    ("clippy on the kernel side", kernel_clippy),
    ("a fresh clone: cargo xtask test", fresh_clone),
    ("a fresh clone: cargo xtask run -- --all", fresh_run),
    ("the kernel tests with the object built here", other_object),
];

/// What one step leaves for the next.
struct State<'a> {
    workspace: &'a Workspace,
    toolchain: Choice,
    found: Option<Toolchain>,
    scratch: Scratch,
    closing: Vec<String>,
}

pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    let mut state = State {
        workspace,
        toolchain: args.toolchain,
        found: None,
        scratch: Scratch::new()?,
        closing: Vec::new(),
    };
    let mut times = Vec::new();
    for (number, (name, check)) in STEPS.iter().enumerate() {
        println!("ci: {}/{} {name}", number + 1, STEPS.len());
        let begin = Instant::now();
        let result = check(&mut state);
        times.push((*name, begin.elapsed()));
        println!("ci: {name}: {}", seconds(begin.elapsed()));
        if let Err(error) = result {
            summary(&times, start.elapsed());
            bail!("ci: FAILED at “{name}”: {error:#}");
        }
    }
    summary(&times, start.elapsed());
    for line in &state.closing {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(times: &[(&str, Duration)], all: Duration) {
    println!("ci: {} of {} steps in {}", times.len(), STEPS.len(), seconds(all));
    for (name, time) in times {
        println!("ci: {:>9} {name}", seconds(*time));
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn formatting(state: &mut State) -> Result<()> {
    let format = |manifest: &str| {
        let mut cargo = state.workspace.cargo();
        process::run(cargo.args(["fmt", "--all", "--check", "--manifest-path", manifest]))
    };
    format("Cargo.toml")?;
    format("netmon-ebpf/Cargo.toml").context("run `cargo fmt` in both, Cargo.toml and netmon-ebpf")
}

fn clippy(state: &mut State) -> Result<()> {
    let mut cargo = state.workspace.cargo();
    cargo.args(["clippy", "--locked", "--workspace", "--all-targets"]);
    process::run(cargo.args(["--", "-D", "warnings"]))
}

fn kept_object(state: &mut State) -> Result<()> {
    build_ebpf::check(state.workspace)
}

fn build_object(state: &mut State) -> Result<()> {
    let toolchain = Toolchain::get(state.workspace, state.toolchain, true)?;
    println!("ci: {toolchain}");
    let out = state.scratch.path("ebpf");
    build_ebpf::build(state.workspace, &toolchain, &out)?;
    match build_ebpf::reproduced(state.workspace, &toolchain, &out.join(OBJECT))? {
        Some(true) => println!("ci: it equals the kept one to the byte"),
        Some(false) => bail!(
            "it differs from the kept one, though sources and toolchain are the same: run \
             `cargo xtask build-ebpf` and commit netmon-ebpf/prebuilt"
        ),
        None => println!("ci: another toolchain than the kept one's, so not compared to it"),
    }
    state.found = Some(toolchain);
    Ok(())
}

fn kernel_clippy(state: &mut State) -> Result<()> {
    let toolchain = state.found.as_ref().context("no toolchain")?;
    build_ebpf::clippy(state.workspace, toolchain)
}

fn fresh_clone(state: &mut State) -> Result<()> {
    let clone = state.scratch.path("clone");
    let mut git = Command::new("git");
    git.args(["clone", "--quiet"]).arg(state.workspace.root());
    process::run(git.arg(&clone)).context("the committed tree cannot be cloned")?;
    let mut test = in_clone(state);
    let lines = results(test.args(["xtask", "test"]))?;
    ensure!(!lines.is_empty(), "no test has run");
    Ok(())
}

/// In a network namespace of its own, which has `lo` and nothing else, and a /sys to match.
fn fresh_run(state: &mut State) -> Result<()> {
    if !process::is_root() {
        ensure!(!process::in_ci(), "CI must run as root");
        println!("ci: left out: making a namespace needs root");
        return Ok(());
    }
    let clone = state.scratch.path("clone");
    let inner = "mount -t sysfs netmon-ci /sys && exec cargo xtask run -- --all --count 2";
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "sh", "-c", inner]);
    unshare.current_dir(clone);
    without_ours(&mut unshare);
    let report = process::output(&mut unshare)?;
    print!("{report}");
    let blocks = report.matches("Interface:lo state:").count();
    ensure!(blocks == 2, "{blocks} blocks for `lo` instead of 2");
    Ok(())
}

fn other_object(state: &mut State) -> Result<()> {
    let mut test = in_clone(state);
    test.env("NETMON_EBPF_OBJECT", state.scratch.path("ebpf").join(OBJECT));
    // Named targets, for the documentation's tests would end it with a line of no tests.
    test.args(["test", "--package", "netmon-tests", "--tests"]);
    state.closing = results(&mut test)?;
    Ok(())
}

/// A cargo in the fresh clone, with an output folder of the clone's own.
fn in_clone(state: &State) -> Command {
    let mut cargo = state.workspace.cargo();
    cargo.current_dir(state.scratch.path("clone"));
    without_ours(&mut cargo);
    cargo
}

/// Takes away what would let our own build output into the clone's.
fn without_ours(command: &mut Command) {
    command.env_remove("CARGO_TARGET_DIR");
    command.env_remove("NETMON_EBPF_OBJECT");
}

/// Runs tests and returns the test runner's own closing lines; a skipped test is a failure
/// under CI, and so is a run without any.
fn results(command: &mut Command) -> Result<Vec<String>> {
    let mut closing = Vec::new();
    let status = process::lines(command, |line| {
        println!("{line}");
        if line.starts_with("test result: ") && !line.contains(" 0 passed; 0 failed; 0 ignored") {
            closing.push(line.to_owned());
        }
    })?;
    if !status.success() {
        bail!("`{}`: {status}", process::describe(command));
    }
    let skipped = closing.iter().any(|line| !line.contains("; 0 ignored;"));
    ensure!(
        !(process::in_ci() && skipped),
        "`{}`: under CI a skipped test is a failure",
        process::describe(command)
    );
    Ok(closing)
}

/// A folder for what is built on the side, gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let dir = env::temp_dir().join(format!("netmon-ci-{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        Ok(Self(dir))
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("ci: {} is left: {error}", self.0.display());
        }
    }
}
