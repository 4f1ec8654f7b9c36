//! Where what the agent finds out goes: into a report of its own, or to a network monitor, which
//! decides and reports.

use std::cmp::Ordering;

use ecow::EcoString;

use super::traffic::TrafficSources;
use crate::model::event::{Event, EventKind};
use crate::model::human::Units;
use crate::model::link::{IfIndex, LinkState};
use crate::model::options::Format;
use crate::model::snapshot::{InterfaceFacts, Tick};
use crate::model::traffic::names::Names;
use crate::model::traffic::selection::{Order, Selection};
use crate::model::traffic::thresholds::TrafficOptions;
use crate::model::traffic::view::TrafficView;
use crate::model::view::View;
use crate::recovery::link_control::SetUpError;
use crate::sinks;
use crate::sinks::output::Output;
use crate::sinks::traffic::Page;
use crate::sinks::traffic::json::Traffic;
use crate::sinks::tui::Live;

/// So many events are kept for one tick: three of each of some thousand interfaces.
const MOST_EVENTS: usize = 16_384;

/// Where to.
pub enum Upward {
    /// A report of its own.
    Report(Box<Report>),
    /// A network monitor.
    Superior(Box<dyn Superior>),
}

/// What an interface monitor tells its network monitor. None of it waits.
pub trait Superior {
    /// The interface is counted from now on, or read from elsewhere.
    fn monitoring(&mut self, facts: &InterfaceFacts);
    /// One tick's facts.
    fn sample(&mut self, tick: &Tick, facts: &InterfaceFacts);
    /// Something for people.
    fn event(&mut self, event: &Event);
    /// The interface does not work any more.
    fn link_down(&mut self, admin_up: bool, state: LinkState, reason: &'static str);
    /// It was set up as ordered, or not.
    fn link_set(&mut self, result: &Result<(), SetUpError>);
}

/// A report and what it is made of.
pub struct Report {
    view: View,
    /// Who and what the traffic is, where that was asked for.
    traffic: Option<TrafficView>,
    events: Vec<Event>,
    sink: Sink,
    /// Ticks that had something to show.
    reports: u64,
}

/// What shows a report.
pub enum Sink {
    /// Lines on stdout.
    Lines {
        /// To stdout.
        output: Output,
        /// Which lines.
        format: LineFormat,
        /// What is not written yet.
        buffer: Vec<u8>,
    },
    /// A table of the traffic on stdout.
    Table {
        /// To stdout.
        output: Output,
        /// Which, and how.
        table: Box<Table>,
        /// What is not written yet.
        buffer: Vec<u8>,
    },
    /// The live view.
    Live(Live),
}

/// A format of lines.
pub enum LineFormat {
    /// Three of each interface. What they tell is in the facts of the tick: no view is made.
    Text,
    /// One of a tick.
    Json {
        /// Which flows, processes and drops of a tick.
        selection: Selection,
        /// Names of ports, protocols and addresses.
        names: Names,
    },
    /// One of each interface.
    Csv,
}

impl LineFormat {
    /// Those of a format. Only JSON tells of the traffic.
    #[must_use]
    pub fn of(format: Format, selection: Selection, names: Names) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json { selection, names },
            Format::Csv => Self::Csv,
        }
    }
}

/// A table of the traffic, and how it is written.
pub struct Table {
    /// As what.
    pub format: Format,
    /// Which, in which order.
    pub order: Order,
    /// Which of its rows.
    pub selection: Selection,
    /// Names of ports, protocols and addresses.
    pub names: Names,
    /// In which units text is.
    pub units: Units,
}

impl Table {
    /// What comes before the first one.
    #[must_use]
    pub fn header(&self) -> String {
        sinks::traffic::header(self.format, self.order.by())
    }

    fn write(&self, view: &View, traffic: &TrafficView, buffer: &mut Vec<u8>) {
        let Self { format, order, selection, names, units } = self;
        let (order, units, time) = (*order, *units, view.time);
        let page = Page { view: traffic, order, selection, names, units, time };
        sinks::traffic::write(*format, &page, buffer);
    }
}

impl Sink {
    /// Lines on stdout.
    #[must_use]
    pub const fn lines(output: Output, format: LineFormat) -> Self {
        Self::Lines { output, format, buffer: Vec::new() }
    }

    /// What writes to stdout, to be ended in order. The live view is ended when it is dropped.
    #[must_use]
    pub fn into_output(self) -> Option<Output> {
        match self {
            Self::Lines { output, .. } | Self::Table { output, .. } => Some(output),
            Self::Live(_) => None,
        }
    }

