//! The configuration file.

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::{Agent, Finished},
    frame,
    json::Tick,
    netns::Namespace,
    report::names,
    scratch::Scratch,
};

use crate::{
    Test,
    common::{agrees, interrupt, is_bare, json, monitor, netmon, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("it_says_what_the_flags_would", it_says_what_the_flags_would),
    ("flags_win_over_it", flags_win_over_it),
    ("one_interface_may_be_slower", one_interface_may_be_slower),
    ("a_slower_ones_rates_are_over_its_own_interval", a_slower_ones_rates),
    ("a_slower_ones_removal_is_told", a_slower_ones_removal_is_told),
    ("one_interface_may_have_its_own_hook", one_interface_may_have_its_own_hook),
    ("an_error_is_told_with_its_line", an_error_is_told_with_its_line),
    ("a_missing_file_is_told_by_name", a_missing_file_is_told_by_name),
];

/// Runs netmon with this file to its end.
fn with_config(namespace: &Namespace, config: &str, arguments: &[&str]) -> Result<Finished> {
    let scratch = Scratch::new()?;
    let path = scratch.write("netmon.toml", config)?;
    let flag = ["run", "--config", &path.to_string_lossy()];
    netmon(namespace, &flag).args(arguments).finish()
}

const WHOLE: &str = r#"
interfaces = ["nt*"]
exclude = ["nt9"]
source = "ebpf"
hook = "clsact"
interval = "100ms"
format = "json"
recover = true
wait = false
"#;

fn it_says_what_the_flags_would() -> Result<()> {
    let namespace = veth()?;
    namespace.add_veth_up("nt9", "p9")?;
    let finished = with_config(&namespace, WHOLE, &["--count", "3"])?;
    ensure!(finished.code == Some(0), "{finished:?}");
    let ticks = finished.ticks()?;
    assert_eq!((ticks.len(), ticks[0].names()), (3, vec!["nt0"]));
    let scratch = Scratch::new()?;
    let path = scratch.write("netmon.toml", WHOLE)?;
    let agent = netmon(&namespace, &["run", "--config", &path.to_string_lossy()]).start()?;
    agent.says_counted("nt0", "clsact in+out")?;
    interrupt(agent)?;

    let finished =
        with_config(&namespace, "all = true\ninterval = \"100ms\"\n", &["--count", "1"])?;
    assert_eq!(names(&finished.blocks()?), ["lo", "nt0", "nt9", "p9", "peer"]);
    Ok(())
}

fn flags_win_over_it() -> Result<()> {
    let namespace = veth()?;
    let flags =
        ["lo", "--count", "2", "--format", "text", "--source", "sysfs", "--interval", "200ms"];
    let finished = with_config(&namespace, WHOLE, &flags)?;
    ensure!(finished.code == Some(0), "{finished:?}");
    assert_eq!(names(&finished.blocks()?), ["lo", "lo"], "the interfaces, too");
    assert!(finished.stderr.contains("lo: sysfs ("), "{finished:?}");
    Ok(())
}

fn one_interface_may_be_slower() -> Result<()> {
    let namespace = veth()?;
    let config = "interfaces = [\"nt0\", \"peer\"]\ninterval = \"100ms\"\n\
        [[interface]]\nmatch = \"pe*\"\ninterval = \"400ms\"\n";
    let finished = with_config(&namespace, config, &["--count", "8"])?;
    ensure!(finished.code == Some(0), "{finished:?}");
    let blocks = finished.blocks()?;
    let count = |name| blocks.iter().filter(|block| block.interface == name).count();
    assert_eq!((count("nt0"), count("peer")), (8, 2), "every fourth tick");
    Ok(())
}

/// `nt0` on each tick, `peer` on every tenth.
const SLOWER: &str = "interfaces = [\"nt0\", \"peer\"]\n\
    [[interface]]\nmatch = \"peer\"\ninterval = \"1s\"\n";

fn slower(namespace: &Namespace, scratch: &Scratch) -> Result<Agent> {
    let path = scratch.write("netmon.toml", SLOWER)?;
    let agent = json(namespace, &["--config", &path.to_string_lossy()])?;
    agent.says_counted("peer", "TCX in+out")?;
    agent.says_counted("nt0", "TCX in+out")?;
    Ok(agent)
}

fn a_slower_ones_rates() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let agent = slower(&namespace, &scratch)?;
    let is_told = |tick: &Tick| tick.interface("peer").is_ok();
    let seen = agent.stdout()?.count();
    agent.wait_for_tick_from(seen, "a report of peer", is_told)?;
    // Long before the next report of it.
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 50)?;
    let seen = agent.stdout()?.count();
    let tick = agent.wait_for_tick_from(seen, "the next report of peer", is_told)?;
    let told = &tick.interface("peer")?.rx;
    assert_eq!(told.packets, Some(50));
    assert!(told.packets_per_s > Some(0.0), "over the second, not the last tick: {told:?}");
    interrupt(agent).map(drop)
}

