//! Counts under harder conditions: many CPUs, a start in the middle of traffic, packets that wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, bail};
use netmon_tests::{
    frame::{self, BROADCAST},
    json::Pair,
    kernel::DROPS_WITHOUT_QDISC,
    netns::Namespace,
    packet,
};

use crate::{
    Test,
    common::{agrees, interrupt, json, veth},
    counting::{counting, is_counted, packets},
};

pub(crate) const TESTS: &[Test] = &[
    ("all_cpus_are_added_up", all_cpus_are_added_up),
    ("started_in_the_middle_by_tcx", || started_in_the_middle("tc", "TCX in+out")),
    ("started_in_the_middle_by_clsact", || started_in_the_middle("clsact", "clsact in+out")),
    ("each_interface_has_its_own_counts", each_interface_has_its_own_counts),
];

fn all_cpus_are_added_up() -> Result<()> {
    const EACH: u64 = 5000;
    let namespace = veth()?;
    let agent = counting(&namespace, "nt0", "tc", "TCX in+out")?;
    let cpus = packet::cpus()?;
    let mut senders = Vec::new();
    for &cpu in &cpus {
        for (link, size) in [("nt0", 60), ("peer", 90)] {
            let mut socket = namespace.packet_socket(link)?;
            senders.push(thread::spawn(move || {
                packet::stay_on(cpu)?;
                let frame = frame::plain(BROADCAST, size);
                socket.send_many(&frame, EACH)
            }));
        }
    }
    senders.into_iter().try_for_each(joined)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    is_counted(&told.tx, packets(cpus.len() as u64 * EACH, 60));
    is_counted(&told.rx, packets(cpus.len() as u64 * EACH, 90));
    interrupt(agent).map(drop)
}

fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("a sender panicked"),
    }
}

fn started_in_the_middle(hook: &str, line: &str) -> Result<()> {
    /// Between frames: the base is to be exact at a rate that leaves gaps.
    const GAP: Duration = Duration::from_micros(200);
    let namespace = veth()?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut senders = Vec::new();
    for link in ["nt0", "peer"] {
        let (mut socket, stop) = (namespace.packet_socket(link)?, Arc::clone(&stop));
        senders.push(thread::spawn(move || {
            let (frame, mut sent) = (frame::plain(BROADCAST, 60), 0_u64);
            while !stop.load(Ordering::Relaxed) {
                socket.send(&frame)?;
                sent += 1;
                thread::sleep(GAP);
            }
            Ok(sent)
        }));
    }
    let agent = counting(&namespace, "nt0", hook, line)?;
    let result = agent.later_tick(10);
    stop.store(true, Ordering::Relaxed);
    let sent = senders.into_iter().map(joined).collect::<Result<Vec<_>>>()?;
    result?;
    let told = agrees(&agent, &namespace, "nt0")?;
    assert_eq!(told.rx.packets, Some(sent[1]), "{told:#?}");
    // The kernel takes a link's qdiscs out for a moment when it adds clsact, and drops what is
    // sent meanwhile; from 6.11 on it says so. What has arrived tells in any case.
    let handled = told.tx.packets.zip(told.tx.dropped).map(|(sent, dropped)| sent + dropped);
    if hook != "clsact" || DROPS_WITHOUT_QDISC.is_here() {
        assert_eq!(handled, Some(sent[0]), "{told:#?}");
    }
    assert_eq!(told.tx.packets, Some(namespace.sysfs_totals("peer")?.rx_packets), "{told:#?}");
    let ticks = agent.ticks()?;
    let totals = ticks.iter().map(|tick| tick.interface("nt0").map(|told| told.rx.packets));
    let totals = totals.collect::<Result<Vec<_>>>()?;
    assert!(
        totals.is_sorted(),
        "a total never goes back, also not when counting begins: {totals:?}"
    );
    interrupt(agent).map(drop)
}

fn each_interface_has_its_own_counts() -> Result<()> {
    let namespace = Namespace::new()?;
    for number in 0..4 {
        namespace.add_veth_up(&format!("nt{number}"), &format!("peer{number}"))?;
    }
    let agent = json(&namespace, &["nt*", "peer2"])?;
    for link in ["nt0", "nt1", "nt2", "nt3", "peer2"] {
        agent.says_counted(link, "TCX in+out")?;
    }
    for number in 0..4_u8 {
        let frame = frame::plain(BROADCAST, 100 + usize::from(number));
        namespace.send_frames(&format!("nt{number}"), &frame, 10 + u64::from(number))?;
    }
    for number in 0..4_u8 {
        let told = agrees(&agent, &namespace, &format!("nt{number}"))?;
        is_counted(&told.tx, packets(10 + u64::from(number), 100 + usize::from(number)));
        is_counted(&told.rx, Pair::default());
    }
    is_counted(&agrees(&agent, &namespace, "peer2")?.rx, packets(12, 102));
    interrupt(agent).map(drop)
}
