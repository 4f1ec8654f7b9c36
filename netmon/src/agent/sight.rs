//! Whether the programs of an interface see its packets, and what is done when they do not. Pure.
//!
//! While they do not, the totals go on by the kernel's own counters: the base of what is counted is
//! moved along at each tick, so that a total never goes back and nothing is missing from it.

use std::time::{Duration, Instant};

use netmon_common::SlotCounters;

use super::watchdog::{Suspicion, Watchdog};
use crate::model::accounting::Traffic;
use crate::model::snapshot::{Counted, DeviceStats, InterfaceFacts};
use crate::sources::ebpf::attach::Finding;

/// So often the programs are attached again within [`TRUCE`]: more would be a fight with another
/// program that wants the same place.
const ATTEMPTS: usize = 3;
/// Between the loss of a filter or a link and the attempt: a shaper that has deleted the qdisc
/// clsact is about to make its own, which must find the place empty.
const REST: Duration = Duration::from_secs(2);
/// After so much time another attempt is due.
const TRUCE: Duration = Duration::from_mins(10);
/// So often what goes around the programs may come and go before the kernel's own counters stay.
const RETURNS: u8 = 3;

/// What is kept of it with an interface. A tick touches the first part alone: what lies beside it
/// would have left the CPU's caches by then.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Sight {
    watchdog: Watchdog,
    /// `None` until something was suspicious.
    trouble: Option<Box<Trouble>>,
}

// The tick reads it for each interface.
const _: () = assert!(size_of::<Sight>() <= 72);

/// The rare part.
#[derive(Debug, Default)]
struct Trouble {
    suspicion: Suspicion,
    /// What the look that was asked for last has found; `None`: it is not back yet.
    found: Option<Finding>,
    /// When it was asked for: what an earlier look has found is out of date.
    asked: Option<Instant>,
    lost: Option<Lost>,
    /// When the programs were attached again, the latest last.
    attempts: Vec<Instant>,
    /// They were moved to the front once because a part of the packets was unseen.
    was_moved: bool,
    /// Ticks at which a part was unseen.
    partly: u32,
    returns: u8,
}

/// Since when the kernel's own counters are reported.
#[derive(Debug)]
struct Lost {
    /// What the report's totals have above the kernel's own counters: received, transmitted.
    above: [Traffic; 2],
    state: State,
}

#[derive(Debug)]
enum State {
    /// They are being attached again.
    Attaching,
    /// They are not attached again before then.
    Waiting(Instant),
    /// They are attached, and what passes goes around them; `still`: in these directions.
    Around { still: [bool; 2], then: SlotCounters },
}

/// What is to be done for an interface.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    None,
    /// To look at what is attached.
    Look,
    /// Its counting is lost, for this reason: [`Sight::lose`].
    Lose(Loss),
    /// To attach the programs again.
    AttachAgain,
    /// The programs see packets again: [`Sight::regain`].
    Return,
}

/// Why counting is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// A program is detached; in words.
    Detached(String),
    /// Another stands in front of it; in words.
    Behind(String),
    /// Nothing is known to be in the way.
    Around,
}

impl Loss {
    /// In words, for people.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Detached(why) | Self::Behind(why) => why,
            Self::Around => {
                "what passes goes around netmon's programs (another XDP program, AF_XDP, \
                 PACKET_QDISC_BYPASS or a redirect)"
            }
        }
    }
}

impl Sight {
    /// The programs begin to count, and where.
    pub(super) fn begin(counted: &Counted) -> Self {
        Self { watchdog: Watchdog::begin(counted, [0; 2]), ..Self::default() }
    }

    /// Takes in a tick's facts. `true`: there may be something to do, see [`Sight::step`].
    #[inline]
    pub(super) fn observe(&mut self, facts: &mut InterfaceFacts) -> bool {
        let Some(counted) = &mut facts.counted else {
            return false;
        };
        if let Some(trouble) = &self.trouble
            && let Some(lost) = &trouble.lost
        {
            lost.follow(counted, &facts.device);
            return true;
        }
        let suspicion = self.watchdog.observe(counted, &facts.device);
        if suspicion == Suspicion::None {
            return false;
        }
        self.trouble().suspicion = suspicion;
        true
    }

    fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    /// Takes in what a look has found. A detached program is a loss at once.
    pub(super) fn looked(&mut self, finding: Finding, began: Instant) -> Step {
        let trouble = self.trouble();
        if trouble.asked.is_some_and(|asked| began < asked) {
            return Step::None;
        }
        match (finding, trouble.lost.as_ref().map(|lost| &lost.state)) {
            (Finding::Detached(why), None | Some(State::Around { .. })) => {
                Step::Lose(Loss::Detached(why))
            }
            (_, Some(_)) => Step::None,
            (finding, None) => {
                trouble.found = Some(finding);
                Step::None
            }
        }
    }

    /// What is to be done after a tick.
    pub(super) fn step(&mut self, counted: Option<&Counted>, now: Instant) -> Step {
        let Self { watchdog, trouble } = self;
        let Some(trouble) = trouble else {
            return Step::None;
        };
        match &trouble.lost {
            None => trouble.step_of_suspicion(watchdog, now),
            Some(Lost { state: State::Attaching, .. }) => Step::None,
            Some(Lost { state: State::Waiting(until), .. }) if now < *until => Step::None,
            Some(Lost { state: State::Waiting(_), .. }) => trouble.attach_again(now),
            Some(Lost { state: State::Around { still, then }, .. }) => {
                let moved = counted.is_some_and(|Counted { now, .. }| {
                    (still[0] && now.rx != then.rx) || (still[1] && now.tx != then.tx)
                });
                match moved && trouble.returns < RETURNS {
                    true => Step::Return,
                    false => Step::None,
                }
            }
        }
    }

    /// Goes over to the kernel's own counters: no total goes back for it.
    pub(super) fn lose(&mut self, loss: &Loss, facts: &mut InterfaceFacts, now: Instant) -> Step {
        let Some(counted) = &mut facts.counted else {
            return Step::None;
        };
        let still = self.watchdog.stands_still();
        let trouble = self.trouble();
        let above = |shown: Traffic, kernel: Option<Traffic>| {
            let kernel = kernel.unwrap_or(shown);
            Traffic {
                packets: shown.packets.saturating_sub(kernel.packets),
                bytes: shown.bytes.saturating_sub(kernel.bytes),
            }
        };
        let device = &facts.device;
        let above = [
            above(counted.rx_total(), device.rx.traffic()),
            above(counted.tx_total(), device.tx.traffic()),
        ];
        let state = match loss {
            Loss::Detached(_) => State::Waiting(now + REST),
            Loss::Behind(_) => State::Attaching,
            Loss::Around => State::Around { still, then: counted.now },
        };
        let lost = Lost { above, state };
        lost.follow(counted, device);
        trouble.lost = Some(lost);
        match loss {
            Loss::Behind(_) => trouble.attach_again(now),
            Loss::Detached(_) | Loss::Around => Step::None,
        }
    }

    /// How many attempts are left for now.
    pub(super) fn attempts_left(&self, now: Instant) -> usize {
        let recent = |at: &&Instant| now.saturating_duration_since(**at) < TRUCE;
        let attempts = self.trouble.iter().flat_map(|trouble| &trouble.attempts);
        ATTEMPTS.saturating_sub(attempts.filter(recent).count())
    }

    /// The attempt has failed; there is another one later.
    pub(super) fn failed(&mut self, now: Instant) {
        if let Some(lost) = &mut self.trouble().lost {
            lost.state = State::Waiting(now + TRUCE);
        }
    }

    /// The programs count again, from this new base: the totals go on from where they are.
    /// `None`: nothing was lost.
    pub(super) fn regain(&mut self, counted: &mut Counted) -> Option<()> {
        let trouble = self.trouble.as_mut()?;
        let Lost { above: [rx, tx], state } = trouble.lost.take()?;
        (counted.base.rx, counted.base.tx) = (counted.base.rx.plus(rx), counted.base.tx.plus(tx));
        if matches!(state, State::Around { .. }) {
            trouble.returns = trouble.returns.saturating_add(1);
        }
        trouble.found = None;
        self.watchdog = Watchdog::begin(counted, [rx.packets, tx.packets]);
        Some(())
    }
}

impl Trouble {
    fn step_of_suspicion(&mut self, watchdog: &mut Watchdog, now: Instant) -> Step {
        match (self.suspicion, &self.found) {
            (Suspicion::None, _) => Step::None,
            (Suspicion::Look, _) | (Suspicion::Still | Suspicion::Persistent, None) => {
                self.look(now)
            }
            (Suspicion::Still | Suspicion::Persistent, Some(Finding::Behind(why))) => {
                Step::Lose(Loss::Behind(why.clone()))
            }
            (Suspicion::Persistent, Some(Finding::InPlace)) => Step::Lose(Loss::Around),
            (Suspicion::Part, Some(Finding::Behind(why))) if !self.was_moved => {
                let why = Loss::Behind(why.clone());
                self.was_moved = true;
                Step::Lose(why)
            }
            (Suspicion::Part, _) => {
                self.partly = self.partly.saturating_add(1);
                // Some of the packets may go around for days.
                if self.partly.is_power_of_two() { self.look(now) } else { Step::None }
            }
            (Suspicion::Still | Suspicion::Persistent, Some(_)) => {
                watchdog.accept();
                Step::None
            }
        }
    }

