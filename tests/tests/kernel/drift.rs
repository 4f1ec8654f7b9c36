//! Where the report differs from the kernel's own counters, by a rule that ARCHITECTURE.md gives:
//! the difference is told, to the packet and to the byte.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail};
use netmon_tests::{
    ethtool::Offload,
    foreign::{self, XdpMode},
    frame::{self, BROADCAST},
    inet,
    json::{Drift, Pair},
    netns::Namespace,
    tuntap::Layer,
};

use crate::{
    Test,
    common::{FAR, agrees, interrupt, json, observed, pair, veth},
    counting::{is_counted, packets},
    segments::{BYTES, counting},
};

pub(crate) const TESTS: &[Test] = &[
    ("what_the_device_has_not_sent_yet", what_the_device_has_not_sent_yet),
    ("what_the_device_drops", what_the_device_drops),
    ("what_goes_around_the_hook", what_goes_around_the_hook),
    ("what_anothers_xdp_drops", what_anothers_xdp_drops),
    ("a_peer_elsewhere_without_tso", a_peer_elsewhere_without_tso),
    ("a_peer_elsewhere_with_native_xdp", a_peer_elsewhere_with_native_xdp),
    ("what_was_under_way_at_the_start", what_was_under_way_at_the_start),
    ("native_xdp_that_comes_later", native_xdp_that_comes_later),
];

fn what_the_device_has_not_sent_yet() -> Result<()> {
    let namespace = Namespace::new()?;
    let mut tap = namespace.add_tuntap("tap0", Layer::Ethernet)?;
    let agent = json(&namespace, &["tap0"])?;
    agent.says_counted("tap0", "TCX in+out")?;
    // They wait in the device, which counts what is taken from it.
    namespace.send_frames("tap0", &frame::plain(BROADCAST, 100), 50)?;
    let told = observed(&agent, &namespace, "tap0")?;
    is_counted(&told.tx, packets(50, 100));
    assert_eq!(told.tx.kernel, Some(Pair::default()));
    assert_eq!(told.tx.drift, Some(Drift { packets: 50, bytes: 5000 }));
    for _ in 0..50 {
        tap.receive()?;
    }
    agrees(&agent, &namespace, "tap0")?;
    interrupt(agent).map(drop)
}

fn what_the_device_drops() -> Result<()> {
    const SENT: u64 = 1500;
    let namespace = Namespace::new()?;
    let mut tap = namespace.add_tuntap("tap0", Layer::Ethernet)?;
    let agent = json(&namespace, &["tap0"])?;
    agent.says_counted("tap0", "TCX in+out")?;
    // More than the device's queue holds.
    namespace.send_frames("tap0", &frame::plain(BROADCAST, 100), SENT)?;
    let waiting = SENT - namespace.sysfs_totals("tap0")?.tx_dropped;
    for _ in 0..waiting {
        tap.receive()?;
    }
    let told = observed(&agent, &namespace, "tap0")?;
    is_counted(&told.tx, packets(SENT, 100));
    let dropped = told.tx.dropped.context("no number of drops")?;
    assert!((1..SENT).contains(&dropped), "{dropped} were dropped");
    let dropped = i64::try_from(dropped)?;
    assert_eq!(told.tx.drift, Some(Drift { packets: dropped, bytes: dropped * 100 }));
    interrupt(agent).map(drop)
}

fn what_goes_around_the_hook() -> Result<()> {
    let namespace = veth()?;
    let agent = counting(&namespace, "tc")?;
    let mut socket = namespace.packet_socket("nt0")?;
    socket.bypass_qdisc()?;
    for _ in 0..100 {
        socket.send(&frame::plain(BROADCAST, 200))?;
    }
    let told = observed(&agent, &namespace, "nt0")?;
    is_counted(&told.tx, Pair::default());
    assert_eq!(told.tx.drift, Some(Drift { packets: -100, bytes: -20_000 }));
    interrupt(agent).map(drop)
}

