//! The screen: ticks and inputs in, frames out. Pure: it knows no terminal, no thread and no
//! clock. Rows are filtered and sorted once for each change, and only those that are seen are
//! turned into text.

use std::collections::VecDeque;
use std::sync::Arc;

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;

use super::canvas::{Canvas, Place};
use super::data::Data;
use super::input::{Input, Key, Mouse};
use super::mailbox::{Happened, Shown};
use super::tabs::{TabName, tab};
use super::theme::{Theme, Tone};
use crate::model::human::Units;
use crate::model::traffic::names::Names;

mod filter;
mod frame;
mod order;
mod panel;
mod selection;
pub mod state;
mod table;
mod way;

use filter::Filter;
use state::{Effect, Rows, Scope, State};

/// Below this nothing can be read.
const SMALLEST: (u16, u16) = (40, 8);

/// See the module.
#[derive(Debug)]
pub struct Screen {
    state: State,
    theme: Theme,
    live: Data,
    /// What is shown while it stands still.
    frozen: Option<Box<Data>>,
    filter: Filter,
    order: Vec<u32>,
    /// What `order` was made for.
    made_for: Option<Asked>,
    generation: u64,
    sight: Sight,
}

/// What was asked for: another one means other rows, or another order.
#[derive(Debug, PartialEq)]
struct Asked {
    tab: TabName,
    scope: Option<Scope>,
    sort: (usize, bool),
    filter: String,
    kernel_threads: bool,
    per_interface: bool,
    generation: u64,
}

/// Where things were when they were last drawn, for the mouse.
#[derive(Debug, Default)]
struct Sight {
    /// The tab whose columns they are.
    tab: Option<TabName>,
    tabs: (u16, Vec<(u16, u16, TabName)>),
    titles: (u16, Vec<table::Shown>),
    rows: Rect,
}

impl Screen {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(units: Units, theme: Theme, names: Arc<Names>) -> Self {
        let mut live = Data::default();
        live.names = names;
        Self {
            state: State::new(units),
            theme,
            live,
            frozen: None,
            filter: Filter::default(),
            order: Vec::new(),
            made_for: None,
            generation: 0,
            sight: Sight::default(),
        }
    }

    /// The same with this filter in every tab, and with the kernel's own processes or without.
    #[must_use]
    pub fn beginning_with(mut self, filter: &str, kernel_threads: bool) -> Self {
        self.state.begin_with(filter, kernel_threads);
        self
    }

    /// What the user has chosen.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Lets `take` put in another tick, and events; it says whether there was one. Gives whether
    /// there is something to draw.
    pub fn update(
        &mut self,
        take: impl FnOnce(&mut Shown, &mut VecDeque<Happened>) -> bool,
    ) -> bool {
        let mut events = VecDeque::new();
        let is_new = take(&mut self.live.shown, &mut events);
        let told = !events.is_empty();
        self.live.add_events(&mut events);
        if is_new {
            self.live.changed();
        }
        if self.frozen.is_some() || !(is_new || told) {
            return false;
        }
        self.generation += 1;
        true
    }

    /// The latest tick, for who has lent its flows: without them nothing is to be drawn or typed.
    pub(super) const fn shown(&mut self) -> &mut Shown {
        &mut self.live.shown
    }

    /// Takes in what somebody did.
    pub fn input(&mut self, input: Input) -> Effect {
        self.refresh();
        let Self { state, live, frozen, order, sight, .. } = self;
        let data = frozen.as_deref().unwrap_or(live);
        let name = state.tab;
        let id = |place: usize| order.get(place).map(|row| (tab(name).id)(data, *row as usize));
        let way = |place: usize| way::way(data, name, order.get(place).copied());
        let page = usize::from(sight.rows.height);
        let rows = Rows { count: order.len(), page, id: &id, way: &way };
        let effect = match input {
            Input::Key(key) => state.key(key, &rows),
            Input::Mouse(what, x, y) => {
                mouse(state, sight, &rows, what, (x, y));
                Effect::Draw
            }
        };
        match (self.state.paused, self.frozen.is_some()) {
            (true, false) => self.frozen = Some(Box::new(self.live.clone())),
            (false, true) => {
                self.frozen = None;
                self.generation += 1;
            }
            _ => {}
        }
        self.live.followed.clone_from(&self.state.table().selected);
        effect
    }

    /// Rows and their order, if something has changed.
    fn refresh(&mut self) {
        let Self { state, live, frozen, filter, order, made_for, generation, sight, .. } = self;
        let data = frozen.as_deref().unwrap_or(live);
        let table = state.table();
        let asked = Asked {
            tab: state.tab,
            scope: state.scope.clone(),
            sort: (table.sort, table.reversed),
            filter: table.filter.clone(),
            kernel_threads: state.kernel_threads,
            per_interface: state.per_interface,
            generation: *generation,
        };
        if made_for.as_ref() == Some(&asked) {
            return;
        }
        filter.set(&asked.filter, &data.names);
        order::order(data, state, filter, order);
        *made_for = Some(asked);
        let name = state.tab;
        let id = |place: usize| order.get(place).map(|row| (tab(name).id)(data, *row as usize));
        let way = |place: usize| way::way(data, name, order.get(place).copied());
        let page = usize::from(sight.rows.height);
        let rows = Rows { count: order.len(), page, id: &id, way: &way };
        state.settle(&rows);
    }

