//! Whose socket a flow is.

use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};

use aya::maps::{HashMap, Map, MapData};
use netmon_common::trace::{Mark, OwnerKey};

use crate::model::link::IfIndex;
use crate::model::traffic::facts::FlowKey;
use crate::model::traffic::protocol::{Direction, Protocol};

const WORDS: usize = size_of::<OwnerKey>() / 4;

/// The sockets' owners, as the kernel has them.
pub(super) struct Owners {
    map: HashMap<MapData, [u32; WORDS], u64>,
    net_namespace: u32,
}

impl Owners {
    pub(super) fn new(map: Map, net_namespace: u32) -> Result<Self, String> {
        let map = map.try_into().map_err(|error: aya::maps::MapError| error.to_string())?;
        Ok(Self { map, net_namespace })
    }

    /// The process's mark.
    pub(super) fn mark(&self, flow: &FlowKey) -> Option<Mark> {
        let keys = keys(flow, self.net_namespace)?;
        let mut marks = keys.iter().map(|key| (key, self.map.get(&bytemuck::cast(*key), 0)));
        let (key, mark) = marks.find_map(|(key, mark)| Some((key, mark.ok()?)))?;
        // A socket for any address has only what is for this machine: a router's name server does
        // not have the queries that are forwarded to another's.
        let any = key.local == [0; 4];
        (!any || is_local(near(flow)?.0, flow.ifindex)).then_some(Mark(mark))
    }
}

/// Whether packets to it are this machine's own (multicast and broadcast are, too). The kernel
/// knows: other addresses cannot be bound to, unless `ip_nonlocal_bind` allows any.
fn is_local(address: IpAddr, IfIndex(scope): IfIndex) -> bool {
    let address = match address {
        IpAddr::V4(_) => SocketAddr::new(address, 0),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, 0, 0, scope).into(),
    };
    UdpSocket::bind(address).is_ok()
}

/// The end of the flow that is this machine's, if it is not forwarded.
fn near(flow: &FlowKey) -> Option<(IpAddr, u16)> {
    let ((source, target), (from, to)) = (flow.addresses?, flow.ports);
    Some(match flow.direction {
        Direction::Tx => (source, from),
        Direction::Rx => (target, to),
    })
}

/// What the flow's socket may be called: connected; not connected, but bound to an address; not
/// even that. TCP's are always connected.
fn keys(flow: &FlowKey, net_namespace: u32) -> Option<Vec<OwnerKey>> {
    let protocol = match flow.protocol {
        Protocol::Ip(6) => libc::IPPROTO_TCP,
        Protocol::Ip(17) => libc::IPPROTO_UDP,
        _ => return None,
    };
    let ((source, destination), (from, to)) = (flow.addresses?, flow.ports);
    let (local, remote) = match flow.direction {
        Direction::Tx => (near(flow)?, (destination, to)),
        Direction::Rx => (near(flow)?, (source, from)),
    };
    let connected = OwnerKey {
        local: words(local.0),
        remote: words(remote.0),
        net_namespace,
        protocol: protocol.cast_unsigned(),
        local_port: local.1,
        remote_port: remote.1,
    };
    let bound = OwnerKey { remote: [0; 4], remote_port: 0, ..connected };
    let unbound = OwnerKey { local: [0; 4], ..bound };
    Some(if flow.protocol == Protocol::Ip(6) {
        vec![connected]
    } else {
        vec![connected, bound, unbound]
    })
}

/// As the network has it, IPv4 mapped into IPv6.
fn words(address: IpAddr) -> [u32; 4] {
    let octets = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    bytemuck::cast(octets)
}
