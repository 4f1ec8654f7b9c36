//! A device and the programs at its hooks, with counters that start anywhere and wrap, and the
//! plain model of what a report has to show of it.

use netmon::model::{
    accounting::{Rule, Rules, Traffic, Unit},
    snapshot::{Base, Counted, DeviceCounters, DeviceStats},
};
use netmon_common::{Counters, SlotCounters};
use proptest::prelude::*;

/// Packets of both directions at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    pub(crate) rx: Counters,
    pub(crate) tx: Counters,
}

/// Something that happens to the device or to its counting.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Packets pass hook and device.
    Pass(Burst),
    /// Packets that the programs do not see.
    PassAround(Burst),
    /// Packets that the programs see and the device does not take.
    Drop(Burst),
    /// The programs are attached.
    Attach,
    /// The programs' counters cannot be read any more.
    Lose,
    /// An offload was switched, for example.
    ChangeRules(Rules),
    /// The driver starts its counters anew.
    Reset,
    /// The device was removed and made again, with this number.
    Recreate(u32),
    /// The device is removed, until it is made again.
    Remove,
    /// It has another name.
    Rename,
    /// The kernel's counters can be read, or not.
    Blind(bool),
    /// A tick so many microseconds later, and whether the interface is due.
    Tick(u64, bool),
}

/// What the report has to show of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    /// The total, while the programs count.
    pub(crate) total: Traffic,
    /// Since they were attached.
    pub(crate) skb: Traffic,
    /// The same, as a cable carries it.
    pub(crate) wire: Traffic,
}

/// The device.
#[derive(Debug)]
pub(crate) struct Device {
    /// The kernel's counters, received and transmitted; a driver may show the lower half only.
    kernel: [Traffic; 2],
    half: bool,
    blind: bool,
    pub(crate) absent: bool,
    programs: SlotCounters,
    rules: Rules,
    /// As the agent keeps it.
    pub(crate) counted: Option<Counted>,
    pub(crate) expected: [Expected; 2],
}

fn add(to: &mut Traffic, packets: u64, bytes: u64) {
    *to = Traffic {
        packets: (u128::from(to.packets) + u128::from(packets)) as u64,
        bytes: (u128::from(to.bytes) + u128::from(bytes)) as u64,
    };
}

/// What a burst is by a rule, in words of its own.
fn by(rule: Rule, burst: Counters) -> Traffic {
    let Counters { packets, bytes, extra_packets, extra_bytes } = burst;
    let (packets, bytes) = match rule.unit {
        Unit::Skb => (packets, bytes),
        Unit::Wire => (packets + extra_packets, bytes + extra_bytes),
    };
    let adjusted = i128::from(bytes) + i128::from(packets) * i128::from(rule.bytes_per_packet);
    Traffic { packets, bytes: u64::try_from(adjusted).unwrap_or(u64::MAX) }
}

impl Device {
    pub(crate) fn new(start: [Traffic; 2], programs: SlotCounters, half: bool) -> Self {
        let rule = Rule { unit: Unit::Skb, bytes_per_packet: 0 };
        Self {
            kernel: start,
            half,
            blind: false,
            absent: false,
            programs,
            rules: Rules { rx: rule, tx: rule, tx_is_rx: false },
            counted: None,
            expected: [Expected::default(); 2],
        }
    }

    /// The kernel's counters as they can be read now.
    pub(crate) fn stats(&self) -> DeviceStats {
        let shown = |number: u64| if self.half { number & 0xffff_ffff } else { number };
        let direction = |traffic: Traffic| DeviceCounters {
            packets: (!self.blind).then(|| shown(traffic.packets)),
            bytes: Some(shown(traffic.bytes)),
            errors: Some(shown(traffic.packets / 7)),
            dropped: (!self.blind).then(|| shown(traffic.bytes / 3)),
        };
        DeviceStats { rx: direction(self.kernel[0]), tx: direction(self.kernel[1]) }
    }

