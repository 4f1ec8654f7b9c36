//! With fewer privileges: what cannot be had is said, and never looks like no traffic.

use anyhow::{Result, ensure};
use netmon_tests::{
    agent::Finished,
    json::Tick,
    netns::Namespace,
    privileges::{Capability, Privileges},
};

use super::{in_turn, top, until};
use crate::{
    Test,
    common::{interrupt, is_bare, monitor, netmon, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("no_table_without_any", || in_turn(no_table_without_any)),
    ("no_table_without_cap_perfmon", || in_turn(no_table_without_cap_perfmon)),
    ("processes_without_cap_net_admin", || in_turn(processes_without_cap_net_admin)),
    ("cap_sys_admin_is_not_needed", || in_turn(cap_sys_admin_is_not_needed)),
    ("a_report_goes_on_and_says_what_it_lacks", || in_turn(a_report_goes_on)),
    ("no_flows_from_sysfs", || in_turn(no_flows_from_sysfs)),
    ("the_help_is_for_where_it_runs", || in_turn(the_help_is_for_where_it_runs)),
    ("doctor_tells_of_each_part", || in_turn(doctor_tells_of_each_part)),
];

const TABLES: [(&str, &str); 6] = [
    ("process", "processes"),
    ("flow", "flows"),
    ("protocol", "flows"),
    ("size", "flows"),
    ("drop", "drops"),
    ("interface", "flows"),
];

const PERFMON: Privileges = Privileges::Without(&[Capability::PERFMON, Capability::SYS_ADMIN]);
const NET_ADMIN: Privileges = Privileges::Without(&[Capability::NET_ADMIN, Capability::SYS_ADMIN]);

fn once(namespace: &Namespace, privileges: Privileges, arguments: &[&str]) -> Result<Finished> {
    let command = top(namespace, &["--once", "--interval", "100ms"]).args(arguments);
    command.privileges(privileges).finish()
}

/// Nothing on stdout, and one line that says which part, what is missing and what helps.
fn says_why(finished: &Finished, part: &str, capability: &str) -> Result<()> {
    ensure!((finished.code, finished.stdout.as_str()) == (Some(1), ""), "{finished:?}");
    ensure!(finished.stderr.lines().count() == 1, "{finished:?}");
    ensure!(finished.stderr.starts_with(&format!("netmon: no {part}: ")), "{finished:?}");
    // It is root already, and what it lacks was taken from it.
    for word in [capability, "--cap-add", "CapabilityBoundingSet="] {
        ensure!(finished.stderr.contains(word), "no {word:?} in {finished:?}");
    }
    ensure!(!finished.stderr.contains("Verifier"), "{finished:?}");
    Ok(())
}

fn no_table_without_any() -> Result<()> {
    let namespace = veth()?;
    for (by, part) in TABLES {
        for format in ["text", "json"] {
            let arguments = ["--by", by, "--format", format];
            says_why(&once(&namespace, Privileges::NoCapability, &arguments)?, part, "CAP_BPF")?;
        }
    }
    is_bare(&namespace, "nt0")
}

fn no_table_without_cap_perfmon() -> Result<()> {
    let namespace = veth()?;
    for (by, part) in TABLES {
        says_why(&once(&namespace, PERFMON, &["--by", by])?, part, "CAP_PERFMON")?;
    }
    is_bare(&namespace, "nt0")
}

/// With every capability, and none that has an effect: sudo gives nothing more.
fn the_help_is_for_where_it_runs() -> Result<()> {
    let namespace = veth()?;
    for (privileges, word) in
        [(Privileges::UserNamespace, "user namespace"), (Privileges::NoBpf, "seccomp")]
    {
        for by in ["flow", "process"] {
            let finished = once(&namespace, privileges, &["--by", by])?;
            ensure!((finished.code, finished.stdout.as_str()) == (Some(1), ""), "{finished:?}");
            helps(&finished.stderr, word)?;
        }
        let arguments = ["nt0", "--source", "ebpf", "--count", "1"];
        let finished = monitor(&namespace, &arguments).privileges(privileges).finish()?;
        ensure!(finished.code == Some(1), "{finished:?}");
        helps(&finished.stderr, word)?;
        let finished = netmon(&namespace, &["doctor"]).privileges(privileges).finish()?;
        ensure!(finished.code == Some(1), "{finished:?}");
        helps(&finished.stdout, word)?;
    }
    let finished = once(&namespace, Privileges::Nobody, &["--by", "flow"])?;
    ensure!(finished.code == Some(1), "{finished:?}");
    ensure!(finished.stderr.contains("run it with sudo, or once `sudo setcap"), "{finished:?}");
    is_bare(&namespace, "nt0")
}

fn helps(text: &str, word: &str) -> Result<()> {
    ensure!(text.contains(word) && !text.contains("sudo"), "{text}");
    Ok(())
}

fn processes_without_cap_net_admin() -> Result<()> {
    let namespace = veth()?;
    for by in ["process", "drop"] {
        let finished = once(&namespace, NET_ADMIN, &["--by", by])?;
        ensure!((finished.code, finished.stderr.as_str()) == (Some(0), ""), "{finished:?}");
    }
    says_why(&once(&namespace, NET_ADMIN, &["--by", "flow"])?, "flows", "CAP_NET_ADMIN")
}

fn cap_sys_admin_is_not_needed() -> Result<()> {
    let namespace = veth()?;
    let without = Privileges::Without(&[Capability::SYS_ADMIN]);
    for (by, _) in TABLES {
        let finished = once(&namespace, without, &["--by", by])?;
        ensure!((finished.code, finished.stderr.as_str()) == (Some(0), ""), "{finished:?}");
    }
    Ok(())
}

/// Some kernels want it on some processors.
fn counts_without_perfmon(namespace: &Namespace) -> Result<bool> {
    let command = monitor(namespace, &["nt0", "--source", "ebpf", "--count", "1"]);
    let finished = command.privileges(PERFMON).finish()?;
    let counts = finished.code == Some(0);
    ensure!(counts || finished.stderr.contains("needs CAP_PERFMON"), "{finished:?}");
    Ok(counts)
}

fn a_report_goes_on() -> Result<()> {
    let namespace = veth()?;
    let source = if counts_without_perfmon(&namespace)? { "ebpf" } else { "sysfs" };
    for (privileges, source) in [(Privileges::NoCapability, "sysfs"), (PERFMON, source)] {
        let arguments = ["nt0", "--format", "json", "--traffic"];
        let agent = monitor(&namespace, &arguments).privileges(privileges).start()?;
        let told = until(&agent, "a tick", |it| Some(it.clone()))?;
        let parts: Vec<&str> = told.missing.iter().map(|it| it.part.as_str()).collect();
        assert_eq!(parts, ["processes", "drops", "flows"]);
        assert!(told.missing.iter().all(|it| it.why.contains("CAP_")), "{told:?}");
        assert!(told.flows.is_none() && told.processes.is_none() && told.drops.is_none());
        assert!(told.interfaces.is_none() && told.flow_table.is_none());
        for part in ["no processes: ", "no drops: "] {
            agent.says(&["netmon: ", part, "CAP_"])?;
        }
        // The kernel's own, until the programs are attached.
        let is_so = |it: &Tick| it.interface("nt0").is_ok_and(|told| told.source == source);
        agent.wait_for_tick(source, is_so)?;
        interrupt(agent)?;
    }
    Ok(())
}

fn no_flows_from_sysfs() -> Result<()> {
    let namespace = veth()?;
    let sysfs = ["--source", "sysfs"];
    let finished = once(&namespace, Privileges::Full, &[&sysfs[..], &["--by", "flow"]].concat())?;
    ensure!((finished.code, finished.stdout.as_str()) == (Some(1), ""), "{finished:?}");
    ensure!(finished.stderr.contains("leave --source sysfs out"), "{finished:?}");
    let finished =
        once(&namespace, Privileges::Full, &[&sysfs[..], &["--by", "process"]].concat())?;
    ensure!((finished.code, finished.stderr.as_str()) == (Some(0), ""), "{finished:?}");
    Ok(())
}

fn doctor_tells_of_each_part() -> Result<()> {
    let namespace = veth()?;
    let finished = netmon(&namespace, &["doctor"]).finish()?;
    for part in ["flows", "processes", "drops"] {
        let line = finished
            .stdout
            .lines()
            .find(|line| line.get(5..).is_some_and(|it| it.starts_with(part)));
        ensure!(line.is_some_and(|line| line.starts_with("yes  ")), "{part}: {finished:?}");
    }
    let finished = netmon(&namespace, &["doctor"]).privileges(PERFMON).finish()?;
    let code = if counts_without_perfmon(&namespace)? { 0 } else { 1 };
    assert_eq!(finished.code, Some(code), "the main job's: {finished:?}");
    for part in ["flows", "processes", "drops"] {
        let mut lines = finished.stdout.lines();
        let line = lines.find(|line| line.get(5..).is_some_and(|it| it.starts_with(part)));
        ensure!(line.is_some_and(|line| line.starts_with("-    ")), "{part}: {finished:?}");
        let help = lines.next().unwrap_or_default();
        ensure!(
            help.trim_start().starts_with("-> ") && help.contains("CAP_PERFMON"),
            "{finished:?}"
        );
    }
    is_bare(&namespace, "lo")
}
