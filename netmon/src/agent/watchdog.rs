//! Notices that the programs of an interface do not see its packets any more, whatever the cause:
//! the kernel's counter moves and ours stands still. Pure. On the path of every tick.

use crate::model::snapshot::{Counted, DeviceCounters, DeviceStats};

/// Moves of the kernel's counter, ours standing still, after which ours is taken for blind also
/// where nothing is known to stand in front of it.
const PERSISTENT: u8 = 3;
/// Ticks in a row, each with more packets that ours has not seen than ever before, after which
/// something is looked for that takes a part of them.
const SINKING: u8 = 4;

/// What the counters say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Suspicion {
    /// Nothing.
    #[default]
    None,
    /// Packets may have passed unseen: what is attached is worth a look. Packets in flight and a
    /// queue that drains look like this, too.
    Look,
    /// A part of the packets passes unseen, tick after tick.
    Part,
    /// All that passed since some tick was unseen.
    Still,
    /// The same, and for so long that neither packets in flight nor a queue explain it.
    Persistent,
}

/// Watches one interface.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watchdog {
    rx: Side,
    tx: Side,
}

/// One direction.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// The report's total of packets, as the programs count.
    ours: u64,
    /// That minus the kernel's own.
    drift: i64,
    /// The lowest that it was while ours moved: what is below has passed unseen. (Above is what
    /// waits in a queue or was dropped there.)
    low: i64,
    /// Ticks since ours moved at which the kernel's moved.
    still: u8,
    /// Ticks in a row at which `low` has fallen.
    sinking: u8,
    /// At the tick before, something had passed unseen.
    lacked: bool,
}

impl Watchdog {
    /// Begins where these counters do, with the totals so far above the kernel's own: packets
    /// received and transmitted.
    pub(super) fn begin(counted: &Counted, above: [u64; 2]) -> Self {
        let side = |ours: u64, above: u64| Side {
            ours,
            drift: above.cast_signed(),
            low: above.cast_signed(),
            ..Side::default()
        };
        let [rx, tx] = above;
        Self { rx: side(counted.rx_total().packets, rx), tx: side(counted.tx_total().packets, tx) }
    }

    /// Takes in a tick's counters, and says what the worse of both directions is.
    #[inline]
    pub(super) fn observe(&mut self, counted: &Counted, device: &DeviceStats) -> Suspicion {
        let (rx, tx) = (counted.rx_total().packets, counted.tx_total().packets);
        self.rx.observe(rx, &device.rx).max(self.tx.observe(tx, &device.tx))
    }

    /// What has passed unseen so far is explained: only more of it is suspicious.
    pub(super) fn accept(&mut self) {
        self.rx.accept();
        self.tx.accept();
    }

    /// In which directions ours stands still while the kernel's moves: received, transmitted.
    pub(super) const fn stands_still(&self) -> [bool; 2] {
        [self.rx.still > 0, self.tx.still > 0]
    }
}

impl Side {
    #[inline]
    fn observe(&mut self, ours: u64, device: &DeviceCounters) -> Suspicion {
        let Some(kernel) = device.packets else {
            return Suspicion::None;
        };
        let drift = ours.wrapping_sub(kernel).cast_signed();
        if ours == self.ours && drift == self.drift && !self.lacked {
            return Suspicion::None;
        }
        self.changed(ours, drift)
    }

    fn changed(&mut self, ours: u64, drift: i64) -> Suspicion {
        let before = std::mem::replace(&mut self.drift, drift);
        if std::mem::replace(&mut self.ours, ours) != ours {
            return self.moved(before, drift);
        }
        self.still = self.still.saturating_add(u8::from(drift < before));
        let lacks = drift < self.low;
        // What was in flight has been counted by the tick after.
        let confirmed = std::mem::replace(&mut self.lacked, lacks) && lacks;
        match self.still {
            PERSISTENT.. if lacks => Suspicion::Persistent,
            2.. => Suspicion::Still,
            _ if confirmed => Suspicion::Still,
            0 => Suspicion::None,
            1 => Suspicion::Look,
        }
    }

    /// Ours has moved. Whether all of it has is seen at the next tick: the programs may have been
    /// detached between.
    fn moved(&mut self, before: i64, drift: i64) -> Suspicion {
        if self.lacked {
            self.low = self.low.min(before.max(drift));
        }
        self.still = 0;
        self.lacked = drift < self.low;
        self.sinking = if self.lacked { self.sinking.saturating_add(1) } else { 0 };
        if self.sinking >= SINKING { Suspicion::Part } else { Suspicion::None }
    }