fn what_anothers_xdp_drops() -> Result<()> {
    let namespace = veth()?;
    let _foreign = namespace.foreign_xdp("nt0", XdpMode::Native, foreign::XDP_DROP)?;
    let agent = counting(&namespace, "tc")?;
    namespace.send_frames("peer", &frame::plain(BROADCAST, 200), 100)?;
    let told = observed(&agent, &namespace, "nt0")?;
    is_counted(&told.rx, Pair::default());
    let kernel = told.rx.kernel.context("no counts of the kernel's")?;
    assert_eq!(kernel.packets, 100);
    let bytes = -i64::try_from(kernel.bytes)?;
    assert_eq!(told.rx.drift, Some(Drift { packets: -100, bytes }));
    interrupt(agent).map(drop)
}

fn a_peer_elsewhere_without_tso() -> Result<()> {
    let (here, there) = pair()?;
    there.set_offload("nt0", Offload::Gro, true)?;
    here.set_offload("nt0", Offload::Tso, false)?;
    let agent = counting(&there, "tc")?;
    here.tcp_bulk(&there, FAR, BYTES)?;
    inet::settle(&here, "nt0")?;
    let told = observed(&agent, &there, "nt0")?;
    let (skb, wire) = told.rx.skb.zip(told.rx.wire).context("no counts")?;
    // The report takes the peer for one with TSO, and the kernel counts what came of one without.
    assert_eq!((told.rx.packets, told.rx.bytes), (Some(skb.packets), Some(skb.bytes)));
    let headers = wire.packets * frame::HEADER as u64;
    let kernel = Pair { packets: wire.packets, bytes: wire.bytes - headers };
    assert_eq!(told.rx.kernel, Some(kernel));
    interrupt(agent).map(drop)
}

fn a_peer_elsewhere_with_native_xdp() -> Result<()> {
    let (here, there) = pair()?;
    let _foreign = there.foreign_xdp("nt0", XdpMode::Native, foreign::XDP_PASS)?;
    let agent = counting(&here, "tc")?;
    // Few at a time: the receiving end's ring must not run over.
    for _ in 0..5 {
        here.send_frames("nt0", &frame::plain(BROADCAST, 200), 40)?;
        observed(&agent, &here, "nt0")?;
    }
    let told = observed(&agent, &here, "nt0")?;
    is_counted(&told.tx, packets(200, 200));
    assert_eq!((told.tx.packets, told.tx.dropped), (Some(200), Some(0)));
    // The kernel counts it without the Ethernet header.
    assert_eq!(told.tx.drift, Some(Drift { packets: 0, bytes: 200 * 14 }));
    interrupt(agent).map(drop)
}

fn what_was_under_way_at_the_start() -> Result<()> {
    let namespace = veth()?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut socket = namespace.packet_socket("nt0")?;
    let stopped = Arc::clone(&stop);
    let flood = thread::spawn(move || -> Result<()> {
        while !stopped.load(Ordering::Relaxed) {
            socket.flood(&frame::plain(BROADCAST, 60), 64, |_| {})?;
        }
        Ok(())
    });
    let agent = counting(&namespace, "tc");
    stop.store(true, Ordering::Relaxed);
    let Ok(sent) = flood.join() else { bail!("the sender panicked") };
    sent?;
    let agent = agent?;
    // There may have been no moment without a packet on the way; what that left does not grow.
    let first = observed(&agent, &namespace, "nt0")?;
    namespace.send_frames("nt0", &frame::plain(BROADCAST, 60), 500)?;
    let second = observed(&agent, &namespace, "nt0")?;
    assert_eq!((first.tx.drift, first.rx.drift), (second.tx.drift, second.rx.drift));
    interrupt(agent).map(drop)
}

fn native_xdp_that_comes_later() -> Result<()> {
    let namespace = veth()?;
    let agent = counting(&namespace, "tc")?;
    let sends = || namespace.send_frames("peer", &frame::plain(BROADCAST, 200), 40);
    sends()?;
    agrees(&agent, &namespace, "nt0")?;
    let _foreign = namespace.foreign_xdp("nt0", XdpMode::Native, foreign::XDP_PASS)?;
    sends()?;
    let drift = Some(Drift { packets: 0, bytes: 40 * 14 });
    assert_eq!(observed(&agent, &namespace, "nt0")?.rx.drift, drift);
    // A BPF link sends no news. With the next of the interface the rule is right again.
    namespace.set_mtu("nt0", 1400)?;
    agent.fresh_tick()?;
    sends()?;
    assert_eq!(observed(&agent, &namespace, "nt0")?.rx.drift, drift, "no more than before");
    interrupt(agent).map(drop)
}
