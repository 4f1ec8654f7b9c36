//! More interfaces than processes that may watch them: whoever owns a namespace does not decide
//! how many processes the host runs, and no interface is without its numbers.

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::Agent,
    frame,
    json::{Interface, Tick},
    netns::Namespace,
    wait,
};

use super::Runtime;
use crate::{Test, common::is_bare};

pub(crate) const TESTS: &[Test] = &[
    ("those_beyond_have_the_kernels_numbers", those_beyond_have_the_kernels_numbers),
    ("in_all_together", in_all_together),
    ("those_that_are_named_come_first", those_that_are_named_come_first),
    ("one_that_is_named_takes_anothers_place", one_that_is_named_takes_anothers_place),
    ("room_that_appears_is_used", room_that_appears_is_used),
    ("what_is_down_is_left_so_and_said", what_is_down_is_left_so_and_said),
    ("churn_makes_no_more_processes", churn_makes_no_more_processes),
    ("none_at_all", none_at_all),
];

const PER_NAMESPACE: &str = "--max-workers-per-namespace";

/// A namespace with `lo` and so many pairs `a0` and `b0`, `a1` and `b1`, all up.
fn with_pairs(pairs: usize) -> Result<Namespace> {
    let namespace = Namespace::new()?;
    for number in 0..pairs {
        namespace.add_veth_up(&format!("a{number}"), &format!("b{number}"))?;
    }
    Ok(namespace)
}

/// Those that have a process, and those that the network monitor counts.
fn counted(tick: &Tick) -> (Vec<&Interface>, Vec<&Interface>) {
    let is_kernels = |told: &&Interface| {
        told.source == "kernel" && told.hook.as_ref().is_some_and(|by| by.contains("--max-workers"))
    };
    let programs = tick.interfaces.iter().filter(|told| told.source == "ebpf").collect();
    (programs, tick.interfaces.iter().filter(is_kernels).collect())
}

/// Waits for a tick at which so many interfaces are counted so and so.
fn split(agent: &Agent, programs: usize, kernel: usize) -> Result<Tick> {
    let is_it = |tick: &Tick| {
        let (by_programs, by_kernel) = counted(tick);
        (by_programs.len(), by_kernel.len()) == (programs, kernel)
    };
    agent.wait_for_tick(&format!("{programs} by programs, {kernel} by the kernel"), is_it)
}

/// Waits for a tick that has the kernel's totals of all interfaces of the namespace.
fn all_agree(agent: &Agent, namespace: &Namespace, prefix: &str) -> Result<Tick> {
    let links = namespace.sysfs_links()?;
    wait::until("the totals of all", || {
        let witnesses =
            links.iter().map(|link| namespace.sysfs_totals(link)).collect::<Result<Vec<_>>>()?;
        let tick = agent.later_tick(1)?;
        let agrees = links.iter().zip(&witnesses).all(|(link, witness)| {
            let told = tick.interface(&format!("{prefix}{link}"));
            told.is_ok_and(|told| told.totals() == witness.present())
        });
        Ok(agrees.then_some(tick))
    })
}