    /// A table of the traffic on stdout.
    #[must_use]
    pub fn table(output: Output, table: Table) -> Self {
        Self::Table { output, table: Box::new(table), buffer: Vec::new() }
    }
}

impl Report {
    /// An empty one.
    #[must_use]
    pub fn new(sink: Sink) -> Self {
        Self { view: View::default(), traffic: None, events: Vec::new(), sink, reports: 0 }
    }

    /// Takes in a tick.
    pub(crate) fn update<'a>(
        &mut self,
        tick: Tick,
        facts: impl IntoIterator<Item = &'a InterfaceFacts>,
    ) {
        if let Sink::Lines { format: LineFormat::Text, buffer, .. } = &mut self.sink {
            let due = facts.into_iter().filter(|facts| facts.due);
            return due.for_each(|facts| sinks::report::write(facts, buffer));
        }
        self.view.update(tick, facts);
    }

    /// Reads the flows of a tick, and takes in who and what its traffic is. Gives what is new
    /// about it.
    pub(super) fn update_traffic(
        &mut self,
        sources: &mut TrafficSources,
        names: impl Fn(IfIndex) -> Option<EcoString>,
        options: &TrafficOptions,
    ) -> Vec<Event> {
        let view = self.traffic.get_or_insert_default();
        if let Sink::Live(live) = &self.sink {
            live.take_back(view);
        }
        let mut update = view.begin(sources.facts(), &names, options);
        sources.read_flows(|flows| view.take_flows(&mut update, flows, &names));
        view.end(update, sources.facts(), &names)
    }

    /// Takes in something that happened. Who talks without end is heard up to some point.
    pub(crate) fn tell(&mut self, event: Event) {
        match self.events.len().cmp(&MOST_EVENTS) {
            Ordering::Less => self.events.push(event),
            Ordering::Equal => {
                let message = format!("further events are left out: over {MOST_EVENTS} in a tick");
                self.events.push(Event::own(EventKind::Warning, message));
            }
            Ordering::Greater => {}
        }
    }

    /// Whether its first table is to be of all interfaces: there may be no second one.
    pub(crate) const fn waits_for_all(&self) -> bool {
        matches!(self.sink, Sink::Table { .. })
    }

    /// How many reports had something to show.
    pub(crate) const fn reports(&self) -> u64 {
        self.reports
    }

    /// Waits until writing has failed, and says why; `None`: nothing is written.
    pub(crate) fn failure(&self) -> Option<impl Future<Output = std::io::Error> + Send + 'static> {
        match &self.sink {
            Sink::Lines { output, .. } | Sink::Table { output, .. } => Some(output.failure()),
            Sink::Live(_) => None,
        }
    }

    /// What has shown it, to end that in order.
    #[must_use]
    pub fn into_sink(self) -> Sink {
        self.sink
    }

    /// Shows what the view shows.
    pub(crate) fn write(&mut self) {
        std::mem::swap(&mut self.view.events, &mut self.events);
        self.events.clear();
        let (view, traffic) = (&self.view, &mut self.traffic);
        match &mut self.sink {
            Sink::Lines { output, format, buffer } => {
                let due = match format {
                    LineFormat::Text => !buffer.is_empty(),
                    LineFormat::Json { .. } | LineFormat::Csv => {
                        view.interfaces.iter().any(|it| it.due)
                    }
                };
                match format {
                    LineFormat::Text => {}
                    LineFormat::Json { selection, names } => {
                        let traffic =
                            traffic.as_ref().map(|view| Traffic::all(view, selection, names));
                        sinks::json::write_with(view, traffic, buffer);
                    }
                    LineFormat::Csv => sinks::csv::write(view, buffer),
                }
                self.reports += u64::from(due);
                submit(output, buffer);
            }
            Sink::Table { output, table, buffer } => {
                // The first tick has no rates: it is where the first interval begins.
                if let Some(traffic) = traffic.as_ref().filter(|traffic| traffic.elapsed.is_some())
                {
                    if table.format == Format::Text && self.reports > 0 {
                        buffer.push(b'\n');
                    }
                    table.write(view, traffic, buffer);
                    self.reports += 1;
                    submit(output, buffer);
                }
            }
            Sink::Live(live) => live.update(view, traffic.as_mut()),
        }
    }
}

fn submit(output: &mut Output, buffer: &mut Vec<u8>) {
    if !buffer.is_empty() {
        output.submit(buffer);
    }
}
