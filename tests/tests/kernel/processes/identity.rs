//! Who it is: names, users, command lines, and what of that survives the process.

use std::{fs, os::unix::fs::symlink, time::Duration};

use anyhow::{Context, Result};
use netmon::{
    model::traffic::{thresholds::TrafficOptions, view::TrafficView},
    sources::trace::{TraceOptions, cgroup, users},
};
use netmon_tests::{peer::Peer, scratch::Scratch, wait};

use super::{PEER, Watch, loopback};
use crate::{Test, common};

pub(crate) const TESTS: &[Test] = &[
    ("a_living_one_has_all_there_is", a_living_one_has_all_there_is),
    ("a_user_without_a_name_has_a_number", a_user_without_a_name_has_a_number),
    ("exec_changes_the_name", exec_changes_the_name),
    ("a_program_is_new_when_it_first_talks", a_program_is_new_when_it_first_talks),
    ("without_privileges_it_goes_on", without_privileges_it_goes_on),
];

fn a_living_one_has_all_there_is() -> Result<()> {
    let (mut watch, namespace) = (Watch::start()?, loopback()?);
    let arguments = ["receive", "udp", "127.0.0.1:0", "recv", "1000"];
    let mut other = Peer::start(&namespace, PEER, &arguments)?;
    let there = format!("127.0.0.1:{}", other.tells("port")?);
    let mut sender = Peer::start(&namespace, PEER, &["send", "udp", &there, "send", "1000"])?;
    sender.says("ready")?;
    sender.go()?;
    sender.tells("done")?;
    let told = watch.process(sender.pid())?;
    assert_eq!((told.name.as_ref(), told.uid), ("netmon-peer", 0));
    assert_eq!((told.alive, told.is_new, told.kernel_thread), (true, true, false));
    // The virtual machine has no users.
    let users = users::parse(&fs::read_to_string("/etc/passwd").unwrap_or_default());
    let user = users.get(&0).map_or("0", |name| name.as_ref());
    assert_eq!(told.user.as_deref(), Some(user));
    let command = told.command.context("no command line")?;
    assert_eq!(command.as_ref(), format!("{PEER} send udp {there} send 1000"));
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", sender.pid()))?;
    let group = cgroup::name_of_process(&groups);
    assert_eq!(told.cgroup.as_deref(), group.as_deref());
    // CLOCK_MONOTONIC, not the wall's: it was started after the machine, and before now.
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
    assert!(!told.started.0.is_zero() && told.started.0 < now.into(), "{:?}", told.started);
    sender.end()?;
    other.end()
}

/// As ps(1) shows it.
fn a_user_without_a_name_has_a_number() -> Result<()> {
    const NOBODYS: u32 = 54_321;
    let (mut watch, namespace) = (Watch::start()?, loopback()?);
    let arguments = ["receive", "udp", "127.0.0.1:0", "recv", "1000"];
    let mut other = Peer::start(&namespace, PEER, &arguments)?;
    let there = format!("127.0.0.1:{}", other.tells("port")?);
    let arguments = ["send", "udp", &there, "send", "1000"];
    let mut sender = Peer::start_as(&namespace, NOBODYS, PEER, &arguments)?;
    sender.says("ready")?;
    sender.go()?;
    sender.tells("done")?;
    let told = watch.process(sender.pid())?;
    assert_eq!((told.uid, told.user.as_deref()), (NOBODYS, Some("54321")));
    sender.end()?;
    other.end()
}

