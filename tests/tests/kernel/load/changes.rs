//! Load while interfaces, and netmon itself, come and go.

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::Agent,
    frame::{self, BROADCAST},
    json::{Direction, Interface, Pair},
    netns::Namespace,
};

use super::{Flood, Ledger, Sent, counting, load};
use crate::{
    Test,
    common::{agrees, interrupt, json, observed, veth},
    counting::{is_counted, packets},
};

pub(crate) const TESTS: &[Test] = &[
    ("interfaces_come_and_go_meanwhile", interfaces_come_and_go),
    ("started_and_stopped_meanwhile_by_tcx", || started_and_stopped("tc")),
    ("started_and_stopped_meanwhile_by_clsact", || started_and_stopped("clsact")),
    ("started_and_stopped_meanwhile_by_native_xdp", || started_and_stopped("xdp")),
    ("totals_read_meanwhile_are_between", totals_read_meanwhile),
];

const NEAR: usize = 60;
const FAR: usize = 90;
/// So many may pass between two readings of counters: both are read anew, up to eight times, while
/// that is so. None to two were seen, with fifty times as many threads as CPUs; a netmon that
/// begins to count a tick late misses some ten thousand.
const IN_FLIGHT: i64 = 2_000;

/// Both ends of `nt0` send.
struct Both {
    near: Flood,
    far: Flood,
}

impl Both {
    fn start(namespace: &Namespace) -> Result<Self> {
        let near = Flood::start(namespace, "nt0", &frame::plain(BROADCAST, NEAR))?;
        Ok(Self { near, far: Flood::start(namespace, "peer", &frame::plain(BROADCAST, FAR))? })
    }

    /// Stops both, and returns what each has sent.
    fn stop(self) -> Result<[Sent; 2]> {
        let sent = |frames, length| Sent { frames, length, taken_out: 0 };
        Ok([sent(self.near.stop()?, NEAR), sent(self.far.stop()?, FAR)])
    }
}

fn interfaces_come_and_go() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0", "come*", "--wait"])?;
    agent.says_counted("nt0", "")?;
    let ledger = Ledger::open(&namespace)?;
    let floods = Both::start(&namespace)?;
    for round in 0..load(8)? {
        let frames = 500 + round;
        let (link, frame) = ("come0", frame::plain(BROADCAST, 100));
        let said = agent.times_said(&["come0: ", " in+out"])?;
        namespace.add_veth_up(link, "gone0")?;
        agent.stderr()?.wait_for("what counts it", |lines| {
            let is_it = |line: &&String| line.starts_with("come0: ") && line.contains(" in+out");
            (lines.iter().filter(is_it).count() > said).then_some(())
        })?;
        namespace.send_frames(link, &frame, frames)?;
        namespace.send_frames("gone0", &frame, 2 * frames)?;
        // Anew each time: nothing of the one before is left in its slot.
        let told = agrees(&agent, &namespace, link)?;
        is_counted(&told.tx, packets(frames, 100));
        is_counted(&told.rx, packets(2 * frames, 100));
        let seen = agent.stdout()?.count();
        namespace.delete(link)?;
        agent.wait_for_tick_from(seen, "absent", |tick| {
            tick.interface(link).is_ok_and(|told| told.is("absent"))
        })?;
    }
    ledger.balances(&agent, floods.stop()?)?;
    interrupt(agent).map(drop)
}

/// What was under way when counting began is the only difference to the kernel's own counters:
/// it is told, and stays as it is.
fn started_and_stopped(hook: &str) -> Result<()> {
    let namespace = veth()?;
    for _ in 0..load(3)? {
        let dropped_before = namespace.sysfs_totals("nt0")?.tx_dropped;
        let floods = Both::start(&namespace)?;
        let agent = counting(&namespace, &["nt0"], hook)?;
        let dropped_by_then = namespace.sysfs_totals("nt0")?.tx_dropped;
        agent.later_tick(3)?;
        floods.stop()?;
        let first = Account::read(&agent, &namespace)?;
        first.counts_what_began_later([dropped_before, dropped_by_then])?;

        let floods = Both::start(&namespace)?;
        agent.later_tick(5)?;
        let [sent, received] = floods.stop()?;
        let second = Account::read(&agent, &namespace)?;
        second.follows(&first, sent.frames, received.frames)?;

        // The end comes in the middle of it, too.
        let floods = Both::start(&namespace)?;
        interrupt(agent)?;
        floods.stop()?;
    }
    Ok(())
}