    fn look(&mut self, now: Instant) -> Step {
        (self.found, self.asked) = (None, Some(now));
        Step::Look
    }

    /// Whether there may be another attempt now: else nothing is done before it may.
    fn attach_again(&mut self, now: Instant) -> Step {
        self.attempts.retain(|at| now.saturating_duration_since(*at) < TRUCE);
        let (state, step) = match self.attempts.first() {
            Some(first) if self.attempts.len() >= ATTEMPTS => {
                (State::Waiting(*first + TRUCE), Step::None)
            }
            _ => {
                self.attempts.push(now);
                (State::Attaching, Step::AttachAgain)
            }
        };
        if let Some(lost) = &mut self.lost {
            lost.state = state;
        }
        step
    }
}

impl Lost {
    /// Moves the base along with the kernel's own counters.
    fn follow(&self, counted: &mut Counted, device: &DeviceStats) {
        let [rx, tx] = self.above;
        if let (Some(rx_now), Some(tx_now)) = (device.rx.traffic(), device.tx.traffic()) {
            counted.base.rx = rx_now.plus(rx);
            counted.base.tx = tx_now.plus(tx);
            counted.base.counters = counted.now;
        }
    }
}

#[cfg(test)]
mod tests {
    use netmon_common::Counters;

    use super::*;
    use crate::model::accounting::Rules;
    use crate::model::link::Link;
    use crate::model::snapshot::{Base, DeviceCounters};

    /// An interface that has received: the kernel's packets and ours.
    struct Trial {
        sight: Sight,
        facts: InterfaceFacts,
        now: Instant,
    }

    impl Trial {
        fn new() -> Self {
            let rules = Rules::of(&Link { kind: Some("veth".to_owned()), ..Link::sample(2, "x0") });
            let counted = Some(Counted::begin(Base::default(), rules));
            let facts = InterfaceFacts { counted, ..InterfaceFacts::default() };
            Self { sight: Sight::default(), facts, now: Instant::now() }
        }

        fn tick(&mut self, kernel: u64, ours: u64) -> Step {
            let device = |packets| DeviceCounters {
                packets: Some(packets),
                bytes: Some(packets * 60),
                ..DeviceCounters::default()
            };
            self.facts.device = DeviceStats { rx: device(kernel), tx: device(0) };
            if let Some(counted) = &mut self.facts.counted {
                counted.now.rx =
                    Counters { packets: ours, bytes: ours * 60, ..Counters::default() };
            }
            self.now += Duration::from_secs(1);
            match self.sight.observe(&mut self.facts) {
                true => self.sight.step(self.facts.counted.as_ref(), self.now),
                false => Step::None,
            }
        }

        fn looked(&mut self, finding: Finding) -> Step {
            self.sight.looked(finding, self.now)
        }

        fn lose(&mut self, loss: &Loss) -> Step {
            self.sight.lose(loss, &mut self.facts, self.now)
        }

        fn total(&self) -> u64 {
            self.facts.counted.map_or(0, |counted| counted.rx_total().packets)
        }
    }

    fn behind() -> Finding {
        Finding::Behind("another".to_owned())
    }

    fn place() -> Loss {
        Loss::Behind("another".to_owned())
    }

    #[test]
    fn a_burst_behind_another_program_is_a_loss_at_the_next_tick() {
        let mut trial = Trial::new();
        assert_eq!(trial.tick(100, 100), Step::None);
        assert_eq!(trial.tick(1_100, 100), Step::Look);
        assert_eq!(trial.looked(behind()), Step::None, "a packet in flight is no loss");
        assert_eq!(trial.tick(1_100, 100), Step::Lose(place()));
        assert_eq!(trial.lose(&place()), Step::AttachAgain);
        assert_eq!(trial.total(), 1_100, "what was unseen is in the total");
        trial.tick(1_200, 100);
        assert_eq!(trial.total(), 1_200, "and what comes meanwhile");
    }

