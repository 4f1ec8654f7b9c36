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
use netmon_tests::{netns::Namespace, peer::Peer};

use super::{PEER, Watch, loopback};
use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("a_connection_has_two_owners", || both_ends("tcp", Ipv4Addr::LOCALHOST.into())),
    ("so_has_one_of_ipv6", || both_ends("tcp", Ipv6Addr::LOCALHOST.into())),
    ("datagrams_have_two_owners", || both_ends("udp", Ipv4Addr::LOCALHOST.into())),
    ("so_have_those_of_ipv6", || both_ends("udp", Ipv6Addr::LOCALHOST.into())),
    ("a_socket_for_any_address", a_socket_for_any_address),
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
    // Who is gone owns nothing, even if its slot is somebody else's.
    watch.look()?;
    watch.look()?;
    assert_eq!(watch.tracer.owner(&cases[2].0), None);
    Ok(())
}
