//! Which interfaces get a process where there may not be one for each. Pure.
//!
//! Those that the user named come first, then those of the monitor's own namespace, then the
//! others; among these the namespaces take turns. Whoever comes first takes the place of another
//! if there is no free one.

use std::collections::HashMap;

use crate::config::WorkerLimits;

/// Who comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// The user named it.
    Named,
    /// It is of the monitor's own namespace.
    Own,
    /// Whoever made it, the user did not ask for it by its name.
    Other,
}

/// An interface that has a place or wants one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The number of its namespace.
    pub(super) space: u32,
    /// Its key there.
    pub(super) key: u32,
    pub(super) rank: Rank,
    /// It has a place already.
    pub(super) has: bool,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// That of its namespace.
    PerNamespace,
    /// That of all together.
    InAll,
}

/// What becomes of the claims.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// They get a place now.
    pub(super) admitted: Vec<Claim>,
    /// They have to give theirs up: another gets it when their processes have ended.
    pub(super) released: Vec<Claim>,
    /// They have none for now.
    pub(super) refused: Vec<(Claim, Limit)>,
}

/// The places that are taken, and those of them that will be free soon.
struct Places {
    limits: WorkerLimits,
    /// By namespace.
    taken: HashMap<u32, u32>,
    taken_in_all: u32,
    soon: HashMap<u32, u32>,
    soon_in_all: u32,
}

/// Decides. `leaving`: the namespaces of processes that were told to end, or will be, and have not
/// ended. `own`: the monitor's own namespace, which the limit for each is not about.
pub(super) fn decide(
    limits: WorkerLimits,
    own: Option<u32>,
    leaving: impl IntoIterator<Item = u32>,
    claims: &[Claim],
) -> Decision {
    let mut places = Places::new(limits, leaving);
    claims.iter().filter(|claim| claim.has).for_each(|claim| places.take(claim.space));
    // Namespaces take turns: those that have many come later.
    let mut turns = places.taken.clone();
    let mut waiting: Vec<(Rank, u32, Claim)> = Vec::new();
    for claim in claims.iter().filter(|claim| !claim.has) {
        let turn = turns.entry(claim.space).or_default();
        waiting.push((claim.rank, *turn, *claim));
        *turn += 1;
    }
    waiting.sort_by_key(|(rank, turn, _)| (*rank, *turn));
    // The last of the lowest rank has to go first.
    let mut holders: Vec<Claim> = claims.iter().filter(|claim| claim.has).copied().collect();
    holders.sort_by_key(|claim| claim.rank);
    let mut decision = Decision::default();
    for (_, _, claim) in waiting {
        let Some(limit) = places.reached(claim.space, own == Some(claim.space)) else {
            places.take(claim.space);
            decision.admitted.push(claim);
            continue;
        };
        decision.refused.push((claim, limit));
        if places.wait(claim.space, limit) {
            continue;
        }
        let gives_way = |holder: &Claim| {
            let is_near = limit == Limit::InAll || holder.space == claim.space;
            holder.rank > claim.rank && is_near
        };
        if let Some(at) = holders.iter().rposition(gives_way) {
            decision.released.push(holders.remove(at));
        }
    }
    decision
}

impl Places {
    fn new(limits: WorkerLimits, leaving: impl IntoIterator<Item = u32>) -> Self {
        let (taken, soon) = (HashMap::new(), HashMap::new());
        let mut places = Self { limits, taken, taken_in_all: 0, soon, soon_in_all: 0 };
        for space in leaving {
            places.take(space);
            *places.soon.entry(space).or_default() += 1;
            places.soon_in_all += 1;
        }
        places
    }

    fn take(&mut self, space: u32) {
        *self.taken.entry(space).or_default() += 1;
        self.taken_in_all += 1;
    }

    fn reached(&self, space: u32, is_own: bool) -> Option<Limit> {
        let taken = self.taken.get(&space).copied().unwrap_or_default();
        if !is_own && taken >= self.limits.per_namespace {
            return Some(Limit::PerNamespace);
        }
        (self.taken_in_all >= self.limits.in_all).then_some(Limit::InAll)
    }