/// A quiet moment: what netmon tells of `nt0`, and what each end could not deliver so far.
struct Account {
    told: Interface,
    near_dropped: u64,
    far_dropped: u64,
}

impl Account {
    fn read(agent: &Agent, namespace: &Namespace) -> Result<Self> {
        let told = observed(agent, namespace, "nt0")?;
        let dropped = |link| Ok::<_, anyhow::Error>(namespace.sysfs_totals(link)?.tx_dropped);
        Ok(Self { told, near_dropped: dropped("nt0")?, far_dropped: dropped("peer")? })
    }

    /// What passes while counting begins may be missed, for the kernel's counters are read before
    /// ours; it is little. Of what is received, as little may be counted by us alone: the far end
    /// has counted it and it waits in a queue meanwhile (seen once: one packet, on 6.1). Of what is
    /// sent, that is only what the near end has dropped: since before the flood at most, and since
    /// counting was told of at least.
    fn counts_what_began_later(&self, dropped: [u64; 2]) -> Result<()> {
        let (tx, rx) = self.told.tx.drift.zip(self.told.rx.drift).context("no drift")?;
        let [most, least] = dropped.map(|then| super::drift(self.near_dropped - then, NEAR));
        let (most, least) = (most?.packets, least?.packets);
        let in_bounds = (least - IN_FLIGHT..=most).contains(&tx.packets);
        ensure!(in_bounds, "not {least} to {most} dropped: {:#?}", self.told);
        ensure!(rx.packets.abs() <= IN_FLIGHT, "missed or twice: {:#?}", self.told);
        Ok(())
    }

    /// Checks that all that was sent since an earlier moment, and nothing else, is counted.
    fn follows(&self, before: &Self, sent: u64, received: u64) -> Result<()> {
        let (now, then) = (&self.told, &before.told);
        let not_taken = self.near_dropped - before.near_dropped;
        let arrived = received - (self.far_dropped - before.far_dropped);
        let all = Pair { packets: sent, bytes: sent * NEAR as u64 };
        ensure!(since(&now.tx, &then.tx)? == all, "{sent} sent: {then:#?} {now:#?}");
        let all = Pair { packets: arrived, bytes: arrived * FAR as u64 };
        ensure!(since(&now.rx, &then.rx)? == all, "{arrived} arrived: {then:#?} {now:#?}");
        // What was under way is told, and nothing comes to it but what the device has dropped.
        let (drift, before) = now.tx.drift.zip(then.tx.drift).context("no drift")?;
        let packets = drift.packets - before.packets;
        let bytes = drift.bytes - before.bytes;
        let dropped = super::drift(not_taken, NEAR)?;
        ensure!((packets, bytes) == (dropped.packets, dropped.bytes), "{then:#?} {now:#?}");
        ensure!(now.rx.drift == then.rx.drift, "{then:#?} {now:#?}");
        Ok(())
    }
}

/// What the programs have counted since, which the totals follow.
fn since(now: &Direction, then: &Direction) -> Result<Pair> {
    let (skb, before) = now.skb.zip(then.skb).context("no count")?;
    let counted = Pair { packets: skb.packets - before.packets, bytes: skb.bytes - before.bytes };
    let (packets, packets_before) = now.packets.zip(then.packets).context("no total")?;
    ensure!(packets - packets_before == counted.packets, "{then:#?} {now:#?}");
    Ok(counted)
}

/// Totals that are read while packets are counted on all CPUs never go back, and never run ahead
/// of what was sent.
fn totals_read_meanwhile() -> Result<()> {
    let namespace = veth()?;
    let agent = counting(&namespace, &["nt0"], "auto")?;
    let ledger = Ledger::open(&namespace)?;
    let floods = Both::start(&namespace)?;
    let mut last = (0, 0);
    let first = agent.stdout()?.count();
    for number in 0..usize::try_from(load(30)?)?.max(5) {
        let tick = agent.wait_for_tick_from(first + number, "the next tick", |_| true)?;
        // Read after the tick, so these are never less than what could be counted by then.
        let begun = (floods.near.begun(), floods.far.begun());
        let told = tick.interface("nt0")?;
        let now = told.tx.packets.zip(told.rx.packets).context("no totals")?;
        ensure!(last.0 <= now.0 && last.1 <= now.1, "{now:?} after {last:?}");
        ensure!(now.0 <= begun.0 && now.1 <= begun.1, "{now:?} of {begun:?}");
        last = now;
    }
    ensure!(last.0 > 0 && last.1 > 0, "nothing was counted meanwhile");
    ledger.balances(&agent, floods.stop()?)?;
    interrupt(agent).map(drop)
}
