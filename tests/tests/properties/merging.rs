//! The view against the plain model, through resets, wraps, re-creation, renames, changes of
//! source and jumps of the clock.
//!
//! What netmon shows of a driver with 32-bit counters follows from it: a total by eBPF goes on
//! beyond 2^32, and the drift tells the kernel's wraps; a total that is the kernel's own is shown
//! as it is, and has no rate at the tick at which it wraps.

use std::time::{Duration, Instant, SystemTime};

use netmon::model::{
    accounting::Traffic,
    link::{IfIndex, LinkState, OperState},
    snapshot::{DeviceCounters, InterfaceFacts, Source, Tick},
    view::{ABSENT, DirectionView, Drift, InterfaceView, View},
};
use proptest::prelude::*;

use super::{
    config,
    world::{Device, Expected, Step, steps, traffic, used_slot},
};

/// What was shown when the interface was due last.
#[derive(Clone, Copy, Debug)]
struct Shown {
    at: Instant,
    by_programs: bool,
    /// Packets and bytes of both directions.
    totals: [[Option<u64>; 2]; 2],
}

/// The world, netmon's view of it, and what is to be remembered of what was shown.
struct Trial {
    device: Device,
    view: View,
    at: Instant,
    life: u32,
    ifindex: u32,
    names: u32,
    ticks: u64,
    /// Of the device that is there now, since its counters began.
    shown: Option<Shown>,
}

impl Trial {
    fn step(&mut self, step: &Step) {
        self.device.step(step);
        match step {
            Step::Recreate(ifindex) => {
                self.ifindex = *ifindex;
                self.life += 1;
                self.shown = None;
            }
            Step::Remove => self.shown = None,
            Step::Rename => self.names += 1,
            Step::Tick(after, due) => self.tick(Duration::from_micros(*after), *due),
            _ => {}
        }
    }

    fn facts(&self, due: bool) -> InterfaceFacts {
        let Device { absent, counted, .. } = &self.device;
        InterfaceFacts {
            key: 7,
            life: self.life,
            ifindex: (!absent).then_some(IfIndex(self.ifindex)),
            name: format!("eth{}", self.names).into(),
            admin_up: Some(true),
            state: LinkState { operstate: Some(OperState::Up), ..LinkState::default() },
            source: if counted.is_some() { Source::Ebpf } else { Source::Kernel },
            hook: "TCX in+out".into(),
            device: self.device.stats(),
            counted: *counted,
            due: due || *absent,
            ..InterfaceFacts::default()
        }
    }

    fn tick(&mut self, after: Duration, due: bool) {
        self.at += after;
        self.ticks += 1;
        let facts = self.facts(due);
        let before = self.view.interfaces.first().cloned();
        let tick = Tick {
            number: self.ticks,
            at: self.at,
            // The wall clock jumps to and fro; nothing goes by it.
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(self.ticks * 7_919 % 1_000),
            reading: Duration::ZERO,
        };
        self.view.update(tick, [&facts]);
        assert_eq!(self.view.time, tick.time);
        let [view] = self.view.interfaces.as_slice() else { panic!("{:?}", self.view) };
        assert_eq!((&view.name, view.key), (&facts.name, 7));
        assert_eq!(self.view.elapsed, (self.ticks > 1).then_some(after));
        let directions = [&view.rx, &view.tx];
        if self.device.absent {
            assert_eq!((view.state, view.ifindex), (Some(ABSENT), None));
            assert!(directions.iter().all(|direction| direction.rate.is_none()));
            is_unchanged(view, before.as_ref());
        } else if due {
            let stats = [facts.device.rx, facts.device.tx];
            for (number, direction) in directions.into_iter().enumerate() {
                let expected = facts.counted.map(|_| self.device.expected[number]);
                is_right(direction, stats[number], expected);
                self.rate_is_right(direction, number, facts.counted.is_some());
            }
            self.shown = Some(Shown {
                at: self.at,
                by_programs: facts.counted.is_some(),
                totals: directions.map(|direction| [direction.packets, direction.bytes]),
            });
        } else {
            is_unchanged(view, before.as_ref());
        }
    }

    /// Absent when anything of it cannot be known; else what came, by the time that passed.
    fn rate_is_right(&self, now: &DirectionView, number: usize, by_programs: bool) {
        let came = self.shown.and_then(|shown| {
            // The kernel's own counter may be anywhere beside ours.
            let comparable = by_programs || !shown.by_programs;
            let seconds = (self.at - shown.at).as_secs_f64();
            let [packets, bytes] = shown.totals[number];
            let difference = |before: Option<u64>, now: Option<u64>| {
                Some(i128::from(now?) - i128::from(before?)).filter(|came| *came >= 0)
            };
            let came = (difference(packets, now.packets)?, difference(bytes, now.bytes)?);
            (comparable && seconds > 0.0).then_some((came, seconds))
        });
        let Some(((packets, bytes), seconds)) = came else {
            assert_eq!(now.rate, None, "a guess, from {:?} to {now:#?}", self.shown);
            return;
        };
        let Some(rate) = now.rate else { panic!("no rate from {:?} to {now:#?}", self.shown) };
        for (rate, came) in [(rate.packets, packets as f64), (rate.bytes, bytes as f64)] {
            assert!(rate.is_finite() && rate >= 0.0, "{rate}");
            assert!((rate * seconds - came).abs() <= came * 1e-9, "{rate} for {came} in {seconds}");
        }
    }
}

/// The numbers are the model's, and what cannot be known is absent.
fn is_right(shown: &DirectionView, kernel: DeviceCounters, expected: Option<Expected>) {
    let DeviceCounters { packets, bytes, errors, dropped } = kernel;
    assert_eq!((shown.errors, shown.dropped), (errors, dropped));
    let kernel = packets.zip(bytes).map(|(packets, bytes)| Traffic { packets, bytes });
    assert_eq!(shown.kernel, kernel);
    let Some(Expected { total, skb, wire }) = expected else {
        assert_eq!((shown.packets, shown.bytes), (packets, bytes));
        assert_eq!((shown.skb, shown.wire, shown.drift), (None, None, None));
        return;
    };
    assert_eq!((shown.packets, shown.bytes), (Some(total.packets), Some(total.bytes)));
    assert_eq!((shown.skb, shown.wire), (Some(skb), Some(wire)));
    let Some(kernel) = kernel else {
        assert_eq!(shown.drift, None);
        return;
    };
    let Some(Drift { packets, bytes }) = shown.drift else { panic!("no drift: {shown:#?}") };
    // total = kernel + drift, as far as numbers go.
    assert_eq!(kernel.packets.wrapping_add_signed(packets), total.packets);
    assert_eq!(kernel.bytes.wrapping_add_signed(bytes), total.bytes);
}

/// The totals that were shown last stay.
fn is_unchanged(view: &InterfaceView, before: Option<&InterfaceView>) {
    let totals = |view: &InterfaceView| {
        [&view.rx, &view.tx].map(|direction| (direction.packets, direction.bytes, direction.errors))
    };
    let before = before.map_or([(None, None, None); 2], totals);
    assert_eq!(totals(view), before);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_view_is_the_models(
        start in [traffic(), traffic()],
        programs in used_slot(),
        half in any::<bool>(),
        steps in steps(),
    ) {
        let mut trial = Trial {
            device: Device::new(start, programs, half),
            view: View::default(),
            at: Instant::now(),
            life: 0,
            ifindex: 1,
            names: 0,
            ticks: 0,
            shown: None,
        };
        for step in &steps {
            trial.step(step);
        }
    }
}
