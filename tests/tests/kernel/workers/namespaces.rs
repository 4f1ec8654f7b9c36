//! Interfaces of other network namespaces, which always get a process of their own.

use std::{fs, os::unix::fs::symlink};

use anyhow::{Result, ensure};
use netmon_tests::{
    agent::Agent,
    frame,
    json::{Interface, Tick},
    netns::Namespace,
    process,
    scratch::Scratch,
    wait,
};
use nix::errno::Errno;

use super::{Runtime, agrees};
use crate::{
    Test,
    common::{is_bare, json, pair, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("one_by_its_name", || one(|namespace| namespace.name().to_owned())),
    ("one_by_its_path", || one(path)),
    ("one_of_a_process", one_of_a_process),
    ("here_and_elsewhere_in_one_report", here_and_elsewhere_in_one_report),
    ("every_one_that_a_pattern_matches", every_one_that_a_pattern_matches),
    ("all_of_them_with_an_exception", all_of_them_with_an_exception),
    ("one_that_comes_later", one_that_comes_later),
    ("one_that_is_deleted_goes", one_that_is_deleted_goes),
    ("one_that_is_not_there_is_waited_for", one_that_is_not_there_is_waited_for),
    ("an_interface_moves_to_another", an_interface_moves_to_another),
    ("a_path_that_leads_elsewhere_is_followed", a_path_that_leads_elsewhere_is_followed),
    ("its_own_under_another_name", its_own_under_another_name),
    ("too_many_open_files_are_no_end", too_many_open_files_are_no_end),
    ("what_is_none_is_waited_for_and_said_once", what_is_none_is_waited_for_and_said_once),
    ("what_cannot_be_is_wrong_use", what_cannot_be_is_wrong_use),
];

fn path(namespace: &Namespace) -> String {
    format!("/run/netns/{}", namespace.name())
}

/// Every namespace of these tests and of no others.
fn ours(links: &str) -> String {
    format!("nmt-{}-*/{links}", std::process::id())
}

fn sorted(tick: &Tick) -> Vec<&str> {
    let mut names = tick.names();
    names.sort_unstable();
    names
}

/// Counts what is sent and sent back.
fn is_counted(agent: &Agent, name: &str, namespace: &Namespace) -> Result<()> {
    agent.says_counted(name, "TCX in+out")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    let told = agrees(agent, name, namespace, "nt0")?;
    let counted = told.tx.skb.map(|count| count.packets);
    assert_eq!((told.source.as_str(), counted), ("ebpf", Some(30)));
    assert_eq!(told.ifindex, Some(namespace.ifindex("nt0")?));
    Ok(())
}

fn one(place: impl FnOnce(&Namespace) -> String) -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let place = place(&namespace);
    let name = format!("{place}/nt0");
    let agent = runtime.json_on_host(&[&name])?;
    is_counted(&agent, &name, &namespace)?;
    assert_eq!(agent.later_tick(1)?.names(), [name.as_str()]);
    let worker = runtime.running(&name)?;
    assert_eq!(worker.namespace, Some(place));
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

fn one_of_a_process() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let neighbour = json(&namespace, &["lo", "--source", "sysfs"])?;
    let name = format!("/proc/{}/ns/net/nt0", neighbour.pid());
    let agent = runtime.json_on_host(&[&name])?;
    is_counted(&agent, &name, &namespace)?;
    // With the process goes the name, if not the namespace.
    let seen = agent.stdout()?.count();
    neighbour.kill()?;
    agent.says(&[&format!("{name}: gone")])?;
    agent.wait_for_tick_from(seen, "nothing to report", |tick| tick.interfaces.is_empty())?;
    wait::until_true("the worker's end", || Ok(runtime.processes()?.is_empty()))?;
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

fn here_and_elsewhere_in_one_report() -> Result<()> {
    let ((here, there), runtime) = (pair()?, Runtime::new()?);
    let neighbour = json(&there, &["lo", "--source", "sysfs"])?;
    let name = format!("/proc/{}/ns/net/nt0", neighbour.pid());
    let agent = runtime.json(&here, &[&name, "nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    agent.says_counted(&name, "TCX in+out")?;
    here.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 50)?;
    let sent = agrees(&agent, "nt0", &here, "nt0")?;
    let received = agrees(&agent, &name, &there, "nt0")?;
    assert_eq!((sent.tx.packets, received.rx.packets), (Some(50), Some(50)));
    ensure!(agent.ticks()?.iter().all(|tick| tick.names() == ["nt0", &name]), "here first");
    runtime.end(agent)?;
    is_bare(&here, "nt0")?;
    is_bare(&there, "nt0")
}

fn every_one_that_a_pattern_matches() -> Result<()> {
    let (one, other, runtime) = (Namespace::new()?, Namespace::new()?, Runtime::new()?);
    one.add_veth_up("wnp0", "peer")?;
    one.add_veth_up("wnp1", "peer1")?;
    other.add_veth_up("wnp0", "peer")?;
    let agent = runtime.json_on_host(&[&ours("wnp*")])?;
    let names = [(&one, "wnp0"), (&one, "wnp1"), (&other, "wnp0")];
    let names = names.map(|(namespace, link)| format!("{}/{link}", namespace.name()));
    let mut expected = names.each_ref().map(String::as_str);
    expected.sort_unstable();
    agent.wait_for_tick("all three", |tick| sorted(tick) == expected)?;
    for name in &names {
        agent.says_counted(name, "TCX in+out")?;
    }
    other.send_frames("wnp0", &frame::plain(frame::BROADCAST, 100), 30)?;
    assert_eq!(agrees(&agent, &names[2], &other, "wnp0")?.tx.packets, Some(30));
    assert_eq!(agrees(&agent, &names[0], &one, "wnp0")?.tx.packets, Some(0));
    runtime.end(agent)?;
    is_bare(&one, "wnp0")
}

fn all_of_them_with_an_exception() -> Result<()> {
    let (one, other, runtime) = (Namespace::new()?, Namespace::new()?, Runtime::new()?);
    for namespace in [&one, &other] {
        namespace.add_veth_up("wna0", "wna9")?;
    }
    // None of that name is on the host.
    let arguments = ["--all-netns", "wna*", "--exclude", "wna9", "--wait"];
    let agent = runtime.json_on_host(&arguments)?;
    let mut expected = [&one, &other].map(|namespace| format!("{}/wna0", namespace.name()));
    expected.sort_unstable();
    agent.wait_for_tick("both", |tick| sorted(tick) == expected)?;
    for (name, namespace) in [(&one, &one), (&other, &other)].map(|(a, b)| (a.name(), b)) {
        is_up_and_counted(&agent, &format!("{name}/wna0"), namespace)?;
    }
    let finished = runtime.end(agent)?;
    let ticks = finished.ticks()?;
    ensure!(!ticks.iter().any(|tick| tick.names().iter().any(|name| name.ends_with("/wna9"))));
    is_bare(&one, "wna9")?;
    is_bare(&other, "wna0")
}

fn is_up_and_counted(agent: &Agent, name: &str, namespace: &Namespace) -> Result<()> {
    agent.says_counted(name, "TCX in+out")?;
    let told = agrees(agent, name, namespace, "wna0")?;
    ensure!(told.is("up") && told.source == "ebpf", "{told:?}");
    Ok(())
}

fn one_that_comes_later() -> Result<()> {
    let runtime = Runtime::new()?;
    let agent = runtime.json_on_host(&[&ours("wnc*")])?;
    agent.wait_for_tick("an empty tick", |tick| tick.interfaces.is_empty())?;
    let namespace = Namespace::new()?;
    namespace.add_veth_up("wnc0", "nt0")?;
    let name = format!("{}/wnc0", namespace.name());
    agent.says_counted(&name, "TCX in+out")?;
    namespace.send_frames("wnc0", &frame::plain(frame::BROADCAST, 100), 30)?;
    let told = agrees(&agent, &name, &namespace, "wnc0")?;
    assert_eq!((told.source.as_str(), told.tx.packets), ("ebpf", Some(30)));
    // And an interface that comes there.
    namespace.add_veth_up("wnc1", "nt1")?;
    agent.says_counted(&format!("{}/wnc1", namespace.name()), "TCX in+out")?;
    runtime.end(agent).map(drop)
}

fn one_that_is_deleted_goes() -> Result<()> {
    let (goes, stays, runtime) = (Namespace::new()?, veth()?, Runtime::new()?);
    goes.add_veth_to("wnd0", &stays, "wnd0")?;
    let (gone, left) = (format!("{}/wnd0", goes.name()), format!("{}/nt0", stays.name()));
    let agent = runtime.json_on_host(&[&gone, &left])?;
    agent.says_counted(&gone, "TCX in+out")?;
    agent.says_counted(&left, "TCX in+out")?;
    let (pid, seen) = (runtime.pid_of(&gone)?, agent.stdout()?.count());
    drop(goes);
    // Whoever held the namespace would hold this end of the veth, too.
    wait::until_true("the end of the namespace", || {
        Ok(stays.sysfs_links()? == ["lo", "nt0", "peer"])
    })?;
    agent.says(&[&format!("{gone}: gone")])?;
    agent.wait_for_tick_from(seen, "only the other", |tick| tick.names() == [left.as_str()])?;
    let absent = |tick: &Tick| tick.interface(&gone).is_ok_and(|told| told.is("absent"));
    assert_eq!(agent.ticks()?.iter().filter(|tick| absent(tick)).count(), 1, "told of once");
    wait::until_true("the worker's end", || Ok(!runtime.processes()?.contains(&pid)))?;
    stays.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    assert_eq!(agrees(&agent, &left, &stays, "nt0")?.tx.packets, Some(30));
    let finished = runtime.end(agent)?;
    assert!(!finished.stderr.contains("started again"), "{finished:?}");
    Ok(())
}

fn one_that_is_not_there_is_waited_for() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    // A directory of another test would be there when the network monitor's own has to be gone.
    let names = Scratch::new()?;
    let place = names.path().join("later");
    let name = format!("{}/nt0", place.display());
    let there_is_none = ["there is no network namespace", &place.display().to_string()];
    let finished = runtime.json_on_host(&[&name])?.finish()?;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
    for said in there_is_none.into_iter().chain(["--wait"]) {
        assert!(finished.stderr.contains(said), "{finished:?}");
    }
    let agent = runtime.json_on_host(&[&name, "--wait"])?;
    agent.says(&there_is_none)?;
    symlink(path(&namespace), &place)?;
    is_counted(&agent, &name, &namespace)?;
    runtime.end(agent).map(drop)
}

fn an_interface_moves_to_another() -> Result<()> {
    let (from, to, runtime) = (veth()?, Namespace::new()?, Runtime::new()?);
    let names = [&from, &to].map(|namespace| format!("{}/nt0", namespace.name()));
    let agent = runtime.json_on_host(&[&names[0], &names[1], "--wait"])?;
    agent.says_counted(&names[0], "TCX in+out")?;
    from.move_to("nt0", &to)?;
    agent.says(&[&format!("{}: gone", names[0])])?;
    to.set_up("nt0")?;
    is_counted(&agent, &names[1], &to)?;
    agent.wait_for_tick("it at its new place", |tick| tick.names() == [names[1].as_str()])?;
    runtime.end(agent)?;
    is_bare(&to, "nt0")
}

/// As when a container is started again, which nobody tells.
fn a_path_that_leads_elsewhere_is_followed() -> Result<()> {
    let (before, after, runtime) = (veth()?, veth()?, Runtime::new()?);
    let names = Scratch::new()?;
    let (place, next) = (names.path().join("place"), names.path().join("next"));
    symlink(path(&before), &place)?;
    let name = format!("{}/nt0", place.display());
    let agent = runtime.json_on_host(&[&name])?;
    is_counted(&agent, &name, &before)?;
    let pid = runtime.pid_of(&name)?;
    symlink(path(&after), &next)?;
    fs::rename(&next, &place)?;
    agent.says(&[&format!("{name}: gone")])?;
    after.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 12)?;
    agent.wait_for_tick("the totals of the other", |tick| {
        let counts = |told: &Interface| told.source == "ebpf" && told.tx.packets == Some(12);
        tick.interface(&name).is_ok_and(counts)
    })?;
    wait::until_true("the end of the first one's process", || Ok(!process::is_alive(pid)?))?;
    runtime.end(agent)?;
    is_bare(&before, "nt0")?;
    is_bare(&after, "nt0")
}

