//! The interface monitors' processes: started when they are due, and started again.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;

use super::NetworkMonitor;
use super::happening::{self, Happening};
use super::space::Place;
use crate::model::event::{Event, EventKind};
use crate::model::link::Link;
use crate::workers::course::{COMES_FORWARD, Stage, Verdict};
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

/// Who was told to leave has so much time.
const LEAVES: Duration = Duration::from_secs(5);

/// A process whose interface others may have by now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    pub(super) pid: u32,
    /// When it was told to end.
    since: Instant,
    /// The number of its namespace.
    pub(super) space: u32,
}

impl NetworkMonitor {
    /// It was told to end, or will be when it comes forward. If it does not, its namespace, which
    /// has this number, would stay for it.
    pub(super) fn is_to_leave(&mut self, pid: Option<u32>, space: u32) {
        if let Some(pid) = pid {
            self.leaving.push(Leaving { pid, since: Instant::now(), space });
            happening::look_after(LEAVES, self.sender.clone());
        }
    }

    /// Ends those that were told to leave, and have not by now.
    fn end_those_who_stay(&mut self, now: Instant) {
        let alone = self.alone;
        let peers = &self.peers;
        self.leaving.retain(|Leaving { pid, since, .. }| {
            let overdue = now.saturating_duration_since(*since) >= LEAVES;
            // When ends are not told any more, a connection says that the number is still its own.
            let is_its = !alone || peers.values().any(|peer| peer.pid == *pid);
            if overdue && is_its {
                tracing::debug!("process {pid} was told to end and does not: it is killed");
                kill(*pid);
            }
            is_its
        });
    }

    /// Starts those that are due.
    pub(super) fn start_due(&mut self) {
        let now = Instant::now();
        self.give_places(now);
        if self.alone || self.ending {
            return;
        }
        for space in &mut self.spaces {
            // Its own, by another name, does not have to be entered: its sysfs is there already.
            let elsewhere = space.path.clone().filter(|_| space.inode != self.own);
            let namespace = elsewhere.map(|path| (path, space.inode));
            let id = space.id;
            for item in space.list.items_mut() {
                if !item.present || !item.live.course.is_due(now) {
                    continue;
                }
                let place = Place { space: id, key: item.key };
                let arguments = arguments(&item.link, self.socket_path.as_os_str(), self.log);
                let start = Start { namespace: namespace.clone(), arguments };
                let (launcher, sender) = (Arc::clone(&self.launcher), self.sender.clone());
                self.starting.push(id);
                tokio::spawn(async move {
                    let spawned = launcher.spawn(start).await;
                    sender.send(Happening::Spawned(place, spawned))
                });
            }
        }
    }

    pub(super) fn spawned(&mut self, place: Place, spawned: Result<u32, LaunchError>) {
        self.is_started(place);
        let Some((at, found)) = self.at(place) else {
            // It will come forward for what is not wanted, and wait there until the end.
            if let Ok(pid) = spawned {
                self.is_to_leave(Some(pid), place.space);
                kill(pid);
            }
            return;
        };
        let item = &mut self.spaces[at].list.items_mut()[found];
        match spawned {
            // Its interface went while it was started, or its place.
            Ok(pid)
                if !item.present
                    || item.live.pid.is_some()
                    || item.live.course.stage() == Stage::Queued =>
            {
                self.is_to_leave(Some(pid), place.space);
                kill(pid);
            }
            Ok(pid) if is_there(pid) => {
                item.live.pid = Some(pid);
                item.live.course.was_started(Instant::now());
                happening::look_after(COMES_FORWARD, self.sender.clone());
            }
            // Its end was told before its start.
            Ok(pid) => self.died(at, found, &format!("(process {pid}) has ended at once")),
            Err(error) => {
                self.died(at, found, &format!("cannot be started: {error}"));
                if matches!(error, LaunchError::NoNamespace(_)) {
                    // It may have another path now.
                    self.follow_namespaces();
                }
            }
        }
    }

    /// What was asked for of this interface was answered.
    pub(super) fn is_started(&mut self, place: Place) {
        if let Some(at) = self.starting.iter().position(|space| *space == place.space) {
            self.starting.swap_remove(at);
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
        let before = self.leaving.len();
        self.leaving.retain(|leaving| leaving.pid != pid);
        if self.leaving.len() < before {
            // Another may have its place.
            return self.start_due();
        }
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
                // Another may have its place.
                happening::look_after(Duration::ZERO, self.sender.clone());
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
        self.end_those_who_stay(now);
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
fn arguments(link: &Link, socket: &std::ffi::OsStr, log: bool) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["interface-monitor".into()];
    arguments.extend(log.then(|| "-v".into()));
    arguments.extend(["--launched".into(), "--socket".into(), socket.to_owned()]);
    // Its name is for people: as an argument it could be a pattern, and it may change meanwhile.
    arguments.extend(["--ifindex".into(), link.ifindex.to_string().into()]);
    arguments.extend(["--".into(), link.name.as_str().into()]);
    arguments
}
