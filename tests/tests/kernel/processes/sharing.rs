//! Sockets that are accepted, inherited, handed over, shared, or older than the tracer; processes
//! that are gone at once; other kinds of sockets; other namespaces.

use anyhow::{Context, Result, ensure};
use netmon::{model::traffic::facts::SocketTraffic, sources::trace::TraceOptions};
use netmon_tests::{kernel::SOCKET_LENGTHS, netns::Namespace, peer::Peer};

use super::{PEER, Watch, loopback, received, sent};
use crate::{
    Test,
    common::{FAR, pair},
};

pub(crate) const TESTS: &[Test] = &[
    ("a_child_sends_on_what_it_inherits", || from_process_to_process("inherit")),
    ("a_child_sends_on_what_it_is_given", || from_process_to_process("pass")),
    ("each_that_accepts_has_its_own", each_that_accepts_has_its_own),
    ("a_socket_from_before_the_start", a_socket_from_before_the_start),
    ("a_process_that_is_gone_at_once", a_process_that_is_gone_at_once),
    ("many_that_are_gone_at_once", many_that_are_gone_at_once),
    ("both_ends_and_their_tcp_say_the_same", both_ends_and_their_tcp_say_the_same),
    ("threads_that_call_at_once", threads_that_call_at_once),
    ("unix_sockets_are_not_counted", unix_sockets_are_not_counted),
    ("two_namespaces_at_once", two_namespaces_at_once),
    ("who_finds_the_table_full", who_finds_the_table_full),
];

const BYTES: u64 = 50_000;
const MESSAGES: u64 = 50;

/// A receiver of TCP in a namespace, and where it listens.
fn receiver(namespace: &Namespace, address: &str, bytes: u64) -> Result<(Peer, String)> {
    let (anywhere, bytes) = (format!("{address}:0"), bytes.to_string());
    let mut peer = Peer::start(namespace, PEER, &["receive", "tcp", &anywhere, "recv", &bytes])?;
    let port = peer.tells("port")?;
    Ok((peer, format!("{address}:{port}")))
}

/// `first` sends 1,000 bytes itself before it forks, or nothing before it hands the socket over.
fn from_process_to_process(how: &str) -> Result<()> {
    let (mut watch, namespace) = (Watch::start()?, loopback()?);
    let own = if how == "inherit" { 1_000 } else { 0 };
    let (mut other, there) = receiver(&namespace, "127.0.0.1", own + BYTES)?;
    let mut first = Peer::start(&namespace, PEER, &[how, &there, &BYTES.to_string()])?;
    first.says("ready")?;
    first.go()?;
    let second = first.tells("done")?;
    other.tells("done")?;
    assert_eq!(watch.process(second)?.tcp, sent(BYTES, MESSAGES));
    assert_eq!(watch.process(other.pid())?.tcp.rx_bytes, own + BYTES);
    let first_said = watch.of(first.pid().into())?.map(|process| process.tcp);
    assert_eq!(first_said, (own > 0).then(|| sent(own, 1)));
    first.end()?;
    other.end()
}

fn each_that_accepts_has_its_own() -> Result<()> {
    const CHILDREN: usize = 4;
    let (mut watch, namespace) = (Watch::start()?, loopback()?);
    let arguments = ["prefork", "127.0.0.1:0", &CHILDREN.to_string(), &BYTES.to_string()];
    let mut parent = Peer::start(&namespace, PEER, &arguments)?;
    let there = format!("127.0.0.1:{}", parent.tells("port")?);
    let mut children = Vec::new();
    for _ in 0..CHILDREN {
        let arguments = ["send", "tcp", &there, "send", &BYTES.to_string()];
        let mut sender = Peer::start(&namespace, PEER, &arguments)?;
        sender.says("ready")?;
        sender.go()?;
        sender.tells("done")?;
        children.push(parent.tells("child")?);
        sender.end()?;
    }
    for child in children {
        let told = watch.process(child)?;
        assert_eq!((told.tcp.rx_bytes, told.tcp.tx_bytes), (BYTES, 0), "{told:?}");
    }
    let parent_said = watch.of(parent.pid().into())?;
    assert_eq!(parent_said, None, "it has only listened");
    parent.end()
}

