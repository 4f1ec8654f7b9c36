//! Names of interfaces, each asked for once a tick and not once a flow.

use ecow::EcoString;

use crate::model::link::IfIndex;

/// So many interfaces are remembered; when there have been more (they come and go), the names
/// are collected anew.
const MOST: usize = 4_096;

/// Names that the view shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// In order of the number.
    known: Vec<(IfIndex, EcoString)>,
    /// A name has changed since the tick before.
    changed: bool,
}

impl Names {
    /// Asks again for the names that are in use.
    pub(super) fn refresh(&mut self, lookup: &impl Fn(IfIndex) -> Option<EcoString>) {
        self.changed = self.known.len() > MOST;
        if self.changed {
            self.known.clear();
        }
        for (ifindex, name) in &mut self.known {
            // What has gone keeps the name that it had.
            if let Some(now) = lookup(*ifindex).filter(|now| now != name) {
                (*name, self.changed) = (now, true);
            }
        }
    }

    /// Whether an entry that was there before may have another name now.
    pub(super) const fn have_changed(&self) -> bool {
        self.changed
    }

    /// The name, or the number.
    pub(super) fn of(
        &mut self,
        ifindex: IfIndex,
        lookup: &impl Fn(IfIndex) -> Option<EcoString>,
    ) -> EcoString {
        let place = match self.known.binary_search_by_key(&ifindex, |(known, _)| *known) {
            Ok(place) => place,
            Err(place) => {
                let name = lookup(ifindex).unwrap_or_else(|| ifindex.to_string().into());
                self.known.insert(place, (ifindex, name));
                place
            }
        };
        self.known[place].1.clone()
    }
}
