//! What the screen is drawn from: the latest tick, joined and summed up once, the events so far,
//! and the last minutes. Pure: ticks in, rows out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::history::History;
use super::mailbox::{EVENTS, Happened, Shown};
use super::tabs::RowId;
use crate::model::accounting::Traffic;
use crate::model::link::IfIndex;
use crate::model::traffic::facts::Part;
use crate::model::traffic::names::Names;
use crate::model::traffic::protocol::{Direction, ProtocolClass, SIZES, size_name};
use crate::model::traffic::view::{
    DropView, FlowView, InterfaceTrafficView, ProcessView, TrafficView,
};
use crate::model::view::InterfaceView;

/// Received and transmitted.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Received.
    pub rx: History,
    /// Transmitted.
    pub tx: History,
    /// The tick at which it was last there.
    seen: u64,
}

/// A protocol or a class of sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Its rates are bytes per second.
    Protocol(ProtocolClass),
    /// Its rates are packets per second.
    Size(usize),
}

/// A row of the tab of protocols and sizes.
#[derive(Clone, Debug)]
pub struct ClassRow {
    /// What.
    pub class: Class,
    /// Of which interface, by its place in the traffic; `None`: of all.
    pub interface: Option<usize>,
    /// Received.
    pub rx: Traffic,
    /// Transmitted.
    pub tx: Traffic,
    /// Received, per second.
    pub rx_rate: Option<f64>,
    /// Transmitted, per second.
    pub tx_rate: Option<f64>,
    /// Its part of the packets of the same interface and kind.
    pub share: f64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Data {
    /// The latest tick.
    pub shown: Shown,
    /// The last events, the oldest first.
    pub events: VecDeque<Happened>,
    /// Protocols and sizes: of all interfaces, then of each; only those of which there was any.
    pub classes: Vec<ClassRow>,
    /// All interfaces together.
    pub total: Course,
    /// The second of the latest tick, as [`History`] counts.
    pub second: u64,
    /// A row whose rate is kept besides those that always are.
    pub followed: Option<RowId>,
    /// Names of protocols, ports and addresses.
    pub names: Arc<Names>,
    /// Names of the classes of sizes.
    pub sizes: Vec<String>,
    /// All packets that were dropped.
    pub dropped: u64,
    /// For each interface where its traffic is.
    traffic_of: Vec<Option<usize>>,
    courses: HashMap<RowId, Course>,
    started: Option<Instant>,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            shown: Shown::default(),
            events: VecDeque::new(),
            classes: Vec::new(),
            total: Course::default(),
            second: 0,
            followed: None,
            names: Arc::default(),
            sizes: (0..SIZES).map(size_name).collect(),
            dropped: 0,
            traffic_of: Vec::new(),
            courses: HashMap::new(),
            started: None,
        }
    }
}

impl Data {
    /// What is known of traffic.
    #[must_use]
    pub const fn traffic(&self) -> Option<&TrafficView> {
        self.shown.traffic.as_ref()
    }

    /// Why a part cannot be had; `None`: it can, or nobody said.
    #[must_use]
    pub fn missing(&self, part: Part) -> Option<&str> {
        let Some(traffic) = self.traffic() else {
            return (self.shown.tick > 0).then_some("traffic by process and flow is not counted");
        };
        traffic.missing.iter().find(|missing| missing.part == part).map(|missing| &*missing.why)
    }

    /// Processes.
    #[must_use]
    pub fn processes(&self) -> &[ProcessView] {
        self.traffic().and_then(|traffic| traffic.processes.as_deref()).unwrap_or_default()
    }

    /// Flows.
    #[must_use]
    pub fn flows(&self) -> &[FlowView] {
        self.traffic().and_then(|traffic| traffic.flows.as_deref()).unwrap_or_default()
    }

    /// Drops.
    #[must_use]
    pub fn drops(&self) -> &[DropView] {
        self.traffic().and_then(|traffic| traffic.drops.as_deref()).unwrap_or_default()
    }