    /// Everything but ticks.
    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Pass(burst) => {
                self.kernel_counts(*burst);
                self.programs_count(*burst);
            }
            Step::PassAround(burst) => self.kernel_counts(*burst),
            Step::Drop(burst) => self.programs_count(*burst),
            Step::Attach => self.attach(),
            Step::Lose => self.counted = None,
            Step::ChangeRules(rules) => {
                self.rules = *rules;
                if let Some(counted) = &mut self.counted {
                    counted.now = self.programs;
                    counted.change_rules(*rules);
                }
            }
            Step::Reset => self.kernel = [Traffic::default(); 2],
            Step::Recreate(_) => {
                self.kernel = [Traffic::default(); 2];
                (self.counted, self.absent) = (None, false);
            }
            Step::Remove => (self.counted, self.absent) = (None, true),
            Step::Blind(blind) => self.blind = *blind,
            Step::Rename | Step::Tick(..) => {}
        }
        if let Some(counted) = &mut self.counted {
            counted.now = self.programs;
        }
    }

    fn attach(&mut self) {
        let DeviceStats { rx, tx } = self.stats();
        // As the agent does: without both of the kernel's counters there is no base.
        let free = !self.absent && self.counted.is_none();
        if let (Some(rx), Some(tx), true) = (rx.traffic(), tx.traffic(), free) {
            let base = Base { rx, tx, counters: self.programs };
            self.counted = Some(Counted::begin(base, self.rules));
            let begin = |total| Expected { total, ..Expected::default() };
            self.expected = [begin(rx), begin(tx)];
        }
    }

    fn kernel_counts(&mut self, burst: Burst) {
        let Rules { rx, tx, .. } = self.rules;
        for (number, counted) in [by(rx, burst.rx), by(tx, burst.tx)].into_iter().enumerate() {
            add(&mut self.kernel[number], counted.packets, counted.bytes);
        }
    }

    fn programs_count(&mut self, burst: Burst) {
        self.programs.rx.add(&burst.rx);
        self.programs.tx.add(&burst.tx);
        let Rules { rx, tx, tx_is_rx } = self.rules;
        let totals = [by(rx, burst.rx), by(tx, if tx_is_rx { burst.rx } else { burst.tx })];
        for (number, burst) in [burst.rx, burst.tx].into_iter().enumerate() {
            let Expected { total, skb, wire } = &mut self.expected[number];
            add(total, totals[number].packets, totals[number].bytes);
            add(skb, burst.packets, burst.bytes);
            add(wire, burst.packets + burst.extra_packets, burst.bytes + burst.extra_bytes);
        }
    }
}

/// Numbers where counters go wrong: small, about to wrap in 32 bits and in 64, and any.
pub(crate) fn start() -> BoxedStrategy<u64> {
    prop_oneof![
        0..1_000_u64,
        (0..1_000_u64).prop_map(|below| u64::from(u32::MAX) - below),
        (0..1_000_u64).prop_map(|below| u64::MAX - below),
        any::<u64>(),
    ]
    .boxed()
}

pub(crate) fn traffic() -> impl Strategy<Value = Traffic> {
    (start(), start()).prop_map(|(packets, bytes)| Traffic { packets, bytes })
}

/// Counters of a slot that others have used before.
pub(crate) fn used_slot() -> BoxedStrategy<SlotCounters> {
    let counters = || {
        (start(), start(), start(), start()).prop_map(|(packets, bytes, more, extra_bytes)| {
            Counters { packets, bytes, extra_packets: more, extra_bytes }
        })
    };
    (counters(), counters()).prop_map(|(rx, tx)| SlotCounters { rx, tx }).boxed()
}

fn burst() -> impl Strategy<Value = Burst> {
    // No packet is shorter than an Ethernet header.
    let counters = || {
        (0..100_000_u64, 14..9_000_u64, 0..1_000_u64).prop_map(|(packets, length, more)| Counters {
            packets,
            bytes: packets * length,
            extra_packets: more,
            extra_bytes: more * 66,
        })
    };
    (counters(), counters()).prop_map(|(rx, tx)| Burst { rx, tx })
}

fn rules() -> impl Strategy<Value = Rules> {
    let rule = || {
        (any::<bool>(), any::<bool>()).prop_map(|(wire, without_header)| Rule {
            unit: if wire { Unit::Wire } else { Unit::Skb },
            bytes_per_packet: if without_header { -14 } else { 0 },
        })
    };
    (rule(), rule(), any::<bool>()).prop_map(|(rx, tx, tx_is_rx)| Rules { rx, tx, tx_is_rx })
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    // No time at all, an ordinary second or so, and a machine that slept for years.
    let after = prop_oneof![1 => Just(0), 8 => 1..10_000_000_u64, 1 => Just(1 << 50)];
    let step = prop_oneof![
        6 => burst().prop_map(Step::Pass),
        1 => burst().prop_map(Step::PassAround),
        1 => burst().prop_map(Step::Drop),
        2 => Just(Step::Attach),
        1 => Just(Step::Lose),
        1 => rules().prop_map(Step::ChangeRules),
        1 => Just(Step::Reset),
        1 => (1..4_u32).prop_map(Step::Recreate),
        1 => Just(Step::Remove),
        1 => Just(Step::Rename),
        1 => any::<bool>().prop_map(Step::Blind),
        8 => (after, prop::bool::weighted(0.8)).prop_map(|(after, due)| Step::Tick(after, due)),
    ];
    prop::collection::vec(step, 1..60)
}