fn those_beyond_have_the_kernels_numbers() -> Result<()> {
    let (namespace, runtime) = (with_pairs(4)?, Runtime::new()?);
    let prefix = format!("{}/", namespace.name());
    let agent = runtime.json_on_host(&[&format!("{prefix}*"), PER_NAMESPACE, "3"])?;
    let tick = split(&agent, 3, 6)?;
    let (_, by_kernel) = counted(&tick);
    let expected = "netlink (no process: --max-workers-per-namespace 3)";
    assert!(by_kernel.iter().all(|told| told.hook.as_deref() == Some(expected)), "{tick:?}");
    for (number, link) in ["a0", "b1", "a3"].iter().enumerate() {
        namespace.send_frames(link, &frame::plain(frame::BROADCAST, 100), 20 + number as u64)?;
    }
    all_agree(&agent, &namespace, &prefix)?;
    let frame = frame::plain(frame::BROADCAST, 1000);
    namespace.send_frames("b3", &frame, 500)?;
    agent.wait_for_tick("a rate of one without a process", |tick| {
        let told = tick.interface(&format!("{prefix}b3"));
        told.is_ok_and(|told| told.tx.packets_per_s.is_some_and(|rate| rate > 0.0))
    })?;
    assert_eq!(runtime.processes()?.len(), 3);
    let workers = runtime.workers()?;
    let without: Vec<_> = workers.iter().filter(|worker| worker.pid.is_none()).collect();
    ensure!(workers.len() == 9 && without.len() == 6, "{workers:?}");
    assert!(without.iter().all(|it| it.state == "no process: counted by netlink"), "{without:?}");
    let table = runtime.ask("text")?;
    assert_eq!(table.stdout.matches("no process: counted by netlink").count(), 6, "{table:?}");
    assert_eq!(agent.times_said(&["more interfaces than processes"])?, 1, "once a namespace");
    let warned = |tick: &Tick| {
        let said = format!("in {}: there are more interfaces than processes", namespace.name());
        tick.events.iter().any(|event| event.kind == "warning" && event.message.contains(&said))
    };
    agent.wait_for_tick("the event", warned)?;
    runtime.end(agent)?;
    is_bare(&namespace, "a0")
}

fn in_all_together() -> Result<()> {
    let (namespace, runtime) = (with_pairs(2)?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["--all", "--max-workers", "2", PER_NAMESPACE, "1"])?;
    let tick = split(&agent, 2, 3)?;
    let (_, by_kernel) = counted(&tick);
    let expected = Some("netlink (no process: --max-workers 2)");
    assert!(by_kernel.iter().all(|told| told.hook.as_deref() == expected));
    all_agree(&agent, &namespace, "")?;
    assert_eq!(runtime.processes()?.len(), 2);
    runtime.end(agent).map(drop)
}

fn those_that_are_named_come_first() -> Result<()> {
    let (namespace, other, runtime) = (with_pairs(2)?, with_pairs(1)?, Runtime::new()?);
    let [here, there] = [&namespace, &other].map(|it| it.name().to_owned());
    let named = ["b0", "b1"].map(|link| format!("{here}/{link}"));
    let all = [format!("{here}/*"), format!("{there}/*")];
    let arguments = [&all[0], &all[1], &named[0], &named[1]].map(String::as_str);
    let agent = runtime.json_on_host(&[&arguments[..], &["--max-workers", "3"]].concat())?;
    let tick = split(&agent, 3, 5)?;
    let (programs, _) = counted(&tick);
    let programs: Vec<&str> = programs.iter().map(|told| &*told.interface).collect();
    assert!(named.iter().all(|name| programs.contains(&&**name)), "{programs:?}");
    // The third place is one of the namespace that has none.
    assert!(programs.iter().any(|name| name.starts_with(&there)), "{programs:?}");
    runtime.end(agent).map(drop)
}

fn one_that_is_named_takes_anothers_place() -> Result<()> {
    let (namespace, runtime) = (with_pairs(1)?, Runtime::new()?);
    let prefix = format!("{}/", namespace.name());
    let (all, named) = (format!("{prefix}*"), format!("{prefix}wan0"));
    let agent = runtime.json_on_host(&[&all, &named, "--wait", PER_NAMESPACE, "2"])?;
    split(&agent, 2, 1)?;
    namespace.add_veth_up("wan0", "wan1")?;
    agent.says_counted(&named, "TCX in+out")?;
    split(&agent, 2, 3)?;
    all_agree(&agent, &namespace, &prefix)?;
    wait::until_true("the end of the one that gave way", || Ok(runtime.processes()?.len() == 2))?;
    let finished = runtime.end(agent)?;
    assert!(!finished.stderr.contains("started again"), "{finished:?}");
    Ok(())
}

