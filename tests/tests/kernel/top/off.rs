//! What is not asked for is not loaded, and nothing stays.

use anyhow::{Result, ensure};
use netmon_tests::{
    agent::Agent,
    bpf::{self, Object},
    wait,
};
use nix::sys::signal::Signal;

use super::{end_quietly, in_turn, pages, report, until};
use crate::{
    Test,
    common::{is_bare, json, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("a_plain_report_loads_nothing_of_it", || in_turn(a_plain_report_loads_nothing_of_it)),
    ("a_table_loads_only_what_it_tells_of", || in_turn(a_table_loads_only_what_it_tells_of)),
    ("nothing_stays_after_the_end", || in_turn(|| nothing_stays(Signal::SIGTERM))),
    ("nothing_stays_after_a_kill_of_tcx", || in_turn(|| nothing_stays(Signal::SIGKILL))),
];

/// The programs that count, which also tell flows apart where those are wanted.
const COUNTING: [&str; 2] = ["netmon_egress", "netmon_ingress"];
/// The map of flows.
const FLOWS: &str = "FLOWS";

/// Programs that are loaded, without those that count.
fn others(agent: &Agent) -> Result<Vec<String>> {
    let mut names = bpf::program_names(agent.pid())?;
    names.retain(|name| !COUNTING.contains(&name.as_str()));
    Ok(names)
}

fn counts(agent: &Agent) -> Result<bool> {
    let names = bpf::program_names(agent.pid())?;
    Ok(COUNTING.iter().all(|name| names.iter().any(|it| it == name)))
}

fn a_plain_report_loads_nothing_of_it() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    agent.fresh_tick()?;
    assert!(counts(&agent)? && others(&agent)?.is_empty(), "{:?}", others(&agent)?);
    assert!(agent.map(FLOWS).is_err());
    // So would its maps be seen.
    let with = report(&namespace, &["--traffic"])?;
    until(&with, "a first tick", |_| Some(()))?;
    assert!(with.map(FLOWS).is_ok() && !others(&with)?.is_empty());
    Ok(())
}

fn a_table_loads_only_what_it_tells_of() -> Result<()> {
    let namespace = veth()?;
    // Whether packets are looked at, processes, drops.
    let cases = [
        ("process", [false, true, false]),
        ("flow", [true, true, false]),
        ("protocol", [true, false, false]),
        ("size", [true, false, false]),
        ("interface", [true, false, false]),
        ("drop", [false, false, true]),
    ];
    for (by, expected) in cases {
        let agent = pages(&namespace, &["--by", by])?;
        until(&agent, "a first table", |_| Some(()))?;
        let names = others(&agent)?;
        let has = |name: &str| names.iter().any(|it| it == name);
        assert_eq!([counts(&agent)?, has("netmon_exit"), has("netmon_drop")], expected, "{by}");
        assert_eq!(namespace.attached("nt0")?.programs().is_empty(), !expected[0], "{by}");
        end_quietly(agent)?;
    }
    Ok(())
}

/// Before TCX a kill leaves filters, which the next start removes: see `lifecycle`.
fn nothing_stays(signal: Signal) -> Result<()> {
    let namespace = veth()?;
    let agent = report(&namespace, &["--traffic"])?;
    until(&agent, "a first tick", |_| Some(()))?;
    let held = agent.bpf_objects()?;
    for kind in
        [|it: &Object| matches!(it, Object::Program(_)), |it: &Object| matches!(it, Object::Map(_))]
    {
        ensure!(held.iter().any(kind), "{held:?}");
    }
    agent.signal(signal)?;
    agent.finish()?;
    for object in held {
        wait::until_true(format!("{object:?} to go"), || Ok(!object.exists()?))?;
    }
    is_bare(&namespace, "nt0")
}
