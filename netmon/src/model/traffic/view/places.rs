//! Finds the entry of an id without hashing: the view keeps the order of the facts, so an entry
//! mostly is where it was, and where it is not, a vector by id knows its place.

/// Brings an entry of a short table, which is found by looking, to its place, which is at most
/// the end. Returns whether it was there before.
pub(super) fn bring<V>(
    views: &mut Vec<V>,
    place: usize,
    same: impl Fn(&V) -> bool,
    new: impl FnOnce() -> V,
) -> bool {
    let found = views[place..].iter().position(same);
    match found {
        Some(0) => {}
        Some(offset) => views.swap(place, place + offset),
        None => {
            let last = views.len();
            views.push(new());
            views.swap(place, last);
        }
    }
    found.is_some()
}

/// Something with an id.
pub(super) trait Entry {
    /// A small number; see [`crate::model::traffic::facts::FlowFacts::id`].
    fn id(&self) -> u32;
    /// Tells apart those that had the id one after the other.
    fn life(&self) -> u32;
}

/// No table has as many; an id beyond is no small number, and not remembered.
const LARGEST: u32 = 1 << 24;

/// Where the entry of an id is in the view.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Vec<u32>);

impl Places {
    /// The place of an id, if it has one.
    pub(super) fn of<V: Entry>(&self, views: &[V], id: u32) -> Option<usize> {
        let place = *self.0.get(id as usize)? as usize;
        (views.get(place)?.id() == id).then_some(place)
    }

    /// Brings the entry to its place, which is at most the end, and what is there out of the
    /// way, to a later place. Returns whether it was there before.
    pub(super) fn bring<V: Entry>(
        &mut self,
        views: &mut Vec<V>,
        place: usize,
        (id, life): (u32, u32),
        new: impl FnOnce() -> V,
    ) -> bool {
        if let Some(view) = views.get_mut(place).filter(|view| view.id() == id) {
            let known = view.life() == life;
            if !known {
                *view = new();
            }
            // Also where an id that is there twice has led elsewhere.
            self.set(id, place);
            return known;
        }
        let found = self.of(views, id).filter(|found| *found > place);
        let known = found.filter(|found| views[*found].life() == life);
        let from = known.unwrap_or_else(|| {
            views.push(new());
            views.len() - 1
        });
        views.swap(place, from);
        let moved = &views[from];
        if from != place && self.of(views, moved.id()).is_none() {
            self.set(moved.id(), from);
        }
        self.set(id, place);
        known.is_some()
    }

    fn set(&mut self, id: u32, place: usize) {
        if id >= LARGEST {
            return;
        }
        let id = id as usize;
        if self.0.len() <= id {
            self.0.resize(id + 1, u32::MAX);
        }
        self.0[id] = place as u32;
    }
}
