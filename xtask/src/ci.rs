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

use crate::build_ebpf::{self, Choice, Toolchain};
use crate::outcome::Outcome;
use crate::process;
use crate::vm;
use crate::workspace::Workspace;

/// Run every check there is; what .ci/run calls.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What builds the eBPF object from source.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    toolchain: Choice,
    /// Run netmon for ten minutes more, and look whether it grows.
    #[arg(long)]
    long: bool,
}

type Check = fn(&mut State) -> Result<()>;

/// In the order of what is fastest to fail.
const STEPS: [(&str, Check); 10] = [
    ("formatting", formatting),
    ("clippy on the host", clippy),
    ("the kept eBPF objects are the sources' own", kept_objects),
    ("the eBPF objects from source", build_objects),
    ("clippy on the kernel side", kernel_clippy),
    ("a fresh clone: cargo xtask test", fresh_clone),
    ("a fresh clone: cargo xtask run -- --all", fresh_run),
    ("the benchmark, every part for a moment", bench_smoke),
    ("the kernel tests with the objects built here", other_objects),
    ("the kernel tests on older kernels: cargo xtask vm", other_kernels),
];

/// The last step of the long mode.
const SOAK: (&str, Check) = ("ten minutes of netmon: memory, wake-ups, system calls", soak);

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
    let steps: Vec<_> = STEPS.iter().chain(args.long.then_some(&SOAK)).collect();
    for (number, (name, check)) in steps.iter().enumerate() {
        println!("ci: {}/{} {name}", number + 1, steps.len());
        let begin = Instant::now();
        let result = check(&mut state);
        times.push((*name, begin.elapsed()));
        println!("ci: {name}: {}", seconds(begin.elapsed()));
        if let Err(error) = result {
            summary(&times, steps.len(), start.elapsed());
            bail!("ci: FAILED at “{name}”: {error:#}");
        }
    }
    summary(&times, steps.len(), start.elapsed());
    for line in &state.closing {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(times: &[(&str, Duration)], steps: usize, all: Duration) {
    println!("ci: {} of {steps} steps in {}", times.len(), seconds(all));
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
    let others = ["netmon-ebpf/Cargo.toml", "tests/fuzz/Cargo.toml"];
    others.into_iter().try_for_each(format).context("run `cargo fmt` there, too")
}

fn clippy(state: &mut State) -> Result<()> {
    let mut cargo = state.workspace.cargo();
    cargo.args(["clippy", "--locked", "--workspace", "--all-targets"]);
    process::run(cargo.args(["--", "-D", "warnings"]))
}

fn kept_objects(state: &mut State) -> Result<()> {
    build_ebpf::check(state.workspace)
}

fn build_objects(state: &mut State) -> Result<()> {
    let toolchain = Toolchain::get(state.workspace, state.toolchain, true)?;
    println!("ci: {toolchain}");
    let out = state.scratch.path("ebpf");
    build_ebpf::build(state.workspace, &toolchain, &out)?;
    match build_ebpf::reproduced(state.workspace, &toolchain, &out)? {
        Some(true) => println!("ci: they equal the kept ones to the byte"),
        Some(false) => bail!(
            "they differ from the kept ones, though sources and toolchain are the same: run \
             `cargo xtask build-ebpf` and commit netmon-ebpf/prebuilt"
        ),
        None => println!("ci: another toolchain than the kept ones', so not compared to them"),
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

/// Whether every part still gives figures; which ones, a shared machine cannot say.
fn bench_smoke(state: &mut State) -> Result<()> {
    if !process::is_root() {
        println!("ci: left out: making a namespace needs root");
        return Ok(());
    }
    process::run(in_clone(state).args(["xtask", "bench", "--smoke"]))
}

fn soak(state: &mut State) -> Result<()> {
    process::run(in_clone(state).args(["xtask", "bench", "--", "--only", "soak", "--long"]))
}

fn other_objects(state: &mut State) -> Result<()> {
    let mut test = in_clone(state);
    test.env("NETMON_EBPF_OBJECTS", state.scratch.path("ebpf"));
    // Named targets, for the documentation's tests would end it with a line of no tests.
    test.args(["test", "--package", "netmon-tests", "--tests"]);
    state.closing = results(&mut test)?;
    Ok(())
}

fn other_kernels(state: &mut State) -> Result<()> {
    if !process::in_ci() && process::on_path("apt-get").is_none() {
        println!("ci: left out: the kernels are Debian's packages, and there is no apt-get");
        return Ok(());
    }
    for end in vm::run(state.workspace, &vm::KERNELS, &[])? {
        ensure!(end.failure.is_none(), "{}", end.sum);
        state.closing.push(end.sum);
    }
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
    command.env_remove("NETMON_EBPF_OBJECTS");
}

/// Runs tests and returns the test runner's own closing lines; a skipped test is a failure
/// under CI, and so is a run without any.
fn results(command: &mut Command) -> Result<Vec<String>> {
    let mut closing = Vec::new();
    let mut outcome = Outcome::default();
    let status = process::lines(command, |line| {
        println!("{line}");
        outcome.read(line);
        if line.starts_with("test result: ") && !line.contains(" 0 passed; 0 failed; 0 ignored") {
            closing.push(line.to_owned());
        }
    })?;
    if !status.success() {
        bail!("`{}`: {status}", process::describe(command));
    }
    ensure!(
        !process::in_ci() || outcome.skipped.is_empty(),
        "`{}`: under CI a skipped test is a failure: {}",
        process::describe(command),
        outcome.skipped.join(", ")
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
