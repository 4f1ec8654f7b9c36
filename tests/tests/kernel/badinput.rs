//! Wrong use: told with the reason, exit code 2, before anything is attached.

use anyhow::{Result, ensure};
use netmon_tests::{netns::Namespace, report::names};
use nix::sys::signal::Signal;

use crate::{
    Test,
    common::{is_bare, monitor, netmon, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("an_unknown_interface_is_told_with_the_nearest", an_unknown_interface_is_told),
    ("one_unknown_among_known_ones_stops_all", one_unknown_stops_all),
    ("impossible_names_are_told_with_the_reason", impossible_names_are_told),
    ("a_doubled_name_is_watched_once", a_doubled_name_is_watched_once),
    ("a_pattern_without_match_is_an_error", a_pattern_without_match_is_an_error),
    ("what_is_no_pattern_is_a_name", what_is_no_pattern_is_a_name),
    ("excluding_all_is_an_error", excluding_all_is_an_error),
    ("an_interval_out_of_range_is_an_error", an_interval_out_of_range_is_an_error),
    ("the_ends_of_the_range_are_in_it", the_ends_of_the_range_are_in_it),
    ("unknown_flags_and_words_are_errors", unknown_flags_and_words_are_errors),
    ("an_altname_is_told_apart_or_taken", an_altname_is_told_apart_or_taken),
];

/// Runs the main job with these arguments, which are wrong; gives what was said of it.
fn refused(namespace: &Namespace, arguments: &[&str]) -> Result<String> {
    let finished = monitor(namespace, arguments).args(["--count", "1"]).finish()?;
    let outcome = (finished.code, finished.stdout.as_str());
    ensure!(outcome == (Some(2), ""), "{arguments:?} → {finished:?}");
    ensure!(!finished.stderr.contains("TCX"), "{arguments:?} → {finished:?}");
    is_bare(namespace, "nt0")?;
    Ok(finished.stderr)
}

fn an_unknown_interface_is_told() -> Result<()> {
    let namespace = veth()?;
    namespace.add_veth_up("eth0", "other")?;
    let said = refused(&namespace, &["eht0"])?;
    for part in ["eht0", "did you mean 'eth0'?", "eth0", "lo", "nt0", "other", "peer"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    // Nothing is near this one, and the list is there all the same.
    let said = refused(&namespace, &["zzzzzzzz"])?;
    assert!(said.contains("zzzzzzzz") && said.contains("peer"), "{said}");
    assert!(!said.contains("did you mean"), "{said}");
    Ok(())
}

fn one_unknown_stops_all() -> Result<()> {
    let said = refused(&veth()?, &["nt0", "nt00", "lo"])?;
    assert!(said.contains("nt00") && said.contains("did you mean 'nt0'?"), "{said}");
    Ok(())
}

fn impossible_names_are_told() -> Result<()> {
    let namespace = veth()?;
    let too_long = "a234567890123456";
    let said = refused(&namespace, &[too_long])?;
    assert!(said.contains(too_long) && said.contains("15"), "{said}");
    let said = refused(&namespace, &["nt0", ""])?;
    assert!(said.contains("empty"), "{said}");
    for name in ["nt0/x", "nt 0", "nt\t0"] {
        let said = refused(&namespace, &[name])?;
        assert!(!said.contains("did you mean"), "it cannot be one: {said}");
    }
    // As long as a name can be: first not there, then there.
    let longest = "a23456789012345";
    let said = refused(&namespace, &[longest])?;
    assert!(said.contains(longest), "{said}");
    namespace.add_veth_up(longest, "other")?;
    let finished = monitor(&namespace, &[longest, "--count", "1"]).finish()?;
    assert_eq!(names(&finished.blocks()?), [longest]);
    Ok(())
}

fn a_doubled_name_is_watched_once() -> Result<()> {
    let namespace = veth()?;
    let finished = monitor(&namespace, &["nt0", "lo", "nt0", "--count", "2"]).finish()?;
    ensure!(finished.code == Some(0), "{finished:?}");
    assert_eq!(names(&finished.blocks()?), ["nt0", "lo", "nt0", "lo"]);
    let told = finished.stderr.lines().filter(|line| line.contains("nt0") && line.contains("once"));
    assert_eq!(told.count(), 1, "{finished:?}");
    Ok(())
}

fn a_pattern_without_match_is_an_error() -> Result<()> {
    let namespace = veth()?;
    let said = refused(&namespace, &["zz*"])?;
    assert!(said.contains("zz*"), "{said}");
    let said = refused(&namespace, &["nt0", "zz*"])?;
    assert!(said.contains("zz*"), "{said}");
    Ok(())
}

fn what_is_no_pattern_is_a_name() -> Result<()> {
    let namespace = veth()?;
    let said = refused(&namespace, &["nt["])?;
    assert!(said.contains("there is no interface 'nt['") && said.contains("closes"), "{said}");
    let finished = monitor(&namespace, &["--all", "--exclude", "nt[", "--count", "1"]).finish()?;
    ensure!(finished.code == Some(0), "{finished:?}");
    assert!(finished.stderr.contains("--exclude 'nt[' matches nothing now"), "{finished:?}");
    Ok(())
}

fn excluding_all_is_an_error() -> Result<()> {
    let namespace = veth()?;
    for arguments in [&["--all", "--exclude", "*"][..], &["nt0", "--exclude", "nt0"]] {
        let said = refused(&namespace, arguments)?;
        assert!(said.contains("exclude"), "{said}");
    }
    Ok(())
}

fn an_interval_out_of_range_is_an_error() -> Result<()> {
    let namespace = veth()?;
    for interval in ["99ms", "0s", "3601s", "2h", "soon", "1", ""] {
        let arguments = ["run", "nt0", "--count", "1", "--interval", interval];
        let finished = netmon(&namespace, &arguments).finish()?;
        let outcome = (finished.code, finished.stdout.as_str());
        assert_eq!(outcome, (Some(2), ""), "{interval:?}: {finished:?}");
        assert!(finished.stderr.contains("interval"), "{interval:?}: {finished:?}");
    }
    is_bare(&namespace, "nt0")
}

fn the_ends_of_the_range_are_in_it() -> Result<()> {
    let namespace = veth()?;
    for interval in ["100ms", "1h"] {
        let agent = netmon(&namespace, &["run", "nt0", "--interval", interval]).start()?;
        agent.says_counted("nt0", "TCX in+out")?;
        agent.signal(Signal::SIGTERM)?;
        assert_eq!(agent.finish()?.code, Some(0), "{interval}");
    }
    Ok(())
}

fn unknown_flags_and_words_are_errors() -> Result<()> {
    let namespace = veth()?;
    let wrong: [&[&str]; 10] = [
        &["run", "nt0", "--count", "0"],
        &["run", "nt0", "--duration", "0s"],
        &["run", "nt0", "--colour"],
        &["run", "nt0", "--hook", "tcp"],
        &["run", "nt0", "--source", "proc"],
        &["run", "nt0", "--format", "xml"],
        &["run", "nt0", "--count", "many"],
        &["run", "nt0", "--duration", "long"],
        &["walk", "nt0"],
        &[],
    ];
    for arguments in wrong {
        let finished = netmon(&namespace, arguments).finish()?;
        let outcome = (finished.code, finished.stdout.as_str());
        assert_eq!(outcome, (Some(2), ""), "{arguments:?}: {finished:?}");
        assert!(!finished.stderr.is_empty(), "{arguments:?}");
    }
    is_bare(&namespace, "nt0")
}

fn an_altname_is_told_apart_or_taken() -> Result<()> {
    let namespace = veth()?;
    namespace.add_altname("nt0", "uplink")?;
    // Either is right: it is watched under its own name, or its own name is told. What must not
    // be is a report of an interface `uplink`.
    let finished = monitor(&namespace, &["uplink", "--count", "1"]).finish()?;
    match finished.code {
        Some(0) => assert_eq!(names(&finished.blocks()?), ["nt0"]),
        Some(2) => assert!(finished.stderr.contains("nt0"), "{finished:?}"),
        _ => panic!("{finished:?}"),
    }
    Ok(())
}