fn its_own_under_another_name() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let neighbour = json(&namespace, &["lo", "--source", "sysfs"])?;
    let name = format!("/proc/{}/ns/net/nt0", neighbour.pid());
    let agent = runtime.json(&namespace, &["peer", &name])?;
    is_counted(&agent, &name, &namespace)?;
    assert_eq!(agent.later_tick(1)?.names(), ["peer", name.as_str()]);
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

/// May so many files be open at once.
fn limit_open_files(pid: u32, most: Option<u64>) -> Result<()> {
    let pid = i32::try_from(pid)?;
    let mut limits = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel reads and fills in these structures, which live as long.
    unsafe {
        let old = libc::prlimit64(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limits);
        Errno::result(old)?;
        limits.rlim_cur = most.unwrap_or(limits.rlim_max);
        let new =
            libc::prlimit64(pid, libc::RLIMIT_NOFILE, &raw const limits, std::ptr::null_mut());
        Errno::result(new)?;
    }
    Ok(())
}

fn too_many_open_files_are_no_end() -> Result<()> {
    let runtime = Runtime::new()?;
    let agent = runtime.json_on_host(&[&ours("wnf*")])?;
    // With the second one its clock is there, without which it cannot be.
    agent.later_tick(2)?;
    limit_open_files(agent.pid(), Some(3))?;
    let namespace = Namespace::new()?;
    namespace.add_veth_up("wnf0", "nt0")?;
    agent.says(&["namespaces that come are not seen for now: Too many open files"])?;
    limit_open_files(agent.pid(), None)?;
    agent.says_counted(&format!("{}/wnf0", namespace.name()), "TCX in+out")?;
    let finished = runtime.end(agent)?;
    assert!(!finished.stderr.contains("has ended"), "{finished:?}");
    Ok(())
}

