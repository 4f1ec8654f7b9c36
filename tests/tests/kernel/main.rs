//! netmon against the real kernel: a table of tests, each in network namespaces of its own.
//!
//! They need root. Without it each is listed as ignored, with that reason; with `CI=true` a test
//! that would be skipped fails instead.

use std::{
    env, fmt, panic,
    process::ExitCode,
    sync::{PoisonError, RwLock},
};

use anyhow::{Result, bail};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use netmon_tests::kernel::{Feature, TCX};

mod badinput;
mod badluck;
mod coexist;
mod common;
mod compare;
mod config;
mod counting;
mod drift;
mod drops;
mod exactness;
mod flows;
mod harness;
mod hotplug;
mod lifecycle;
mod load;
mod lost;
mod names;
mod privileges;
mod processes;
mod prompt;
mod recovery;
mod report;
mod scale;
mod segments;
mod socket;
mod texts;
mod top;
mod tracing;
mod workers;
mod workers_launcher;
mod workers_namespace;

/// A name and what is done.
type Test = (&'static str, fn() -> Result<()>);

/// Every test, by subject.
const SUBJECTS: &[(&str, &[Test])] = &[
    ("harness", harness::TESTS),
    ("report", report::TESTS),
    ("prompt", prompt::TESTS),
    ("config", config::TESTS),
    ("badinput", badinput::TESTS),
    ("names", names::TESTS),
    ("counting", counting::TESTS),
    ("exactness", exactness::TESTS),
    ("segments", segments::TESTS),
    ("flows", flows::exact::TESTS),
    ("flows", flows::table::TESTS),
    ("flows", flows::streams::TESTS),
    ("flows", flows::hostile::TESTS),
    ("flows", flows::witnesses::TESTS),
    ("drift", drift::TESTS),
    ("hotplug", hotplug::TESTS),
    ("recovery", recovery::TESTS),
    ("coexist", coexist::TESTS),
    ("lost", lost::TESTS),
    ("lifecycle", lifecycle::TESTS),
    ("badluck", badluck::TESTS),
    ("privileges", privileges::TESTS),
    ("tracing", tracing::TESTS),
    ("compare", compare::TESTS),
    ("socket", socket::TESTS),
    ("workers_namespace", workers_namespace::TESTS),
    ("workers_launcher", workers_launcher::starting::TESTS),
    ("workers_launcher", workers_launcher::opening::TESTS),
    ("workers_launcher", workers_launcher::ending::TESTS),
    ("workers_launcher", workers_launcher::asking::TESTS),
    ("workers::asking", workers_launcher::asking::WITH_A_SHELL),
    ("scale", scale::TESTS),
    ("workers::report", workers::report::TESTS),
    ("workers::namespaces", workers::namespaces::TESTS),
    ("workers::containers", workers::containers::TESTS),
    ("workers::by_hand", workers::by_hand::TESTS),
    ("workers::recovery", workers::recovery::TESTS),
    ("workers::deaths", workers::deaths::TESTS),
    ("workers::stopped", workers::stopped::TESTS),
    ("workers::orders", workers::orders::TESTS),
    ("workers::peers", workers::peers::TESTS),
    ("workers::socket", workers::socket::TESTS),
    ("workers::privileges", workers::privileges::TESTS),
    ("workers::end", workers::end::TESTS),
    ("texts", texts::TESTS),
    ("drops", drops::TESTS),
    ("processes", processes::TESTS),
    ("processes::ways", processes::ways::TESTS),
    ("processes::sharing", processes::sharing::TESTS),
    ("processes::identity", processes::identity::TESTS),
    ("processes::owners", processes::owners::TESTS),
    ("top::exact", top::exact::TESTS),
    ("top::tables", top::tables::TESTS),
    ("top::wrong", top::wrong::TESTS),
    ("top::privileges", top::privileges::TESTS),
    ("top::off", top::off::TESTS),
    ("top::live", top::live::TESTS),
    ("workers::names", workers::names::TESTS),
    ("workers::limits", workers::limits::TESTS),
    ("top::memory", top::memory::TESTS),
    ("workers::many", workers::many::TESTS),
    ("load", load::floods::TESTS),
    ("load", load::streams::TESTS),
    ("load", load::changes::TESTS),
    ("load", load::compared::TESTS),
];

/// What tests need that older kernels lack, by a part of their names: there they are not run, and
/// that is said. Where a kernel must do the same in another way, the test asks for that instead.
const NEEDS: &[(&str, Feature)] = &[("tcx", TCX)];

/// These take all CPUs, and those of load also the queues of packets that have arrived (a thousand
/// for each CPU, whichever namespace they are for): one at a time, and none of the others meanwhile.
const ALONE: [&str; 2] = ["load", "workers::many"];
static RUNNING: RwLock<()> = RwLock::new(());

/// They mostly wait for netmon's ticks, so more of them can run than there are CPUs.
const THREADS: usize = 8;

/// The reason why a test cannot be run here: an error that is no failure, except under CI.
#[derive(Debug)]
struct Skip(&'static str);

impl fmt::Display for Skip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for Skip {}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if env::var_os("RUST_TEST_THREADS").is_none() {
        arguments.test_threads.get_or_insert(THREADS);
    }
    let is_ci = env::var("CI").is_ok_and(|value| value == "true");
    let trials = SUBJECTS
        .iter()
        .flat_map(|&(subject, tests)| tests.iter().map(move |&test| trial(subject, test, is_ci)));
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    // Such as one that was dropped by a thread without privileges.
    let left = netmon_tests::netns::forget_ours();
    if !left.is_empty() {
        eprintln!("left behind by tests: {left:?}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn trial(subject: &str, (name, test): Test, is_ci: bool) -> Trial {
    const NEEDS_ROOT: Skip = Skip("needs root");
    let is_root = netmon_tests::privileges::is_root();
    let is_alone = ALONE.contains(&subject);
    let full = format!("{subject}::{name}");
    let trial = Trial::ignorable_test(full.clone(), move || {
        if let Some(Feature { name, since: (major, minor) }) = lacking(name) {
            let reason = format!("not on this kernel: needs {name} (Linux {major}.{minor})");
            return Ok(Completion::ignored_with(reason));
        }
        let run = || if is_alone { by_itself(test) } else { with_others(&full, test) };
        let result = if is_root { run() } else { Err(NEEDS_ROOT.into()) };
        outcome(result, is_ci)
    });
    match is_root {
        true => trial,
        false => trial.with_kind(NEEDS_ROOT.0).with_ignored_flag(!is_ci),
    }
}

/// What fails beside seven others, on two CPUs that are shared and starved at times, is tried once
/// more by itself; and it is said, for a race that is netmon's own would be seen so, too.
fn with_others(name: &str, test: fn() -> Result<()>) -> Result<()> {
    let running = RUNNING.read().unwrap_or_else(PoisonError::into_inner);
    let attempt = || panic::catch_unwind(test).unwrap_or_else(|_| bail!("a panic, see above"));
    let first = attempt();
    drop(running);
    match first {
        Err(error) if !error.is::<Skip>() => {
            eprintln!("AGAIN {name}: failed beside others, now by itself: {error:?}");
            by_itself(test)
        }
        other => other,
    }
}

fn by_itself(test: fn() -> Result<()>) -> Result<()> {
    let _running = RUNNING.write().unwrap_or_else(PoisonError::into_inner);
    test()
}

/// What a test of this name needs and this kernel lacks.
fn lacking(name: &str) -> Option<Feature> {
    let needs = NEEDS.iter().find(|(part, feature)| name.contains(part) && !feature.is_here());
    needs.map(|(_, feature)| *feature)
}

fn outcome(result: Result<()>, is_ci: bool) -> Result<Completion, Failed> {
    match result {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(Skip(reason)) if !is_ci => Ok(Completion::ignored_with(reason)),
            Some(Skip(reason)) => Err(format!("skipped under CI: {reason}").into()),
            None => Err(format!("{error:?}").into()),
        },
    }
}
