//! What a tick looks like to those who show it: totals, rates, drift.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::accounting::Traffic;
use super::event::Event;
use super::link::{IfIndex, state_reason};
use super::snapshot::{Counted, CountedDirection, DeviceCounters, InterfaceFacts, Source, Tick};

/// The state shown for an interface that does not exist.
pub const ABSENT: &str = "absent";

/// Per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Packets per second.
    pub packets: f64,
    /// Bytes per second.
    pub bytes: f64,
}

/// The report's total minus the kernel's own counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Drift {
    /// Packets.
    pub packets: i64,
    /// Bytes.
    pub bytes: i64,
}

/// One direction. An absent number is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DirectionView {
    /// Total bytes.
    pub bytes: Option<u64>,
    /// Total packets.
    pub packets: Option<u64>,
    /// Packets dropped, from the kernel.
    pub dropped: Option<u64>,
    /// Errors, from the kernel.
    pub errors: Option<u64>,
    /// Since the last time the interface was reported; `None` at first, and when a counter
    /// went backwards.
    pub rate: Option<Rate>,
    /// Since counting began, as the stack handles packets.
    pub skb: Option<Traffic>,
    /// Since counting began, as a cable carries them.
    pub wire: Option<Traffic>,
    /// The kernel's own counters.
    pub kernel: Option<Traffic>,
    /// How far the report is from them.
    pub drift: Option<Drift>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq)]
pub struct InterfaceView {
    /// See [`InterfaceFacts::key`].
    pub key: u32,
    /// Its number; `None` when it does not exist.
    pub ifindex: Option<IfIndex>,
    /// Its name.
    pub name: Arc<str>,
    /// Whether somebody has set it up.
    pub admin_up: Option<bool>,
    /// `operstate`, `absent`, or `None` when it cannot be read.
    pub state: Option<&'static str>,
    /// Why it is in that state.
    pub state_reason: &'static str,
    /// How often the carrier came.
    pub up_count: Option<u64>,
    /// How often it went.
    pub down_count: Option<u64>,
    /// What gives packets and bytes.
    pub source: Source,
    /// What counts it, in words.
    pub hook: Arc<str>,
    /// Received.
    pub rx: DirectionView,
    /// Transmitted.
    pub tx: DirectionView,
    /// Whether it is reported at this tick.
    pub due: bool,
    seen_at: Option<Instant>,
}

/// All interfaces, in the order of the report.
#[derive(Debug)]
pub struct View {
    /// Number of the tick, from 1.
    pub tick: u64,
    /// When.
    pub time: SystemTime,
    /// Since the tick before.
    pub elapsed: Option<Duration>,
    /// The interfaces.
    pub interfaces: Vec<InterfaceView>,
    /// What happened since the tick before.
    pub events: Vec<Event>,
    at: Option<Instant>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            tick: 0,
            time: SystemTime::UNIX_EPOCH,
            elapsed: None,
            interfaces: Vec::new(),
            events: Vec::new(),
            at: None,
        }
    }
}

impl View {
    /// Takes in a tick. Memory is used again; nothing is allocated while the interfaces stay
    /// the same.
    pub fn update<'a>(
        &mut self,
        tick: Tick,
        interfaces: impl IntoIterator<Item = &'a InterfaceFacts>,
    ) {
        let Tick { number, at, time } = tick;
        self.tick = number;
        self.time = time;
        self.elapsed = self.at.map(|before| at.saturating_duration_since(before));
        self.at = Some(at);
        let mut shown = 0;
        for facts in interfaces {
            match self.interfaces[shown..].iter().position(|view| view.key == facts.key) {
                Some(0) => {}
                Some(offset) => self.interfaces.swap(shown, shown + offset),
                None => self.interfaces.insert(shown, InterfaceView::new(facts)),
            }
            self.interfaces[shown].update(facts, at);
            shown += 1;
        }
        self.interfaces.truncate(shown);
    }
}

