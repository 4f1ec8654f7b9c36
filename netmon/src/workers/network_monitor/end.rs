//! The end: every interface monitor is told, and waited for, and so is the launcher.

use std::time::Duration;

use super::NetworkMonitor;
use super::happening::Happening;
use crate::workers::course::Stage;

/// Who has not ended by then (because it was stopped) is ended.
const PATIENCE: Duration = Duration::from_millis(2_000);
/// What the kernel needs to detach one interface, one after the other.
const EACH: Duration = Duration::from_millis(30);
/// What the kernel may need for that.
const LAST_MOMENT: Duration = Duration::from_millis(500);
/// What the launcher has to do when nothing that it has started is left is nothing. It gives the
/// others a second and a half.
const LAUNCHER: Duration = Duration::from_secs(2);

impl NetworkMonitor {
    pub(super) async fn end_all(&mut self) {
        self.ending = true;
        for space in &mut self.spaces {
            space.list.items_mut().iter_mut().for_each(|item| item.live.course.leave());
        }
        let peers: Vec<_> = self.peers.keys().copied().collect();
        for peer in peers {
            self.shut_down(peer, "the network monitor ends");
        }
        // It tells who has ended, and what was asked of it.
        self.launcher.wake();
        let many = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        self.wait_for_the_end(PATIENCE + EACH.saturating_mul(many)).await;
        self.end_the_rest();
        self.wait_for_the_end(LAST_MOMENT).await;
        match tokio::time::timeout(LAUNCHER, self.launcher.end()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.messages.warn(&format!("the launcher's end: {error}")),
            Err(_) => self.messages.warn(&format!(
                "the launcher (process {}) has not ended yet: it waits for processes that it ends",
                self.launcher.process()
            )),
        }
    }

    /// Those that do not end by themselves, which is told: they have not detached what does not
    /// go with them.
    fn end_the_rest(&mut self) {
        let of_interfaces = self.spaces.iter().flat_map(|space| space.list.items());
        let pids = of_interfaces.filter_map(|item| item.live.pid);
        let pids: Vec<u32> = pids.chain(self.leaving.iter().map(|leaving| leaving.pid)).collect();
        for pid in pids {
            // When ends are not told any more, a connection says that the number is still its own.
            if !self.alone || self.peers.values().any(|peer| peer.pid == pid) {
                let message = format!("process {pid} has not ended in time: it is killed");
                self.messages.warn(&message);
                super::processes::kill(pid);
            }
        }
    }

    async fn wait_for_the_end(&mut self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        while !self.all_have_ended() {
            let happening = tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                happening = self.receiver.recv() => happening,
            };
            match happening {
                // One that was being started when the end came: it has nothing to detach.
                Some(Happening::Spawned(place, spawned)) => {
                    self.is_started(place);
                    if let Ok(pid) = spawned.as_ref().copied()
                        && super::processes::is_there(pid)
                    {
                        self.is_to_leave(Some(pid), place.space);
                        super::processes::kill(pid);
                    }
                }
                Some(Happening::Joined(..)) | None => {}
                happening => drop(self.handle(happening).await),
            }
        }
    }

    fn all_have_ended(&self) -> bool {
        let ended = |item: &crate::agent::watchlist::Watched<super::post::Post>| {
            item.live.pid.is_none() && !matches!(item.live.course.stage(), Stage::Started(_))
        };
        let none_is_left = self.leaving.is_empty()
            && self.starting.is_empty()
            && self.spaces.iter().all(|space| space.list.items().iter().all(ended));
        // Without the launcher their ends are not told.
        (self.alone || none_is_left) && self.peers.values().all(|peer| peer.place.is_none())
    }
}
