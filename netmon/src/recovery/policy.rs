//! When to set a link up. Pure: time comes in, decisions go out.
//!
//! - administratively down: set up at once, then after 1, 2, 4 … 60 s; a link that stayed up
//!   for 60 s begins anew;
//! - up without carrier: nothing that software can set; said once, and not in the first seconds
//!   after it was set up;
//! - an interface that the user named is brought up from the start; one that a pattern matched
//!   only after it was seen up, since nobody asked for it to be up;
//! - an interface whose link our own attaching may have bounced is left alone for a while.

use std::time::{Duration, Instant};

use crate::model::event::EventKind;
use crate::model::link::{LinkState, OperState};

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
const STABLE: Duration = Duration::from_secs(60);
/// Attaching XDP resets some cards: 1 to 10 s without carrier (mlx5, ixgbe, i40e).
const OWN_BOUNCE: Duration = Duration::from_secs(15);
/// A link that was just set up has no carrier yet: the kernel tells up to a second late, cards
/// talk to their peers for some seconds.
const CARRIER_COMES: Duration = Duration::from_secs(5);

/// What a link is like, as far as recovery goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Somebody has set it down.
    AdminDown,
    /// It is up, and cannot carry traffic.
    NoCarrier,
    /// It works, or its driver does not tell (`unknown`, `dormant`, `testing`).
    Working,
}

impl Condition {
    /// `None` when too little is known.
    #[must_use]
    pub fn of(admin_up: Option<bool>, state: LinkState) -> Option<Self> {
        match (admin_up, state.operstate.map(OperState::is_down)) {
            (Some(false), _) => Some(Self::AdminDown),
            (Some(true), Some(true)) => Some(Self::NoCarrier),
            (_, Some(false)) => Some(Self::Working),
            (Some(true) | None, None) | (None, Some(true)) => None,
        }
    }
}

/// What to do about a link.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Set it up now.
    pub set_up: bool,
    /// Tell people.
    pub tell: Option<(EventKind, String)>,
}

/// The policy of one link.
#[derive(Debug)]
pub struct Policy {
    enabled: bool,
    named: bool,
    seen_up: bool,
    last: Option<Condition>,
    attempts: u32,
    next_attempt: Option<Instant>,
    up_since: Option<Instant>,
    quiet_until: Option<Instant>,
    denied: bool,
    /// Somebody is there who could set it up.
    in_reach: bool,
}

impl Policy {
    /// `enabled`: recovery is wanted. `named`: the user named this very interface.
    #[must_use]
    pub const fn new(enabled: bool, named: bool) -> Self {
        Self {
            enabled,
            named,
            seen_up: false,
            last: None,
            attempts: 0,
            next_attempt: None,
            up_since: None,
            quiet_until: None,
            denied: false,
            in_reach: true,
        }
    }

    /// Whether somebody is there who could set it up.
    pub const fn set_in_reach(&mut self, in_reach: bool) {
        self.in_reach = in_reach;
    }

    /// When the link may be set up again, if it has been before.
    #[must_use]
    pub const fn next_attempt(&self) -> Option<Instant> {
        self.next_attempt
    }