/// The same process, another program: what it carried before is still its own.
fn exec_changes_the_name() -> Result<()> {
    let (mut watch, namespace) = (Watch::start()?, loopback()?);
    let scratch = Scratch::new()?;
    let program = scratch.path().join("nmt-second");
    symlink(PEER, &program)?;
    let program = program.to_str().context("a path")?;
    let arguments = ["receive", "tcp", "127.0.0.1:0", "recv", "4000"];
    let mut other = Peer::start(&namespace, PEER, &arguments)?;
    let there = format!("127.0.0.1:{}", other.tells("port")?);
    let mut sender = Peer::start(&namespace, PEER, &["exec", &there, "2000", program])?;
    sender.says("ready")?;
    sender.go()?;
    sender.tells("done")?;
    let before = watch.process(sender.pid())?;
    assert_eq!((before.name.as_ref(), before.tcp.tx_bytes), ("netmon-peer", 2_000));
    sender.says("ready")?;
    sender.go()?;
    sender.tells("done")?;
    let after = watch.process(sender.pid())?;
    assert_eq!((after.name.as_ref(), after.tcp.tx_bytes), ("nmt-second", 4_000));
    assert_eq!((after.id, after.life, after.started), (before.id, before.life, before.started));
    let command = wait::until("the new command line", || {
        Ok(watch.process(sender.pid())?.command.filter(|it| it.contains("nmt-second")))
    })?;
    assert!(command.contains(" go-on "), "{command}");
    sender.end()?;
    other.end()
}

/// What the view tells of a process at a tick.
fn news(watch: &mut Watch, view: &mut TrafficView, process: &Peer) -> Result<Vec<String>> {
    let events = view.update(watch.look()?, |_| None, &TrafficOptions::default());
    let pid = format!("(pid {}, ", process.pid());
    let messages = events.into_iter().map(|event| event.message);
    Ok(messages.filter(|message| message.contains(&pid)).collect())
}

/// All ran before the start, so who talks at once may have talked then; who is silent for the first
/// while has not, and neither has the program that another one becomes.
fn a_program_is_new_when_it_first_talks() -> Result<()> {
    let (namespace, scratch) = (loopback()?, Scratch::new()?);
    // A name of its own, which no other test's process has.
    let program = scratch.path().join("nmt-becomes");
    symlink(PEER, &program)?;
    let program = program.to_str().context("a path")?;
    let arguments = ["receive", "tcp", "127.0.0.1:0", "recv", "4000"];
    let mut other = Peer::start(&namespace, PEER, &arguments)?;
    let there = format!("127.0.0.1:{}", other.tells("port")?);
    let mut early = Peer::start(&namespace, PEER, &["exec", &there, "2000", program])?;
    let mut late = Peer::start(&namespace, PEER, &["send", "udp", &there, "send", "1000"])?;
    early.says("ready")?;
    late.says("ready")?;

    // The first while is over when the first tick is.
    let options = TraceOptions { settling: Duration::ZERO, drops: false, ..Default::default() };
    let (mut watch, mut view) = (Watch::with(&options)?, TrafficView::default());
    early.go()?;
    early.tells("done")?;
    assert_eq!(news(&mut watch, &mut view, &early)?, [""; 0], "it may have talked before");
    assert!(!watch.process(early.pid())?.is_new);

    late.go()?;
    late.tells("done")?;
    let told = news(&mut watch, &mut view, &late)?;
    assert!(watch.process(late.pid())?.is_new);
    let first = "talks to the network for the first time";
    assert!(told.len() == 1 && told[0].ends_with(first), "{told:?}");

    early.says("ready")?;
    early.go()?;
    early.tells("done")?;
    let told = news(&mut watch, &mut view, &early)?;
    assert!(told.len() == 1 && told[0].starts_with("nmt-becomes (pid "), "{told:?}");
    assert_eq!(news(&mut watch, &mut view, &early)?, [""; 0], "once");
    early.end()?;
    late.end()?;
    other.end()
}

/// They are for the start. Slots are read, given back and used again without.
fn without_privileges_it_goes_on() -> Result<()> {
    let namespace = loopback()?;
    common::on_a_thread_of_its_own(|| {
        let mut watch = Watch::start()?;
        netmon::privileges::drop_all_but(&[]);
        // The slot that was given back last is given out first, to whoever comes.
        wait::until_true("a slot to be used again", || {
            let arguments = ["receive", "udp", "127.0.0.1:0", "recv", "1000"];
            let mut other = Peer::start(&namespace, PEER, &arguments)?;
            let there = format!("127.0.0.1:{}", other.tells("port")?);
            let mut sender = Peer::start(&namespace, PEER, &["brief", "udp", &there, "1000"])?;
            sender.end()?;
            other.tells("done")?;
            other.end()?;
            assert!(!watch.process(sender.pid())?.alive);
            Ok(watch.highest_life() > 1)
        })?;
        Ok(())
    })
}
