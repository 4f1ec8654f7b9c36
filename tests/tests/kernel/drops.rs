//! Dropped packets by interface and reason: known numbers of packets that something known drops.

use std::net::UdpSocket;

use anyhow::{Context, Result, ensure};
use netmon::{
    model::{
        link::IfIndex,
        traffic::facts::{DropFacts, KernelTime, TrafficFacts},
    },
    sources::trace::{TraceOptions, Tracer},
};
use netmon_tests::{
    foreign::{Foreign, Way, XDP_DROP, XdpMode},
    frame::{self, BROADCAST},
    inet,
    kernel::TCX,
    netns::Namespace,
    wait,
};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    Test,
    common::{FAR, NEAR, pair, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("nobody_listens", nobody_listens),
    ("a_socket_is_full", a_socket_is_full),
    ("a_filter_at_ingress", a_filter_at_ingress),
    ("a_filter_at_egress", a_filter_at_egress),
    ("an_xdp_program", an_xdp_program),
    ("a_protocol_that_nobody_has", a_protocol_that_nobody_has),
    ("another_namespaces_have_no_interface", another_namespaces_have_no_interface),
    ("what_arrives_is_no_drop", what_arrives_is_no_drop),
];

const COUNT: u64 = 60;

/// A tracer at home in a namespace.
struct Watch {
    tracer: Tracer,
    facts: TrafficFacts,
}

impl Watch {
    fn start(namespace: &Namespace) -> Result<Self> {
        let options = TraceOptions { processes: false, ..TraceOptions::default() };
        let (tracer, missing) = namespace.run(move || Ok(Tracer::start(&options)))?;
        ensure!(missing.is_empty(), "{missing:?}");
        Ok(Self { tracer, facts: TrafficFacts::default() })
    }

    /// How many so far, at the interface, or at none.
    fn count(&mut self, ifindex: Option<u32>, reasons: &[&str]) -> Result<u64> {
        self.tracer.read(KernelTime::default(), &mut self.facts);
        let drops = self.facts.drops.as_ref().context("no drops")?;
        let of = |it: &&DropFacts| {
            it.ifindex == ifindex.map(IfIndex) && reasons.contains(&it.reason.as_ref())
        };
        Ok(drops.iter().filter(of).map(|it| it.packets).sum())
    }

    /// Waits until there are so many, and no more.
    fn comes_to(&mut self, ifindex: Option<u32>, reasons: &[&str], count: u64) -> Result<()> {
        let waited = wait::until_true(format!("{count} {reasons:?}"), || {
            Ok(self.count(ifindex, reasons)? >= count)
        });
        waited.with_context(|| format!("{:?}", self.facts.drops))?;
        ensure!(self.count(ifindex, reasons)? == count, "{:?}", self.facts.drops);
        Ok(())
    }
}

fn datagrams(from: &UdpSocket, port: u16, count: u64) -> Result<()> {
    for _ in 0..count {
        from.send_to(&[0x5a; 100], (FAR, port))?;
    }
    Ok(())
}

fn nobody_listens() -> Result<()> {
    let (here, there) = pair()?;
    let (index, from) = (there.ifindex("nt0")?, here.udp(NEAR)?);
    let mut watch = Watch::start(&there)?;
    datagrams(&from, 9, COUNT)?;
    watch.comes_to(Some(index), &["NO_SOCKET"], COUNT)
}

/// UDP keeps something else where the packet had its device.
fn a_socket_is_full() -> Result<()> {
    let (here, there) = pair()?;
    let (index, from, to) = (there.ifindex("nt0")?, here.udp(NEAR)?, there.udp(FAR)?);
    setsockopt(&to, sockopt::RcvBuf, &4096)?;
    let mut watch = Watch::start(&there)?;
    datagrams(&from, to.local_addr()?.port(), COUNT)?;
    inet::settle(&there, "nt0")?;
    to.set_nonblocking(true)?;
    let mut taken = 0;
    while to.recv(&mut [0; 200]).is_ok() {
        taken += 1;
    }
    ensure!(taken > 0 && taken < COUNT, "{taken} of {COUNT} were taken");
    watch.comes_to(Some(index), &["SOCKET_RCVBUFF"], COUNT - taken)
}