    /// Waits for a place that will be free soon, if there is one that nobody waits for.
    fn wait(&mut self, space: u32, limit: Limit) -> bool {
        let here = self.soon.entry(space).or_default();
        let soon = if limit == Limit::PerNamespace { *here } else { self.soon_in_all };
        *here = here.saturating_sub(1);
        self.soon_in_all = self.soon_in_all.saturating_sub(1);
        soon > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: WorkerLimits = WorkerLimits { per_namespace: 2, in_all: 5 };

    fn claim(space: u32, key: u32, rank: Rank, has: bool) -> Claim {
        Claim { space, key, rank, has }
    }

    fn others(space: u32, keys: std::ops::Range<u32>, has: bool) -> Vec<Claim> {
        keys.map(|key| claim(space, key, Rank::Other, has)).collect()
    }

    fn places(claims: &[Claim]) -> Vec<(u32, u32)> {
        claims.iter().map(|claim| (claim.space, claim.key)).collect()
    }

    #[test]
    fn each_namespace_has_a_bound_but_the_own_one() {
        let claims = [others(1, 0..4, false), others(2, 0..1, false)].concat();
        let decision = decide(LIMITS, None, [], &claims);
        assert_eq!(places(&decision.admitted), [(1, 0), (2, 0), (1, 1)]);
        assert!(decision.refused.iter().all(|(_, limit)| *limit == Limit::PerNamespace));
        assert_eq!(decision.refused.len(), 2);
        let own: Vec<Claim> = (0..7).map(|key| claim(0, key, Rank::Own, false)).collect();
        let decision = decide(LIMITS, Some(0), [], &own);
        assert_eq!(decision.admitted.len(), 5);
        assert!(decision.refused.iter().all(|(_, limit)| *limit == Limit::InAll));
    }

    #[test]
    fn namespaces_take_turns_where_there_is_not_enough_for_all() {
        let claims: Vec<Claim> = (1..5).flat_map(|space| others(space, 0..2, false)).collect();
        let decision = decide(LIMITS, None, [], &claims);
        assert_eq!(places(&decision.admitted), [(1, 0), (2, 0), (3, 0), (4, 0), (1, 1)]);
    }

    #[test]
    fn those_that_were_named_come_first_and_take_anothers_place() {
        let named = claim(1, 9, Rank::Named, false);
        let decision = decide(LIMITS, None, [], &[others(1, 0..3, false), vec![named]].concat());
        assert_eq!(places(&decision.admitted), [(1, 9), (1, 0)]);
        let claims = [others(1, 0..2, true), others(2, 0..1, true), vec![named]].concat();
        let decision = decide(LIMITS, None, [], &claims);
        assert_eq!((decision.admitted.len(), places(&decision.released)), (0, vec![(1, 1)]));
        assert_eq!(decision.refused, [(named, Limit::PerNamespace)]);
        let claims = [others(1, 0..1, true), others(2, 0..1, true), vec![named]].concat();
        let decision = decide(LIMITS, None, [1], &claims);
        assert_eq!(decision.released, [], "a place will be free soon");
        let own = claim(0, 0, Rank::Own, false);
        let full: Vec<Claim> =
            [others(1, 0..2, true), others(2, 0..2, true), others(3, 0..1, true)].concat();
        let decision = decide(LIMITS, Some(0), [], &[full.clone(), vec![own]].concat());
        assert_eq!(places(&decision.released), [(3, 0)]);
        let one_more = others(4, 0..1, false);
        let decision = decide(LIMITS, Some(0), [], &[full, one_more].concat());
        assert_eq!(decision.released, [], "of the same rank");
    }

    #[test]
    fn who_is_leaving_takes_a_place_until_it_has_ended() {
        let claims = others(1, 0..2, false);
        assert_eq!(decide(LIMITS, None, [1], &claims).admitted.len(), 1);
        assert_eq!(decide(LIMITS, None, [1, 1], &claims).admitted.len(), 0);
        assert_eq!(decide(LIMITS, None, [2, 2, 2, 2, 2], &claims).admitted.len(), 0);
    }

    #[test]
    fn none_is_a_limit_too() {
        let none = WorkerLimits { per_namespace: 0, in_all: 9 };
        let decision = decide(none, None, [], &others(1, 0..2, false));
        assert_eq!((decision.admitted.len(), decision.refused.len()), (0, 2));
    }
}
