//! The report of a network monitor is that of one process that does it all.

use anyhow::{Result, ensure};
use netmon_tests::{
    frame, json::Interface, netns::Namespace, report::names, wait, workers::Worker,
};

use super::{Runtime, agrees, launcher};
use crate::{
    Test,
    common::{interrupt, is_bare, json, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("the_numbers_are_those_without_workers", the_numbers_are_those_without_workers),
    ("text_blocks_are_whole_and_in_order", text_blocks_are_whole_and_in_order),
    ("an_unknown_interface_is_wrong_use", an_unknown_interface_is_wrong_use),
    ("answers_name_interfaces_here_and_elsewhere", answers_name_interfaces),
    ("interfaces_come_go_and_come_back", interfaces_come_go_and_come_back),
    ("a_renamed_one_keeps_its_process", a_renamed_one_keeps_its_process),
    ("verbose_shows_the_conversation", verbose_shows_the_conversation),
    ("workers_lists_each_process", workers_lists_each_process),
];

/// What is asked at the same moment is the same; when that was is not.
fn without_rates(mut told: Interface) -> Interface {
    for way in [&mut told.rx, &mut told.tx] {
        (way.bytes_per_s, way.packets_per_s) = (None, None);
    }
    told
}

fn the_numbers_are_those_without_workers() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let frame = frame::plain(frame::BROADCAST, 100);
    namespace.send_frames("nt0", &frame, 123)?;
    let alone = json(&namespace, &["nt0", "peer"])?;
    let agent = runtime.json(&namespace, &["nt0", "peer"])?;
    for link in ["nt0", "peer"] {
        alone.says_counted(link, "TCX in+out")?;
        agent.says_counted(link, "TCX in+out")?;
    }
    // A rate needs a tick before.
    agent.fresh_tick()?;
    namespace.send_frames("nt0", &frame, 1000)?;
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 200), 300)?;
    for link in ["nt0", "peer"] {
        let expected = without_rates(agrees(&alone, link, &namespace, link)?);
        let told = without_rates(agrees(&agent, link, &namespace, link)?);
        assert_eq!(told, expected);
    }
    let told = agrees(&agent, "nt0", &namespace, "nt0")?;
    let counted = [&told.tx, &told.rx].map(|way| way.skb.unwrap_or_default().packets);
    assert_eq!((told.source.as_str(), counted), ("ebpf", [1000, 300]));
    let rates = agent
        .ticks()?
        .into_iter()
        .map(|tick| tick.interface("nt0").map(|told| told.tx.packets_per_s.unwrap_or_default()));
    ensure!(rates.collect::<Result<Vec<_>>>()?.iter().any(|rate| *rate > 0.0), "no rate");
    ensure!(agent.ticks()?.iter().all(|tick| tick.names() == ["nt0", "peer"]));
    interrupt(alone)?;
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

fn text_blocks_are_whole_and_in_order() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 42)?;
    let finished = runtime.monitor(&namespace, &["peer", "nt0", "--count", "6"]).finish()?;
    ensure!(finished.code == Some(0), "{finished:?}");
    let blocks = finished.blocks()?;
    assert_eq!(names(&blocks), ["peer", "nt0"].repeat(6));
    let last = &blocks[11];
    assert_eq!(
        (last.state.as_str(), last.totals),
        ("up", namespace.sysfs_totals("nt0")?.present())
    );
    assert!(runtime.processes()?.is_empty(), "none outlives it");
    runtime.is_empty()
}

fn an_unknown_interface_is_wrong_use() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    for wrong in [&["nt0", "pere"][..], &["nt0", "pe*e"], &["nt0", "x/y/z"], &["nt0", "/nt0"]] {
        let finished = runtime.monitor(&namespace, wrong).finish()?;
        let (code, stdout) = (finished.code, finished.stdout.as_str());
        assert_eq!((code, stdout), (Some(2), ""), "{finished:?}");
        assert!(finished.stderr.contains(wrong[1]), "{finished:?}");
        runtime.is_empty()?;
    }
    let finished = runtime.monitor(&namespace, &["pere"]).finish()?;
    assert!(finished.stderr.contains("did you mean 'peer'?"), "{finished:?}");
    is_bare(&namespace, "nt0")
}

fn answers_name_interfaces() -> Result<()> {
    let (namespace, other, runtime) = (veth()?, veth()?, Runtime::new()?);
    let neighbour = json(&other, &["lo", "--source", "sysfs"])?;
    let elsewhere = format!("/proc/{}/ns/net/nt0", neighbour.pid());
    let command = runtime.monitor(&namespace, &["--count", "2"]);
    let finished = command.input(&format!("2\nnt0\n{elsewhere}\n")).finish()?;
    ensure!(finished.code == Some(0), "{finished:?}");
    assert_eq!(names(&finished.blocks()?), ["nt0", &elsewhere].repeat(2));
    assert!(finished.stderr.contains("Interface number 2: "), "{finished:?}");
    let finished = runtime.monitor(&namespace, &[]).input("1\nnt9\n").finish()?;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    runtime.is_empty()
}

