//! Which programs have talked to the network, so that a new one is told, once.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use crate::model::event::{Event, EventKind};
use crate::model::human::Printable;
use crate::model::traffic::facts::ProcessFacts;

/// So many programs are remembered; beyond, the one that was met first is forgotten, and told
/// again when it comes again.
const MOST: usize = 8_192;
/// So many new programs are told by name at a tick.
const TOLD: usize = 16;

const FIRST: &str = "to the network for the first time";

/// Programs that were met: by name and command line, so that one that is started again and again
/// is told once. Hashes of them, keyed at random, so that nobody can hide behind another's.
#[derive(Clone, Debug, Default)]
pub(super) struct Programs {
    known: HashSet<u64, RandomState>,
    order: VecDeque<u64>,
    /// It is known which programs ran before.
    settled: bool,
}

/// The new programs of a tick.
#[derive(Debug, Default)]
pub(super) struct News {
    events: Vec<Event>,
    more: usize,
}

impl Programs {
    /// To be said at the start of each tick. Returns whether processes that were there before
    /// are to be met, too: until it was known which programs ran before, nobody was.
    pub(super) fn settle(&mut self, settled: bool) -> bool {
        let now = settled && !self.settled;
        self.settled = settled;
        now
    }

    /// Meets a process.
    pub(super) fn meet(&mut self, process: &ProcessFacts, news: &mut News) {
        let ProcessFacts { name, command, kernel_thread, is_new, .. } = process;
        if !self.settled || *kernel_thread {
            return;
        }
        // Whose command line was gone too fast is told by its name alone.
        let mut new = self.learn((&**name, None));
        if let Some(command) = command {
            new = self.learn((&**name, Some(&**command)));
        }
        if new && *is_new {
            news.add(process);
        }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.known.len().max(self.order.len())
    }

    /// Whether it was not known.
    fn learn(&mut self, program: (&str, Option<&str>)) -> bool {
        let hash = self.known.hasher().hash_one(program);
        let new = self.known.insert(hash);
        if new {
            if self.order.len() >= MOST
                && let Some(first) = self.order.pop_front()
            {
                self.known.remove(&first);
            }
            self.order.push_back(hash);
        }
        new
    }
}

impl News {
    fn add(&mut self, process: &ProcessFacts) {
        if self.events.len() >= TOLD {
            self.more += 1;
            return;
        }
        let ProcessFacts { name, pid, uid, user, .. } = process;
        let name = Printable(name);
        let message = match user {
            Some(user) => format!("{name} (pid {pid}, user {}) talks {FIRST}", Printable(user)),
            None => format!("{name} (pid {pid}, user {uid}) talks {FIRST}"),
        };
        self.events.push(Event::own(EventKind::NewProgram, message));
    }

    /// What is to be told.
    pub(super) fn tell(mut self) -> Vec<Event> {
        if self.more > 0 {
            let message = format!("{} more programs talk {FIRST}", self.more);
            self.events.push(Event::own(EventKind::NewProgram, message));
        }
        self.events
    }
}