fn a_slower_ones_removal_is_told() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let agent = slower(&namespace, &scratch)?;
    let is_told = |tick: &Tick| tick.interface("peer").is_ok();
    let seen = agent.stdout()?.count();
    agent.wait_for_tick_from(seen, "a report of peer", is_told)?;
    let seen = agent.stdout()?.count();
    namespace.delete("peer")?;
    agent.wait_for_tick_from(seen, "its absence", |tick| {
        tick.interface("peer").is_ok_and(|told| told.is("absent"))
    })?;
    agent.later_tick(12)?;
    let absent = agent.ticks()?.into_iter().flat_map(|tick| tick.interfaces);
    let absent = absent.filter(|told| told.interface == "peer" && told.is("absent"));
    assert_eq!(absent.count(), 1);
    interrupt(agent).map(drop)
}

fn one_interface_may_have_its_own_hook() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let config = "[[interface]]\nmatch = \"pe*\"\nhook = \"clsact\"\n";
    let path = scratch.write("netmon.toml", config)?;
    let agent = json(&namespace, &["nt0", "peer", "--config", &path.to_string_lossy()])?;
    agent.says_counted("nt0", "TCX in+out")?;
    agent.says_counted("peer", "clsact in+out")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 10)?;
    agrees(&agent, &namespace, "nt0")?;
    agrees(&agent, &namespace, "peer")?;
    interrupt(agent)?;
    is_bare(&namespace, "peer")
}

fn an_error_is_told_with_its_line() -> Result<()> {
    let namespace = veth()?;
    // What is wrong stands on line 3.
    let wrong = [
        ("intervall = \"1s\"", "intervall"),
        ("interval = \"1 parsec\"", "interval"),
        ("interval = \"1ms\"", "interval"),
        ("interval = 1", "interval"),
        ("recover = \"yes\"", "recover"),
        ("format = \"xml\"", "xml"),
        ("hook = \"tcp\"", "tcp"),
        ("this is no toml", "3"),
        ("[[interface]]\nmatch = \"nt*\"\ncolour = 1", "colour"),
    ];
    for (line, named) in wrong {
        let config = format!("# A comment.\ninterfaces = [\"nt0\"]\n{line}\n");
        let finished = with_config(&namespace, &config, &["--count", "1"])?;
        assert_eq!(
            (finished.code, finished.stdout.as_str()),
            (Some(2), ""),
            "{line}: {finished:?}"
        );
        let number = 3 + line.lines().count() - 1;
        let place = [format!("line {number}"), format!(":{number}")];
        let said = &finished.stderr;
        assert!(place.iter().any(|place| said.contains(place)), "{line}: {said}");
        assert!(said.contains(named), "{line}: {said}");
        assert!(said.contains("netmon.toml"), "{line}: {said}");
    }
    is_bare(&namespace, "nt0")
}

fn a_missing_file_is_told_by_name() -> Result<()> {
    let namespace = veth()?;
    let scratch = Scratch::new()?;
    let path = scratch.path().join("absent.toml");
    let path = path.to_str().context("a path in Unicode")?;
    let finished = monitor(&namespace, &["nt0", "--config", path]).finish()?;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
    assert!(finished.stderr.contains(path), "{finished:?}");
    Ok(())
}
