//! Whose socket a flow is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use netmon::model::{
    link::IfIndex,
    traffic::{
        facts::FlowKey,
        protocol::{Direction, Protocol},
    },
};
use netmon_tests::{netns::Namespace, peer::Peer, traffic_json::Traffic};

use super::{PEER, Watch, loopback};
use crate::{
    Test,
    common::{FAR, interrupt, pair},
    top::{in_turn, report, until},
};

pub(crate) const TESTS: &[Test] = &[
    ("a_connection_has_two_owners", || both_ends("tcp", Ipv4Addr::LOCALHOST.into())),
    ("so_has_one_of_ipv6", || both_ends("tcp", Ipv6Addr::LOCALHOST.into())),
    ("datagrams_have_two_owners", || both_ends("udp", Ipv4Addr::LOCALHOST.into())),
    ("so_have_those_of_ipv6", || both_ends("udp", Ipv6Addr::LOCALHOST.into())),
    ("a_socket_for_any_address", a_socket_for_any_address),
    ("one_that_is_gone_at_once", || in_turn(one_that_is_gone_at_once)),
];

fn flow(transport: &str, direction: Direction, from: (IpAddr, u16), to: (IpAddr, u16)) -> FlowKey {
    FlowKey {
        ifindex: IfIndex(1),
        direction,
        vlan: None,
        protocol: Protocol::Ip(if transport == "tcp" { 6 } else { 17 }),
        addresses: Some((from.0, to.0)),
        ports: (from.1, to.1),
    }
}

/// The receiver of datagrams is not connected, its sender is.
fn both_ends(transport: &str, address: IpAddr) -> Result<()> {
    let namespace = loopback()?;
    let mut watch = Watch::at_home(&namespace)?;
    exchange(&namespace, &mut watch, transport, address, address)
}

/// A socket of IPv6 that takes packets of IPv4, too.
fn a_socket_for_any_address() -> Result<()> {
    let namespace = loopback()?;
    let mut watch = Watch::at_home(&namespace)?;
    for transport in ["tcp", "udp"] {
        let (bound, used) = (Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into());
        exchange(&namespace, &mut watch, transport, bound, used)?;
    }
    Ok(())
}

fn exchange(
    namespace: &Namespace,
    watch: &mut Watch,
    transport: &str,
    bound: IpAddr,
    used: IpAddr,
) -> Result<()> {
    let written = |address: IpAddr, port: u16| std::net::SocketAddr::new(address, port).to_string();
    let arguments = ["receive", transport, &written(bound, 0), "recv", "1000"];
    let mut receiver = Peer::start(namespace, PEER, &arguments)?;
    let port = u16::try_from(receiver.tells("port")?)?;
    let arguments = ["send", transport, &written(used, port), "send", "1000"];
    let mut sender = Peer::start(namespace, PEER, &arguments)?;
    let near = (used, u16::try_from(sender.tells("ready")?)?);
    let far = (used, port);
    sender.go()?;
    sender.tells("done")?;
    receiver.tells("done")?;
    let (from, to) = (watch.process(sender.pid())?, watch.process(receiver.pid())?);
    // Nobody here has this address (RFC 5737): what is sent to it is forwarded.
    let elsewhere = (Ipv4Addr::new(192, 0, 2, 1).into(), port);
    let cases = [
        (flow(transport, Direction::Rx, near, elsewhere), None),
        (flow(transport, Direction::Tx, elsewhere, near), None),
        (flow(transport, Direction::Tx, near, far), Some(from.id)),
        (flow(transport, Direction::Rx, near, far), Some(to.id)),
        (flow(transport, Direction::Tx, far, near), Some(to.id)),
        (flow(transport, Direction::Rx, far, near), Some(from.id)),
        (flow(transport, Direction::Rx, near, (used, port ^ 1)), None),
    ];
    for (flow, owner) in cases {
        assert_eq!(watch.tracer.owner(&flow), owner, "{flow:?}: {from:?} to {to:?}");
    }
    sender.end()?;
    receiver.end()?;
    // Who has ended is asked for once more, when it is read for the last time.
    watch.look()?;
    assert_eq!(watch.tracer.owner(&cases[2].0), Some(from.id));
    // Then it owns nothing, even if its slot is somebody else's.
    watch.tracer.forget_ended();
    assert_eq!(watch.tracer.owner(&cases[2].0), None);
    Ok(())
}

/// It sends and is gone, mostly between two ticks: its flow has its name for as long as there is
/// one, also when nothing is told of the process any more.
fn one_that_is_gone_at_once() -> Result<()> {
    let (here, there) = pair()?;
    let agent = report(&here, &["--traffic=flows,processes", "nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    let anywhere = format!("{FAR}:0");
    let arguments = ["receive", "tcp", &anywhere, "recv", "1000"];
    let mut receiver = Peer::start(&there, PEER, &arguments)?;
    let port = u16::try_from(receiver.tells("port")?)?;
    let mut sender = Peer::start(&here, PEER, &["brief", "tcp", &format!("{FAR}:{port}"), "1000"])?;
    sender.end()?;
    receiver.tells("done")?;
    let pid = sender.pid();
    let flow = |it: &Traffic| it.flow("nt0", "tx", port).cloned();
    until(&agent, "the flow's process", |it| flow(it)?.pid.filter(|found| *found == pid))?;
    let later = agent.wait_for_tick("the process to be gone", |tick| {
        let told = tick.traffic.as_ref();
        let named = |it: &Traffic| flow(it).is_some_and(|flow| flow.pid.is_some());
        told.is_some_and(|it| named(it) && it.process(pid).is_none())
    })?;
    agent.later_tick(3)?;
    for tick in agent.ticks()?.into_iter().filter(|tick| tick.tick >= later.tick) {
        let Some(flow) = tick.traffic.as_ref().and_then(flow) else { break };
        assert_eq!((flow.pid, flow.process.as_deref()), (Some(pid), Some("netmon-peer")));
    }
    receiver.end()?;
    interrupt(agent).map(drop)
}
