//! The interface monitors' processes: started when they are due, and started again.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;

use super::NetworkMonitor;
use super::happening::{self, Happening};
use super::space::Place;
use crate::model::event::{Event, EventKind};
use crate::workers::course::Verdict;
use crate::workers::launcher::{Exit, LaunchError, Start};

/// Ends a process that we have started, whatever it does. It is ours, so it takes no privilege.
pub(super) fn kill(pid: u32) {
    let Ok(pid) = i32::try_from(pid) else {
        return;
    };
    if let Err(error) = signal(Pid::from_raw(pid), Signal::SIGKILL) {
        tracing::debug!("process {pid} cannot be ended: {error}");
    }
}

/// Whether this process has not ended. One of another PID namespace is 0 here.
pub(super) fn is_there(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| signal(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
}

impl NetworkMonitor {
    /// Starts those that are due.
    pub(super) fn start_due(&mut self) {
        if self.alone || self.ending {
            return;
        }
        let now = Instant::now();
        for space in &mut self.spaces {
            let namespace = space.path.clone().map(|path| (path, space.inode));
            let id = space.id;
            for item in space.list.items_mut() {
                if !item.present || !item.live.course.is_due(now) {
                    continue;
                }
                let place = Place { space: id, key: item.key };
                let arguments = arguments(&item.name, self.socket_path.as_os_str(), self.log);
                let start = Start { namespace: namespace.clone(), arguments };
                let (launcher, sender) = (Arc::clone(&self.launcher), self.sender.clone());
                tokio::spawn(async move {
                    let spawned = launcher.spawn(start).await;
                    sender.send(Happening::Spawned(place, spawned))
                });
            }
        }
    }

    pub(super) fn spawned(&mut self, place: Place, spawned: Result<u32, LaunchError>) {
        let Some((at, found)) = self.at(place) else {
            // It will come forward for what is not wanted, and wait there until the end.
            if let Ok(pid) = spawned {
                kill(pid);
            }
            return;
        };
        let item = &mut self.spaces[at].list.items_mut()[found];
        match spawned {
            // Its interface went while it was started.
            Ok(pid) if !item.present || item.live.pid.is_some() => {
                self.leaving.push(pid);
                kill(pid);
            }
            Ok(pid) if is_there(pid) => item.live.pid = Some(pid),
            // Its end was told before its start.
            Ok(pid) => self.died(at, found, &format!("(process {pid}) has ended at once")),
            Err(error) => self.died(at, found, &format!("cannot be started: {error}")),
        }
    }

    pub(super) fn exited(&mut self, exit: Option<Exit>) {
        let Some(Exit { pid, how }) = exit else {
            self.alone = true;
            return self.warn(
                "the process that starts interface monitors has ended: those that end are not \
                 started again"
                    .to_owned(),
            );
        };
        self.leaving.retain(|leaving| *leaving != pid);
        let ours =
            |item: &crate::agent::watchlist::Watched<super::post::Post>| item.live.pid == Some(pid);
        let found = self
            .spaces
            .iter()
            .enumerate()
            .find_map(|(at, space)| Some((at, space.list.items().iter().position(ours)?)));
        let Some((at, found)) = found else {
            return tracing::debug!("process {pid}: {how}");
        };
        let post = &mut self.spaces[at].list.items_mut()[found].live;
        post.pid = None;
        if !post.by_hand {
            post.lose();
            self.died(at, found, &format!("(process {pid}) has ended: {how}"));
        }
    }

    /// An interface monitor has ended without being told to.
    fn died(&mut self, at: usize, found: usize, what: &str) {
        let space = &mut self.spaces[at];
        let name = space.name_of(&space.list.items()[found]);
        let item = &mut space.list.items_mut()[found];
        let verdict = item.live.course.died(Instant::now());
        let Some(verdict) = verdict.filter(|_| item.present && !self.ending) else {
            return;
        };
        let then = match verdict {
            Verdict::Again(delay) => {
                happening::look_after(delay, self.sender.clone());
                format!("started again in {} s", delay.as_secs_f64())
            }
            Verdict::GivenUp(deaths) => {
                format!("given up after {deaths} ends in a minute; start netmon again to try anew")
            }
        };
        let message = format!("its interface monitor {what}; {then}");
        self.tell(Event::of(&name, EventKind::Warning, message));
    }

    /// Who was started and does not come forward is ended; it is started again then.
    pub(super) fn look_at_processes(&mut self, now: Instant) {
        self.say_the_rest();
        self.send_the_silent_away(now);
        for space in &self.spaces {
            for item in space.list.items() {
                if item.live.course.is_overdue(now)
                    && let Some(pid) = item.live.pid
                {
                    kill(pid);
                }
            }
        }
    }
}

/// What netmon is started with.
fn arguments(interface: &str, socket: &std::ffi::OsStr, log: bool) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["interface-monitor".into()];
    arguments.extend(log.then(|| "-v".into()));
    arguments.extend(["--launched".into(), "--socket".into(), socket.to_owned()]);
    arguments.extend(["--".into(), interface.into()]);
    arguments
}