/// `TC_ACT_SHOT`.
const TC_DROP: i32 = 2;

fn filter(namespace: &Namespace, way: Way) -> Result<Foreign> {
    if TCX.is_here() {
        return namespace.foreign_tcx("nt0", way, TC_DROP);
    }
    namespace.add_clsact("nt0")?;
    namespace.foreign_clsact("nt0", way, TC_DROP)
}

fn a_filter_at_ingress() -> Result<()> {
    let namespace = veth()?;
    let index = namespace.ifindex("nt0")?;
    let _filter = filter(&namespace, Way::Ingress)?;
    let mut watch = Watch::start(&namespace)?;
    namespace.send_frames("peer", &frame::plain(BROADCAST, 100), COUNT)?;
    watch.comes_to(Some(index), &["TC_INGRESS"], COUNT)
}

fn a_filter_at_egress() -> Result<()> {
    let (here, _there) = pair()?;
    let (index, from) = (here.ifindex("nt0")?, here.udp(NEAR)?);
    let _filter = filter(&here, Way::Egress)?;
    let mut watch = Watch::start(&here)?;
    // Not by a packet socket: that is told.
    datagrams(&from, 9, COUNT)?;
    watch.comes_to(Some(index), &["TC_EGRESS"], COUNT)
}

/// Linux 6.18 says no more of it than that it is dropped.
fn an_xdp_program() -> Result<()> {
    let namespace = veth()?;
    let index = namespace.ifindex("nt0")?;
    let _program = namespace.foreign_xdp("nt0", XdpMode::Generic, XDP_DROP)?;
    let mut watch = Watch::start(&namespace)?;
    namespace.send_frames("peer", &frame::plain(BROADCAST, 100), COUNT)?;
    watch.comes_to(Some(index), &["XDP", "NOT_SPECIFIED"], COUNT)
}

fn a_protocol_that_nobody_has() -> Result<()> {
    let namespace = veth()?;
    let index = namespace.ifindex("nt0")?;
    let mut watch = Watch::start(&namespace)?;
    namespace.send_frames("peer", &frame::plain(BROADCAST, 100), COUNT)?;
    watch.comes_to(Some(index), &["UNHANDLED_PROTO"], COUNT)
}

fn another_namespaces_have_no_interface() -> Result<()> {
    let (here, there) = pair()?;
    let (index, from) = (here.ifindex("nt0")?, here.udp(NEAR)?);
    let mut watch = Watch::start(&here)?;
    let before = watch.count(None, &["NO_SOCKET"])?;
    datagrams(&from, 9, COUNT)?;
    inet::settle(&there, "nt0")?;
    // Those of other tests have none, either.
    wait::until_true("the drops", || Ok(watch.count(None, &["NO_SOCKET"])? >= before + COUNT))?;
    // Both are called nt0, and have maybe the same number.
    ensure!(watch.count(Some(index), &["NO_SOCKET"])? == 0, "{:?}", watch.facts.drops);
    Ok(())
}

fn what_arrives_is_no_drop() -> Result<()> {
    let (here, there) = pair()?;
    let (index, from, to) = (there.ifindex("nt0")?, here.udp(NEAR)?, there.udp(FAR)?);
    let mut watch = Watch::start(&there)?;
    inet::send_datagrams(&from, &to, 100, COUNT)?;
    here.tcp_bulk(&there, FAR, 1 << 20)?;
    watch.count(None, &[])?;
    let drops = watch.facts.drops.as_ref().context("no drops")?;
    // What a slow machine sends twice is dropped once (TCP_OLD_DATA).
    let ours =
        |it: &DropFacts| it.ifindex == Some(IfIndex(index)) && !it.reason.starts_with("TCP_");
    ensure!(!drops.iter().any(ours), "{drops:?}");
    Ok(())
}
