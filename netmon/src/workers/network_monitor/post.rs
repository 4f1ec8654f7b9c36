//! What the network monitor keeps with each interface: its facts as they came, who watches it,
//! and how it stands with that process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ecow::EcoString;

use super::peers::PeerId;
use crate::agent::watchlist::Watched;
use crate::model::link::IfIndex;
use crate::model::options::Hook;
use crate::model::snapshot::{InterfaceFacts, Silence, Source};
use crate::recovery::policy::Policy;
use crate::sources::netlink::link_stats::LinkStats;
use crate::workers::course::{Course, Stage};
use crate::workers::protocol::{Sample, WorkerStatus};

/// A sample may come late once, on a busy machine; then the interface is stale.
const MISSED: u32 = 2;
/// Where ticks are many a second, it may come so late.
const OLD: Duration = Duration::from_millis(500);

/// One interface's.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) facts: InterfaceFacts,
    /// `None` until the interface was first here.
    pub(super) policy: Option<Policy>,
    pub(super) course: Course,
    /// The process that the launcher has started for it, as long as it lives.
    pub(super) pid: Option<u32>,
    /// Who has come forward for it.
    pub(super) peer: Option<PeerId>,
    /// Whether that one was started by somebody else.
    pub(super) by_hand: bool,
    /// Counts those who came forward, so that the totals of two are not taken for one's.
    lives: u32,
    /// A sample has come since the last tick.
    fresh: bool,
    missed: u32,
    pub(super) last: Option<(&'static str, Instant)>,
    pub(super) absence_reported: bool,
    /// It has no process, and the network monitor reads the kernel's own counters of it.
    pub(super) by_kernel: bool,
    /// Why it has no place for a process: what is shown to count it.
    pub(super) without_place: Option<Arc<str>>,
    /// The name in its namespace that `facts.name` was made of.
    bare_name: EcoString,
}

impl Default for Post {
    fn default() -> Self {
        Self {
            facts: InterfaceFacts {
                silence: Some(Silence::NotRunning),
                ..InterfaceFacts::default()
            },
            policy: None,
            course: Course::default(),
            pid: None,
            peer: None,
            by_hand: false,
            lives: 0,
            fresh: false,
            missed: 0,
            last: None,
            absence_reported: false,
            by_kernel: false,
            without_place: None,
            bare_name: EcoString::new(),
        }
    }
}

impl Post {
    /// Somebody watches it from now on, and is to count it there.
    pub(super) fn take(&mut self, peer: PeerId, by_hand: bool, hook: Hook, now: Instant) {
        // As it is told where to count, it begins to attach.
        self.counted(hook, now);
        self.peer = Some(peer);
        self.by_hand = by_hand;
        self.by_kernel = false;
        self.without_place = None;
        self.lives = self.lives.wrapping_add(1);
        self.fresh = false;
        self.facts.silence = Some(Silence::NotRunning);
        self.course.runs();
    }

    /// It was just attached to, or will be: XDP may make the link bounce, which is then our own
    /// doing and no fault.
    pub(super) fn counted(&mut self, hook: Hook, now: Instant) {
        if let Some(policy) = self.policy.as_mut().filter(|_| hook == Hook::Xdp) {
            policy.expect_bounce(now);
        }
    }

    /// Nobody watches it any more.
    pub(super) fn lose(&mut self) {
        self.peer = None;
        self.by_hand = false;
        self.facts.silence = Some(Silence::NotRunning);
    }

    /// Its process gives its place up. Gives what has to be told to end, and its process id.
    pub(super) fn give_up_place(&mut self) -> (Option<PeerId>, Option<u32>) {
        self.course.want();
        (self.peer.take(), self.pid.take())
    }

    /// It exists anew, and nothing is known of it.
    pub(super) fn begin(&mut self) {
        self.absence_reported = false;
        self.by_kernel = false;
        self.without_place = None;
        self.facts.silence = Some(Silence::NotRunning);
        self.course.want();
    }

    /// Whether the network monitor has to read the kernel's own counters of it: until a process
    /// does.
    pub(super) const fn needs_the_kernels(&self) -> bool {
        self.peer.is_none() && (self.by_kernel || self.without_place.is_some())
    }