fn a_socket_from_before_the_start() -> Result<()> {
    let namespace = loopback()?;
    let (mut other, there) = receiver(&namespace, "127.0.0.1", BYTES)?;
    let arguments = ["send", "tcp", &there, "send", &BYTES.to_string()];
    let mut sender = Peer::start(&namespace, PEER, &arguments)?;
    sender.says("ready")?;
    let mut watch = Watch::start()?;
    sender.go()?;
    let messages = sender.tells("done")?;
    other.tells("done")?;
    let (from, to) = (watch.process(sender.pid())?, watch.process(other.pid())?);
    // A program at the end of a function does not see the end of a call that began before it.
    let waited = if SOCKET_LENGTHS.is_here() { 0 } else { to_first_call(&to.tcp) };
    assert_eq!((from.tcp, to.tcp.rx_bytes), (sent(BYTES, messages), BYTES - waited));
    assert!(!from.is_new && !to.is_new, "they were there: {from:?} {to:?}");
    sender.end()?;
    other.end()
}

/// What the receiver's first call took: anything up to its room.
fn to_first_call(told: &SocketTraffic) -> u64 {
    let missed = BYTES - told.rx_bytes;
    assert!((1..=8_000).contains(&missed), "{told:?}");
    missed
}

/// Its name and bytes stay known, and it is shown once as ended, then no more.
fn a_process_that_is_gone_at_once() -> Result<()> {
    let (mut watch, namespace) = (Watch::start()?, loopback()?);
    let (mut other, there) = receiver(&namespace, "127.0.0.1", BYTES)?;
    let arguments = ["brief", "tcp", &there, &BYTES.to_string()];
    let mut sender = Peer::start(&namespace, PEER, &arguments)?;
    sender.end()?;
    other.tells("done")?;
    let gone = watch.process(sender.pid())?;
    assert_eq!(gone.tcp, sent(BYTES, MESSAGES));
    assert_eq!((gone.name.as_ref(), gone.alive, gone.is_new), ("netmon-peer", false, true));
    let pid = sender.pid();
    let facts = watch.look()?.processes.as_ref().context("no processes")?;
    ensure!(facts.processes.iter().all(|process| process.pid != pid), "it is still there");
    other.end()
}

/// Each gets a slot that another one has left, and nothing of what that has carried.
fn many_that_are_gone_at_once() -> Result<()> {
    let namespace = loopback()?;
    let mut watch = Watch::start()?;
    for round in 1..=40 {
        let (mut other, there) = receiver(&namespace, "127.0.0.1", 1_000 * round)?;
        let arguments = ["brief", "tcp", &there, &(1_000 * round).to_string()];
        let mut sender = Peer::start(&namespace, PEER, &arguments)?;
        sender.end()?;
        other.tells("done")?;
        let gone = watch.process(sender.pid())?;
        assert_eq!((gone.tcp, gone.alive), (sent(1_000 * round, round), false));
        let taken = watch.process(other.pid())?.tcp;
        assert_eq!(taken.rx_bytes, 1_000 * round);
        other.end()?;
    }
    assert!(watch.highest_life() > 1, "no slot was used again");
    Ok(())
}

/// Twenty megabytes over a link, in as many segments as TCP likes.
fn both_ends_and_their_tcp_say_the_same() -> Result<()> {
    const BULK: u64 = 20_000_000;
    let mut watch = Watch::start()?;
    let (here, there) = pair()?;
    let (mut far, address) = receiver(&there, &FAR.to_string(), BULK)?;
    let bulk = BULK.to_string();
    let mut near = Peer::start(&here, PEER, &["send", "tcp", &address, "writev", &bulk])?;
    near.says("ready")?;
    near.go()?;
    let (out, taken) = (near.tells("done")?, far.tells("done")?);
    assert_eq!((near.tells("kernel")?, far.tells("kernel")?), (BULK, BULK), "TCP_INFO");
    assert_eq!(watch.process(near.pid())?.tcp, sent(BULK, out));
    assert_eq!(watch.process(far.pid())?.tcp, received(BULK, taken));
    near.end()?;
    far.end()
}

