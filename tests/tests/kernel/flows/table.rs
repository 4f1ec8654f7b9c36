//! A table that is full, flows that end, and samples: nothing is lost that is not told.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use netmon::model::traffic::facts::TrafficFacts;
use netmon::model::traffic::options::FlowOptions;
use netmon::model::traffic::protocol::{Direction, ProtocolClass};
use netmon_tests::netns::Namespace;
use netmon_tests::{headers, wait};

use super::{Watch, class_of, everything, packets, sum};
use crate::{Test, common::veth};

pub(crate) const TESTS: &[Test] = &[
    ("a_full_table_loses_nothing", a_full_table_loses_nothing),
    ("idle_flows_expire", idle_flows_expire),
    ("a_flow_that_comes_again_is_another", a_flow_that_comes_again_is_another),
    ("samples_are_estimates", samples_are_estimates),
    ("a_slot_that_was_anothers_begins_at_nothing", a_slot_that_was_anothers_begins_at_nothing),
];

const LENGTH: usize = 14 + 20 + 8 + 50;

/// A datagram of the flow of that number.
fn datagram(flow: u16) -> Vec<u8> {
    let addresses = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let packet = headers::ipv4(addresses, 17, &headers::udp((flow, 9), 50));
    [headers::ethernet(&[], headers::IPV4), packet].concat()
}

fn send(namespace: &Namespace, flows: impl Iterator<Item = u16>, times: u64) -> Result<()> {
    let mut socket = namespace.packet_socket("nt0")?;
    for flow in flows {
        socket.send_many(&datagram(flow), times)?;
    }
    Ok(())
}

/// What is in no flow is told, and the total of the protocol is exact.
fn adds_up(facts: &TrafficFacts, sent: u64) {
    let all = packets(sent, LENGTH);
    assert_eq!(facts.flows.as_ref().map(everything), Some(all));
    let interface = facts.interfaces.as_deref().and_then(<[_]>::first);
    let udp = interface.map(|interface| class_of(&interface.tx.protocols, ProtocolClass::Udp));
    assert_eq!(udp, Some(all));
}

fn a_full_table_loses_nothing() -> Result<()> {
    const CAPACITY: u32 = 16;
    let namespace = veth()?;
    let options = FlowOptions { capacity: CAPACITY, ..FlowOptions::default() };
    let mut watch = Watch::new(&namespace, &[("nt0", true)], options)?;
    send(&namespace, 0..40, 3)?;
    adds_up(watch.read()?, 120);
    let table = watch.table()?;
    assert_eq!((table.flows.len(), table.capacity), (16, CAPACITY));
    assert_eq!(table.untracked, packets(24 * 3, LENGTH));
    assert_eq!((table.evicted, table.expired), (0, 0), "all have had a packet just now");

    // The next time the first have rested, and give way.
    let mut sent = 120;
    let evicted = wait::until("room for others", || {
        send(&namespace, 100..101, 1)?;
        sent += 1;
        adds_up(watch.read()?, sent);
        let evicted = watch.table()?.evicted;
        Ok((evicted > 0).then_some(evicted))
    })?;
    ensure!(evicted <= 12, "{evicted} of 16 gave way at once");
    send(&namespace, 100..101, 1)?;
    adds_up(watch.read()?, sent + 1);
    let new = watch.flow(|key| key.ports.0 == 100)?;
    ensure!(new.wire.packets > 0, "{new:?}");
    assert_eq!(watch.table()?.expired, 0);
    Ok(())
}

fn idle_flows_expire() -> Result<()> {
    let namespace = veth()?;
    let options = FlowOptions { idle: Duration::from_millis(200), ..FlowOptions::default() };
    let mut watch = Watch::new(&namespace, &[("nt0", true)], options)?;
    send(&namespace, 0..10, 5)?;
    let mut sent = 50;
    wait::until_true("nine flows to expire", || {
        send(&namespace, 0..1, 1)?;
        sent += 1;
        adds_up(watch.read()?, sent);
        Ok(watch.table()?.expired >= 9)
    })?;
    adds_up(watch.read()?, sent);
    let table = watch.table()?;
    ensure!(table.evicted == 0 && table.untracked == packets(0, 0), "{table:?}");
    ensure!(table.gone.packets >= 45, "{table:?}");
    Ok(())
}

fn a_flow_that_comes_again_is_another() -> Result<()> {
    let namespace = veth()?;
    let options = FlowOptions { idle: Duration::from_millis(50), ..FlowOptions::default() };
    let mut watch = Watch::new(&namespace, &[("nt0", true)], options)?;
    send(&namespace, 7..8, 3)?;
    watch.read()?;
    let before = watch.flow(|key| key.ports.0 == 7)?;
    wait::until_true("the flow to go", || {
        watch.read()?;
        Ok(watch.table()?.flows.is_empty())
    })?;
    send(&namespace, 7..8, 1)?;
    watch.read()?;
    let after = watch.flow(|key| key.ports.0 == 7)?;
    assert_eq!((before.id, after.id), (0, 0));
    assert_ne!(before.life, after.life);
    assert_eq!(after.wire, packets(1, LENGTH));
    ensure!(after.first > before.last, "{before:?} {after:?}");
    Ok(())
}

fn samples_are_estimates() -> Result<()> {
    const SAMPLE: u32 = 10;
    const SENT: u64 = 40_000;
    let namespace = veth()?;
    let options = FlowOptions { sample: SAMPLE, ..FlowOptions::default() };
    let mut watch = Watch::new(&namespace, &[("nt0", true)], options)?;
    namespace.packet_socket("nt0")?.flood(&datagram(1), SENT, |_| ())?;
    watch.read()?;
    let all = packets(SENT, LENGTH);
    assert_eq!(watch.counted(Direction::Tx)?.1, all);
    let udp = class_of(&watch.interface()?.tx.protocols, ProtocolClass::Udp);
    assert_eq!(udp, all, "totals are no estimates");
    assert_eq!(watch.table()?.sample, SAMPLE);
    let flow = watch.flow(|key| key.direction == Direction::Tx)?;
    // A binomial distribution: seven times its deviation, of 600, is met once in 10^11 runs.
    let deviation = (SENT as f64 * f64::from(SAMPLE - 1)).sqrt();
    let off = (flow.wire.packets as f64 - SENT as f64).abs();
    ensure!(off < 7.0 * deviation, "{} for {SENT}", flow.wire.packets);
    assert_eq!(flow.wire.packets % u64::from(SAMPLE), 0);
    assert_eq!(flow.wire.bytes, flow.wire.packets * LENGTH as u64);
    Ok(())
}

/// An interface that comes and goes between two ticks leaves nothing to the next one in its slot.
fn a_slot_that_was_anothers_begins_at_nothing() -> Result<()> {
    let namespace = veth()?;
    let mut watch = Watch::new(&namespace, &[("nt0", true)], FlowOptions::default())?;
    send(&namespace, 0..5, 7)?;
    watch.go_over_to(&namespace, "peer")?;
    let mut socket = namespace.packet_socket("peer")?;
    socket.send_many(&datagram(9), 3)?;
    watch.read()?;
    let totals = watch.interface()?.tx;
    assert_eq!(class_of(&totals.protocols, ProtocolClass::Udp), packets(3, LENGTH));
    assert_eq!(sum(&totals.sizes), packets(3, LENGTH));
    assert_eq!(totals.burst, None, "whose it was is not known");
    socket.send_many(&datagram(9), 2)?;
    watch.read()?;
    let totals = watch.interface()?.tx;
    assert_eq!(class_of(&totals.protocols, ProtocolClass::Udp), packets(5, LENGTH));
    Ok(())
}
