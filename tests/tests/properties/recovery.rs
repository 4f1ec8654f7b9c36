//! The recovery policy: when a link is set up, and when not.

use std::time::{Duration, Instant};

use netmon::{
    model::event::EventKind,
    recovery::policy::{
        Condition::{self, AdminDown, NoCarrier, Working},
        Policy,
    },
};
use proptest::prelude::*;

use super::config;

/// Something that the policy is told, so many milliseconds after the last.
#[derive(Clone, Copy, Debug)]
enum Step {
    Observe(u64, Option<Condition>),
    Absent,
    Deny,
    Configure(bool, bool),
    ExpectBounce,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![
        1 => Just(0),
        8 => 1..3_000_u64,
        3 => 3_000..90_000_u64,
        1 => 90_000..10_000_000_u64,
    ];
    let condition = prop_oneof![
        6 => Just(Some(AdminDown)),
        2 => Just(Some(Working)),
        1 => Just(Some(NoCarrier)),
        1 => Just(None),
    ];
    let step = prop_oneof![
        40 => (after, condition).prop_map(|(after, condition)| Step::Observe(after, condition)),
        1 => Just(Step::Absent),
        1 => Just(Step::ExpectBounce),
        1 => any::<(bool, bool)>().prop_map(|(enabled, named)| Step::Configure(enabled, named)),
    ];
    let mostly = prop::collection::vec(step, 1..120);
    // Once denied, nothing more comes, so that is rare.
    (mostly, prop::option::weighted(0.2, any::<prop::sample::Index>())).prop_map(|(steps, deny)| {
        let mut steps = steps;
        if let Some(at) = deny {
            let at = at.index(steps.len());
            steps.insert(at, Step::Deny);
        }
        steps
    })
}

/// What an onlooker remembers.
struct Onlooker {
    enabled: bool,
    named: bool,
    denied: bool,
    seen_up: bool,
    now: Instant,
    /// When it began to work, if it still does.
    working_since: Option<Instant>,
    /// The attempts since it last worked for a minute.
    attempts: Vec<Instant>,
    last: Option<Condition>,
}

impl Onlooker {
    /// Whether an attempt is right now.
    fn is_due(&self) -> bool {
        let wanted = self.enabled && !self.denied && (self.named || self.seen_up);
        // 1, 2, 4 … seconds, and never more than a minute.
        let pause = 2_u64.saturating_pow(self.attempts.len().saturating_sub(1) as u32).min(60);
        let waited = self.attempts.last().map(|last| self.now - *last);
        wanted && waited.is_none_or(|waited| waited >= Duration::from_secs(pause))
    }

    fn observe(&mut self, policy: &mut Policy, after: u64, condition: Option<Condition>) {
        self.now += Duration::from_millis(after);
        let decision = policy.observe(self.now, condition);
        let told = decision.tell.as_ref().map(|(kind, _)| *kind);
        match condition {
            None => assert_eq!((decision.set_up, told), (false, None), "nothing is known"),
            Some(AdminDown) => {
                self.working_since = None;
                let due = self.is_due();
                assert_eq!(decision.set_up, due, "after {:?}", self.attempts);
                assert_eq!(told == Some(EventKind::SetUp), due, "an attempt is told");
                if due {
                    self.attempts.push(self.now);
                }
            }
            Some(Working) => {
                assert!(!decision.set_up, "it works");
                self.seen_up = true;
                let since = *self.working_since.get_or_insert(self.now);
                if self.now - since >= Duration::from_secs(60) {
                    self.attempts.clear();
                }
                let again = self.last.is_some_and(|last| last != Working);
                assert!(told.is_none_or(|kind| kind == EventKind::Up && again), "{told:?}");
            }
            Some(NoCarrier) => {
                assert!(!decision.set_up, "nothing that software can set");
                assert!(told.is_none_or(|kind| kind == EventKind::NoCarrier), "{told:?}");
                self.working_since = None;
            }
        }
        self.last = condition.or(self.last);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn attempts_keep_the_pauses_and_never_cease(
        enabled in prop::bool::weighted(0.9),
        named in any::<bool>(),
        steps in steps(),
    ) {
        let mut policy = Policy::new(enabled, named);
        let mut onlooker = Onlooker {
            enabled,
            named,
            denied: false,
            seen_up: false,
            now: Instant::now(),
            working_since: None,
            attempts: Vec::new(),
            last: None,
        };
        for step in steps {
            match step {
                Step::Observe(after, condition) => {
                    onlooker.observe(&mut policy, after, condition);
                }
                Step::Absent => {
                    policy.absent();
                    (onlooker.seen_up, onlooker.last) = (false, None);
                    onlooker.working_since = None;
                }
                Step::Deny => {
                    policy.deny();
                    onlooker.denied = true;
                }
                Step::Configure(enabled, named) => {
                    policy.configure(enabled, named);
                    (onlooker.enabled, onlooker.named) = (enabled, named);
                }
                Step::ExpectBounce => policy.expect_bounce(onlooker.now),
            }
        }
    }
}