impl InterfaceView {
    fn new(facts: &InterfaceFacts) -> Self {
        Self {
            key: facts.key,
            ifindex: None,
            name: Arc::clone(&facts.name),
            admin_up: None,
            state: None,
            state_reason: "",
            up_count: None,
            down_count: None,
            source: facts.source,
            hook: Arc::clone(&facts.hook),
            rx: DirectionView::default(),
            tx: DirectionView::default(),
            due: false,
            seen_at: None,
        }
    }

    fn update(&mut self, facts: &InterfaceFacts, at: Instant) {
        let InterfaceFacts {
            key: _,
            ifindex,
            name,
            admin_up,
            state,
            source,
            hook,
            device,
            counted,
            due,
        } = facts;
        self.due = *due;
        if !Arc::ptr_eq(&self.name, name) {
            self.name = Arc::clone(name);
        }
        if !Arc::ptr_eq(&self.hook, hook) {
            self.hook = Arc::clone(hook);
        }
        self.source = *source;
        self.admin_up = *admin_up;
        if ifindex.is_none() {
            self.become_absent();
            return;
        }
        self.state = state.operstate.map(super::link::OperState::as_str);
        self.state_reason = state_reason(*admin_up, state.operstate);
        self.up_count = state.carrier_up_count;
        self.down_count = state.carrier_down_count;
        if !*due {
            return;
        }
        let same = self.ifindex == *ifindex;
        let elapsed = self.seen_at.filter(|_| same).map(|t| at.saturating_duration_since(t));
        self.rx.update(&device.rx, counted.as_ref().map(Counted::rx), elapsed);
        self.tx.update(&device.tx, counted.as_ref().map(Counted::tx), elapsed);
        self.seen_at = Some(at);
        self.ifindex = *ifindex;
    }

    /// The last totals stay; rates are unknown.
    fn become_absent(&mut self) {
        self.ifindex = None;
        self.state = Some(ABSENT);
        self.state_reason = "the interface was removed";
        self.seen_at = None;
        (self.rx.rate, self.tx.rate) = (None, None);
    }
}

impl DirectionView {
    fn update(
        &mut self,
        device: &DeviceCounters,
        counted: Option<CountedDirection>,
        elapsed: Option<Duration>,
    ) {
        let kernel = device.traffic();
        let (packets, bytes) = match counted {
            Some(CountedDirection { total, .. }) => (Some(total.packets), Some(total.bytes)),
            None => (device.packets, device.bytes),
        };
        let rate = elapsed.and_then(|elapsed| {
            let packets = per_second(self.packets, packets, elapsed)?;
            Some(Rate { packets, bytes: per_second(self.bytes, bytes, elapsed)? })
        });
        // Field by field: a whole new one would be made elsewhere and copied here.
        let Self {
            bytes: old_bytes,
            packets: old_packets,
            dropped,
            errors,
            rate: old_rate,
            skb,
            wire,
            kernel: old_kernel,
            drift,
        } = self;
        (*old_bytes, *old_packets, *old_rate, *old_kernel) = (bytes, packets, rate, kernel);
        (*dropped, *errors) = (device.dropped, device.errors);
        *skb = counted.as_ref().map(|counted| counted.skb);
        *wire = counted.as_ref().map(|counted| counted.wire);
        *drift = counted.zip(kernel).map(|(counted, kernel)| Drift {
            packets: counted.total.packets.wrapping_sub(kernel.packets).cast_signed(),
            bytes: counted.total.bytes.wrapping_sub(kernel.bytes).cast_signed(),
        });
    }
}

