//! Takes a tick's facts into the view. On the path of every tick: with the same entries as
//! before, nothing is allocated, and nothing is looked up by hash.

use std::sync::Arc;

use ecow::EcoString;

use super::places::bring;
use super::programs::News;
use super::speed::{Clock, alert, per_second};
use super::{
    AlertSummary, DropView, FlowTable, FlowView, InterfaceTrafficView, Memory, ProcessView,
    TrafficView, both,
};
use crate::model::event::Event;
use crate::model::link::IfIndex;
use crate::model::traffic::facts::{DropFacts, Flows, InterfaceFacts, Processes, TrafficFacts};
use crate::model::traffic::thresholds::TrafficOptions;

impl TrafficView {
    /// Takes in a tick, and returns what is new. `names` gives the names of interfaces; it is
    /// asked once a tick for each.
    ///
    /// Rates are by the kernel's clock. The first tick has none; afterwards everything that
    /// counts from nothing (a flow, a process, a reason for drops) has one from its first tick
    /// on, so that what lives shortly is seen, too.
    pub fn update(
        &mut self,
        facts: &TrafficFacts,
        names: impl Fn(IfIndex) -> Option<EcoString>,
        options: &TrafficOptions,
    ) -> Vec<Event> {
        let TrafficFacts { now, missing, flows, interfaces, processes, drops } = facts;
        let clock = Clock::new(&self.memory, *now, options);
        self.memory.now = Some(*now);
        self.memory.names.refresh(&names);
        self.elapsed = clock.elapsed();
        self.alerts = AlertSummary { thresholds: options.thresholds, ..AlertSummary::default() };
        if self.missing != *missing {
            self.missing.clone_from(missing);
        }
        let news = self.update_processes(processes.as_ref(), &clock);
        self.update_flows(flows.as_ref(), &names, &clock);
        self.update_interfaces(interfaces.as_deref(), &names, &clock);
        self.update_drops(drops.as_deref(), &names, &clock);
        news.tell()
    }

    fn update_processes(&mut self, facts: Option<&Processes>, clock: &Clock) -> News {
        let mut news = News::default();
        let Some(Processes { processes, capacity: _, untracked, settled }) = facts else {
            (self.processes, self.processes_untracked) = (None, 0);
            return news;
        };
        self.processes_untracked = *untracked;
        let had = self.processes.is_some();
        let views = self.processes.get_or_insert_default();
        let Memory { processes: places, programs, .. } = &mut self.memory;
        let meet_all = programs.settle(*settled);
        for (place, facts) in processes.iter().enumerate() {
            let new = || ProcessView::new(facts);
            let known = places.bring(views, place, (facts.id, facts.life), new);
            let view = &mut views[place];
            // By exec(2) it is another program.
            if meet_all || !known || view.name != facts.name {
                programs.meet(facts, &mut news);
            }
            // What it has counted without an entry it has counted since the tick before.
            view.update(facts, clock.tick(known || had), clock);
            let average = both(view.rx.average, view.tx.average);
            view.alert = alert(view.alert, average, self.alerts.thresholds.process);
            self.alerts.processes += usize::from(view.alert);
        }
        views.truncate(processes.len());
        news
    }

    fn update_flows(
        &mut self,
        facts: Option<&Flows>,
        lookup: &impl Fn(IfIndex) -> Option<EcoString>,
        clock: &Clock,
    ) {
        let Some(Flows { flows, capacity, evicted, expired, untracked, gone: _, sample }) = facts
        else {
            (self.flows, self.flow_table) = (None, FlowTable::default());
            return;
        };
        self.flow_table = FlowTable {
            used: flows.len(),
            capacity: *capacity,
            evicted: *evicted,
            expired: *expired,
            untracked: *untracked,
            sample: *sample,
        };
        let views = self.flows.get_or_insert_default();
        let processes = self.processes.as_deref().unwrap_or_default();
        let Memory { flows: places, processes: owners, names, .. } = &mut self.memory;
        for (place, facts) in flows.iter().enumerate() {
            let new = || FlowView::new(facts, names.of(facts.key.ifindex, lookup));
            let known = places.bring(views, place, (facts.id, facts.life), new);
            let view = &mut views[place];
            if known && names.have_changed() {
                view.interface = names.of(facts.key.ifindex, lookup);
            }
            let seconds = if known { clock.tick(true) } else { clock.since_first(facts.first) };
            view.update(facts, seconds, clock);
            let owner = facts.process.and_then(|id| owners.of(processes, id));
            view.set_process(owner.map(|owner| &processes[owner]));
            view.estimate = *sample > 1;
            view.alert = alert(view.alert, view.speed.average, self.alerts.thresholds.flow);
            self.alerts.flows += usize::from(view.alert);
        }
        views.truncate(flows.len());
    }

    fn update_interfaces(
        &mut self,
        facts: Option<&[InterfaceFacts]>,
        lookup: &impl Fn(IfIndex) -> Option<EcoString>,
        clock: &Clock,
    ) {
        self.burst_width = None;
        let Some(facts) = facts else {
            self.interfaces = None;
            return;
        };
        let views = self.interfaces.get_or_insert_default();
        let names = &mut self.memory.names;
        for (place, facts) in facts.iter().enumerate() {
            let InterfaceFacts { ifindex, life, rx, tx } = facts;
            let name = names.of(*ifindex, lookup);
            let known = bring(
                views,
                place,
                |view| view.ifindex == *ifindex,
                || InterfaceTrafficView::new(*ifindex, *life, name.clone()),
            );
            let view = &mut views[place];
            view.interface.clone_from(&name);
            let seconds = clock.tick(known && view.life == *life);
            view.life = *life;
            view.rx.update(rx, seconds, clock);
            view.tx.update(tx, seconds, clock);
            let average = both(view.rx.speed.average, view.tx.speed.average);
            view.alert = alert(view.alert, average, self.alerts.thresholds.interface);
            self.alerts.interfaces += usize::from(view.alert);
            let width = rx.burst.or(tx.burst).map(|burst| burst.width);
            self.burst_width = self.burst_width.or(width);
        }
        views.truncate(facts.len());
    }

    fn update_drops(
        &mut self,
        facts: Option<&[DropFacts]>,
        lookup: &impl Fn(IfIndex) -> Option<EcoString>,
        clock: &Clock,
    ) {
        let Some(facts) = facts else {
            self.drops = None;
            return;
        };
        let seconds = clock.tick(self.drops.is_some());
        let views = self.drops.get_or_insert_default();
        let names = &mut self.memory.names;
        for (place, DropFacts { ifindex, reason, packets }) in facts.iter().enumerate() {
            let same = |view: &DropView| view.ifindex == *ifindex && view.reason == *reason;
            bring(views, place, same, || DropView {
                ifindex: *ifindex,
                interface: None,
                reason: Arc::clone(reason),
                packets: 0,
                packets_per_s: None,
            });
            let view = &mut views[place];
            view.interface = ifindex.map(|ifindex| names.of(ifindex, lookup));
            view.packets_per_s = per_second(view.packets, *packets, seconds);
            view.packets = *packets;
        }
        views.truncate(facts.len());
    }
}