    /// Takes in the kernel's own counters, read at that time.
    pub(super) fn hear_the_kernel(&mut self, read: &LinkStats, read_at: Instant) {
        if !std::mem::replace(&mut self.by_kernel, true) {
            self.lives = self.lives.wrapping_add(1);
        }
        let InterfaceFacts { key, name, due, hook, .. } = &self.facts;
        let LinkStats { ifindex, admin_up, state, device } = *read;
        self.facts = InterfaceFacts {
            key: *key,
            life: self.lives << 16,
            ifindex: Some(ifindex),
            name: name.clone(),
            admin_up: Some(admin_up),
            state,
            source: Source::Kernel,
            hook: self.without_place.clone().unwrap_or_else(|| Arc::clone(hook)),
            device,
            counted: None,
            due: *due,
            read_at: Some(read_at),
            silence: None,
        };
        self.fresh = true;
        self.missed = 0;
    }

    /// Takes in one tick's facts, read at that time.
    pub(super) fn hear(&mut self, sample: Sample, read_at: Instant) {
        let InterfaceFacts { key, life: _, ifindex: _, name, due, .. } = &self.facts;
        let (key, name, due) = (*key, name.clone(), *due);
        let life = (self.lives << 16) | (sample.facts.life & 0xffff);
        let (read_at, silence) = (Some(read_at), None);
        self.facts = InterfaceFacts { key, life, name, due, read_at, silence, ..sample.facts };
        self.fresh = true;
        self.missed = 0;
    }

    /// Whether something is known of the interface now.
    pub(super) const fn is_known(&self) -> bool {
        self.facts.silence.is_none()
    }

    /// At a tick: what has not come is not known any more.
    pub(super) fn grow_old(&mut self, now: Instant) {
        let is_watched = self.peer.is_some() || self.by_kernel;
        if !std::mem::take(&mut self.fresh) && is_watched {
            self.missed += 1;
            let old = self.facts.read_at.is_none_or(|at| now.saturating_duration_since(at) >= OLD);
            if self.missed >= MISSED && old && self.is_known() {
                self.facts.silence = Some(Silence::Stale);
            }
        }
    }
}

/// At a tick: the facts that come from the list and not from a sample.
pub(super) fn describe(item: &mut Watched<Post>, space: u32, prefix: Option<&str>, tick: u64) {
    let Watched { key, name, link, present, wanted, live, .. } = item;
    let facts = &mut live.facts;
    facts.key = (space << 20) | *key;
    facts.ifindex = present.then_some(link.ifindex);
    if live.bare_name != *name {
        live.bare_name.clone_from(name);
        facts.name = match prefix {
            Some(prefix) => format!("{prefix}/{name}").into(),
            None => name.clone(),
        };
    }
    if facts.silence.is_some() || !*present {
        facts.admin_up = present.then_some(link.admin_up);
    }
    facts.due = !*present || (tick - 1).is_multiple_of(wanted.ticks);
}

