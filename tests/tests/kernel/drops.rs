//! Dropped packets by interface and reason: known numbers of packets that something known drops.

use std::{
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
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
    ("a_full_table", a_full_table),
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
        Self::with(namespace, TraceOptions::default())
    }

    fn with(namespace: &Namespace, options: TraceOptions) -> Result<Self> {
        let options = TraceOptions { processes: false, ..options };
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

    /// Lets something happen that makes so many drops as it says, and waits until they are counted,
    /// and no more. Tried twice: the kernel does not run a program within itself, so a drop that
    /// comes in an interrupt while another one is being counted on that CPU is not seen.
    fn counts(
        &mut self,
        ifindex: Option<u32>,
        reasons: &[&str],
        mut drop: impl FnMut() -> Result<u64>,
    ) -> Result<()> {
        /// Longer than a busy machine takes to drop them.
        const WAIT: Duration = Duration::from_secs(10);

        for _ in 0..2 {
            let before = self.count(ifindex, reasons)?;
            let expected = before + drop()?;
            let begun = Instant::now();
            while self.count(ifindex, reasons)? < expected && begun.elapsed() < WAIT {
                thread::sleep(Duration::from_millis(10));
            }
            let found = self.count(ifindex, reasons)?;
            ensure!(found <= expected, "{expected} {reasons:?}: {:?}", self.facts.drops);
            if found == expected {
                return Ok(());
            }
        }
        bail!("too few {reasons:?}, twice: {:?}", self.facts.drops)
    }
}

fn datagrams(from: &UdpSocket, port: u16, count: u64) -> Result<u64> {
    for _ in 0..count {
        from.send_to(&[0x5a; 100], (FAR, port))?;
    }
    Ok(count)
}

/// To nobody's address.
fn frames(namespace: &Namespace) -> Result<u64> {
    namespace.send_frames("peer", &frame::plain(BROADCAST, 100), COUNT)?;
    Ok(COUNT)
}

fn nobody_listens() -> Result<()> {
    let (here, there) = pair()?;
    let (index, from) = (there.ifindex("nt0")?, here.udp(NEAR)?);
    let mut watch = Watch::start(&there)?;
    watch.counts(Some(index), &["NO_SOCKET"], || datagrams(&from, 9, COUNT))
}

/// Which interface's and why is not told any more, but nothing is lost.
fn a_full_table() -> Result<()> {
    let (_here, there) = pair()?;
    let from = there.udp(FAR)?;
    let options = TraceOptions { drop_capacity: 1, ..TraceOptions::default() };
    let mut watch = Watch::with(&there, options)?;
    let before = watch.count(None, &["untracked"])?;
    datagrams(&from, 9, COUNT)?;
    // Those of the whole machine are here.
    let expected = before + COUNT / 2;
    wait::until_true("the drops", || Ok(watch.count(None, &["untracked"])? >= expected))?;
    let drops = watch.facts.drops.as_ref().context("no drops")?;
    ensure!(drops.len() == 1, "{drops:?}");
    Ok(())
}

/// UDP keeps something else where the packet had its device.
fn a_socket_is_full() -> Result<()> {
    let (here, there) = pair()?;
    let (index, from, to) = (there.ifindex("nt0")?, here.udp(NEAR)?, there.udp(FAR)?);
    setsockopt(&to, sockopt::RcvBuf, &4096)?;
    to.set_nonblocking(true)?;
    let mut watch = Watch::start(&there)?;
    watch.counts(Some(index), &["SOCKET_RCVBUFF"], || {
        datagrams(&from, to.local_addr()?.port(), COUNT)?;
        inet::settle(&there, "nt0")?;
        let mut taken = 0;
        while to.recv(&mut [0; 200]).is_ok() {
            taken += 1;
        }
        ensure!(taken > 0 && taken < COUNT, "{taken} of {COUNT} were taken");
        Ok(COUNT - taken)
    })
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
    watch.counts(Some(index), &["TC_INGRESS"], || frames(&namespace))
}

fn a_filter_at_egress() -> Result<()> {
    let (here, _there) = pair()?;
    let (index, from) = (here.ifindex("nt0")?, here.udp(NEAR)?);
    let _filter = filter(&here, Way::Egress)?;
    let mut watch = Watch::start(&here)?;
    // Not by a packet socket: that is told.
    watch.counts(Some(index), &["TC_EGRESS"], || datagrams(&from, 9, COUNT))
}

/// Linux 6.18 says no more of it than that it is dropped.
fn an_xdp_program() -> Result<()> {
    let namespace = veth()?;
    let index = namespace.ifindex("nt0")?;
    let _program = namespace.foreign_xdp("nt0", XdpMode::Generic, XDP_DROP)?;
    let mut watch = Watch::start(&namespace)?;
    watch.counts(Some(index), &["XDP", "NOT_SPECIFIED"], || frames(&namespace))
}

fn a_protocol_that_nobody_has() -> Result<()> {
    let namespace = veth()?;
    let index = namespace.ifindex("nt0")?;
    let mut watch = Watch::start(&namespace)?;
    watch.counts(Some(index), &["UNHANDLED_PROTO"], || frames(&namespace))
}

fn another_namespaces_have_no_interface() -> Result<()> {
    let (here, there) = pair()?;
    let (index, from) = (here.ifindex("nt0")?, here.udp(NEAR)?);
    let mut watch = Watch::start(&here)?;
    let before = watch.count(None, &["NO_SOCKET"])?;
    datagrams(&from, 9, COUNT)?;
    inet::settle(&there, "nt0")?;
    // Those of other tests have none, either. (Half of them: the kernel may miss one.)
    let expected = before + COUNT / 2;
    wait::until_true("the drops", || Ok(watch.count(None, &["NO_SOCKET"])? >= expected))?;
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