fn room_that_appears_is_used() -> Result<()> {
    let (namespace, runtime) = (with_pairs(3)?, Runtime::new()?);
    let prefix = format!("{}/", namespace.name());
    let agent = runtime.json_on_host(&[&format!("{prefix}?[0-9]"), PER_NAMESPACE, "4"])?;
    let tick = split(&agent, 4, 2)?;
    let (programs, by_kernel) = counted(&tick);
    let waits = by_kernel[0].interface.clone();
    let link = waits.rsplit_once('/').context("no namespace")?.1.to_owned();
    namespace.send_frames(&link, &frame::plain(frame::BROADCAST, 100), 33)?;
    let gives_way = programs[0].interface.rsplit_once('/').context("no namespace")?.1.to_owned();
    namespace.delete(&gives_way)?;
    // Both ends have gone: one or two places are free.
    agent.says_counted(&waits, "TCX in+out")?;
    let told = agent.wait_for_tick("the totals, and counted by programs", |tick| {
        let told = tick.interface(&waits);
        told.is_ok_and(|told| told.source == "ebpf" && told.tx.packets == Some(33))
    })?;
    assert!(runtime.processes()?.len() <= 4, "{told:?}");
    runtime.end(agent).map(drop)
}

fn what_is_down_is_left_so_and_said() -> Result<()> {
    let (namespace, runtime) = (with_pairs(1)?, Runtime::new()?);
    let prefix = format!("{}/", namespace.name());
    let agent = runtime.json_on_host(&[&format!("{prefix}?0"), PER_NAMESPACE, "1"])?;
    let tick = split(&agent, 1, 1)?;
    let (_, by_kernel) = counted(&tick);
    let name = by_kernel[0].interface.clone();
    let link = name.rsplit_once('/').context("no namespace")?.1.to_owned();
    namespace.set_down(&link)?;
    let why = "administratively down, and left so: it has no process";
    agent.says(&[&format!("{name}: {why}")])?;
    agent.wait_for_tick("it down", |tick| {
        tick.interface(&name).is_ok_and(|told| told.is("down") && told.source == "kernel")
    })?;
    assert!(!namespace.is_up(&link)?);
    namespace.set_up(&link)?;
    agent.says(&[&format!("{name}: up")])?;
    runtime.end(agent).map(drop)
}

fn churn_makes_no_more_processes() -> Result<()> {
    const MOST: usize = 4;
    let (namespace, runtime) = (with_pairs(1)?, Runtime::new()?);
    let prefix = format!("{}/", namespace.name());
    let most = MOST.to_string();
    let agent = runtime.json_on_host(&[&format!("{prefix}*"), PER_NAMESPACE, &most])?;
    for round in 0..20 {
        let (near, far) = (format!("c{round}"), format!("d{round}"));
        namespace.add_veth_up(&near, &far)?;
        namespace.add_veth_up(&format!("e{round}"), &format!("f{round}"))?;
        let processes = runtime.processes()?;
        ensure!(processes.len() <= MOST, "round {round}: {processes:?}");
        namespace.delete(&near)?;
        namespace.delete(&format!("e{round}"))?;
    }
    wait::until_true("those that are left", || Ok(runtime.processes()?.len() == 3))?;
    all_agree(&agent, &namespace, &prefix)?;
    assert_eq!(agent.times_said(&["more interfaces than processes"])?, 1);
    runtime.end(agent).map(drop)
}

fn none_at_all() -> Result<()> {
    let (namespace, runtime) = (with_pairs(1)?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["--all", "--max-workers", "0"])?;
    split(&agent, 0, 3)?;
    namespace.send_frames("a0", &frame::plain(frame::BROADCAST, 100), 7)?;
    all_agree(&agent, &namespace, "")?;
    assert!(runtime.processes()?.is_empty());
    runtime.end(agent).map(drop)
}
