//! What was asked for and is not there. Nobody is to wait for it without knowing.

use std::collections::HashSet;

use super::space::Idle;
use super::{Elsewhere, NetworkMonitor};
use crate::model::link::Link;
use crate::model::select::{Literal, SelectError, Selection, Selector};
use crate::workers::namespace::Where;

/// What of that which was asked for was there when a namespace was opened, by its place in the
/// list.
#[derive(Default)]
pub(super) struct Met {
    wanted: HashSet<usize>,
    excluded: HashSet<usize>,
    rules: HashSet<String>,
}

/// Whether this is about the namespace whose interfaces have that before their names.
pub(super) fn is_about(place: &Where, prefix: &str) -> bool {
    match place {
        Where::Pattern(pattern) => pattern.matches(prefix),
        place => place.to_string() == prefix,
    }
}

impl NetworkMonitor {
    /// Remembers what is met in a namespace (`None`: its own) where these interfaces exist.
    pub(super) fn note_what_is_met(&mut self, prefix: Option<&str>, links: &[Link]) {
        let met = |all: &Elsewhere| -> Vec<usize> {
            let is_met = |(place, selector): &(Where, Selector)| {
                prefix.is_some_and(|prefix| is_about(place, prefix))
                    && links.iter().any(|link| selector.matches(link))
            };
            all.iter().enumerate().filter(|(_, it)| is_met(it)).map(|(at, _)| at).collect()
        };
        self.met.wanted.extend(met(&self.elsewhere));
        self.met.excluded.extend(met(&self.elsewhere_excluded));
        let idle: HashSet<String> =
            self.settings.idle_rules(links).map(ToString::to_string).collect();
        let rules = self.settings.idle_rules(&[]).map(ToString::to_string);
        self.met.rules.extend(rules.filter(|rule| !idle.contains(rule)));
    }

    /// Says what nothing matches, once, when the namespaces that there are have been looked into.
    /// What was asked for in a namespace by name is checked when that is opened.
    pub(super) fn say_what_is_not_there(&mut self) {
        let unmet = |all: &Elsewhere, met: &HashSet<usize>| -> Vec<(Where, Selector)> {
            let all = all.iter().enumerate().filter(|(at, _)| !met.contains(at));
            all.map(|(_, it)| it.clone()).collect()
        };
        for (place, selector) in unmet(&self.elsewhere, &self.met.wanted) {
            // Its own namespace has that name, and is watched without it.
            let own = self.spaces.iter().any(|space| {
                let prefix = space.prefix.as_deref();
                space.idle == Some(Idle::Own) && prefix.is_some_and(|it| is_about(&place, it))
            });
            if !own && matches!(place, Where::Pattern(_)) {
                self.warn(format!("nothing matches '{place}/{selector}' now; waiting for it"));
            }
        }
        for (place, selector) in unmet(&self.elsewhere_excluded, &self.met.excluded) {
            let message = format!("--exclude '{place}/{selector}' matches nothing now");
            self.messages.say(&message);
        }
        let rules = self.settings.idle_rules(&[]).map(ToString::to_string);
        for rule in rules.filter(|rule| !self.met.rules.contains(rule)) {
            self.messages.say(&format!("[[interface]] match = '{rule}' matches nothing now"));
        }
    }

    /// Understands what is wanted in a namespace by what exists there, and checks it: what was
    /// asked for by that namespace's name has to be there from the start, unless it is to be
    /// waited for.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn understand(&mut self, at: usize, links: &[Link]) -> Result<(), SelectError> {
        let Some(prefix) = self.spaces[at].prefix.clone() else {
            return Ok(());
        };
        self.note_what_is_met(Some(&prefix), links);
        let named = |(place, _): &&(Where, Selector)| {
            !matches!(place, Where::Pattern(_)) && is_about(place, &prefix)
        };
        let wanted: Vec<Selector> =
            self.elsewhere.iter().filter(named).map(|(_, selector)| selector.clone()).collect();
        let literal = if wanted.is_empty() { Literal::Included } else { Literal::First };
        let settings = self.spaces[at].settings.resolved(links, literal);
        let excluded = settings.selection.excluded.clone();
        self.spaces[at].settings = settings;
        if wanted.is_empty() {
            return Ok(());
        }
        let selection = Selection { wanted, excluded };
        for name in selection.names_like_patterns(links) {
            self.messages.say(&format!(
                "'{prefix}/{name}' is the interface of that name; others that are like it are not \
                 meant"
            ));
        }
        let selection = selection.resolved(links, literal);
        if self.ticks == 0 && !self.settings.wait {
            return selection.check(links);
        }
        for missing in selection.missing(links) {
            let message = format!("waiting for '{prefix}/{missing}'");
            // A namespace may come again and again.
            if self.warned.insert(message.clone()) {
                self.messages.say(&message);
            }
        }
        Ok(())
    }

    /// Whether all that was asked for is in namespaces that come and go, and none of it is there:
    /// then the ticks are counted, or a number of reports would never be reached.
    pub(super) fn has_nothing_to_report(&self) -> bool {
        let present = || self.spaces.iter().any(|s| s.list.items().iter().any(|it| it.present));
        !self.settings.wait
            && self.elsewhere.iter().any(|(place, _)| matches!(place, Where::Pattern(_)))
            && !present()
    }
}