/// Which of them is the process's first is chance: it has one entry, and each byte once.
fn threads_that_call_at_once() -> Result<()> {
    const THREADS: u64 = 8;
    let (mut watch, namespace) = (Watch::start()?, loopback()?);
    for _ in 0..30 {
        // Nobody has to take it.
        let arguments = ["threads", "127.0.0.1:9", &THREADS.to_string(), "1000"];
        let mut peer = Peer::start(&namespace, PEER, &arguments)?;
        peer.says("ready")?;
        peer.go()?;
        peer.tells("done")?;
        let told = watch.process(peer.pid())?;
        assert_eq!(told.udp, sent(THREADS * 1_000, THREADS));
        peer.end()?;
    }
    // The slots that were popped in vain are given to others, each once.
    let processes = watch.look()?.processes.clone().context("no processes")?;
    assert_eq!(processes.untracked, 0);
    Ok(())
}

fn unix_sockets_are_not_counted() -> Result<()> {
    let (mut watch, namespace) = (Watch::start()?, loopback()?);
    let mut peer = Peer::start(&namespace, PEER, &["unix", &BYTES.to_string()])?;
    peer.says("ready")?;
    peer.go()?;
    peer.tells("done")?;
    assert_eq!(watch.of(peer.pid().into())?, None);
    peer.end()
}

/// Over a link, and in a third namespace with the same addresses and ports.
fn two_namespaces_at_once() -> Result<()> {
    let mut watch = Watch::start()?;
    let ((here, there), alone) = (pair()?, loopback()?);
    let (mut far, address) = receiver(&there, &FAR.to_string(), BYTES)?;
    let port = address.rsplit_once(':').context("no port")?.1;
    let local = format!("127.0.0.1:{port}");
    let twice = (2 * BYTES).to_string();
    let mut near = Peer::start(&alone, PEER, &["receive", "tcp", &local, "recv", &twice])?;
    near.tells("port")?;
    let (once, big) = (BYTES.to_string(), twice.clone());
    let mut over = Peer::start(&here, PEER, &["send", "tcp", &address, "write", &once])?;
    let mut within = Peer::start(&alone, PEER, &["send", "tcp", &local, "write", &big])?;
    for sender in [&mut over, &mut within] {
        sender.says("ready")?;
        sender.go()?;
        sender.tells("done")?;
    }
    for peer in [&mut far, &mut near] {
        peer.tells("done")?;
    }
    assert_eq!(watch.process(over.pid())?.tcp, sent(BYTES, MESSAGES));
    assert_eq!(watch.process(within.pid())?.tcp, sent(2 * BYTES, 2 * MESSAGES));
    assert_eq!(watch.process(far.pid())?.tcp.rx_bytes, BYTES);
    assert_eq!(watch.process(near.pid())?.tcp.rx_bytes, 2 * BYTES);
    assert_eq!(watch.process(near.pid())?.udp, SocketTraffic::default());
    Ok(())
}

/// What it carries is not lost: it belongs to no process.
fn who_finds_the_table_full() -> Result<()> {
    let namespace = loopback()?;
    let options = TraceOptions { drops: false, process_capacity: 1, ..TraceOptions::default() };
    let mut watch = Watch::with(&options)?;
    let (mut other, there) = receiver(&namespace, "127.0.0.1", BYTES)?;
    let arguments = ["send", "tcp", &there, "send", &BYTES.to_string()];
    let mut sender = Peer::start(&namespace, PEER, &arguments)?;
    sender.says("ready")?;
    sender.go()?;
    sender.tells("done")?;
    other.tells("done")?;
    let facts = watch.look()?.processes.clone().context("no processes")?;
    let (sum, capacity) = (facts.untracked, facts.capacity);
    assert_eq!(capacity, 1);
    // One of the two, or both when a process of somebody else's was faster.
    assert!(sum >= BYTES, "{facts:?}");
    sender.end()?;
    other.end()
}