fn interfaces_come_go_and_come_back() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt*"])?;
    let first = runtime.pid_of("nt0")?;
    namespace.add_veth_up("nt1", "other")?;
    agent.says(&["nt1: appeared"])?;
    agent.says_counted("nt1", "TCX in+out")?;
    namespace.send_frames("nt1", &frame::plain(frame::BROADCAST, 100), 30)?;
    assert_eq!(agrees(&agent, "nt1", &namespace, "nt1")?.tx.packets, Some(30));
    let seen = agent.stdout()?.count();
    namespace.delete("nt0")?;
    agent.wait_for_tick_from(seen, "only nt1", |tick| tick.names() == ["nt1"])?;
    let told = agent
        .ticks()?
        .into_iter()
        .filter(|tick| tick.interface("nt0").is_ok_and(|told| told.is("absent")));
    assert_eq!(told.count(), 1, "told of once");
    agent.says(&["nt0: gone"])?;
    runtime.wait_for("nt0", "to have no process", |worker| worker.pid.is_none())?;
    namespace.add_veth_up("nt0", "peer")?;
    agent.says(&["nt0: back (ifindex "])?;
    let second = runtime.running("nt0")?;
    assert!(second.pid != Some(first) && second.restarts == 0, "{second:?}");
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 20)?;
    assert_eq!(agrees(&agent, "nt0", &namespace, "nt0")?.tx.packets, Some(20));
    let finished = runtime.end(agent)?;
    assert!(!finished.stderr.contains("has ended"), "to end was asked for: {finished:?}");
    is_bare(&namespace, "nt1")
}

fn a_renamed_one_keeps_its_process() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt*"])?;
    let pid = runtime.pid_of("nt0")?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    agrees(&agent, "nt0", &namespace, "nt0")?;
    namespace.rename("nt0", "nt5")?;
    agent.wait_for_tick("the new name", |tick| tick.names() == ["nt5"])?;
    namespace.send_frames("nt5", &frame::plain(frame::BROADCAST, 100), 12)?;
    let told = agrees(&agent, "nt5", &namespace, "nt5")?;
    assert_eq!(told.tx.skb.map(|count| count.packets), Some(42), "counted on, not anew");
    assert_eq!(runtime.pid_of("nt5")?, pid);
    runtime.end(agent)?;
    is_bare(&namespace, "nt5")
}

fn verbose_shows_the_conversation() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt0", "-v"])?;
    let pid = runtime.pid_of("nt0")?;
    agent.says_counted("nt0", "TCX in+out")?;
    agent.says(&[&format!("process {pid} -> [monitor] Ready")])?;
    agent.says(&[&format!("[monitor] -> nt0/{pid} Monitor")])?;
    agent.says(&[&format!("nt0/{pid} -> [monitor] Monitoring (")])?;
    namespace.set_down("nt0")?;
    agent.says(&[&format!("nt0/{pid} -> [monitor] Link Down (")])?;
    agent.says(&[&format!("[monitor] -> nt0/{pid} Set Link Up")])?;
    agent.says(&[&format!("nt0/{pid} -> [monitor] Link Set")])?;
    let finished = runtime.end(agent)?;
    let last = [
        format!("[monitor] -> nt0/{pid} Shut Down ("),
        format!("nt0/{pid} -> [monitor] Done (ticks: "),
    ];
    for said in last {
        assert_eq!(finished.stderr.matches(&said).count(), 1, "{said}: {finished:?}");
    }
    Ok(())
}

fn workers_lists_each_process() -> Result<()> {
    let (namespace, runtime): (Namespace, _) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt0", "peer"])?;
    let (near, far) = (runtime.running("nt0")?, runtime.running("peer")?);
    let mut pids: Vec<_> = [&near, &far].into_iter().filter_map(|worker| worker.pid).collect();
    let mut processes = runtime.processes()?;
    pids.sort_unstable();
    processes.sort_unstable();
    assert_eq!(pids, processes);
    let launcher = launcher(&agent)?;
    assert!(!pids.contains(&launcher) && !pids.contains(&agent.pid()));
    assert_eq!((near.namespace.as_deref(), near.ifindex), (None, Some(namespace.ifindex("nt0")?)));
    assert!(near.launched && near.restarts == 0, "{near:?}");
    // How long ago the last message came, CPU time and memory are there.
    let numbers = [near.last_message_ms, near.cpu_ms, near.pss_kib];
    assert!(numbers.iter().all(Option::is_some) && near.pss_kib > Some(0), "{near:?}");
    let pid = |worker: &Worker| worker.pid.unwrap_or_default().to_string();
    let expected = [
        "INTERFACE NAMESPACE PID STATE RESTARTS".to_owned(),
        format!("(monitor) - {} running -", agent.pid()),
        format!("(launcher) - {launcher} running -"),
        format!("nt0 - {} running 0", pid(&near)),
        format!("peer - {} running 0", pid(&far)),
    ];
    // On a busy machine one may be stale at this moment.
    wait::until_true("the table", || {
        let finished = runtime.ask("text")?;
        ensure!(finished.code == Some(0), "{finished:?}");
        let cells = |line: &str| line.split_whitespace().take(5).collect::<Vec<_>>().join(" ");
        let table: Vec<_> = finished.stdout.lines().map(cells).collect();
        ensure!(table.len() == expected.len(), "{finished:?}");
        Ok(table == expected)
    })?;
    runtime.end(agent).map(drop)
}