    fn accept(&mut self) {
        self.low = self.low.min(self.drift);
        self.lacked = false;
    }
}

#[cfg(test)]
mod tests {
    use netmon_common::{Counters, SlotCounters};

    use super::*;
    use crate::model::accounting::Rules;
    use crate::model::link::Link;
    use crate::model::snapshot::Base;

    /// The kernel's counter and ours of what is received, tick by tick.
    fn suspicions(ticks: &[(u64, u64)]) -> Vec<Suspicion> {
        let rules = Rules::of(&Link { kind: Some("veth".to_owned()), ..Link::sample(2, "x0") });
        let mut watchdog = Watchdog::default();
        let tick = |(kernel, ours): &(u64, u64)| {
            let rx = Counters { packets: *ours, ..Counters::default() };
            let mut counted = Counted::begin(Base::default(), rules);
            counted.now = SlotCounters { rx, tx: Counters::default() };
            let packets = Some(*kernel);
            let tx = DeviceCounters { packets: Some(0), ..DeviceCounters::default() };
            let rx = DeviceCounters { packets, ..DeviceCounters::default() };
            watchdog.observe(&counted, &DeviceStats { rx, tx })
        };
        ticks.iter().map(tick).collect()
    }

    #[test]
    fn counters_that_move_together_are_not_suspicious() {
        use Suspicion::None;
        assert_eq!(suspicions(&[(5, 5), (5, 5), (90, 90), (1_000, 1_000)]), [None; 4]);
        assert_eq!(suspicions(&[(5, 5), (9, 8), (12, 13), (20, 19), (20, 20)]), [None; 5]);
    }

    #[test]
    fn one_burst_unseen_is_noticed_at_the_tick_after() {
        use Suspicion::{Look, None, Still};
        let seen = suspicions(&[(100, 100), (1_100, 100), (1_100, 100), (1_100, 100)]);
        assert_eq!(seen, [None, Look, Still, Still]);
    }

    #[test]
    fn what_goes_on_unseen_is_persistent_at_the_third_tick() {
        use Suspicion::{Look, None, Persistent, Still};
        let seen = suspicions(&[(5, 5), (6, 5), (7, 5), (8, 5), (9, 5), (10, 11)]);
        assert_eq!(seen, [None, Look, Still, Persistent, Persistent, None]);
    }

    #[test]
    fn what_is_unseen_before_the_first_tick_is_noticed() {
        assert_eq!(suspicions(&[(1_000, 0), (1_000, 0)]), [Suspicion::Look, Suspicion::Still]);
    }

    #[test]
    fn programs_that_are_detached_between_ticks_are_noticed() {
        use Suspicion::{None, Still};
        assert_eq!(suspicions(&[(5, 5), (1_100, 100), (1_100, 100)]), [None, None, Still]);
    }

    #[test]
    fn a_packet_in_flight_is_worth_a_look_and_no_more() {
        use Suspicion::{Look, None};
        assert_eq!(suspicions(&[(5, 5), (6, 5), (6, 6), (6, 6)]), [None, Look, None, None]);
    }

    #[test]
    fn a_queue_that_drains_slowly_is_never_persistent() {
        let ticks: Vec<_> = (0..50).map(|tick| (tick, 50)).collect();
        let mut ticks = [vec![(0, 0)], ticks].concat();
        let worst = suspicions(&ticks).into_iter().max();
        assert_eq!(worst, Some(Suspicion::Still), "behind another program that is enough");
        // What was dropped in the queue hides nothing for long.
        ticks = vec![(0, 0), (0, 1_000), (1, 1_000), (2, 1_000)];
        assert_eq!(suspicions(&ticks).last(), Some(&Suspicion::Still));
    }

    #[test]
    fn a_part_unseen_tick_after_tick_is_noticed() {
        let ticks: Vec<_> = (0..6).map(|tick| (tick * 100, tick * 10)).collect();
        let seen = suspicions(&ticks);
        assert_eq!(seen[4..], [Suspicion::Part; 2]);
        assert!(seen[..4].iter().all(|suspicion| *suspicion == Suspicion::None), "{seen:?}");
    }

    #[test]
    fn a_counter_that_is_unknown_or_was_reset_says_nothing() {
        let mut watchdog = Watchdog::default();
        let counted = Counted::begin(Base::default(), Rules::of(&Link::sample(2, "x0")));
        for _ in 0..5 {
            assert_eq!(watchdog.observe(&counted, &DeviceStats::default()), Suspicion::None);
        }
        assert_eq!(suspicions(&[(900, 900), (0, 900), (0, 900)]), [Suspicion::None; 3]);
    }
}
