//! The end: every interface monitor is told, and waited for.

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
        let many = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        self.wait_for_the_end(PATIENCE + EACH.saturating_mul(many)).await;
        self.leaving.iter().copied().for_each(super::processes::kill);
        for space in &self.spaces {
            for item in space.list.items() {
                if let Some(pid) = item.live.pid {
                    super::processes::kill(pid);
                }
            }
        }
        self.wait_for_the_end(LAST_MOMENT).await;
    }

    async fn wait_for_the_end(&mut self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        while !self.all_have_ended() {
            let happening = tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                happening = self.receiver.recv() => happening,
            };
            match happening {
                // One that was being started when the end came.
                Some(Happening::Spawned(place, Ok(pid))) => {
                    super::processes::kill(pid);
                    if let Some((at, found)) = self.at(place) {
                        self.spaces[at].list.items_mut()[found].live.pid = Some(pid);
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
            && self.spaces.iter().all(|space| space.list.items().iter().all(ended));
        // Without the launcher their ends are not told.
        (self.alone || none_is_left) && self.peers.values().all(|peer| peer.place.is_none())
    }
}
