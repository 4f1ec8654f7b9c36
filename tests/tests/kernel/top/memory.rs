//! How much memory a full table of flows takes, which anybody outside can fill.

use std::{
    fs,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use netmon_tests::{
    agent::Finished, headers, memory_group::MemoryGroup, netns::Namespace, packet::PacketSocket,
    terminal::Terminal, wait,
};
use nix::sys::signal::Signal;

use super::{end_quietly, in_turn, pages, until};
use crate::{
    Test,
    common::{NETMON, is_bare, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("a_full_table_takes_little_memory", || in_turn(a_full_table)),
    ("a_full_table_takes_little_memory_in_the_live_view", || in_turn(in_the_live_view)),
    ("a_limit_of_64_mb_is_enough", || in_turn(a_limit_of_64_mb_is_enough)),
    ("a_lower_limit_makes_the_table_smaller", || in_turn(a_lower_limit)),
    ("where_no_flow_is_shown_none_is_kept", || in_turn(where_no_flow_is_shown)),
];

/// As many flows as there is room for, and more.
const CAPACITY: u64 = 65_536;
const FLOWS: u32 = 70_000;

/// The most that netmon may take, in KiB, its program's pages not counted: 10 MiB more as it is
/// shipped, which without optimizing are several times as many. What it has before is a tenth of
/// it.
const MOST: u64 = 20 << 10;

/// The memory that is a process's own now, in KiB.
fn own(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let own =
        status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    Ok(own.trim().trim_end_matches(" kB").parse()?)
}

/// Whenever it is looked at, for a while.
fn takes_little(pid: u32, most: u64) -> Result<()> {
    for _ in 0..20 {
        let own = own(pid)?;
        ensure!(own <= most, "{own} KiB instead of {most}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Sends a packet of each flow again and again while `work` is done.
fn scanned<T>(namespace: &Namespace, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let socket = namespace.packet_socket("nt0")?;
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let sending = scope.spawn(|| scan(socket, &ended));
        let result = work();
        ended.store(true, Ordering::Relaxed);
        match sending.join() {
            Ok(sent) => sent.and(result),
            Err(_) => bail!("the sender panicked"),
        }
    })
}

fn scan(mut socket: PacketSocket, ended: &AtomicBool) -> Result<()> {
    let ports = FLOWS / 2;
    let header = headers::ethernet(&[], headers::IPV4);
    for flow in (0..FLOWS).cycle() {
        if ended.load(Ordering::Relaxed) {
            return Ok(());
        }
        let [.., third, last] = (flow / ports).to_be_bytes();
        let from = Ipv4Addr::new(198, 51, third, last);
        let port = u16::try_from(flow % ports)?;
        let udp = headers::udp((port, 9), 10);
        let packet = headers::ipv4((from, Ipv4Addr::new(192, 0, 2, 2)), 17, &udp);
        socket.send(&[&header[..], &packet].concat())?;
    }
    Ok(())
}

fn a_full_table() -> Result<()> {
    let namespace = veth()?;
    let arguments = ["nt0", "--by", "flow", "--limit", "10", "--sort", "bytes"];
    let agent = pages(&namespace, &arguments)?;
    scanned(&namespace, || {
        for _ in 0..5 {
            until(&agent, "a full table", |it| {
                (it.flow_table.as_ref()?.used == CAPACITY).then_some(())
            })?;
        }
        takes_little(agent.pid(), MOST)
    })?;
    end_quietly(agent)?;
    is_bare(&namespace, "nt0")
}

/// It lives with a full table, whose size the limit allows.
fn lives_within(mib: u64, capacity: u64) -> Result<Finished> {
    let namespace = veth()?;
    let group = MemoryGroup::new(&namespace, mib << 20)?;
    let arguments = ["top", "nt0", "--by", "flow", "--limit", "10", "--format", "json"];
    let program = [&[NETMON][..], &arguments, &["--interval", "100ms"]].concat();
    let agent = group.command(&program).start()?;
    scanned(&namespace, || {
        let mut full = 0;
        until(&agent, "a full table, for a while", |it| {
            let table = it.flow_table.as_ref()?;
            full += u64::from(table.used >= capacity * 3 / 4 && table.capacity == capacity);
            (full > 20).then_some(())
        })
    })?;
    agent.signal(Signal::SIGINT)?;
    let finished = agent.finish()?;
    ensure!(finished.code == Some(0), "{finished:?}");
    Ok(finished)
}

fn a_limit_of_64_mb_is_enough() -> Result<()> {
    let finished = lives_within(64, CAPACITY)?;
    ensure!(finished.stderr.is_empty(), "{finished:?}");
    Ok(())
}

fn a_lower_limit() -> Result<()> {
    let finished = lives_within(48, 49_152)?;
    let told = "room for 49152 flows instead of 65536, because the control group's memory is \
                limited to 48 MiB";
    ensure!(finished.stderr.contains(told), "{finished:?}");
    Ok(())
}

fn in_the_live_view() -> Result<()> {
    let namespace = veth()?;
    let start = || Terminal::start(NETMON, &["top", "nt0"], (140, 30));
    let mut terminal = namespace.run(start)?;
    terminal.until_has("q quit")?;
    terminal.type_in("3")?;
    scanned(&namespace, || {
        let all = format!("of {CAPACITY} flows");
        // In each order.
        for _ in 0..10 {
            terminal.until_has(&all)?;
            terminal.type_in(">")?;
        }
        takes_little(terminal.pid(), MOST)
    })?;
    terminal.type_in("q")?;
    terminal.until_end()?;
    is_bare(&namespace, "nt0")
}

fn where_no_flow_is_shown() -> Result<()> {
    let namespace = veth()?;
    for by in ["protocol", "size", "interface"] {
        let agent = pages(&namespace, &["nt0", "--by", by])?;
        until(&agent, "a table", |_| Some(()))?;
        let before = own(agent.pid())?;
        scanned(&namespace, || {
            wait::until_true("all flows", || {
                Ok(namespace.sysfs_totals("nt0")?.tx_packets >= 2 * u64::from(FLOWS))
            })?;
            takes_little(agent.pid(), before + 1024)
        })?;
        end_quietly(agent)?;
    }
    is_bare(&namespace, "nt0")
}
