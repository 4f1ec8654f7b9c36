//! Millions of packets whose number and size are known: the difference to what was sent is zero,
//! and the kernel's own counters agree.
//!
//! What a veth does not take (a CPU's backlog holds a thousand packets) it counts as dropped on
//! the sending end: so what was sent is always what was transmitted plus what was dropped.
//!
//! `NETMON_LOAD` is a factor for the number of packets: 10 for a heavy run by hand, 0.05 where
//! the CPU is emulated.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, bail, ensure};
use netmon_tests::{
    agent::Agent,
    json::{Drift, Pair},
    netns::Namespace,
    packet,
    report::Totals,
};

use crate::common::{json, observed};

pub(crate) mod changes;
pub(crate) mod compared;
pub(crate) mod floods;
pub(crate) mod streams;

/// How many of so many are to be sent here.
fn load(count: u64) -> Result<u64> {
    let factor = env::var("NETMON_LOAD").map_or(Ok(1.0), |factor| factor.parse::<f64>());
    let factor = factor.context("NETMON_LOAD is no number")?;
    ensure!(factor > 0.0 && factor.is_finite(), "NETMON_LOAD is {factor}");
    Ok(((count as f64 * factor) as u64).max(1))
}

/// netmon with a JSON report of these interfaces, of which all are counted by eBPF, those by
/// native XDP for which it is asked.
fn counting(namespace: &Namespace, links: &[&str], hook: &str) -> Result<Agent> {
    let agent = json(namespace, &[links, &["--hook", hook]].concat())?;
    for link in links {
        let line = agent.says_counted(link, "")?;
        let is_so = match hook {
            "xdp" => line.contains(": XDP native in"),
            "clsact" => line.contains(": clsact in+out"),
            _ => !line.contains(": sysfs"),
        };
        ensure!(is_so, "{hook}: {line}");
    }
    Ok(agent)
}

fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("a sender panicked"),
    }
}

/// Sends `each` frames from every CPU through every link at once; returns how many CPUs there are.
fn flood_all(namespace: &Namespace, links: &[(&str, &[u8])], each: u64) -> Result<u64> {
    let cpus = packet::cpus()?;
    let mut senders = Vec::new();
    for &cpu in &cpus {
        for &(link, frame) in links {
            let (mut socket, frame) = (namespace.packet_socket(link)?, frame.to_vec());
            senders.push(thread::spawn(move || {
                packet::stay_on(cpu)?;
                socket.flood(&frame, each, |_| {})
            }));
        }
    }
    senders.into_iter().try_for_each(joined)?;
    Ok(cpus.len() as u64)
}

/// A sender that sends until it is stopped.
struct Flood {
    stop: Arc<AtomicBool>,
    begun: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl Flood {
    fn start(namespace: &Namespace, link: &str, frame: &[u8]) -> Result<Self> {
        let (stop, begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (mut socket, frame) = (namespace.packet_socket(link)?, frame.to_vec());
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&begun));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                socket.flood(&frame, 64, |batch| {
                    counter.fetch_add(batch, Ordering::SeqCst);
                })?;
            }
            Ok(())
        });
        Ok(Self { stop, begun, thread })
    }

    /// How many frames have been sent, or are about to be.
    fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Stops it, and returns how many frames it has sent.
    fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        joined(self.thread)?;
        Ok(self.begun.load(Ordering::SeqCst))
    }
}

/// A veth `nt0` – `peer` in one namespace, with what its kernel counters were.
struct Ledger<'a> {
    namespace: &'a Namespace,
    near: Totals,
    far: Totals,
}

/// Frames of one size.
#[derive(Clone, Copy, Debug)]
struct Sent {
    frames: u64,
    length: usize,
    /// What the receiving stack takes out before the hook: a VLAN tag.
    taken_out: usize,
}

impl<'a> Ledger<'a> {
    fn open(namespace: &'a Namespace) -> Result<Self> {
        let (near, far) = (namespace.sysfs_totals("nt0")?, namespace.sysfs_totals("peer")?);
        Ok(Self { namespace, near, far })
    }

    /// Checks that netmon, which has counted `nt0` since the ledger was opened, has counted what
    /// was sent through either end, to the packet and to the byte, and the kernel, too.
    fn balances(&self, agent: &Agent, [near, far]: [Sent; 2]) -> Result<()> {
        let told = observed(agent, self.namespace, "nt0")?;
        let Self { namespace, near: near_before, far: far_before } = self;
        let (near_now, far_now) = (namespace.sysfs_totals("nt0")?, namespace.sysfs_totals("peer")?);
        let pair =
            |packets: u64, length: usize| Some(Pair { packets, bytes: packets * length as u64 });

        let not_taken = near_now.tx_dropped - near_before.tx_dropped;
        let by_kernel = near_now.tx_packets - near_before.tx_packets + not_taken;
        ensure!(by_kernel == near.frames, "{by_kernel} by the kernel of {near:?}");
        let all = pair(near.frames, near.length);
        ensure!((told.tx.skb, told.tx.wire) == (all, all), "{near:?} sent: {:#?}", told.tx);
        let drift = drift(not_taken, near.length)?;
        ensure!(told.tx.drift == Some(drift), "{not_taken} were dropped: {:#?}", told.tx);

        let arrived = far.frames - (far_now.tx_dropped - far_before.tx_dropped);
        let by_kernel = near_now.rx_packets - near_before.rx_packets;
        ensure!(by_kernel == arrived, "{by_kernel} by the kernel, {arrived} of {far:?}");
        let (skb, wire) = (pair(arrived, far.length - far.taken_out), pair(arrived, far.length));
        ensure!((told.rx.skb, told.rx.wire) == (skb, wire), "{arrived} of {far:?}: {:#?}", told.rx);
        let Drift { bytes, .. } = self::drift(arrived, far.taken_out)?;
        let without_tags = Some(Drift { packets: 0, bytes: -bytes });
        ensure!(told.rx.drift == without_tags, "{far:?}: {:#?}", told.rx);
        Ok(())
    }
}

fn drift(packets: u64, length: usize) -> Result<Drift> {
    let packets = i64::try_from(packets)?;
    Ok(Drift { packets, bytes: packets * i64::try_from(length)? })
}
