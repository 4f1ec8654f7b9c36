//! Known traffic in the lines of `netmon run --traffic` and the tables of `netmon top`.

use std::fs;

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::AgentCommand,
    inet::{self, UDP_HEADERS},
    json::Pair,
    netns::Namespace,
    traffic_json::{Messages, Traffic},
};

use super::{end_quietly, in_turn, pages, peers, report, send, top, until};
use crate::{
    Test,
    common::{FAR, NEAR, NETMON, interrupt, pair},
};

pub(crate) const TESTS: &[Test] = &[
    ("datagrams_to_the_byte_in_every_table", || in_turn(datagrams_to_the_byte)),
    ("a_stream_to_the_byte_in_every_table", || in_turn(a_stream_to_the_byte)),
    ("in_a_time_namespace_command_lines_are_shown", || in_turn(in_a_time_namespace)),
    ("a_burst_of_one_moment", || in_turn(a_burst_of_one_moment)),
    ("drops_at_an_interface", || in_turn(drops_at_an_interface)),
    ("drops_elsewhere_are_not_shown", || in_turn(drops_elsewhere_are_not_shown)),
    ("a_new_program_is_told_once", || in_turn(a_new_program_is_told_once)),
    ("what_is_above_is_told_until_it_is_below", || in_turn(what_is_above_is_told)),
    ("other_interfaces_flows_are_not_shown", || in_turn(other_interfaces_are_not_shown)),
    ("a_renamed_interfaces_flows_have_its_name", || in_turn(a_renamed_interface)),
    ("an_interface_that_comes_later", || in_turn(an_interface_that_comes_later)),
    ("a_full_table_says_so", || in_turn(a_full_table_says_so)),
    ("a_sample_is_marked", || in_turn(a_sample_is_marked)),
];

/// `netmon-peer` sends so much at once.
const MESSAGE: u64 = 1000;
/// Few enough for a socket whose reader is late.
const BYTES: u64 = 40_000;
/// Before the payload of a TCP segment: Ethernet, IPv4, TCP with time stamps.
const TCP_HEADERS: u64 = 14 + 20 + 20 + 12;
/// What the options of a first segment are longer.
const SYN_MORE: u64 = 8;
/// The payload of a segment at most, and more than [`SYN_MORE`].
const SEGMENT: u64 = 1500;

/// What a process has moved in a direction.
fn moved(traffic: &Traffic, pid: u32, sent: bool) -> Option<(Messages, Messages)> {
    let process = traffic.process(pid)?;
    let sockets = if sent { process.tx } else { process.rx };
    assert_eq!(sockets.bytes, sockets.tcp.bytes + sockets.udp.bytes);
    Some((sockets.tcp, sockets.udp))
}

