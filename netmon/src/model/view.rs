//! What a tick looks like to those who show it: totals, rates, drift.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ecow::EcoString;

use super::accounting::Traffic;
use super::event::Event;
use super::link::{IfIndex, state_reason};
use super::snapshot::{
    Counted, CountedDirection, DeviceCounters, InterfaceFacts, Silence, Source, Tick,
};
pub use super::totals::ABSENT;

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
    /// Since the last time the interface was reported; `None` at first, when a counter went
    /// backwards, and when the total is taken from elsewhere than before.
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
    pub name: EcoString,
    /// Whether somebody has set it up.
    pub admin_up: Option<bool>,
    /// `operstate`, `absent`, `stale`, or `None` when it cannot be read.
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
    life: u32,
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
    /// See [`Tick::reading`].
    pub reading: Duration,
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
            reading: Duration::ZERO,
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
        let Tick { number, at, time, reading } = tick;
        self.reading = reading;
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
            name: facts.name.clone(),
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
            life: facts.life,
            seen_at: None,
        }
    }

    fn update(&mut self, facts: &InterfaceFacts, at: Instant) {
        let InterfaceFacts {
            key: _,
            life,
            ifindex,
            name,
            admin_up,
            state,
            source,
            hook,
            device,
            counted,
            due,
            read_at,
            silence,
        } = facts;
        self.due = *due;
        if self.name != *name {
            self.name.clone_from(name);
        }
        if !Arc::ptr_eq(&self.hook, hook) {
            self.hook = Arc::clone(hook);
        }
        self.source = *source;
        self.admin_up = *admin_up;
        self.state = facts.state_word();
        if ifindex.is_none() {
            self.become_absent();
            return;
        }
        if let Some(silence) = silence {
            self.ifindex = *ifindex;
            self.become_unknown(*silence);
            return;
        }
        self.state_reason = state_reason(*admin_up, state.operstate);
        self.up_count = state.carrier_up_count;
        self.down_count = state.carrier_down_count;
        if !*due {
            return;
        }
        let at = read_at.unwrap_or(at);
        let same = self.ifindex == *ifindex && self.life == *life;
        let elapsed = self.seen_at.filter(|_| same).map(|t| at.saturating_duration_since(t));
        self.rx.update(&device.rx, counted.as_ref().map(Counted::rx), elapsed);
        self.tx.update(&device.tx, counted.as_ref().map(Counted::tx), elapsed);
        self.seen_at = Some(at);
        self.ifindex = *ifindex;
        self.life = *life;
    }

    /// The last totals stay; rates are unknown.
    fn become_absent(&mut self) {
        self.ifindex = None;
        self.state_reason = "the interface was removed";
        self.seen_at = None;
        (self.rx.rate, self.tx.rate) = (None, None);
    }
}

impl InterfaceView {
    /// A number that is not known now is not shown as if it were.
    fn become_unknown(&mut self, silence: Silence) {
        self.state_reason = match silence {
            Silence::NotRunning => "its interface monitor is not running",
            Silence::Stale => "its interface monitor does not answer",
        };
        (self.up_count, self.down_count, self.seen_at) = (None, None, None);
        (self.rx, self.tx) = (DirectionView::default(), DirectionView::default());
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
        // The kernel's own counter may differ from our total by the drift, which is no traffic.
        let elsewhere = self.skb.is_some() && counted.is_none();
        let rate = elapsed.filter(|_| !elsewhere).and_then(|elapsed| {
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
mod tests;