    /// Whether the link works, and looking at it again while it does would change nothing.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.last == Some(Condition::Working) && self.attempts == 0
    }

    /// Our own attaching may bounce the link from now on.
    pub fn expect_bounce(&mut self, now: Instant) {
        self.quiet_until = Some(now + OWN_BOUNCE);
    }

    /// The kernel has refused for lack of privileges: no more attempts.
    pub const fn deny(&mut self) {
        self.denied = true;
    }

    /// What the user wants may change with the interface's name.
    pub const fn configure(&mut self, enabled: bool, named: bool) {
        self.enabled = enabled;
        self.named = named;
    }

    /// The interface is gone. Whether it was up says nothing of the one that comes after it.
    pub const fn absent(&mut self) {
        self.last = None;
        self.up_since = None;
        self.seen_up = false;
    }

    /// Looks at the link once a tick.
    pub fn observe(&mut self, now: Instant, condition: Option<Condition>) -> Decision {
        let Some(condition) = condition else {
            return Decision::default();
        };
        let before = self.last.replace(condition);
        match condition {
            Condition::Working => self.working(now, before),
            Condition::NoCarrier => self.without_carrier(now, before),
            Condition::AdminDown => self.down(now, before),
        }
    }

    fn working(&mut self, now: Instant, before: Option<Condition>) -> Decision {
        self.seen_up = true;
        let since = *self.up_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= STABLE {
            self.attempts = 0;
            self.next_attempt = None;
        }
        let again = before.is_some_and(|before| before != Condition::Working);
        tell(again.then(|| (EventKind::Up, "up".to_owned())))
    }

    fn without_carrier(&mut self, now: Instant, before: Option<Condition>) -> Decision {
        self.up_since = None;
        if self.quiet_until.is_some_and(|until| now < until) {
            // Ours, probably. If it lasts, it is told when the time is over.
            self.last = before;
            return Decision::default();
        }
        let new = before != Some(Condition::NoCarrier);
        let message = "up but without carrier (cable, peer or lower interface): nothing to set";
        tell(new.then(|| (EventKind::NoCarrier, message.to_owned())))
    }

    fn down(&mut self, now: Instant, before: Option<Condition>) -> Decision {
        self.up_since = None;
        let new = before != Some(Condition::AdminDown);
        let allowed = self.enabled && !self.denied && self.in_reach;
        if !allowed || !(self.named || self.seen_up) {
            return tell(new.then(|| (EventKind::Down, self.why_left())));
        }
        if self.next_attempt.is_some_and(|next| now < next) {
            return Decision::default();
        }
        let delay = FIRST_DELAY.saturating_mul(1 << self.attempts.min(6)).min(LONGEST_DELAY);
        self.attempts = self.attempts.saturating_add(1);
        self.next_attempt = Some(now + delay);
        self.quiet_until = self.quiet_until.max(Some(now + CARRIER_COMES));
        let message = format!("administratively down: set up (attempt {})", self.attempts);
        Decision { set_up: true, tell: Some((EventKind::SetUp, message)) }
    }

    fn why_left(&self) -> String {
        let why = match (self.enabled, self.denied, self.in_reach) {
            (false, _, _) => "recovery is off",
            (true, true, _) => "CAP_NET_ADMIN is missing",
            (true, false, false) => "it has no process that could set it up (see --max-workers)",
            (true, false, true) => {
                "it was not up since netmon began, and was not asked for by name"
            }
        };
        format!("administratively down, and left so: {why}")
    }
}

