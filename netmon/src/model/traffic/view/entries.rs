//! One entry of the view, and what a tick changes in it.

use std::sync::Arc;

use ecow::EcoString;

use super::places::Entry;
use super::speed::{Clock, per_second};
use super::{
    Age, DirectionTrafficView, FlowProcess, FlowRates, FlowView, InterfaceTrafficView, ProcessView,
    Speed,
};
use crate::model::accounting::Traffic;
use crate::model::link::IfIndex;
use crate::model::traffic::facts::{Burst, DirectionFacts, FlowFacts, ProcessFacts, SocketTraffic};

impl Entry for ProcessView {
    fn id(&self) -> u32 {
        self.id
    }
    fn life(&self) -> u32 {
        self.life
    }
}

impl Entry for FlowView {
    fn id(&self) -> u32 {
        self.id
    }
    fn life(&self) -> u32 {
        self.life
    }
}

/// Puts a text in the place of another, if it is another.
pub(super) fn set(text: &mut Arc<str>, now: &Arc<str>) {
    if !Arc::ptr_eq(text, now) {
        *text = Arc::clone(now);
    }
}

/// Like [`set`], for a text that may be absent.
pub(super) fn set_option(text: &mut Option<Arc<str>>, now: Option<&Arc<str>>) {
    match (text, now) {
        (Some(text), Some(now)) => set(text, now),
        (None, None) => {}
        (text, now) => *text = now.cloned(),
    }
}

impl ProcessView {
    pub(super) fn new(facts: &ProcessFacts) -> Self {
        let ProcessFacts { id, life, pid, name, command, uid, user, cgroup, .. } = facts;
        Self {
            id: *id,
            life: *life,
            pid: *pid,
            name: Arc::clone(name),
            command: command.clone(),
            uid: *uid,
            user: user.clone(),
            cgroup: cgroup.clone(),
            kernel_thread: facts.kernel_thread,
            alive: facts.alive,
            tcp: SocketTraffic::default(),
            udp: SocketTraffic::default(),
            rx: Speed::default(),
            tx: Speed::default(),
            alert: false,
        }
    }

    /// `seconds`: since its counters were what they are here.
    pub(super) fn update(&mut self, facts: &ProcessFacts, seconds: Option<f64>, clock: &Clock) {
        let ProcessFacts {
            id: _,
            life: _,
            pid,
            started: _,
            name,
            command,
            uid,
            user,
            cgroup,
            kernel_thread,
            alive,
            is_new: _,
            tcp,
            udp,
        } = facts;
        let rate = |bytes: fn(&SocketTraffic) -> u64| {
            let tcp = per_second(bytes(&self.tcp), bytes(tcp), seconds)?;
            Some(tcp + per_second(bytes(&self.udp), bytes(udp), seconds)?)
        };
        let (rx, tx) = (rate(|traffic| traffic.rx_bytes), rate(|traffic| traffic.tx_bytes));
        self.rx.update(rx, clock);
        self.tx.update(tx, clock);
        (self.pid, self.uid, self.tcp, self.udp) = (*pid, *uid, *tcp, *udp);
        (self.kernel_thread, self.alive) = (*kernel_thread, *alive);
        set(&mut self.name, name);
        set_option(&mut self.command, command.as_ref());
        set_option(&mut self.user, user.as_ref());
        set_option(&mut self.cgroup, cgroup.as_ref());
    }
}

impl FlowView {
    pub(super) fn new(facts: &FlowFacts, interface: EcoString) -> Self {
        Self {
            id: facts.id,
            life: facts.life,
            key: facts.key,
            interface,
            skb: Traffic::default(),
            wire: Traffic::default(),
            rates: FlowRates::default(),
            first: Age::default(),
            last: Age::default(),
            tcp_flags: 0,
            process: None,
            estimate: false,
            alert: false,
        }
    }

    /// `seconds`: since its counters were what they are here.
    pub(super) fn update(&mut self, facts: &FlowFacts, seconds: Option<f64>, clock: &Clock) {
        let FlowFacts { id: _, life: _, key: _, skb, wire, first, last, tcp_flags, process: _ } =
            facts;
        let mut speed = self.speed();
        speed.update(per_second(self.wire.bytes, wire.bytes, seconds), clock);
        let packets_per_s = per_second(self.wire.packets, wire.packets, seconds);
        self.rates = FlowRates::new(speed, packets_per_s);
        (self.skb, self.wire, self.tcp_flags) = (*skb, *wire, *tcp_flags);
        self.first = clock.now.0.saturating_sub(first.0).into();
        self.last = clock.now.0.saturating_sub(last.0).into();
    }

    /// Without an owner it keeps the one that it had, which may have ended.
    pub(super) fn set_process(&mut self, owner: Option<&ProcessView>) {
        let Some(ProcessView { id, pid, name, .. }) = owner else { return };
        let is_same = self.process.as_ref().is_some_and(|process| {
            (process.id, process.pid) == (*id, *pid) && process.name == *name
        });
        if !is_same {
            let name = Arc::clone(name);
            self.process = Some(Arc::new(FlowProcess { id: *id, pid: *pid, name }));
        }
    }
}

impl InterfaceTrafficView {
    pub(super) fn new(ifindex: IfIndex, life: u32, interface: EcoString) -> Self {
        Self {
            ifindex,
            life,
            interface,
            rx: DirectionTrafficView::default(),
            tx: DirectionTrafficView::default(),
            alert: false,
        }
    }
}

impl DirectionTrafficView {
    /// `seconds`: since its counters were what they are here.
    pub(super) fn update(&mut self, facts: &DirectionFacts, seconds: Option<f64>, clock: &Clock) {
        let DirectionFacts { protocols, sizes, burst } = facts;
        for ((total, speed), now) in self.protocols.iter_mut().zip(protocols) {
            speed.update(per_second(total.bytes, now.bytes, seconds), clock);
            *total = *now;
        }
        for ((total, rate), now) in self.sizes.iter_mut().zip(sizes) {
            *rate = per_second(total.packets, now.packets, seconds);
            *total = *now;
        }
        let total = protocols.iter().fold(Traffic::default(), |sum, one| sum.plus(*one));
        self.speed.update(per_second(self.total.bytes, total.bytes, seconds), clock);
        self.total = total;
        self.burst = burst.as_ref().map(Burst::rate).filter(|rate| rate.is_finite());
        self.burst_peak = match (self.burst_peak, self.burst) {
            (Some(peak), Some(burst)) => Some(peak.max(burst)),
            (peak, burst) => peak.or(burst),
        };
    }
}