    /// Interfaces' traffic.
    #[must_use]
    pub fn interface_traffic(&self) -> &[InterfaceTrafficView] {
        self.traffic().and_then(|traffic| traffic.interfaces.as_deref()).unwrap_or_default()
    }

    /// An event, by its place: the latest first.
    #[must_use]
    pub fn event(&self, row: usize) -> &Happened {
        &self.events[self.events.len() - 1 - row]
    }

    /// The traffic of an interface, by its place in the report.
    #[must_use]
    pub fn traffic_of(&self, interface: usize) -> Option<&InterfaceTrafficView> {
        let place = self.traffic_of.get(interface).copied().flatten()?;
        self.interface_traffic().get(place)
    }

    /// The interface of this number, by its place in the report.
    #[must_use]
    pub fn interface(&self, ifindex: IfIndex) -> Option<&InterfaceView> {
        self.shown.interfaces.iter().find(|interface| interface.ifindex == Some(ifindex))
    }

    /// The last minutes of a row, if they are kept.
    #[must_use]
    pub fn course(&self, row: &RowId) -> Option<&Course> {
        self.courses.get(row)
    }

    /// Makes room for the latest events.
    pub fn add_events(&mut self, events: &mut VecDeque<Happened>) {
        self.events.append(events);
        self.events.drain(..self.events.len().saturating_sub(EVENTS));
    }

    /// To be called when `shown` is another tick.
    pub fn changed(&mut self) {
        let started = *self.started.get_or_insert(self.shown.at);
        let second = self.shown.at.saturating_duration_since(started).as_secs();
        let since = std::mem::replace(&mut self.second, second);
        self.join();
        self.add_up();
        self.remember(since);
    }

    fn join(&mut self) {
        let places: HashMap<IfIndex, usize> = self
            .interface_traffic()
            .iter()
            .enumerate()
            .map(|(place, traffic)| (traffic.ifindex, place))
            .collect();
        self.traffic_of.clear();
        let of = |view: &InterfaceView| places.get(&view.ifindex?).copied();
        self.traffic_of.extend(self.shown.interfaces.iter().map(of));
    }

    fn add_up(&mut self) {
        let mut rows = std::mem::take(&mut self.classes);
        rows.clear();
        let interfaces = self.interface_traffic();
        let all: Vec<usize> = (0..interfaces.len()).collect();
        add_classes(&mut rows, interfaces, None, &all);
        for place in all {
            add_classes(&mut rows, interfaces, Some(place), &[place]);
        }
        self.classes = rows;
        let drops = self.drops().iter().map(|drops| drops.packets);
        self.dropped = drops.fold(0, u64::saturating_add);
    }

    fn remember(&mut self, since: u64) {
        let (second, tick) = (self.second, self.shown.tick);
        let mut courses = std::mem::take(&mut self.courses);
        let mut push = |row: RowId, rx: Option<f64>, tx: Option<f64>| {
            let course = courses.entry(row).or_default();
            course.rx.push(since, second, rx);
            course.tx.push(since, second, tx);
            course.seen = tick;
        };
        let (mut rx_total, mut tx_total) = (None, None);
        for view in &self.shown.interfaces {
            let rate = |rate: Option<crate::model::view::Rate>| rate.map(|rate| rate.bytes);
            let (rx, tx) = (rate(view.rx.rate), rate(view.tx.rate));
            (rx_total, tx_total) = (plus(rx_total, rx), plus(tx_total, tx));
            push(RowId::Interface(view.key), rx, tx);
        }
        for process in self.processes() {
            push(RowId::of_process(process), process.rx.now, process.tx.now);
        }
        if let Some(RowId::Flow { id, life }) = self.followed {
            let flow = self.flows().iter().find(|flow| (flow.id, flow.life) == (id, life));
            if let Some(flow) = flow {
                let (rx, tx) = match flow.key.direction {
                    Direction::Rx => (flow.speed().now, None),
                    Direction::Tx => (None, flow.speed().now),
                };
                push(RowId::Flow { id, life }, rx, tx);
            }
        }
        courses.retain(|_, course| course.seen == tick);
        self.courses = courses;
        self.total.rx.push(since, second, rx_total);
        self.total.tx.push(since, second, tx_total);
    }

