//! What others say of the same traffic: `/proc/net/dev`, TCP itself (what `ss -i` shows), the
//! peers. Every difference to what netmon says of flows, interfaces and processes is explained to
//! the byte.

use std::fs;

use anyhow::{Context, Result, ensure};
use netmon::model::accounting::Traffic;
use netmon::model::traffic::options::FlowOptions;
use netmon::model::traffic::protocol::{Direction, Protocol};
use netmon_tests::inet::{self, UDP_HEADERS};
use netmon_tests::netns::Namespace;
use netmon_tests::peer::Peer;

use super::streams::{MOST_SYNS, SYN_MORE, TCP_HEADERS};
use super::{Watch, packets, sum};
use crate::Test;
use crate::common::pair;
use crate::processes::{Watch as ProcessWatch, received, sent};
use crate::top::peers;

pub(crate) const TESTS: &[Test] = &[
    ("datagrams_by_all_witnesses", datagrams_by_all_witnesses),
    ("a_stream_by_all_witnesses", a_stream_by_all_witnesses),
];

/// Received and sent by `nt0`, as `/proc/net/dev` has it.
fn device(namespace: &Namespace) -> Result<(Traffic, Traffic)> {
    let text = namespace.run(|| Ok(fs::read_to_string("/proc/thread-self/net/dev")?))?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("nt0:"));
    let numbers = line.with_context(|| text.clone())?.split_whitespace().map(str::parse);
    let numbers = numbers.collect::<Result<Vec<u64>, _>>()?;
    // Bytes, packets, and six others; then the same for what is sent.
    let at = |first: usize| {
        let pair = numbers.get(first..first + 2).with_context(|| text.clone())?;
        anyhow::Ok(Traffic { packets: pair[1], bytes: pair[0] })
    };
    Ok((at(0)?, at(8)?))
}

fn less(now: Traffic, before: Traffic) -> Traffic {
    Traffic { packets: now.packets - before.packets, bytes: now.bytes - before.bytes }
}

/// Both ends' processes, and what was read of them when all was sent.
struct Seen {
    /// What `/proc/net/dev` has more than before, received and sent.
    device: (Traffic, Traffic),
    flows: Watch,
    processes: ProcessWatch,
    peers: (Peer, Peer),
    /// What TCP says that the sender has sent again.
    again: u64,
}

/// From here to there; the interface is looked at here.
fn transfer(transport: &str, bytes: u64) -> Result<Seen> {
    let (here, there) = pair()?;
    let processes = ProcessWatch::start()?;
    let mut flows = Watch::new(&here, &[("nt0", true)], FlowOptions::default())?;
    let before = device(&here)?;
    let (mut sender, mut receiver, _) = peers((&here, &there), transport, bytes)?;
    sender.go()?;
    sender.says("done")?;
    receiver.says("done")?;
    let mut again = 0;
    if transport == "tcp" {
        // `bytes_sent` without `bytes_retrans`, and `bytes_received`.
        assert_eq!((sender.tells("kernel")?, receiver.tells("kernel")?), (bytes, bytes));
        again = sender.tells("again")?;
    }
    inet::settle(&here, "nt0")?;
    flows.read()?;
    let now = device(&here)?;
    let device = (less(now.0, before.0), less(now.1, before.1));
    Ok(Seen { device, flows, processes, peers: (sender, receiver), again })
}

/// All flows of a direction are what the device has had, and so are the totals by protocol.
fn is_all(seen: &mut Seen) -> Result<()> {
    let (rx, tx) = seen.device;
    for (direction, device) in [(Direction::Rx, rx), (Direction::Tx, tx)] {
        let flows = seen.flows.table()?.flows.iter().filter(|it| it.key.direction == direction);
        let (skb, wire) = flows.fold((packets(0, 0), packets(0, 0)), |(skb, wire), flow| {
            (skb.plus(flow.skb), wire.plus(flow.wire))
        });
        assert_eq!(skb, device, "{direction:?}: the flows and /proc/net/dev");
        assert_eq!(seen.flows.counted(direction)?, (device, wire), "{direction:?}");
        let interface = seen.flows.interface()?;
        let totals = if direction == Direction::Rx { &interface.rx } else { &interface.tx };
        assert_eq!(sum(&totals.protocols), wire, "{direction:?}: the totals and the flows");
    }
    Ok(())
}

fn datagrams_by_all_witnesses() -> Result<()> {
    const COUNT: u64 = 40;
    const PAYLOAD: usize = 1000;
    let mut seen = transfer("udp", COUNT * PAYLOAD as u64)?;
    is_all(&mut seen)?;
    let carried = packets(COUNT, PAYLOAD + UDP_HEADERS);
    assert_eq!(seen.device, (packets(0, 0), carried), "payload, and headers for each packet");
    let Seen { processes, peers: (sender, receiver), .. } = &mut seen;
    assert_eq!(processes.process(sender.pid())?.udp, sent(COUNT * PAYLOAD as u64, COUNT));
    assert_eq!(processes.process(receiver.pid())?.udp, received(COUNT * PAYLOAD as u64, COUNT));
    Ok(())
}

fn a_stream_by_all_witnesses() -> Result<()> {
    const BYTES: u64 = 5_000_000;
    let mut seen = transfer("tcp", BYTES)?;
    is_all(&mut seen)?;
    let Seen { flows, processes, peers: (sender, receiver), again, device: (_, tx) } = &mut seen;
    let (from, to) = (processes.process(sender.pid())?, processes.process(receiver.pid())?);
    assert_eq!((from.tcp.tx_bytes, to.tcp.rx_bytes), (BYTES, BYTES), "processes and TCP");
    let of =
        |way: Direction| flows.flow(|it| (it.protocol, it.direction) == (Protocol::Ip(6), way));
    let (out, back) = (of(Direction::Tx)?, of(Direction::Rx)?);
    // What the stack hands over has headers for each super-packet, a cable for each segment.
    let segments = out.wire.packets - out.skb.packets;
    assert_eq!(out.wire.bytes, out.skb.bytes + segments * TCP_HEADERS);
    let more = tx.bytes.checked_sub(BYTES + *again + tx.packets * TCP_HEADERS);
    // The first segment, which may have been sent again, has longer options.
    let syns = more.filter(|more| more.is_multiple_of(SYN_MORE)).map(|more| more / SYN_MORE);
    ensure!(syns.is_some_and(|syns| (1..=MOST_SYNS).contains(&syns)), "{more:?} of {out:?}");
    if *again == 0 {
        // Without losses an acknowledgement has no other options.
        let more = back.skb.bytes - back.skb.packets * TCP_HEADERS;
        ensure!(more > 0 && more.is_multiple_of(SYN_MORE), "{back:?}");
    }
    Ok(())
}
