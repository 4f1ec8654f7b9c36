//! Recovery: the policy is here, the hands are the interface monitors'.

use std::time::Instant;

use super::NetworkMonitor;
use crate::model::event::{Event, EventKind};
use crate::recovery::link_control::SetUpError;
use crate::recovery::policy::{Condition, Policy};
use crate::workers::protocol::{FromMonitor, LinkSet};

impl NetworkMonitor {
    /// Looks at every link of which something is known.
    pub(super) fn recover_all(&mut self, now: Instant) {
        for at in 0..self.spaces.len() {
            for found in 0..self.spaces[at].list.items().len() {
                self.recover(at, found, now);
            }
        }
    }

    /// Looks at one link, and has it set up if the policy says so.
    pub(super) fn recover(&mut self, at: usize, found: usize, now: Instant) {
        let denied = self.recovery_denied;
        let item = &mut self.spaces[at].list.items_mut()[found];
        let known = item.present && item.live.is_known();
        let (peer, by_kernel) = (item.live.peer, item.live.by_kernel);
        let Some(policy) = item.live.policy.as_mut().filter(|_| known) else {
            return;
        };
        if peer.is_none() && !by_kernel {
            return;
        }
        // To set a link up takes privileges, which only an interface monitor has.
        policy.set_in_reach(peer.is_some());
        if denied {
            policy.deny();
        }
        let facts = &item.live.facts;
        let decision = policy.observe(now, Condition::of(facts.admin_up, facts.state));
        if let Some((kind, message)) = decision.tell {
            let name = self.spaces[at].name_of(&self.spaces[at].list.items()[found]);
            self.tell(Event::of(&name, kind, message));
        }
        if decision.set_up
            && let Some(peer) = peer
        {
            self.say(peer, &FromMonitor::SetLinkUp {});
        }
    }

    pub(super) fn link_set(&mut self, at: usize, found: usize, set: LinkSet) {
        let LinkSet { error: Some(error), denied } = set else {
            return;
        };
        if !denied {
            let name = self.spaces[at].name_of(&self.spaces[at].list.items()[found]);
            let message = format!("could not be set up: {error}");
            return self.tell(Event::of(&name, EventKind::SetUpFailed, message));
        }
        if let Some(policy) = &mut self.spaces[at].list.items_mut()[found].live.policy {
            Policy::deny(policy);
        }
        if !std::mem::replace(&mut self.recovery_denied, true) {
            self.warn(format!(
                "{}: links that are down stay down; run netmon with that privilege, or use \
                 --no-recover",
                SetUpError::Denied
            ));
        }
    }
}