    /// Draws a frame into an empty buffer.
    pub fn draw(&mut self, buffer: &mut Buffer) {
        self.refresh();
        let area = buffer.area;
        let mut canvas = Canvas::new(buffer, self.theme, self.state.units);
        if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
            let text = format!(
                "too small: {}x{}, {}x{} at least",
                area.width, area.height, SMALLEST.0, SMALLEST.1
            );
            let place = Place { x: area.x, y: area.y, width: area.width };
            canvas.paragraph(place, area.height, &text, self.theme.style(Tone::Plain));
            return;
        }
        if let Some(first) = self.state.help {
            frame::help(&mut canvas, area, first);
            return;
        }
        self.draw_parts(&mut canvas);
    }

    fn draw_parts(&mut self, canvas: &mut Canvas<'_>) {
        let Self { state, live, frozen, filter, order, sight, theme, .. } = self;
        let data = frozen.as_deref().unwrap_or(live);
        let area = canvas.area();
        let tall = area.height >= 12;
        let line = |y: u16| Place { x: area.x, y, width: area.width };
        let mut y = area.y;
        frame::totals(canvas, line(y), data, state);
        y += 1;
        if tall {
            frame::protocols(canvas, line(y), data);
            y += 1;
        }
        sight.tabs = (y, frame::tabs(canvas, line(y), state));
        let caption = y + 1;
        y += 2;
        if let Some(error) = filter.error(state.tab) {
            canvas.left(line(y), &format!("! {error}"), theme.style(Tone::Warning));
            y += 1;
        }
        frame::footer(canvas, line(area.bottom() - 1), data, state);
        let this = tab(state.tab);
        let room = Rect::new(area.x, y, area.width, (area.bottom() - 1).saturating_sub(y));
        let room = draw_panel(canvas, room, (data, state), order);
        sight.rows = Rect { y: room.y + 1, height: room.height.saturating_sub(1), ..room };
        let columns = table::layout(this.columns, state.table().sort, canvas.units, area.width);
        let name = state.tab;
        let id = |place: usize| order.get(place).map(|row| (tab(name).id)(data, *row as usize));
        let way = |_: usize| state::Way::Nowhere("");
        let page = usize::from(sight.rows.height);
        let rows = Rows { count: order.len(), page, id: &id, way: &way };
        state.settle(&rows);
        let is_seen = columns.iter().any(|shown| shown.column == state.table().sort);
        frame::caption(canvas, line(caption), (data, state), (order.len(), page), is_seen);
        match this.part.and_then(|part| data.missing(part)) {
            Some(why) => {
                let text = format!("{} are not shown: {why}", this.rows);
                let place = Place { x: room.x + 2, y: sight.rows.y, width: room.width - 4 };
                let style = theme.style(Tone::Warning);
                canvas.paragraph(place, sight.rows.height, &text, style);
            }
            None => table::draw(canvas, room, (data, this), (state.table(), order), &columns),
        }
        (sight.tab, sight.titles) = (Some(name), (room.y, columns));
    }
}

/// What there is to say about the process whose flows are shown, or else about the row that is
/// selected. Gives what is left of `room`.
fn draw_panel(
    canvas: &mut Canvas<'_>,
    room: Rect,
    (data, state): (&Data, &State),
    order: &[u32],
) -> Rect {
    let tall = if canvas.area().height >= 20 { 4 } else { 1 };
    if let Some(row) = process(data, state) {
        let height = tall.min(room.height);
        panel::draw(canvas, Rect { height, ..room }, data, tab(TabName::Processes), row);
        return Rect { y: room.y + height, height: room.height - height, ..room };
    }
    let selected = state.table().selected.as_ref().and_then(|_| order.get(state.table().place));
    let Some(row) = selected else { return room };
    let height = tall.min(room.height);
    let below = Rect { y: room.bottom() - height, height, ..room };
    panel::draw(canvas, below, data, tab(state.tab), *row as usize);
    Rect { height: room.height - height, ..room }
}

/// The process whose flows are shown, if it is still there.
fn process(data: &Data, state: &State) -> Option<usize> {
    let Some(Scope::Process { id, pid, .. }) = &state.scope else { return None };
    if state.tab != TabName::Flows {
        return None;
    }
    data.processes().iter().position(|process| (process.id, process.pid) == (*id, *pid))
}

fn mouse(state: &mut State, sight: &Sight, rows: &Rows<'_>, what: Mouse, (x, y): (u16, u16)) {
    if state.help.is_some() {
        match what {
            Mouse::Press => state.help = None,
            Mouse::WheelUp => _ = state.key(Key::Up, rows),
            Mouse::WheelDown => _ = state.key(Key::Down, rows),
        }
        return;
    }
    match what {
        Mouse::WheelUp => state.wheel(rows, false),
        Mouse::WheelDown => state.wheel(rows, true),
        Mouse::Press if y == sight.tabs.0 => {
            let hit = sight.tabs.1.iter().find(|(from, to, _)| (*from..*to).contains(&x));
            if let Some((_, _, name)) = hit {
                state.go_to(*name);
            }
        }
        // Another tab's titles may be seen still.
        Mouse::Press if y == sight.titles.0 && sight.tab == Some(state.tab) => {
            let hit =
                sight.titles.1.iter().find(|shown| (shown.x..=shown.x + shown.width).contains(&x));
            if let Some(shown) = hit {
                state.sort_by(shown.column);
            }
        }
        Mouse::Press if sight.rows.contains((x, y).into()) => {
            state.press(rows, state.table().top + usize::from(y - sight.rows.y));
        }
        Mouse::Press => {}
    }
}

#[cfg(test)]
mod tests;
