//! `cargo xtask vm`: the tests against the kernel, on other kernels than the running one.
//!
//! A kernel package of Debian's is booted in QEMU, with an initramfs of the tests and nothing
//! else. By software emulation, which is everywhere; the tests mostly wait, so they take three to
//! five times as long and not twenty.

mod cpio;
mod guest;
mod kernels;
mod machine;

use std::env::consts::ARCH;
use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::guest::Guest;
use self::kernels::Kernel;
use crate::apt;
use crate::outcome::Outcome;
use crate::process;
use crate::workspace::Workspace;

/// Run the tests against the kernel in a virtual machine, on older kernels.
///
/// Downloads Debian's kernel packages (30 MB each, once, into ${XDG_CACHE_HOME:-~/.cache}/netmon/vm)
/// and boots each in QEMU, without root and without KVM. Ends by itself: each may take half an hour.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Series of kernels, of which apt's newest is taken.
    #[arg(value_name = "KERNEL", value_parser = series, default_values = KERNELS)]
    kernels: Vec<String>,
    /// What the tests get: a part of their names, or options such as `--exact` or `--list`.
    #[arg(last = true, value_name = "FILTER")]
    arguments: Vec<String>,
}

/// The oldest and the newest that Debian 12 has: before TCX, and with it.
pub(crate) const KERNELS: [&str; 2] = ["6.1", "6.12"];

/// Tests of processes that have to answer one another, or tell of traffic, ten times a second; of
/// attempts on the memory of all threads, without a pause; and of dozens of starts. Emulated, they
/// starve the others. They are about processes and names, not about the kernel: what is the
/// kernel's of it has tests of its own.
const TOO_LIVELY: [&str; 5] =
    ["workers::", "top::", "tracing::", "names::", "badluck::few_open_files"];

/// How long one kernel may take.
const LIMIT: Duration = Duration::from_secs(30 * 60);

fn series(text: &str) -> Result<String, String> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((major, minor)) if is_number(major) && is_number(minor) => Ok(text.to_owned()),
        _ => Err("a kernel is named by two numbers, such as 6.1".to_owned()),
    }
}

pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let ends = run(workspace, &args.kernels, &args.arguments)?;
    ends.iter().for_each(|end| eprintln!("xtask: {}", end.sum));
    let failure = ends.iter().find_map(|end| end.failure);
    Ok(ExitCode::from(failure.unwrap_or(0)))
}

/// How the tests have ended on a kernel.
pub(crate) struct End {
    /// The kernel and the numbers of tests.
    pub(crate) sum: String,
    /// The exit code, if it is a failure.
    pub(crate) failure: Option<u8>,
}

/// Runs the tests on each kernel, all at once: a machine keeps hardly more than one CPU busy.
pub(crate) fn run(
    workspace: &Workspace,
    kernels: &[impl AsRef<str>],
    arguments: &[String],
) -> Result<Vec<End>> {
    ensure!(ARCH == "x86_64", "this needs an x86-64 machine, not {ARCH}");
    let install = process::in_ci() && process::is_root();
    if process::on_path(machine::QEMU).is_none() {
        apt::ensure_packages(&["qemu-system-x86".to_owned()], install, "which brings QEMU")?;
    }
    let mut found = Vec::new();
    for series in kernels {
        found.push((series.as_ref(), Kernel::get(series.as_ref(), install)?));
    }
    let guest = Guest::build(workspace)?;
    let colour = if stdout().is_terminal() { "--color=always" } else { "--color=never" };
    let mut arguments = [&[colour.to_owned()], arguments].concat();
    if arguments.len() == 1 {
        eprintln!(
            "xtask: without {}, for which emulation is too slow; see ARCHITECTURE.md",
            TOO_LIVELY.join(" and ")
        );
        arguments.extend(TOO_LIVELY.iter().flat_map(|tests| ["--skip", tests]).map(str::to_owned));
    }
    thread::scope(|scope| {
        let runs: Vec<_> = found
            .iter()
            .map(|(series, kernel)| {
                let (guest, arguments) = (&guest, &arguments);
                scope.spawn(move || {
                    run_on(workspace, series, kernel, guest, arguments)
                        .with_context(|| format!("{series} ({})", kernel.package))
                })
            })
            .collect();
        let joined = runs.into_iter().map(|run| run.join().unwrap_or_else(|_| bail!("a panic")));
        joined.collect()
    })
}

/// Runs them on one kernel.
fn run_on(
    workspace: &Workspace,
    series: &str,
    kernel: &Kernel,
    guest: &Guest,
    arguments: &[String],
) -> Result<End> {
    let begin = Instant::now();
    eprintln!("xtask: {series}: booting {}", kernel.package);
    let initramfs = workspace.target().join(format!("vm/{series}.initramfs"));
    guest.pack(kernel, arguments, &initramfs)?;
    let mut outcome = Outcome::default();
    let code = machine::run(&kernel.image()?, &initramfs, LIMIT, |line| {
        println!("{series}: {line}");
        outcome.read(line);
    })?;
    let seconds = begin.elapsed().as_secs();
    let sum = format!("{series}: {outcome}, in {seconds} s ({})", kernel.package);
    Ok(End { sum, failure: failure(code, &outcome, arguments) })
}

/// What counts as a failure beside an exit code: that nothing was tested, or something skipped.
fn failure(code: u8, outcome: &Outcome, arguments: &[String]) -> Option<u8> {
    let is_list = arguments.iter().any(|argument| argument == "--list");
    match code {
        0 if !outcome.skipped.is_empty() => Some(1),
        0 if is_list || outcome.passed > 0 || !outcome.not_here.is_empty() => None,
        0 => {
            eprintln!("xtask: no test has such a name");
            Some(1)
        }
        code => Some(code),
    }
}
