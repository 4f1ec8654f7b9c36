//! Names that could be patterns: what the user named is what is watched, or it is said.

use anyhow::{Result, ensure};
use netmon_tests::{agent::Finished, netns::Namespace, report::names, scratch::Scratch};

use crate::{
    Test,
    common::{interrupt, json, monitor, netmon, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("an_existing_name_comes_before_a_pattern", an_existing_name_comes_before_a_pattern),
    ("what_is_excluded_is_read_likewise", what_is_excluded_is_read_likewise),
    ("a_backslash_quotes", a_backslash_quotes),
    ("what_is_no_pattern_is_a_name", what_is_no_pattern_is_a_name),
    ("one_that_comes_later_is_waited_for", one_that_comes_later_is_waited_for),
    ("all_is_no_pattern", all_is_no_pattern),
    ("answers_are_read_likewise", answers_are_read_likewise),
    ("rules_of_the_file_are_read_likewise", rules_of_the_file_are_read_likewise),
    ("a_rule_for_nothing_is_told", a_rule_for_nothing_is_told),
    ("compare_reads_them_likewise", compare_reads_them_likewise),
    ("a_table_reads_them_likewise", a_table_reads_them_likewise),
    ("a_filter_for_no_interface_is_told", a_filter_for_no_interface_is_told),
];

/// A namespace with `eth[1]`, `eth1` and `eth2`.
fn confusing() -> Result<Namespace> {
    let namespace = Namespace::new()?;
    namespace.add_veth_up("eth[1]", "eth1")?;
    namespace.add_veth_up("eth2", "peer")?;
    Ok(namespace)
}

fn once(namespace: &Namespace, arguments: &[&str]) -> Result<Finished> {
    let arguments = [arguments, &["--source", "sysfs", "--count", "1"]].concat();
    let finished = monitor(namespace, &arguments).finish()?;
    ensure!(finished.code == Some(0), "{arguments:?} → {finished:?}");
    Ok(finished)
}

/// What is watched with these arguments.
fn watched(namespace: &Namespace, arguments: &[&str]) -> Result<Vec<String>> {
    let blocks = once(namespace, arguments)?.blocks()?;
    Ok(names(&blocks).iter().map(ToString::to_string).collect())
}

fn an_existing_name_comes_before_a_pattern() -> Result<()> {
    let namespace = confusing()?;
    let finished = once(&namespace, &["eth[1]"])?;
    assert_eq!(names(&finished.blocks()?), ["eth[1]"]);
    let said = "netmon: 'eth[1]' is the interface of that name";
    assert!(finished.stderr.contains(said), "{finished:?}");
    assert_eq!(watched(&namespace, &["eth[2]"])?, ["eth2"]);
    assert_eq!(watched(&namespace, &["eth*"])?, ["eth1", "eth2", "eth[1]"]);
    // The name of one of those that the pattern means.
    namespace.add_veth_up("eth*", "other")?;
    assert_eq!(watched(&namespace, &["eth*"])?, ["eth*"]);
    assert_eq!(watched(&namespace, &["eth?"])?, ["eth*", "eth1", "eth2"]);
    namespace.delete("eth[1]")?;
    namespace.add_veth_up("eth1", "x1")?;
    assert_eq!(watched(&namespace, &["eth[1]"])?, ["eth1"]);
    Ok(())
}

fn what_is_excluded_is_read_likewise() -> Result<()> {
    let namespace = confusing()?;
    assert_eq!(watched(&namespace, &["eth*", "-x", "eth[1]"])?, ["eth1", "eth2"]);
    assert_eq!(watched(&namespace, &["eth*", "-x", "eth[2]"])?, ["eth1", "eth[1]"]);
    assert_eq!(watched(&namespace, &["eth*", "-x", r"eth\[1\]"])?, ["eth1", "eth2"]);
    Ok(())
}

fn a_backslash_quotes() -> Result<()> {
    let namespace = confusing()?;
    for quoted in [r"eth\[1\]", r"eth\[1]", "eth[[]1]", r"\e\t\h\[\1\]"] {
        assert_eq!(watched(&namespace, &[quoted])?, ["eth[1]"], "{quoted}");
    }
    assert_eq!(watched(&namespace, &[r"eth\[*"])?, ["eth[1]"]);
    // A name with a backslash in it.
    namespace.add_veth_up(r"a\b", "ab")?;
    assert_eq!(watched(&namespace, &[r"a\b", "ab"])?, [r"a\b", "ab"]);
    assert_eq!(watched(&namespace, &[r"a\\b"])?, [r"a\b"]);
    namespace.delete("eth[1]")?;
    let finished = monitor(&namespace, &[r"eth\[1\]", "--count", "1"]).finish()?;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("there is no interface 'eth[1]'"), "{finished:?}");
    Ok(())
}