    /// The sum of the interfaces' rates, received and transmitted.
    #[must_use]
    pub fn total_rates(&self) -> (Option<f64>, Option<f64>) {
        self.shown.interfaces.iter().fold((None, None), |(rx, tx), view| {
            let bytes = |rate: Option<crate::model::view::Rate>| rate.map(|rate| rate.bytes);
            (plus(rx, bytes(view.rx.rate)), plus(tx, bytes(view.tx.rate)))
        })
    }
}

/// What is not known adds nothing; when nothing is known, neither is the sum.
#[must_use]
pub fn plus(left: Option<f64>, right: Option<f64>) -> Option<f64> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left + right),
        (left, right) => left.or(right),
    }
}

fn add_classes(
    rows: &mut Vec<ClassRow>,
    interfaces: &[InterfaceTrafficView],
    interface: Option<usize>,
    places: &[usize],
) {
    let protocols = (0..ProtocolClass::ALL.len())
        .map(|index| (index, Class::Protocol(ProtocolClass::ALL[index])));
    let sizes = (0..SIZES).map(|index| (index, Class::Size(index)));
    let of_places = || places.iter().filter_map(|place| interfaces.get(*place));
    add_kind(rows, interface, of_places, protocols);
    add_kind(rows, interface, of_places, sizes);
}

/// Adds the classes of a kind: here, once, and not for each row that is shown, it is known what
/// all of them have.
fn add_kind<'a, T: Iterator<Item = &'a InterfaceTrafficView>>(
    rows: &mut Vec<ClassRow>,
    interface: Option<usize>,
    of_places: impl Fn() -> T,
    classes: impl Iterator<Item = (usize, Class)>,
) {
    let first = rows.len();
    for (index, class) in classes {
        let mut sums = [(Traffic::default(), None); 2];
        for traffic in of_places() {
            for (direction, sum) in [Direction::Rx, Direction::Tx].into_iter().zip(&mut sums) {
                let of = traffic.direction(direction);
                let (traffic, rate) = match class {
                    Class::Protocol(_) => (of.protocols[index].0, of.protocols[index].1.now),
                    Class::Size(_) => of.sizes[index],
                };
                *sum = (sum.0.plus(traffic), plus(sum.1, rate));
            }
        }
        let [(rx, rx_rate), (tx, tx_rate)] = sums;
        if rx.packets > 0 || tx.packets > 0 {
            rows.push(ClassRow { class, interface, rx, tx, rx_rate, tx_rate, share: 0.0 });
        }
    }
    let packets = |row: &ClassRow| row.rx.packets as f64 + row.tx.packets as f64;
    let all: f64 = rows[first..].iter().map(packets).sum();
    for row in &mut rows[first..] {
        row.share = packets(row) / all;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::tui::samples::Router;

    #[test]
    fn shares_of_an_interface_and_kind_are_one_together() {
        let mut router = Router::new(3, 0, 0);
        router.tick();
        let mut data = Data::default();
        data.shown.fill(Instant::now(), &router.view, Some(&router.traffic));
        data.changed();
        let mut sums: HashMap<(Option<usize>, bool), f64> = HashMap::new();
        for row in &data.classes {
            let is_size = matches!(row.class, Class::Size(_));
            *sums.entry((row.interface, is_size)).or_default() += row.share;
        }
        assert_eq!(sums.len(), 2 * (1 + 3), "of all and of each, protocols and sizes");
        assert!(sums.values().all(|sum| (sum - 1.0).abs() < 1e-9), "{sums:?}");
        let dropped = router.traffic.drops.iter().flatten().map(|drops| drops.packets);
        assert_eq!(data.dropped, dropped.sum::<u64>());
    }
}