fn datagrams_to_the_byte() -> Result<()> {
    let (here, there) = pair()?;
    let agent = report(&here, &["--traffic"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    let (mut sender, mut receiver, port) = peers((&here, &there), "udp", BYTES)?;
    send(&mut sender, &mut receiver)?;
    let (from, to) = (sender.pid(), receiver.pid());
    until(&agent, "both processes, one with its flow", |it| {
        it.process(to).filter(|_| it.flow("nt0", "tx", port).is_some_and(|it| it.pid.is_some()))?;
        Some(())
    })?;
    // What passes while a tick is read may be in one of its tables and not in another.
    let tick = agent.fresh_tick()?;
    let whole = tick.traffic.clone().context("no traffic")?;
    let all = Messages { messages: BYTES / MESSAGE, bytes: BYTES };
    let none = Messages { messages: 0, bytes: 0 };
    assert_eq!(moved(&whole, from, true), Some((none, all)));
    assert_eq!(moved(&whole, from, false), Some((none, none)));
    assert_eq!(moved(&whole, to, false), Some((none, all)));
    let flow = whole.flow("nt0", "tx", port).context("no flow")?;
    let wire = BYTES + BYTES / MESSAGE * UDP_HEADERS as u64;
    let wire = Pair { packets: BYTES / MESSAGE, bytes: wire };
    assert_eq!((flow.wire, flow.skb, flow.pid), (wire, wire, Some(from)));
    assert_eq!(flow.source.as_deref(), Some(NEAR.to_string().as_str()));
    assert_eq!(flow.destination.as_deref(), Some(FAR.to_string().as_str()));
    assert_eq!(whole.protocol("nt0", "tx", "udp"), Some(wire));
    let sizes = whole.sizes.iter().flatten();
    let size = sizes.into_iter().find(|it| it.direction == "tx" && it.size == "1024-1518");
    assert_eq!(size.map(|it| (it.packets, it.bytes)), Some((wire.packets, wire.bytes)));
    // Nothing else was sent: what is known by flow is what the interface's report has.
    assert_eq!(tick.interface("nt0")?.tx.wire, Some(wire));
    assert_eq!(whole.interface("nt0").map(|it| it.tx.bytes), Some(wire.bytes));
    interrupt(agent).map(drop)
}

fn a_stream_to_the_byte() -> Result<()> {
    let (here, there) = pair()?;
    // Else the last segment is sent again after two milliseconds without an answer (tail loss
    // probe), which a busy machine takes at times. Still it may be, after 200.
    here.run(|| Ok(std::fs::write("/proc/sys/net/ipv4/tcp_early_retrans", "0")?))?;
    let agent = report(&here, &["--traffic"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    let (mut sender, mut receiver, port) = peers((&here, &there), "tcp", BYTES)?;
    send(&mut sender, &mut receiver)?;
    inet::settle(&here, "nt0")?;
    let (from, to) = (sender.pid(), receiver.pid());
    until(&agent, "its owner", |it| it.flow("nt0", "tx", port)?.pid)?;
    let whole = agent.fresh_tick()?.traffic.context("no traffic")?;
    let (sent, received) = (moved(&whole, from, true), moved(&whole, to, false));
    assert_eq!(
        sent.map(|(tcp, _)| tcp),
        Some(Messages { messages: BYTES / MESSAGE, bytes: BYTES })
    );
    assert_eq!(received.map(|(tcp, _)| tcp.bytes), Some(BYTES));
    let flow = whole.flow("nt0", "tx", port).context("no flow")?;
    // The connection is open still: a SYN, and what was sent again.
    let more = flow.wire.bytes - flow.wire.packets * TCP_HEADERS - BYTES - SYN_MORE;
    let again = sent_again(&here)?;
    ensure!(more <= again * SEGMENT, "{more} bytes more, {again} sent again: {flow:?}");
    assert_eq!(flow.pid, Some(from));
    let flags = |flag: &str| flow.tcp_flags.iter().any(|it| it == flag);
    ensure!(flags("SYN") && flags("ACK") && !flags("FIN") && !flags("RST"), "{flow:?}");
    assert_eq!(whole.protocol("nt0", "tx", "tcp"), Some(flow.wire));
    interrupt(agent).map(drop)
}

/// TCP segments that a namespace has sent again, of all its connections.
fn sent_again(namespace: &Namespace) -> Result<u64> {
    let snmp = namespace.run(|| Ok(fs::read_to_string("/proc/thread-self/net/snmp")?))?;
    // A line of names, and one of numbers.
    let mut tcp = snmp.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, numbers) = tcp.next().zip(tcp.next()).context("no Tcp")?;
    let both = names.split(' ').zip(numbers.split(' '));
    let number = both.into_iter().find(|(name, _)| *name == "RetransSegs");
    Ok(number.context("no RetransSegs")?.1.parse()?)
}

fn a_burst_of_one_moment() -> Result<()> {
    const LENGTH: usize = 50_000;
    let wire = (LENGTH + LENGTH / 1000 * UDP_HEADERS) as f64;
    let (here, there) = pair()?;
    let agent = pages(&here, &["nt0", "--by", "interface"])?;
    until(&agent, "the first table", |_| Some(()))?;
    let (from, to) = (here.udp(NEAR)?, there.udp(FAR)?);
    // One packet to the hook, fifty on the wire: nothing can come between.
    inet::send_segmented(&from, &to, 1000, LENGTH)?;
    let burst = until(&agent, "the burst", |it| {
        let tx = it.interface("nt0")?.tx;
        let seconds = it.burst_width_ms? / 1e3;
        let bytes = tx.burst_bytes_per_s.filter(|burst| *burst > 0.0)? * seconds;
        Some((bytes, tx.burst_peak_bytes_per_s? * seconds))
    })?;
    ensure!((burst.0 - wire).abs() < 0.5 && (burst.1 - wire).abs() < 0.5, "{burst:?}, not {wire}");
    end_quietly(agent)
}

const DROPPED: u64 = 60;
/// discard: nobody listens here.
const NOBODY: u16 = 9;

fn drops_at_an_interface() -> Result<()> {
    let (here, there) = pair()?;
    let agent = report(&there, &["--traffic=drops"])?;
    let table = pages(&there, &["--by", "drop"])?;
    for agent in [&agent, &table] {
        until(agent, "a first tick", |_| Some(()))?;
    }
    let from = here.udp(NEAR)?;
    for _ in 0..DROPPED {
        from.send_to(&[0x5a; 100], (FAR, NOBODY))?;
    }
    for agent in [&agent, &table] {
        let row = until(agent, "the drops", |it| {
            let mut rows = it.drops.as_ref()?.iter();
            let is = |reason: &str| reason == "NO_SOCKET";
            let at = |interface: &Option<String>| interface.as_deref() == Some("nt0");
            let row = rows.find(|row| at(&row.interface) && is(&row.reason))?;
            (row.packets >= DROPPED).then(|| row.clone())
        })?;
        assert_eq!(row.packets, DROPPED);
        ensure!(row.packets_per_s.is_some_and(|rate| rate > 0.0), "{row:?}");
    }
    end_quietly(table)?;
    interrupt(agent).map(drop)
}

fn drops_elsewhere_are_not_shown() -> Result<()> {
    let (here, there) = pair()?;
    let tables = pages(&there, &["--by", "drop", "lo"])?;
    let witness = pages(&there, &["--by", "drop"])?;
    for agent in [&tables, &witness] {
        until(agent, "a first tick", |_| Some(()))?;
    }
    here.udp(NEAR)?.send_to(&[0x5a; 100], (FAR, NOBODY))?;
    let at = |it: &Traffic, name: &str| {
        let mut rows = it.drops.iter().flatten();
        rows.any(|row| row.interface.as_deref() == Some(name)).then_some(())
    };
    until(&witness, "the drop", |it| at(it, "nt0"))?;
    let later = tables.stdout()?.count() + 2;
    tables.stdout()?.wait_for("two tables more", |lines| lines.get(later).map(drop))?;
    for line in tables.stdout()?.all() {
        let rows = super::traffic(&line)?.drops.context("no drops")?;
        let others =
            rows.iter().filter(|row| row.interface.as_deref().is_some_and(|it| it != "lo"));
        assert_eq!(others.count(), 0, "{rows:?}");
    }
    end_quietly(tables)?;
    end_quietly(witness)
}

fn a_new_program_is_told_once() -> Result<()> {
    let (here, there) = pair()?;
    let agent = report(&here, &["--traffic=processes"])?;
    until(&agent, "a first tick", |_| Some(()))?;
    let (mut sender, mut receiver, _) = peers((&here, &there), "udp", BYTES)?;
    send(&mut sender, &mut receiver)?;
    let told = format!("(pid {}, ", sender.pid());
    let news = |it: &netmon_tests::json::Tick| {
        it.events.iter().filter(|event| event.message.contains(&told)).cloned().collect::<Vec<_>>()
    };
    let tick = agent.wait_for_tick("the news", |tick| !news(tick).is_empty())?;
    let [event] = &news(&tick)[..] else { panic!("more than one: {tick:?}") };
    assert_eq!((event.kind.as_str(), &event.interface), ("new_program", &None));
    ensure!(event.message.ends_with("talks to the network for the first time"), "{event:?}");
    agent.later_tick(3)?;
    let all: usize = agent.ticks()?.iter().map(|tick| news(tick).len()).sum();
    assert_eq!(all, 1);
    let finished = interrupt(agent)?;
    assert_eq!(finished.stderr.matches(&told).count(), 1, "{finished:?}");
    Ok(())
}

/// Above 100 kB/s also in a tick of a minute.
const MUCH: u64 = 6_000_000;

/// With averages of the last tick alone, a burst is above the threshold for one tick.
const JUDGED: [&str; 5] = ["nt0", "--alpha", "1", "--alert-interface", "100kB"];

/// There processes seem to have been started at another time.
fn in_a_time_namespace() -> Result<()> {
    let (here, there) = pair()?;
    let arguments = ["--time", "--boottime", "100000", "--fork", "--kill-child", "--", NETMON];
    let table = ["top", "--by", "process", "--format", "json", "--interval", "100ms"];
    let arguments = [&arguments[..], &table, &["--limit", "100000"]].concat();
    let agent = AgentCommand::new(&here, "unshare").args(arguments).start()?;
    until(&agent, "a first tick", |_| Some(()))?;
    let (mut sender, mut receiver, _) = peers((&here, &there), "tcp", MUCH)?;
    send(&mut sender, &mut receiver)?;
    let pid = sender.pid();
    let command = until(&agent, "the command line", |it| it.process(pid)?.command.clone())?;
    ensure!(command.contains("send tcp"), "{command}");
    agent.kill().map(drop)
}

fn what_is_above_is_told() -> Result<()> {
    let (here, there) = pair()?;
    let arguments = [&JUDGED[..], &["--by", "interface", "--alert-flow", "100kB"]].concat();
    let table = top(&here, &["--interval", "100ms"]).args(arguments).start()?;
    let stdout = table.stdout()?;
    stdout.wait_for_line("nothing is above", |line| line.ends_with("; ok"))?;
    let (from, to) = (here.udp(NEAR)?, there.udp(FAR)?);
    // So much that it is above also when a busy machine's tick is a minute late.
    (0..MUCH / 50_000).try_for_each(|_| inet::send_segmented(&from, &to, 1000, 50_000))?;
    let seen = stdout.count();
    stdout.wait_for_line("both are above", |line| line.ends_with("; ! 2 above 100 kB/s"))?;
    let marked = |line: &str| line.starts_with("! nt0 ");
    stdout.wait_for_line("the interface is marked", marked)?;
    stdout.wait_for("it is below again", |lines| {
        lines.iter().skip(seen + 3).any(|line| line.ends_with("; ok")).then_some(())
    })?;
    end_quietly(table)?;

    let agent =
        report(&here, &["--traffic=processes", "--alpha", "1", "--alert-process", "100kB"])?;
    until(&agent, "a first tick", |_| Some(()))?;
    let (mut sender, mut receiver, _) = peers((&here, &there), "tcp", MUCH)?;
    send(&mut sender, &mut receiver)?;
    let pid = sender.pid();
    let above = |it: &Traffic, wanted: bool| {
        let process = it.process(pid)?;
        (process.alert == wanted).then_some(it.alerts.processes)
    };
    ensure!(until(&agent, "the process is above", |it| above(it, true))? > 0);
    let seen = agent.stdout()?.count();
    agent.wait_for_tick_from(seen, "it is below again", |tick| {
        tick.traffic.as_ref().is_some_and(|it| above(it, false).is_some())
    })?;
    interrupt(agent).map(drop)
}

fn other_interfaces_are_not_shown() -> Result<()> {
    let (here, there) = pair()?;
    here.set_up("lo")?;
    let (only, all) = (pages(&here, &["lo", "--by", "flow"])?, pages(&here, &["--by", "flow"])?);
    for agent in [&only, &all] {
        until(agent, "a first tick", |_| Some(()))?;
    }
    let (from, to) = (here.udp(NEAR)?, there.udp(FAR)?);
    inet::send_datagrams(&from, &to, 100, 3)?;
    let port = to.local_addr()?.port();
    until(&all, "the flow", |it| it.flow("nt0", "tx", port).map(drop))?;
    let later = only.stdout()?.count() + 2;
    only.stdout()?.wait_for("two tables more", |lines| lines.get(later).map(drop))?;
    for line in only.stdout()?.all() {
        let flows = super::traffic(&line)?.flows.context("no flows")?;
        ensure!(flows.iter().all(|flow| flow.interface == "lo"), "{flows:?}");
    }
    end_quietly(only)?;
    end_quietly(all)
}

fn a_renamed_interface() -> Result<()> {
    let (here, there) = pair()?;
    let agent = pages(&here, &["--by", "flow"])?;
    until(&agent, "a first tick", |_| Some(()))?;
    let (from, to) = (here.udp(NEAR)?, there.udp(FAR)?);
    let port = to.local_addr()?.port();
    inet::send_datagrams(&from, &to, 100, 3)?;
    until(&agent, "the flow", |it| it.flow("nt0", "tx", port).map(drop))?;
    here.rename("nt0", "wan0")?;
    let flow = until(&agent, "its new name", |it| it.flow("wan0", "tx", port).cloned())?;
    assert_eq!(flow.wire, Pair { packets: 3, bytes: 3 * (100 + UDP_HEADERS as u64) });
    end_quietly(agent)
}

fn an_interface_that_comes_later() -> Result<()> {
    let (here, there) = pair()?;
    let agent = pages(&here, &["--by", "interface"])?;
    until(&agent, "a first tick", |_| Some(()))?;
    here.add_veth_up("nt1", "peer1")?;
    until(&agent, "the new one", |it| it.interface("nt1").map(drop))?;
    let seen = agent.stdout()?.count();
    let frame = netmon_tests::frame::ethernet_ipv4(netmon_tests::frame::BROADCAST, 500);
    here.send_frames("peer1", &frame, 20)?;
    until(&agent, "its packets", |it| (it.interface("nt1")?.rx.packets == 20).then_some(()))?;
    here.delete("nt1")?;
    agent.stdout()?.wait_for("it is gone", |lines| {
        let later = lines.iter().skip(seen + 1);
        let gone =
            |line: &String| super::traffic(line).is_ok_and(|it| it.interface("nt1").is_none());
        later.into_iter().any(gone).then_some(())
    })?;
    drop(there);
    end_quietly(agent)
}

fn a_full_table_says_so() -> Result<()> {
    const CAPACITY: u64 = 4;
    const MORE: u64 = 20;
    let (here, there) = pair()?;
    let agent = pages(&here, &["nt0", "--by", "flow", "--flow-capacity", "4"])?;
    until(&agent, "a first tick", |_| Some(()))?;
    let from = here.udp(NEAR)?;
    let sinks = (0..MORE).map(|_| there.udp(FAR)).collect::<Result<Vec<_>>>()?;
    // Quiet flows make room at each tick: so all of them again, until they come within one.
    let full = |it: &Traffic| it.flow_table.is_some_and(|table| table.untracked.packets > 0);
    until(&agent, "a full table", |it| {
        if full(it) {
            return Some(Ok(()));
        }
        let sent = sinks.iter().try_for_each(|to| inet::send_datagrams(&from, to, 100, 1));
        sent.err().map(Err)
    })??;
    // The one before may have been read while the last were counted.
    let later = agent.stdout()?.count() + 2;
    let line = agent.stdout()?.wait_for("two tables more", |lines| lines.get(later).cloned())?;
    let told = super::traffic(&line)?;
    let table = told.flow_table.context("no table")?;
    ensure!(table.capacity == CAPACITY && table.used <= CAPACITY, "{told:?}");
    let length = 100 + UDP_HEADERS as u64;
    assert_eq!(table.untracked.bytes, table.untracked.packets * length);
    end_quietly(agent)?;
    let text = top(&here, &["nt0", "--by", "flow", "--flow-capacity", "4", "--once"]).finish()?;
    ensure!(text.stdout.contains(" of 4 flows, 0 evicted, 0 expired, 0 packets untracked; "));
    Ok(())
}

fn a_sample_is_marked() -> Result<()> {
    let (here, there) = pair()?;
    let agent = pages(&here, &["nt0", "--by", "flow", "--flow-sample", "2"])?;
    until(&agent, "a first tick", |_| Some(()))?;
    let (from, to) = (here.udp(NEAR)?, there.udp(FAR)?);
    // That none of so many is looked at is no chance.
    inet::send_datagrams(&from, &to, 100, 200)?;
    let port = to.local_addr()?.port();
    let (flow, sample) = until(&agent, "the flow", |it| {
        Some((it.flow("nt0", "tx", port)?.clone(), it.flow_table?.sample))
    })?;
    ensure!(flow.estimate && sample == 2 && flow.wire.packets % 2 == 0, "{flow:?}");
    end_quietly(agent)
}