fn what_is_no_pattern_is_a_name() -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.add_veth_up("[lan", "lan")?;
    assert_eq!(watched(&namespace, &["[lan"])?, ["[lan"]);
    assert_eq!(watched(&namespace, &["*lan", "--exclude", "[lan"])?, ["lan"]);
    assert_eq!(watched(&namespace, &[r"\[lan"])?, ["[lan"]);
    Ok(())
}

fn one_that_comes_later_is_waited_for() -> Result<()> {
    for written in ["[lan", r"\[lan", "eth[1]", r"eth\[1\]"] {
        let namespace = Namespace::new()?;
        let agent = json(&namespace, &[written, "--wait", "--source", "sysfs"])?;
        agent.says(&["waiting for '"])?;
        let name = if written.contains("lan") { "[lan" } else { "eth[1]" };
        namespace.add_veth_up(name, "peer")?;
        agent.wait_for_tick(name, |tick| tick.names() == [name])?;
        interrupt(agent)?;
    }
    Ok(())
}

fn all_is_no_pattern() -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.add_veth_up("*", "eth0")?;
    assert_eq!(watched(&namespace, &["--all"])?, ["*", "eth0", "lo"]);
    assert_eq!(watched(&namespace, &["--all", "--exclude", "*"])?, ["eth0", "lo"]);
    Ok(())
}

fn answers_are_read_likewise() -> Result<()> {
    let namespace = confusing()?;
    let arguments = ["--count", "1", "--source", "sysfs"];
    let finished = monitor(&namespace, &arguments).input("1\neth[1]\n").finish()?;
    assert_eq!(names(&finished.blocks()?), ["eth[1]"]);
    let finished = monitor(&namespace, &arguments).input("1\n[eth\n").finish()?;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    Ok(())
}

fn rules_of_the_file_are_read_likewise() -> Result<()> {
    let (namespace, scratch) = (confusing()?, Scratch::new()?);
    let config = r#"
        interfaces = ["eth[1]", "eth1"]
        [[interface]]
        match = "eth[1]"
        hook = "clsact"
    "#;
    let path = scratch.write("netmon.toml", config)?.display().to_string();
    let agent = json(&namespace, &["--config", &path])?;
    agent.says_counted("eth[1]", "clsact in+out")?;
    // The hook of all others, which is not this one where there is another.
    agent.says_counted("eth1", "TCX in+out")?;
    interrupt(agent).map(drop)
}

fn a_rule_for_nothing_is_told() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let config = "[[interface]]\nmatch = 'nt0'\n[[interface]]\nmatch = 'nt[7]'\n";
    let path = scratch.write("netmon.toml", config)?.display().to_string();
    let finished = once(&namespace, &["nt0", "--config", &path])?;
    let said = "[[interface]] match = 'nt[7]' matches nothing now";
    assert!(finished.stderr.contains(said), "{finished:?}");
    assert!(!finished.stderr.contains("match = 'nt0'"), "{finished:?}");
    Ok(())
}

fn compare_reads_them_likewise() -> Result<()> {
    let namespace = confusing()?;
    let arguments = ["compare", "--duration", "300ms", "--interval", "100ms", "--format", "json"];
    let finished = netmon(&namespace, &arguments).args(["eth[1]"]).finish()?;
    assert!(finished.stdout.contains("\"eth[1]\""), "{finished:?}");
    assert!(!finished.stdout.contains("\"eth1\""), "{finished:?}");
    Ok(())
}

fn table(namespace: &Namespace, arguments: &[&str]) -> Result<Finished> {
    let once = ["top", "--once", "--by", "interface", "--format", "csv", "--interval", "100ms"];
    let finished = netmon(namespace, &[&once, arguments].concat()).finish()?;
    ensure!(finished.code == Some(0), "{finished:?}");
    Ok(finished)
}

fn a_table_reads_them_likewise() -> Result<()> {
    let namespace = confusing()?;
    for arguments in [&["eth[1]"][..], &["--filter", "if:eth[1]"], &["--filter", r"if:eth\[1\]"]] {
        let finished = table(&namespace, arguments)?;
        let rows: Vec<&str> = finished.stdout.lines().skip(1).collect();
        ensure!(rows.len() == 1 && rows[0].contains("eth[1]"), "{arguments:?} → {finished:?}");
    }
    let finished = table(&namespace, &["--filter", "if:eth[2]"])?;
    assert!(finished.stdout.contains("eth2") && finished.stdout.lines().count() == 2);
    Ok(())
}

fn a_filter_for_no_interface_is_told() -> Result<()> {
    let namespace = confusing()?;
    let finished = table(&namespace, &["--filter", "if:wan0"])?;
    let said = "--filter if:wan0: there is no such interface now";
    assert!(finished.stderr.contains(said), "{finished:?}");
    let finished = table(&namespace, &["--filter", "if:eth*"])?;
    assert!(!finished.stderr.contains("--filter"), "{finished:?}");
    Ok(())
}
