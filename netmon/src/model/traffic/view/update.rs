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

/// Room for so many flows is not given back.
const LITTLE: usize = 4_096;

/// An update that is not finished.
#[derive(Debug)]
pub struct Update {
    clock: Clock,
    news: News,
    /// Flows that were taken in.
    flows: usize,
}

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
        let mut update = self.begin(facts, &names, options);
        if let Some(flows) = &facts.flows {
            self.take_flows(&mut update, flows, &names);
        }
        self.end(update, facts, &names)
    }

    /// The first part of [`Self::update`], for who has the flows of a tick in parts: processes.
    pub fn begin(
        &mut self,
        facts: &TrafficFacts,
        names: &impl Fn(IfIndex) -> Option<EcoString>,
        options: &TrafficOptions,
    ) -> Update {
        let TrafficFacts { now, missing: _, flows: _, interfaces: _, processes, drops: _ } = facts;
        let clock = Clock::new(&self.memory, *now, options);
        self.memory.now = Some(*now);
        self.memory.names.refresh(names);
        self.elapsed = clock.elapsed();
        self.alerts = AlertSummary { thresholds: options.thresholds, ..AlertSummary::default() };
        let news = self.update_processes(processes.as_ref(), &clock);
        Update { clock, news, flows: 0 }
    }

    /// The last part of [`Self::update`]. The facts' own list of flows is not looked at.
    pub fn end(
        &mut self,
        update: Update,
        facts: &TrafficFacts,
        names: &impl Fn(IfIndex) -> Option<EcoString>,
    ) -> Vec<Event> {
        let TrafficFacts { now: _, missing, flows, interfaces, processes: _, drops } = facts;
        let Update { clock, news, flows: count } = update;
        if self.missing != *missing {
            self.missing.clone_from(missing);
        }
        self.end_flows(flows.as_ref(), count);
        self.update_interfaces(interfaces.as_deref(), names, &clock);
        self.update_drops(drops.as_deref(), names, &clock);
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

    /// Takes in a part of a tick's flows.
    pub fn take_flows(
        &mut self,
        update: &mut Update,
        facts: &Flows,
        lookup: &impl Fn(IfIndex) -> Option<EcoString>,
    ) {
        let Update { clock, news: _, flows: count } = update;
        let views = self.flows.get_or_insert_default();
        let processes = self.processes.as_deref().unwrap_or_default();
        let Memory { flows: places, processes: owners, names, .. } = &mut self.memory;
        let Flows { flows, sample, .. } = facts;
        for facts in flows {
            let new = || FlowView::new(facts, names.of(facts.key.ifindex, lookup));
            let known = places.bring(views, *count, (facts.id, facts.life), new);
            let view = &mut views[*count];
            *count += 1;
            if known && names.have_changed() {
                view.interface = names.of(facts.key.ifindex, lookup);
            }
            let seconds = if known { clock.tick(true) } else { clock.since_first(facts.first) };
            view.update(facts, seconds, clock);
            let owner = facts.process.and_then(|id| owners.of(processes, id));
            view.set_process(owner.map(|owner| &processes[owner]));
            view.estimate = *sample > 1;
            view.alert = alert(view.alert, view.rates.average(), self.alerts.thresholds.flow);
            self.alerts.flows += usize::from(view.alert);
        }
    }

    fn end_flows(&mut self, facts: Option<&Flows>, count: usize) {
        let Some(Flows { flows: _, capacity, evicted, expired, untracked, gone: _, sample }) =
            facts
        else {
            (self.flows, self.flow_table) = (None, FlowTable::default());
            self.alerts.flows = 0;
            return;
        };
        self.flow_table = FlowTable {
            used: count,
            capacity: *capacity,
            evicted: *evicted,
            expired: *expired,
            untracked: *untracked,
            sample: *sample,
        };
        let views = self.flows.get_or_insert_default();
        views.truncate(count);
        // After a flood.
        if views.capacity() > LITTLE.max(4 * count) {
            views.shrink_to(LITTLE.max(2 * count));
        }
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
