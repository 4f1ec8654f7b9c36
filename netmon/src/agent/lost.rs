//! When the programs of an interface do not see its packets any more: what is asked, reported and
//! done, as [`Sight`](super::sight::Sight) decides.

use std::time::Instant;

use super::run::Agent;
use super::sight::{Loss, Step};
use super::upward::Upward;
use crate::model::event::EventKind;
use crate::model::link::IfIndex;
use crate::model::snapshot::Source;
use crate::sources::ebpf::attach::Finding;

impl Agent {
    /// After a tick: sees to the interfaces whose counters were suspicious at it.
    pub(super) fn see_to_suspects(&mut self) {
        let now = Instant::now();
        for place in 0..self.collector.suspects.len() {
            let at = self.collector.suspects[place];
            let live = &mut self.list.items_mut()[at].live;
            let step = live.sight.step(live.facts.counted.as_ref(), now);
            self.take_step(at, step);
        }
        self.collector.suspects.clear();
    }

    fn take_step(&mut self, at: usize, step: Step) {
        let ifindex = self.list.items()[at].link.ifindex;
        let attacher = self.counting.programs.as_ref().map(|programs| &programs.attacher);
        match step {
            Step::None => {}
            Step::Look => attacher.into_iter().for_each(|attacher| attacher.look(ifindex)),
            Step::AttachAgain => {
                attacher.into_iter().for_each(|attacher| attacher.attach_again(ifindex));
            }
            Step::Lose(loss) => self.lose(at, &loss),
            Step::Return => {
                let hook = self.list.items()[at].live.hook.clone();
                self.count_again(at, &hook);
            }
        }
    }

    /// What became of an interface's programs.
    pub(super) fn looked(&mut self, ifindex: IfIndex, finding: Finding, began: Instant) {
        if let Some(at) = self.list.find(ifindex) {
            let step = self.list.items_mut()[at].live.sight.looked(finding, began);
            self.take_step(at, step);
        }
    }

    /// The kernel's own counters are reported from now on.
    fn lose(&mut self, at: usize, loss: &Loss) {
        let live = &mut self.list.items_mut()[at].live;
        let now = Instant::now();
        let attempts = live.sight.attempts_left(now);
        let step = live.sight.lose(loss, &mut live.facts, now);
        let why = loss.why();
        live.facts.source = Source::Kernel;
        live.facts.hook = format!("netlink ({why})").into();
        let more = match (loss, attempts) {
            (Loss::Around, _) => "",
            (_, 1..) => " until it is attached again",
            (_, 0) => {
                "; it is not attached again for ten minutes, for another program takes its place \
                 each time"
            }
        };
        let message = format!("{why}: the kernel's own counters are reported{more}");
        self.tell_of(at, EventKind::CountingLost, message);
        self.tell_superior(at);
        self.take_step(at, step);
    }

    /// The programs were attached again, or could not be.
    pub(super) fn attached_again(
        &mut self,
        ifindex: IfIndex,
        result: Result<(String, bool), String>,
    ) {
        let Some(at) = self.list.find(ifindex) else {
            return;
        };
        match result {
            Ok((hook, native_xdp)) => {
                let item = &mut self.list.items_mut()[at];
                (item.link.native_xdp, item.live.native_xdp) = (native_xdp, native_xdp);
                if let Some(policy) = item.live.policy.as_mut().filter(|_| native_xdp) {
                    policy.expect_bounce(Instant::now());
                }
                self.count_again(at, &hook);
            }
            Err(reason) => {
                let live = &mut self.list.items_mut()[at].live;
                live.sight.failed(Instant::now());
                live.facts.hook = format!("netlink ({reason})").into();
                let message = format!("netmon's program cannot be attached again: {reason}");
                self.tell_of(at, EventKind::CountingLost, message);
                self.tell_superior(at);
            }
        }
    }

    /// The programs see packets again: counting goes on from the totals as they are.
    fn count_again(&mut self, at: usize, hook: &str) {
        let item = &self.list.items()[at];
        let Some(slot) = item.live.slot else {
            return;
        };
        let Some(mut counted) = self.counting.base(slot, &item.link) else {
            return self.list.items_mut()[at].live.sight.failed(Instant::now());
        };
        let live = &mut self.list.items_mut()[at].live;
        if live.sight.regain(&mut counted).is_none() {
            return;
        }
        if let Some(before) = &live.facts.counted {
            counted.first = before.first;
        }
        live.facts.counted = Some(counted);
        live.facts.source = Source::Ebpf;
        live.hook = hook.into();
        live.facts.hook = hook.into();
        self.tell_of(at, EventKind::Counting, hook.to_owned());
        self.tell_superior(at);
    }

    /// A network monitor is told anew what counts the interface.
    fn tell_superior(&mut self, at: usize) {
        if let Upward::Superior(superior) = &mut self.upward {
            superior.monitoring(&self.list.items()[at].live.facts);
        }
    }
}
