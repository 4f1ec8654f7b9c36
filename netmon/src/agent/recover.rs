//! Joins the policy of recovery to what acts on the kernel. Setting a link up may take a driver
//! seconds, so the tick does not wait for it.

use std::sync::Arc;
use std::time::Instant;

use super::inbox::Happening;
use super::run::Agent;
use super::upward::Upward;
use crate::model::event::{Event, EventKind};
use crate::model::link::{IfIndex, state_reason};
use crate::recovery::link_control::{self, SetUpError};
use crate::recovery::policy::{Condition, Policy};

impl Agent {
    /// Looks at one interface's link, and sets it up if the policy says so: at every tick, and at
    /// once when something was heard of the interface.
    pub(super) fn recover(&mut self, at: usize, now: Instant) {
        let item = &mut self.list.items_mut()[at];
        let Some(policy) = item.live.policy.as_mut().filter(|_| item.present) else {
            return;
        };
        if let Upward::Superior(superior) = &mut self.upward {
            // What the news say is newer than what was read at the last tick.
            let condition = Condition::of(Some(item.link.admin_up), item.link.state);
            let before = std::mem::replace(&mut item.live.told, condition);
            if condition.is_some_and(|now| now != Condition::Working) && before != condition {
                let (admin_up, state) = (item.link.admin_up, item.link.state);
                superior.link_down(admin_up, state, state_reason(Some(admin_up), state.operstate));
            }
            return;
        }
        let condition = Condition::of(Some(item.link.admin_up), item.live.facts.state);
        let decision = policy.observe(now, condition);
        item.live.calm = policy.is_calm();
        if !decision.set_up && decision.tell.is_none() {
            return;
        }
        let (name, ifindex) = (item.name.clone(), item.link.ifindex);
        let next_attempt = policy.next_attempt();
        if let Some((kind, message)) = decision.tell {
            self.tell(Event::of(&name, kind, message));
        }
        if decision.set_up {
            self.set_up(ifindex, next_attempt, None);
        }
    }

    /// Sets a link up without waiting for it, and looks at it again when the time has come. What was
    /// ordered is done then.
    fn set_up(&self, ifindex: IfIndex, look_again: Option<Instant>, order: Option<Arc<()>>) {
        // An agent's interfaces are those of its own namespace.
        let Some(handle) = self.links.handle() else { return };
        let inbox = self.inbox.sender.clone();
        self.runtime.spawn(async move {
            let result = link_control::set_up(handle, ifindex).await;
            // The agent may have ended meanwhile.
            let _ = inbox.send(Happening::SetUp(ifindex, result));
            drop(order);
            if let Some(next) = look_again {
                tokio::time::sleep_until(next.into()).await;
                let _ = inbox.send(Happening::Look(ifindex));
            }
        });
    }

    /// The network monitor has decided.
    pub(super) fn set_up_as_ordered(&self, order: &Arc<()>) {
        let present = self.list.items().iter().filter(|item| item.present);
        present.for_each(|item| self.set_up(item.link.ifindex, None, Some(Arc::clone(order))));
    }

    /// The same for an interface that may be gone.
    pub(super) fn look(&mut self, ifindex: IfIndex) {
        if let Some(at) = self.list.find(ifindex) {
            self.recover(at, Instant::now());
        }
    }

    pub(super) fn set_up_ended(&mut self, ifindex: IfIndex, result: Result<(), SetUpError>) {
        let Some(at) = self.list.find(ifindex) else {
            return;
        };
        if let Upward::Superior(superior) = &mut self.upward {
            return superior.link_set(&result);
        }
        let name = self.list.items()[at].name.clone();
        match result {
            Ok(()) => {}
            Err(SetUpError::Refused(why)) => {
                let message = format!("could not be set up: {why}");
                self.tell(Event::of(&name, EventKind::SetUpFailed, message));
            }
            Err(denied @ SetUpError::Denied) => {
                let policies = self.list.items_mut().iter_mut().map(|item| &mut item.live.policy);
                policies.flatten().for_each(Policy::deny);
                if !std::mem::replace(&mut self.recovery_denied, true) {
                    let message = format!(
                        "{denied}: links that are down stay down; run netmon with that \
                         privilege, or use --no-recover"
                    );
                    self.tell(Event::own(EventKind::Warning, message));
                }
            }
        }
    }
}
