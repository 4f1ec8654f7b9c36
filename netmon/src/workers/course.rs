//! The course of one interface monitor's process: started, running, ended, started again after a
//! while, given up. Pure: time comes in, decisions go out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// So many deaths
const TOO_MANY: usize = 10;
/// in so much time are too many; who lives as long begins anew.
const WINDOW: Duration = Duration::from_secs(60);
/// Who was started has to come forward in so much time.
pub(super) const COMES_FORWARD: Duration = Duration::from_secs(30);

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is wanted, and waits for a place among those that may be started.
    Queued,
    /// It is to be started, not before this time.
    Waiting(Instant),
    /// It was started and has not come forward yet.
    Started(Instant),
    /// It has come forward.
    Running,
    /// It died too often and is not started again.
    GivenUp,
    /// It is not wanted.
    Idle,
}

/// What becomes of a process that has ended without being told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is started again after this time.
    Again(Duration),
    /// It is not started again; so many deaths were too many.
    GivenUp(usize),
}

/// The course.
#[derive(Debug)]
pub(super) struct Course {
    stage: Stage,
    /// Times of death, the latest last.
    deaths: VecDeque<Instant>,
    /// How often it was started again.
    restarts: u32,
}

impl Default for Course {
    fn default() -> Self {
        Self { stage: Stage::Idle, deaths: VecDeque::new(), restarts: 0 }
    }
}

impl Course {
    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    pub(super) const fn restarts(&self) -> u32 {
        self.restarts
    }

    /// It is wanted from now on: of one that was given up nothing is remembered.
    pub(super) fn want(&mut self) {
        *self = Self { stage: Stage::Queued, ..Self::default() };
    }

    /// It has a place, so it may be started from now on.
    pub(super) fn admit(&mut self, now: Instant) {
        if self.stage == Stage::Queued {
            self.stage = Stage::Waiting(now);
        }
    }

    /// Whether it takes one of the places.
    pub(super) const fn has_a_place(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_) | Stage::Started(_) | Stage::Running)
    }

    /// It is not wanted any more.
    pub(super) const fn leave(&mut self) {
        self.stage = Stage::Idle;
    }

    /// Whether to start it now. If so, it counts as started.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        match self.stage {
            Stage::Waiting(at) if at <= now => {
                self.stage = Stage::Started(now);
                true
            }
            _ => false,
        }
    }

    /// It was: when many are started at once, that has taken its time.
    pub(super) const fn was_started(&mut self, now: Instant) {
        if let Stage::Started(_) = self.stage {
            self.stage = Stage::Started(now);
        }
    }

    /// Whether it was started too long ago for one that has not come forward.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Started(at)
            if now.saturating_duration_since(at) >= COMES_FORWARD)
    }

    /// It has come forward.
    pub(super) const fn runs(&mut self) {
        self.stage = Stage::Running;
    }

    /// It has ended, or could not be started. `None`: it was not wanted any more.
    pub(super) fn died(&mut self, now: Instant) -> Option<Verdict> {
        let runs = matches!(self.stage, Stage::Started(_) | Stage::Running);
        if !runs {
            return None;
        }
        let recent = |at: &Instant| now.saturating_duration_since(*at) < WINDOW;
        self.deaths.retain(recent);
        self.deaths.push_back(now);
        let deaths = self.deaths.len();
        if deaths >= TOO_MANY {
            self.stage = Stage::GivenUp;
            return Some(Verdict::GivenUp(deaths));
        }
        let delay = FIRST_DELAY.saturating_mul(1 << (deaths - 1).min(16)).min(LONGEST_DELAY);
        self.stage = Stage::Waiting(now + delay);
        self.restarts = self.restarts.saturating_add(1);
        Some(Verdict::Again(delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dies as soon as it runs; gives the delays.
    fn die(course: &mut Course, now: &mut Instant, times: usize) -> Vec<Option<Verdict>> {
        (0..times)
            .map(|_| {
                if let Stage::Waiting(at) = course.stage() {
                    *now = at.max(*now);
                }
                course.is_due(*now);
                course.runs();
                course.died(*now)
            })
            .collect()
    }

    fn wanted() -> (Course, Instant) {
        let (mut course, now) = (Course::default(), Instant::now());
        course.want();
        assert!(!course.is_due(now) && !course.has_a_place(), "it waits for a place");
        course.admit(now);
        (course, now)
    }

    #[test]
    fn ten_deaths_in_a_minute_are_too_many() {
        let (mut course, mut now) = wanted();
        let verdicts = die(&mut course, &mut now, 10);
        let again = |ms| Some(Verdict::Again(Duration::from_millis(ms)));
        let delays = [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000].map(again);
        assert_eq!(verdicts[..9], delays);
        assert_eq!(verdicts[9], Some(Verdict::GivenUp(10)));
        assert!(!course.is_due(now + WINDOW * 10), "never again");
        assert_eq!(course.died(now), None, "told once");
        course.admit(now);
        assert!(!course.has_a_place(), "nor is it given a place");
        course.want();
        course.admit(now);
        assert!(course.is_due(now), "unless it is wanted anew");
    }

    #[test]
    fn deaths_of_long_ago_are_forgotten() {
        let (mut course, mut now) = wanted();
        assert_eq!(die(&mut course, &mut now, 9).len(), 9);
        now += WINDOW;
        let verdicts = die(&mut course, &mut now, 1);
        assert_eq!(verdicts, [Some(Verdict::Again(FIRST_DELAY))]);
        assert_eq!(course.restarts(), 10);
    }

    #[test]
    fn it_is_started_once_and_when_its_time_has_come() {
        let (mut course, now) = wanted();
        assert!(course.is_due(now));
        assert!(!course.is_due(now), "it is started already");
        assert!(!course.is_overdue(now + COMES_FORWARD / 2));
        assert!(course.is_overdue(now + COMES_FORWARD));
        course.was_started(now + COMES_FORWARD);
        assert!(!course.is_overdue(now + COMES_FORWARD), "it had to wait for others");
        course.died(now);
        assert!(!course.is_due(now) && course.is_due(now + FIRST_DELAY));
    }

    #[test]
    fn an_end_that_was_wanted_is_no_death() {
        let (mut course, now) = wanted();
        assert!(course.is_due(now));
        course.leave();
        assert_eq!(course.died(now), None);
        assert_eq!(course.stage(), Stage::Idle);
    }
}
