//! netmon against the real kernel: a table of tests, each in network namespaces of its own.
//!
//! They need root. Without it each is listed as ignored, with that reason; with `CI=true` a test
//! that would be skipped fails instead.

use std::{env, fmt, process::ExitCode};

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

mod badinput;
mod badluck;
mod coexist;
mod common;
mod config;
mod counting;
mod drift;
mod exactness;
mod harness;
mod hotplug;
mod lifecycle;
mod privileges;
mod prompt;
mod recovery;
mod report;
mod scale;
mod segments;

/// A name and what is done.
type Test = (&'static str, fn() -> Result<()>);

/// Every test, by subject.
const SUBJECTS: &[(&str, &[Test])] = &[
    ("harness", harness::TESTS),
    ("report", report::TESTS),
    ("prompt", prompt::TESTS),
    ("config", config::TESTS),
    ("badinput", badinput::TESTS),
    ("counting", counting::TESTS),
    ("exactness", exactness::TESTS),
    ("segments", segments::TESTS),
    ("drift", drift::TESTS),
    ("hotplug", hotplug::TESTS),
    ("recovery", recovery::TESTS),
    ("coexist", coexist::TESTS),
    ("lifecycle", lifecycle::TESTS),
    ("badluck", badluck::TESTS),
    ("privileges", privileges::TESTS),
    ("scale", scale::TESTS),
];

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
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn trial(subject: &str, (name, test): Test, is_ci: bool) -> Trial {
    const NEEDS_ROOT: Skip = Skip("needs root");
    let is_root = netmon_tests::privileges::is_root();
    let trial = Trial::ignorable_test(format!("{subject}::{name}"), move || {
        let result = if is_root { test() } else { Err(NEEDS_ROOT.into()) };
        outcome(result, is_ci)
    });
    match is_root {
        true => trial,
        false => trial.with_kind(NEEDS_ROOT.0).with_ignored_flag(!is_ci),
    }
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
