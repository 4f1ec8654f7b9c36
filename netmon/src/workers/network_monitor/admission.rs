//! How many may be connected. Pure.
//!
//! Interface monitors that watch something are as many as there are interfaces. The others are
//! bounded, for each keeps a descriptor: those that have not said yet what they are (which they have
//! to in ten seconds), and those that wait for an interface.

/// One process has one connection, or two for a moment, when it looks whether somebody listens.
const OF_ONE_PROCESS: usize = 4;
/// So many may not have said yet what they are, beside those that were started.
const NEW: usize = 64;
/// So many may wait for an interface.
const WAITING: usize = 64;

/// Somebody who is connected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connected {
    pub(super) pid: u32,
    pub(super) stage: Stage,
}

/// How far that one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not said what it is.
    New,
    /// It has, and there is nothing to watch for it.
    Waiting,
    /// It watches an interface.
    Watching,
}

/// Why somebody is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("process {0} has {OF_ONE_PROCESS} connections already, and may not have more")]
    OfOneProcess(u32),
    #[error("over {NEW} others have not said yet what they are: try again in a few seconds")]
    New,
    #[error(
        "{WAITING} interface monitors wait already for interfaces that are not watched or watched \
         by others: end those that are not needed"
    )]
    Waiting,
}

/// Whether a process may have one more connection; so many were started and have not come yet.
pub(super) fn join(
    pid: u32,
    connected: impl Iterator<Item = Connected>,
    started: usize,
) -> Result<(), Refused> {
    let (mut its, mut new) = (0, 0);
    for one in connected {
        // Those of PID namespaces that cannot be seen from here all have the number 0.
        its += usize::from(one.pid == pid && pid != 0);
        new += usize::from(one.stage == Stage::New);
    }
    if its >= OF_ONE_PROCESS {
        Err(Refused::OfOneProcess(pid))
    } else if new >= NEW + started {
        Err(Refused::New)
    } else {
        Ok(())
    }
}

/// Whether one more may wait beside these.
pub(super) fn wait(connected: impl Iterator<Item = Connected>) -> Result<(), Refused> {
    let waiting = connected.filter(|one| one.stage == Stage::Waiting).count();
    if waiting >= WAITING { Err(Refused::Waiting) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(count: usize, stage: Stage) -> impl Iterator<Item = Connected> {
        // Each of a process of its own.
        (1_000..).take(count).map(move |pid| Connected { pid, stage })
    }

    #[test]
    fn one_process_has_few_connections() {
        for stage in [Stage::New, Stage::Waiting, Stage::Watching] {
            let its = |count| std::iter::repeat_n(Connected { pid: 7, stage }, count);
            assert_eq!(join(7, its(OF_ONE_PROCESS - 1), 0), Ok(()));
            assert_eq!(join(7, its(OF_ONE_PROCESS), 0), Err(Refused::OfOneProcess(7)));
            assert_eq!(join(8, its(OF_ONE_PROCESS), 0), Ok(()));
        }
        let unseen = std::iter::repeat_n(Connected { pid: 0, stage: Stage::Waiting }, 60);
        assert_eq!(join(0, unseen, 0), Ok(()));
    }

    #[test]
    fn those_who_say_nothing_are_bounded_and_those_who_were_started_come_in_addition() {
        assert_eq!(join(1, many(NEW - 1, Stage::New), 0), Ok(()));
        assert_eq!(join(1, many(NEW, Stage::New), 0), Err(Refused::New));
        assert_eq!(join(1, many(NEW, Stage::New), 1), Ok(()));
        assert_eq!(join(1, many(NEW + 1_000, Stage::New), 1_000), Err(Refused::New));
        // Whoever asks how they are is heard, however many wait or watch.
        assert_eq!(join(1, many(10 * NEW, Stage::Waiting), 0), Ok(()));
        assert_eq!(join(1, many(10 * NEW, Stage::Watching), 0), Ok(()));
    }

    #[test]
    fn those_who_wait_are_bounded() {
        assert_eq!(wait(many(WAITING - 1, Stage::Waiting)), Ok(()));
        assert_eq!(wait(many(WAITING, Stage::Waiting)), Err(Refused::Waiting));
        assert_eq!(wait(many(10 * WAITING, Stage::Watching)), Ok(()));
        assert_eq!(wait(many(10 * WAITING, Stage::New)), Ok(()));
    }
}
