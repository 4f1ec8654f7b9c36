//! A router in a namespace, with a sender on one side and a receiver on the other: half of its
//! ports, `a0`, `a1`, …, lead to the sender and half, `b0`, `b1`, …, to the receiver.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use netmon_tests::frame::Mac;
use netmon_tests::netns::Namespace;

/// Behind each of the receiver's links is a host whose packets the receiver throws away, since
/// they are for another address: so nothing but forwarding is measured.
const NOBODY: Mac = [0x02, 0x4e, 0x4d, 0, 0, 2];
const PREFIX: u8 = 24;

/// The three namespaces.
pub(super) struct Router {
    pub(super) sender: Namespace,
    pub(super) router: Namespace,
    pub(super) receiver: Namespace,
    /// Ways through the router.
    pub(super) ways: u8,
}

/// The sender's address on a way.
pub(super) const fn source(way: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, way, 1)
}

/// The receiver's address on a way.
pub(super) const fn target(way: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, way, 2)
}

/// The address of the host that is not there.
pub(super) const fn nobody(way: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, way, 3)
}

pub(super) fn sender_link(way: u8) -> String {
    format!("s{way}")
}

pub(super) fn receiver_link(way: u8) -> String {
    format!("r{way}")
}

/// The router's port that leads to the sender.
pub(super) fn port_in(way: u8) -> String {
    format!("a{way}")
}

/// The router's port that leads to the receiver.
pub(super) fn port_out(way: u8) -> String {
    format!("b{way}")
}

impl Router {
    /// One with so many ports.
    pub(super) fn with_ports(ports: usize) -> Result<Self> {
        let ways = u8::try_from(ports / 2).context("too many ports")?;
        let router = Self {
            sender: Namespace::new()?,
            router: Namespace::new()?,
            receiver: Namespace::new()?,
            ways,
        };
        router.router.run(|| Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?))?;
        (0..ways).try_for_each(|way| router.add(way).with_context(|| format!("way {way}")))?;
        Ok(router)
    }

    fn add(&self, way: u8) -> Result<()> {
        let Self { sender, router, receiver, .. } = self;
        let (from, to) = (sender_link(way), receiver_link(way));
        let (port_in, port_out) = (port_in(way), port_out(way));
        sender.add_veth_to(&from, router, &port_in)?;
        receiver.add_veth_to(&to, router, &port_out)?;
        let (inside, outside) = (Ipv4Addr::new(10, 1, way, 2), Ipv4Addr::new(10, 2, way, 1));
        sender.add_address(&from, source(way), PREFIX)?;
        router.add_address(&port_in, inside, PREFIX)?;
        router.add_address(&port_out, outside, PREFIX)?;
        receiver.add_address(&to, target(way), PREFIX)?;
        sender.add_route(Ipv4Addr::new(10, 2, way, 0), PREFIX, inside)?;
        receiver.add_route(Ipv4Addr::new(10, 1, way, 0), PREFIX, outside)?;
        router.add_neighbour(&port_out, nobody(way), NOBODY)
    }

    /// All ports, by index.
    pub(super) fn ports(&self) -> Result<Vec<u32>> {
        let names = (0..self.ways).flat_map(|way| [port_in(way), port_out(way)]);
        names.map(|name| self.router.ifindex(&name)).collect()
    }
}