const fn tell(tell: Option<(EventKind, String)>) -> Decision {
    Decision { set_up: false, tell }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Condition::{AdminDown, NoCarrier, Working};

    struct Trial {
        policy: Policy,
        start: Instant,
    }

    impl Trial {
        fn new(enabled: bool, named: bool) -> Self {
            Self { policy: Policy::new(enabled, named), start: Instant::now() }
        }

        fn at(&mut self, seconds: u64, condition: Condition) -> Decision {
            self.policy.observe(self.start + Duration::from_secs(seconds), Some(condition))
        }

        fn attempts(&mut self, seconds: std::ops::Range<u64>) -> Vec<u64> {
            seconds.filter(|second| self.at(*second, AdminDown).set_up).collect()
        }
    }

    fn kind(decision: &Decision) -> Option<EventKind> {
        decision.tell.as_ref().map(|(kind, _)| *kind)
    }

    #[test]
    fn named_links_are_set_up_from_the_start_with_growing_delays() {
        let mut trial = Trial::new(true, true);
        assert_eq!(trial.attempts(0..260), [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
    }

    #[test]
    fn matched_links_only_after_they_were_up() {
        let mut trial = Trial::new(true, false);
        let decision = trial.at(0, AdminDown);
        assert_eq!((decision.set_up, kind(&decision)), (false, Some(EventKind::Down)));
        trial.at(1, Working);
        let decision = trial.at(2, AdminDown);
        assert!(decision.set_up);
        assert_eq!(kind(&decision), Some(EventKind::SetUp));
    }

    #[test]
    fn a_minute_up_begins_anew_and_less_does_not() {
        let mut trial = Trial::new(true, true);
        assert_eq!(trial.attempts(0..4), [0, 1, 3]);
        trial.at(4, Working);
        trial.at(63, Working);
        trial.at(64, AdminDown);
        assert_eq!(trial.policy.attempts, 4, "59 s up: still the same story");
        trial.at(70, Working);
        trial.at(130, Working);
        assert_eq!(trial.attempts(131..134), [131, 132]);
    }

    #[test]
    fn up_again_is_told() {
        let mut trial = Trial::new(true, true);
        assert_eq!(kind(&trial.at(0, Working)), None, "nothing happened yet");
        trial.at(1, AdminDown);
        assert_eq!(kind(&trial.at(2, Working)), Some(EventKind::Up));
        assert_eq!(kind(&trial.at(3, Working)), None);
    }

    #[test]
    fn without_carrier_is_told_once_and_never_set() {
        let mut trial = Trial::new(true, true);
        let told: Vec<_> = (0..100)
            .filter(|second| {
                let decision = trial.at(*second, NoCarrier);
                assert!(!decision.set_up);
                kind(&decision) == Some(EventKind::NoCarrier)
            })
            .collect();
        assert_eq!(told, [0]);
        trial.at(100, Working);
        assert_eq!(kind(&trial.at(101, NoCarrier)), Some(EventKind::NoCarrier), "it came back");
    }

    #[test]
    fn our_own_bounce_is_no_fault_unless_it_lasts() {
        let mut trial = Trial::new(true, true);
        trial.at(0, Working);
        trial.policy.expect_bounce(trial.start);
        assert_eq!(trial.at(1, NoCarrier), Decision::default());
        assert_eq!(trial.at(8, Working), Decision::default());
        assert_eq!(trial.at(14, NoCarrier), Decision::default());
        assert_eq!(kind(&trial.at(15, NoCarrier)), Some(EventKind::NoCarrier));
    }

    #[test]
    fn a_link_that_was_just_set_up_may_take_its_time_for_the_carrier() {
        let mut trial = Trial::new(true, true);
        assert!(trial.at(0, AdminDown).set_up);
        assert_eq!(trial.at(1, NoCarrier), Decision::default());
        assert_eq!(kind(&trial.at(2, Working)), Some(EventKind::Up));
        assert!(trial.at(10, AdminDown).set_up);
        let told: Vec<_> = (11..20).filter(|s| kind(&trial.at(*s, NoCarrier)).is_some()).collect();
        assert_eq!(told, [15], "once, when it lasts");
    }

    #[test]
    fn off_or_denied_tells_once_and_leaves_it() {
        let mut trial = Trial::new(false, true);
        trial.at(0, Working);
        let decision = trial.at(1, AdminDown);
        assert_eq!((decision.set_up, kind(&decision)), (false, Some(EventKind::Down)));
        assert_eq!(trial.at(2, AdminDown), Decision::default());

        let mut trial = Trial::new(true, true);
        assert!(trial.at(0, AdminDown).set_up);
        trial.policy.deny();
        assert_eq!(trial.attempts(1..300), Vec::<u64>::new());
    }

    #[test]
    fn conditions() {
        let state = |operstate| LinkState { operstate, ..LinkState::default() };
        let of = |admin, operstate| Condition::of(admin, state(operstate));
        for works in [OperState::Up, OperState::Unknown, OperState::Dormant, OperState::Testing] {
            assert_eq!(of(Some(true), Some(works)), Some(Working), "{works:?}");
        }
        for down in [OperState::Down, OperState::LowerLayerDown, OperState::NotPresent] {
            assert_eq!(of(Some(true), Some(down)), Some(NoCarrier), "{down:?}");
            assert_eq!(of(Some(false), Some(down)), Some(AdminDown), "{down:?}");
        }
        assert_eq!(of(Some(true), None), None);
        assert_eq!(of(None, Some(OperState::Down)), None);
    }
}