/// What `netmon workers` shows of it.
pub(super) fn status(item: &Watched<Post>, namespace: Option<&str>, now: Instant) -> WorkerStatus {
    let Watched { name, link, present, live, .. } = item;
    let ifindex = present.then_some(link.ifindex).map(|IfIndex(ifindex)| ifindex);
    let state = match (live.course.stage(), live.facts.silence) {
        _ if !*present => "no interface".to_owned(),
        (Stage::Waiting(at), _) => {
            let left = at.saturating_duration_since(now).as_secs_f64();
            format!("starts again in {left:.1} s")
        }
        (Stage::Started(_), _) => "starting".to_owned(),
        (Stage::Queued, _) => "no process: counted by netlink".to_owned(),
        (Stage::GivenUp, _) => "given up".to_owned(),
        (Stage::Running, Some(Silence::Stale)) => "stale".to_owned(),
        (Stage::Running, Some(Silence::NotRunning)) => "ready".to_owned(),
        (Stage::Running, None) => "running".to_owned(),
        (Stage::Idle, _) => "ended".to_owned(),
    };
    WorkerStatus {
        interface: namespace.map_or_else(|| name.to_string(), |space| format!("{space}/{name}")),
        namespace: namespace.map(str::to_owned),
        ifindex,
        pid: live.pid,
        state,
        restarts: live.course.restarts(),
        last_message: live.last.map(|(message, _)| message.to_owned()),
        last_message_ms: live
            .last
            .map(|(_, at)| now.saturating_duration_since(at).as_millis() as u64),
        launched: !live.by_hand,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::link::LinkState;
    use crate::model::snapshot::DeviceStats;
    use crate::recovery::policy::Condition;

    fn sample(life: u32, admin_up: bool) -> Sample {
        let facts = InterfaceFacts {
            life,
            ifindex: Some(IfIndex(7)),
            name: "eth0".into(),
            admin_up: Some(admin_up),
            ..InterfaceFacts::default()
        };
        Sample { tick: 1, at_ns: 0, reading_ns: 0, facts }
    }

    #[test]
    fn a_sample_may_be_late_once_or_half_a_second() {
        let mut post = Post::default();
        let start = Instant::now();
        let later = |ms| start + Duration::from_millis(ms);
        post.take(1, false, Hook::Auto, start);
        post.grow_old(start);
        assert_eq!(post.facts.silence, Some(Silence::NotRunning), "nothing has come yet");
        post.hear(sample(0, true), start);
        post.grow_old(later(100));
        post.grow_old(later(2_000));
        assert!(post.is_known(), "late once");
        post.grow_old(later(3_000));
        assert_eq!(post.facts.silence, Some(Silence::Stale));
        post.hear(sample(0, true), later(3_500));
        for ms in [3_600, 3_700, 3_800, 3_900] {
            post.grow_old(later(ms));
            assert!(post.is_known(), "it goes on, and is late by less than half a second");
        }
        post.grow_old(later(4_000));
        assert_eq!(post.facts.silence, Some(Silence::Stale));
        post.lose();
        assert_eq!(post.facts.silence, Some(Silence::NotRunning));
    }

    #[test]
    fn a_link_that_our_own_program_bounces_is_not_reported() {
        let now = Instant::now();
        let told = |hook, moment: fn(&mut Post, Hook, Instant)| {
            let mut post = Post { policy: Some(Policy::new(true, true)), ..Post::default() };
            moment(&mut post, hook, now);
            let policy = post.policy.as_mut().unwrap();
            policy.observe(now, Some(Condition::NoCarrier)).tell.is_some()
        };
        let ordered: fn(&mut Post, Hook, Instant) = |post, hook, now| {
            post.take(1, false, hook, now);
        };
        let attached: fn(&mut Post, Hook, Instant) = |post, hook, now| post.counted(hook, now);
        for moment in [ordered, attached] {
            assert!(!told(Hook::Xdp, moment));
            assert!(told(Hook::Auto, moment) && told(Hook::XdpGeneric, moment), "those do not");
        }
    }

    #[test]
    fn what_the_kernel_counts_is_another_life_than_a_processs() {
        let (mut post, start) = (Post::default(), Instant::now());
        let later = |ms| start + Duration::from_millis(ms);
        let (ifindex, device) = (IfIndex(7), DeviceStats::default());
        let state = LinkState::default();
        let read = LinkStats { ifindex, admin_up: true, state, device };
        assert!(!post.needs_the_kernels());
        post.without_place = Some(Arc::from("no place"));
        assert!(post.needs_the_kernels());
        post.hear_the_kernel(&read, start);
        let life = post.facts.life;
        assert_eq!((&*post.facts.hook, post.facts.source), ("no place", Source::Kernel));
        post.hear_the_kernel(&read, later(100));
        assert_eq!(post.facts.life, life, "it goes on");
        for ms in [100, 1_000, 2_000] {
            post.grow_old(later(ms));
        }
        assert_eq!(post.facts.silence, Some(Silence::Stale), "nothing was read");
        post.hear_the_kernel(&read, later(2_100));
        assert!(post.is_known());
        // Its numbers go on until a process tells some.
        post.without_place = None;
        assert!(post.needs_the_kernels());
        post.take(1, false, Hook::Auto, start);
        assert!(!post.needs_the_kernels());
        post.hear(sample(0, true), start);
        assert_ne!(post.facts.life, life);
    }

    #[test]
    fn what_the_list_says_is_kept_and_another_process_is_another_life() {
        let mut post = Post::default();
        (post.facts.key, post.facts.due) = (3, true);
        post.facts.name = "blue/eth0".into();
        let mut lives = Vec::new();
        for (peer, life) in [(1, 0), (1, 1), (2, 0), (2, 1 << 16)] {
            if post.peer != Some(peer) {
                post.take(peer, false, Hook::Auto, Instant::now());
            }
            post.hear(sample(life, false), Instant::now());
            lives.push(post.facts.life);
        }
        assert_eq!((post.facts.key, &*post.facts.name, post.facts.due), (3, "blue/eth0", true));
        assert_eq!(post.facts.admin_up, Some(false));
        assert!(lives[0] != lives[1] && lives[1] != lives[2] && lives[0] != lives[2], "{lives:?}");
    }
}