    #[test]
    fn a_look_from_before_says_nothing_of_now() {
        let mut trial = Trial::new();
        trial.tick(100, 100);
        let before = trial.now;
        assert_eq!(trial.tick(1_100, 100), Step::Look);
        trial.sight.looked(Finding::InPlace, before);
        assert_eq!(trial.tick(1_100, 100), Step::Look, "it is asked again");
        trial.looked(behind());
        assert_eq!(trial.tick(1_100, 100), Step::Lose(place()));
    }

    #[test]
    fn no_total_goes_back() {
        let mut trial = Trial::new();
        trial.tick(0, 0);
        // 300 that a queue has dropped: counted by us, not by the device.
        trial.tick(700, 1_000);
        trial.tick(750, 1_000);
        trial.lose(&place());
        assert_eq!(trial.total(), 1_000);
        trial.tick(800, 1_000);
        assert_eq!(trial.total(), 1_050);
        let Some(counted) = &mut trial.facts.counted else { panic!("it is gone") };
        counted.base = Base {
            rx: Traffic { packets: 800, bytes: 48_000 },
            counters: counted.now,
            ..Base::default()
        };
        assert_eq!(trial.sight.regain(counted), Some(()));
        assert_eq!(trial.total(), 1_050, "counting goes on from there");
        assert_eq!(trial.tick(900, 1_100), Step::None);
        assert_eq!(trial.total(), 1_150);
    }

    #[test]
    fn a_rival_is_not_fought_without_end() {
        let mut trial = Trial::new();
        trial.tick(0, 0);
        for attempt in 0..5 {
            let expected = if attempt < 3 { Step::AttachAgain } else { Step::None };
            assert_eq!(trial.lose(&place()), expected, "{attempt}");
        }
        let mut waited = 0;
        while trial.tick(0, 0) == Step::None {
            waited += 1;
        }
        assert!((590..600).contains(&waited), "{waited} s");
    }

    #[test]
    fn a_detached_program_is_a_loss_at_once_and_only_one() {
        let mut trial = Trial::new();
        let detached = || Finding::Detached("gone".to_owned());
        let loss = Loss::Detached("gone".to_owned());
        assert_eq!(trial.looked(detached()), Step::Lose(loss.clone()));
        assert_eq!(trial.lose(&loss), Step::None, "a shaper may be at work");
        assert_eq!(trial.looked(detached()), Step::None, "known");
        assert_eq!(trial.tick(5, 0), Step::None);
        assert_eq!(trial.tick(5, 0), Step::AttachAgain);
        trial.sight.failed(trial.now);
        assert_eq!(trial.tick(5, 0), Step::None, "not at every tick");
    }

    #[test]
    fn what_goes_around_is_followed_until_the_programs_see_it_again() {
        let mut trial = Trial::new();
        trial.tick(0, 0);
        let mut kernel = 0;
        for round in 0..4 {
            assert_eq!(trial.tick(kernel + 1, 0), Step::Look, "{round}");
            trial.looked(Finding::InPlace);
            assert_eq!(trial.tick(kernel + 2, 0), Step::None);
            assert_eq!(trial.tick(kernel + 3, 0), Step::Lose(Loss::Around));
            trial.lose(&Loss::Around);
            kernel += 10;
            assert_eq!(trial.tick(kernel, 0), Step::None);
            assert_eq!(trial.total(), kernel);
            let expected = if round < 3 { Step::Return } else { Step::None };
            assert_eq!(trial.tick(kernel, 1), expected, "{round}");
            if round == 3 {
                break;
            }
            let Some(counted) = &mut trial.facts.counted else { panic!("it is gone") };
            trial.sight.regain(counted);
            // A first look at the counters again.
            counted.now.rx = Counters::default();
            counted.base.counters = counted.now;
            trial.tick(kernel, 0);
        }
    }

    #[test]
    fn a_part_unseen_moves_the_programs_to_the_front_once() {
        let mut trial = Trial::new();
        for tick in 0..4 {
            assert_eq!(trial.tick(tick * 10, tick), Step::None);
        }
        assert_eq!(trial.tick(40, 4), Step::Look);
        trial.looked(behind());
        assert_eq!(trial.tick(50, 5), Step::Lose(place()));
        trial.lose(&place());
        let Some(counted) = &mut trial.facts.counted else { panic!("it is gone") };
        trial.sight.regain(counted);
        trial.sight.trouble().found = Some(behind());
        let steps: Vec<_> = (6..30).map(|tick| trial.tick(tick * 10, tick)).collect();
        assert!(steps.iter().all(|step| matches!(step, Step::None | Step::Look)), "{steps:?}");
    }
}
