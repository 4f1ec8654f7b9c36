//! Frames as fast as all CPUs can send them.

use anyhow::Result;
use netmon_common::{COUNTERS, SlotCounters, slot_index};
use netmon_tests::{
    bpf,
    frame::{self, BROADCAST, TAG},
    netns::Namespace,
    packet,
};

use super::{Ledger, Sent, counting, flood_all, joined, load};
use crate::{
    Test,
    common::{interrupt, observed, veth},
    counting::{is_counted, packets},
};

pub(crate) const TESTS: &[Test] = &[
    ("small_frames_by_tcx", || small_frames("tc")),
    ("small_frames_by_clsact", || small_frames("clsact")),
    ("small_frames_by_native_xdp", || small_frames("xdp")),
    ("jumbo_frames_by_tcx", || jumbo_frames("tc")),
    ("jumbo_frames_by_native_xdp", || jumbo_frames("xdp")),
    ("tagged_frames_by_tcx", || tagged_frames("tc")),
    ("tagged_frames_by_clsact", || tagged_frames("clsact")),
    ("tagged_frames_by_native_xdp", || tagged_frames("xdp")),
    ("thirty_two_interfaces", thirty_two_interfaces),
    ("each_cpu_counts_its_own", each_cpu_counts_its_own),
];

/// Floods both ends of a veth with these frames.
fn flood(hook: &str, mtu: u32, frames: [&[u8]; 2], tags: usize, count: u64) -> Result<()> {
    let namespace = veth()?;
    namespace.set_mtu("nt0", mtu)?;
    namespace.set_mtu("peer", mtu)?;
    let agent = counting(&namespace, &["nt0"], hook)?;
    let ledger = Ledger::open(&namespace)?;
    let [near, far] = frames;
    let each = load(count)?;
    let cpus = flood_all(&namespace, &[("nt0", near), ("peer", far)], each)?;
    // XDP sees a frame before the stack takes the outer tag out.
    let taken_out = if hook == "xdp" { 0 } else { tags };
    let sent =
        |frame: &[u8], taken_out| Sent { frames: cpus * each, length: frame.len(), taken_out };
    ledger.balances(&agent, [sent(near, 0), sent(far, taken_out)])?;
    interrupt(agent).map(drop)
}

fn small_frames(hook: &str) -> Result<()> {
    let (near, far) = (frame::plain(BROADCAST, 60), frame::plain(BROADCAST, 64));
    flood(hook, 1500, [&near, &far], 0, 250_000)
}

fn jumbo_frames(hook: &str) -> Result<()> {
    let (near, far) = (frame::plain(BROADCAST, 9014), frame::plain(BROADCAST, 9000));
    flood(hook, 9000, [&near, &far], 0, 50_000)
}

fn tagged_frames(hook: &str) -> Result<()> {
    let (near, far) = (frame::tagged(BROADCAST, 5, 64), frame::tagged(BROADCAST, 7, 1518));
    flood(hook, 1500, [&near, &far], TAG, 50_000)?;
    let near = frame::double_tagged(BROADCAST, 100, 5, 68);
    let far = frame::double_tagged(BROADCAST, 100, 7, 1514);
    flood(hook, 1500, [&near, &far], TAG, 50_000)
}

fn thirty_two_interfaces() -> Result<()> {
    let namespace = Namespace::new()?;
    let links: Vec<String> = (0..32).map(|number| format!("nt{number}")).collect();
    for link in &links {
        namespace.add_veth_up(link, &link.replace("nt", "peer"))?;
    }
    let names: Vec<&str> = links.iter().map(String::as_str).collect();
    let agent = counting(&namespace, &names, "auto")?;
    // Each its own number and size, so that none can stand in for another.
    let each = load(10_000)?;
    let cpus = packet::cpus()?;
    let mut senders = Vec::new();
    for &cpu in &cpus {
        let mut sockets = Vec::new();
        for link in &links {
            sockets.push((
                namespace.packet_socket(link)?,
                namespace.packet_socket(&link.replace("nt", "peer"))?,
            ));
        }
        senders.push(std::thread::spawn(move || {
            packet::stay_on(cpu)?;
            for (number, (near, far)) in sockets.iter_mut().enumerate() {
                near.flood(&frame::plain(BROADCAST, 60 + number), each + number as u64, |_| {})?;
                far.flood(
                    &frame::plain(BROADCAST, 200 + number),
                    each + 2 * number as u64,
                    |_| {},
                )?;
            }
            Ok(())
        }));
    }
    senders.into_iter().try_for_each(joined)?;
    // All is quiet once one of them is.
    observed(&agent, &namespace, "nt31")?;
    let tick = agent.fresh_tick()?;
    for (number, link) in links.iter().enumerate() {
        let told = tick.interface(link)?;
        let (sent, received) = (each + number as u64, each + 2 * number as u64);
        let of_all = |each: u64| each * cpus.len() as u64;
        is_counted(&told.tx, packets(of_all(sent), 60 + number));
        let dropped = namespace.sysfs_totals(&link.replace("nt", "peer"))?.tx_dropped;
        is_counted(&told.rx, packets(of_all(received) - dropped, 200 + number));
        let dropped = namespace.sysfs_totals(link)?.tx_dropped;
        assert_eq!(told.tx.drift, Some(super::drift(dropped, 60 + number)?), "{link}");
        assert_eq!(told.rx.drift, Some(super::drift(0, 0)?), "{link}");
    }
    interrupt(agent).map(drop)
}

/// The totals that are shown are sums over the CPUs; here each CPU's own counts.
fn each_cpu_counts_its_own() -> Result<()> {
    let namespace = veth()?;
    let agent = counting(&namespace, &["nt0"], "auto")?;
    let (map, cpus) = (agent.map(COUNTERS)?, bpf::possible_cpus()?);
    /// The first slot that is given out.
    const SLOT: u32 = 1;
    let sent_by_cpu = || -> Result<Vec<(u64, u64)>> {
        // Packets and bytes transmitted stand behind the four numbers of what was received.
        let number = |value: &[u8], at: usize| {
            let bytes = value[at * 8..][..8].try_into();
            bytes.map(u64::from_ne_bytes).map_err(anyhow::Error::from)
        };
        let of_cpu = |cpu| {
            let index = slot_index(cpu, cpus, SLOT);
            let value = bpf::value(map, index, size_of::<SlotCounters>())?;
            Ok((number(&value, 4)?, number(&value, 5)?))
        };
        (0..cpus).map(of_cpu).collect()
    };
    let each = load(100_000)?;
    let frame = frame::plain(BROADCAST, 60);
    let before = sent_by_cpu()?;
    flood_all(&namespace, &[("nt0", &frame)], each)?;
    let after = sent_by_cpu()?;
    for cpu in packet::cpus()? {
        let counted = (after[cpu].0 - before[cpu].0, after[cpu].1 - before[cpu].1);
        assert_eq!(counted, (each, each * 60), "by CPU {cpu}");
    }
    interrupt(agent).map(drop)
}