fn what_cannot_be_is_wrong_use() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    for wrong in ["../nt0", "a/b/nt0", "container:xyz/nt0", "container:0123456789ab"] {
        let finished = runtime.monitor(&namespace, &["nt0", wrong]).finish()?;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
        assert!(finished.stderr.contains(wrong), "{finished:?}");
    }
    let finished = runtime.json_on_host(&[&format!("{}/nt9", namespace.name())])?.finish()?;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
    assert!(finished.stderr.contains("did you mean 'nt0'?"), "{finished:?}");
    // What is there and is no namespace, or one of another kind.
    for wrong in ["/etc/passwd", "/etc/passwd/x", "/proc/self/ns/uts", "/dev/null"] {
        let command = runtime.monitor(&namespace, &["nt0", &format!("{wrong}/nt0")]);
        let finished = command.finish()?;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
        assert!(finished.stderr.contains("no network namespace"), "{finished:?}");
        assert!(finished.stderr.contains(wrong), "{finished:?}");
    }
    runtime.is_empty()?;
    is_bare(&namespace, "nt0")
}

/// It may become one.
fn what_is_none_is_waited_for_and_said_once() -> Result<()> {
    let (namespace, runtime, names) = (veth()?, Runtime::new()?, Scratch::new()?);
    let place = names.write("later", "")?;
    let name = format!("{}/nt0", place.display());
    let agent = runtime.json_on_host(&[&name, "--wait", "lo", "--source", "sysfs"])?;
    agent.says(&[&format!("{} is no network namespace", place.display())])?;
    // It is looked at every two seconds.
    agent.later_tick(50)?;
    assert_eq!(agent.times_said(&["is no network namespace"])?, 1);
    fs::remove_file(&place)?;
    symlink(path(&namespace), &place)?;
    agent.wait_for_tick("its interface", |tick| tick.interface(&name).is_ok())?;
    runtime.end(agent).map(drop)
}