/// `None` when a number is absent, no time passed, or the counter went backwards.
fn per_second(before: Option<u64>, now: Option<u64>, elapsed: Duration) -> Option<f64> {
    let difference = now?.checked_sub(before?)?;
    let seconds = elapsed.as_secs_f64();
    (seconds > 0.0).then(|| difference as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::link::{LinkState, OperState};
    use crate::model::snapshot::DeviceStats;

    fn facts(key: u32, ifindex: Option<u32>, rx_packets: Option<u64>) -> InterfaceFacts {
        let rx = DeviceCounters {
            packets: rx_packets,
            bytes: rx_packets.map(|packets| packets * 100),
            errors: Some(0),
            dropped: None,
        };
        InterfaceFacts {
            key,
            ifindex: ifindex.map(IfIndex),
            name: format!("eth{key}").into(),
            admin_up: Some(true),
            state: LinkState {
                operstate: Some(OperState::Up),
                carrier_up_count: Some(1),
                carrier_down_count: Some(0),
            },
            source: Source::Sysfs,
            hook: "sysfs".into(),
            device: DeviceStats { rx, tx: DeviceCounters::default() },
            counted: None,
            due: true,
        }
    }

    struct Ticks {
        view: View,
        start: Instant,
    }

    impl Ticks {
        fn new() -> Self {
            Self { view: View::default(), start: Instant::now() }
        }

        fn at(&mut self, seconds: u64, interfaces: Vec<InterfaceFacts>) -> &View {
            let at = self.start + Duration::from_secs(seconds);
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            self.view.update(Tick { number: seconds + 1, at, time }, &interfaces);
            &self.view
        }
    }

    #[test]
    fn rates_need_two_ticks_and_no_step_back() {
        let mut ticks = Ticks::new();
        assert_eq!(ticks.at(0, vec![facts(0, Some(2), Some(10))]).interfaces[0].rx.rate, None);
        let view = ticks.at(2, vec![facts(0, Some(2), Some(30))]);
        assert_eq!(view.interfaces[0].rx.rate, Some(Rate { packets: 10.0, bytes: 1_000.0 }));
        assert_eq!(view.interfaces[0].tx.rate, None, "absent is not zero");
        let view = ticks.at(3, vec![facts(0, Some(2), Some(5))]);
        assert_eq!(view.interfaces[0].rx.rate, None, "a reset gives a gap");
        let view = ticks.at(4, vec![facts(0, Some(2), Some(6))]);
        assert_eq!(view.interfaces[0].rx.rate.map(|rate| rate.packets), Some(1.0));
    }

    #[test]
    fn absent_keeps_the_last_totals_and_a_new_device_gives_a_gap() {
        let mut ticks = Ticks::new();
        ticks.at(0, vec![facts(0, Some(2), Some(10))]);
        let view = ticks.at(1, vec![facts(0, None, None)]);
        assert_eq!(view.interfaces[0].state, Some(ABSENT));
        assert_eq!(view.interfaces[0].rx.packets, Some(10));
        let view = ticks.at(2, vec![facts(0, Some(9), Some(50))]);
        assert_eq!(view.interfaces[0].rx.packets, Some(50));
        assert_eq!(view.interfaces[0].rx.rate, None, "another device's counter");
        let view = ticks.at(3, vec![facts(0, Some(10), Some(70))]);
        assert_eq!(view.interfaces[0].rx.rate, None, "re-created between two ticks");
    }

    #[test]
    fn order_follows_the_snapshot_and_history_the_key() {
        let mut ticks = Ticks::new();
        ticks.at(0, vec![facts(0, Some(2), Some(0)), facts(1, Some(3), Some(0))]);
        let view = ticks.at(
            1,
            vec![
                facts(2, Some(4), Some(9)),
                facts(1, Some(3), Some(7)),
                facts(0, Some(2), Some(5)),
            ],
        );
        let shown: Vec<_> = view
            .interfaces
            .iter()
            .map(|view| (view.key, view.rx.rate.map(|rate| rate.packets)))
            .collect();
        assert_eq!(shown, [(2, None), (1, Some(7.0)), (0, Some(5.0))]);
        assert_eq!(ticks.at(2, vec![facts(1, Some(3), Some(7))]).interfaces.len(), 1);
    }

    #[test]
    fn a_slower_interface_gets_the_rate_of_its_own_interval() {
        let mut ticks = Ticks::new();
        ticks.at(0, vec![facts(0, Some(2), Some(0))]);
        let skipped = InterfaceFacts { due: false, ..facts(0, Some(2), Some(40)) };
        let view = ticks.at(1, vec![skipped]);
        assert_eq!(view.interfaces[0].rx.packets, Some(0));
        let view = ticks.at(4, vec![facts(0, Some(2), Some(80))]);
        assert_eq!(view.interfaces[0].rx.rate.map(|rate| rate.packets), Some(20.0));
    }
}
