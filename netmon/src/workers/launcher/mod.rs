//! The process that has the privileges, so that the network monitor needs none: it opens
//! namespaces and starts interface monitors, and does nothing else, and that only for the process
//! that has started it (`handshake.rs`).
//!
//! This is the monitor's side; `serve.rs` is the launcher's own. The two talk over a pair of Unix
//! sockets (`wire.rs`). When the monitor's end is closed, be it by `kill -9`, the launcher ends
//! the interface monitors that do not end by themselves.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, shutdown, socketpair,
};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

mod handshake;
mod open;
mod serve;
mod start;
mod wire;

pub use open::check;
pub use serve::serve;
use wire::{Granted, LONGEST, Request, Told, Wish};

/// netmon itself, also after its file was replaced by another version.
const NETMON: &str = "/proc/self/exe";

/// How far the launcher is to reach, which decides what privileges it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Its own network namespace.
    Here,
    /// Every one that a path leads to.
    Everywhere,
}

/// The argument for [`Reach::Here`].
const HERE: &str = "--here";

impl Reach {
    /// By the argument.
    #[must_use]
    pub const fn of(here: bool) -> Self {
        if here { Self::Here } else { Self::Everywhere }
    }
}

/// What is to be started.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Start {
    /// In which namespace: where it is, and its inode number, so that one made anew under the
    /// same name is not taken for it. `None`: the monitor's own.
    pub namespace: Option<(PathBuf, u64)>,
    /// What netmon is started with.
    pub arguments: Vec<OsString>,
}

/// A network namespace that was looked into.
#[derive(Debug)]
pub struct Opened {
    /// Its inode number: its identity as long as something holds it, such as `links`.
    pub inode: u64,
    /// A `NETLINK_ROUTE` socket of that namespace, subscribed to the news of links,
    /// non-blocking. It holds the namespace: close it when the namespace's name is gone.
    pub links: OwnedFd,
}

/// A process that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Exit {
    /// Its id, which may be given to another process from now on.
    pub pid: u32,
    /// "exit code 1" or "killed by SIGKILL".
    pub how: String,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Deserialize, Serialize)]
pub enum LaunchError {
    /// Nobody is there to do it.
    #[error("the process that starts interface monitors has ended")]
    Gone,
    /// The namespace is not there, or another one is.
    #[error("{0}")]
    NoNamespace(String),
    /// For want of privileges; says what helps.
    #[error("{0}")]
    Denied(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

type Answer = Result<(Granted, Option<OwnedFd>), LaunchError>;

/// The requests that wait for an answer; `None` when none can come any more.
#[derive(Debug)]
struct Waiting(Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>);

/// The launcher, as the monitor knows it. Dropping it has the launcher end all that it started.
#[derive(Debug)]
pub struct Launcher {
    process: u32,
    socket: Arc<AsyncFd<OwnedFd>>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
    /// What has to be waited for, until somebody does.
    running: Mutex<Option<(Child, JoinHandle<()>)>>,
}

/// Which of the started processes have ended.
#[derive(Debug)]
pub struct Exits(mpsc::UnboundedReceiver<Exit>);

impl Launcher {
    /// Starts the launcher, with the privileges of the calling thread. Needs a tokio runtime.
    ///
    /// # Errors
    /// When no process or socket can be had, or the process does not begin.
    pub fn start(reach: Reach) -> io::Result<(Self, Exits)> {
        Self::start_program(Path::new(NETMON), reach)
    }

    /// The same with another copy of netmon.
    ///
    /// # Errors
    /// As [`Launcher::start`].
    pub fn start_program(program: &Path, reach: Reach) -> io::Result<(Self, Exits)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, its) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        // A process group of its own: Ctrl-C is the monitor's to hear. Nor is the report its
        // business: whoever reads that is to see its end when the monitor ends.
        let mut command = Command::new(program);
        let mut process = command
            .arg0("netmon")
            .arg("launcher")
            .args((reach == Reach::Here).then_some(HERE))
            .stdin(its)
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        // It holds the launcher's end, whose closing tells of the launcher's end.
        drop(command);
        if let Err(error) = handshake::answer(ours.as_fd()) {
            let _ = process.kill();
            let _ = process.wait();
            return Err(error);
        }
        // SAFETY: the socket is owned by what it is registered for, and stays the same until that
        // is dropped, after it was deregistered.
        let socket = Arc::new(unsafe { AsyncFd::register(ours) }?);
        let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
        let (sender, exits) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read(Arc::clone(&socket), Arc::clone(&waiting), sender));
        let (id, next) = (process.id(), AtomicU64::new(1));
        let running = Mutex::new(Some((process, reader)));
        let launcher = Self { process: id, socket, waiting, next, running };
        Ok((launcher, Exits(exits)))
    }

    /// Its process id.
    #[must_use]
    pub const fn process(&self) -> u32 {
        self.process
    }

    /// Lets it go on, if somebody has stopped it.
    pub fn wake(&self) {
        // As long as it was not waited for, the number is its own.
        if self.running().is_some()
            && let Ok(pid) = i32::try_from(self.process)
        {
            // It has ended already if this fails.
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
    }

    /// Looks into the network namespace at this path.
    ///
    /// # Errors
    /// When there is none, or for want of privileges.
    pub async fn open(&self, path: &Path) -> Result<Opened, LaunchError> {
        match self.ask(Wish::Open(path.to_owned())).await? {
            (Granted::Opened(inode), Some(links)) => Ok(Opened { inode, links }),
            (Granted::Opened(_), None) => {
                let why = "its socket was not taken: too many open files (`ulimit -n`)";
                Err(LaunchError::Failed(why.to_owned()))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Which network namespace is at this path now: its inode number. Enters none.
    ///
    /// # Errors
    /// When there is none, or for want of privileges.
    pub async fn look(&self, path: &Path) -> Result<u64, LaunchError> {
        match self.ask(Wish::Look(path.to_owned())).await? {
            (Granted::Seen(inode), _) => Ok(inode),
            other => Err(unexpected(&other)),
        }
    }

    /// Starts netmon, which gets of the launcher's capabilities [`crate::privileges::FOR_WORKERS`], and
    /// can get no more. Gives the process id. [`Exits`] may tell of its end before this answer
    /// is looked at. Cancelled, it may have started it nevertheless.
    ///
    /// # Errors
    /// When the namespace is not there any more, for want of privileges, or when the kernel
    /// refuses a process.
    pub async fn spawn(&self, start: Start) -> Result<u32, LaunchError> {
        match self.ask(Wish::Spawn(start)).await? {
            (Granted::Spawned(pid), _) => Ok(pid),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the launcher end: what it started and does not end by itself within
    /// a second and a half is killed. Waits for it, once.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn end(&self) -> io::Result<()> {
        // It has ended already if this fails.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
        let Some((mut process, reader)) = self.running().take() else {
            return Ok(());
        };
        // A reader that has panicked does not read any more, which is the same.
        let _ = reader.await;
        // It has closed its end, so this takes no time.
        process.wait().map(drop)
    }

    fn running(&self) -> MutexGuard<'_, Option<(Child, JoinHandle<()>)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, wish: Wish) -> Answer {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let packet = wire::packet(&Request { number, wish })?;
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().as_mut().ok_or(LaunchError::Gone)?.insert(number, sender);
        let sent = self.socket.async_io(Interest::WRITABLE, |socket| {
            wire::send(socket.as_fd(), &packet, None, MsgFlags::MSG_DONTWAIT)
        });
        if let Err(error) = sent.await {
            tracing::debug!("the launcher cannot be asked: {error}");
            return Err(LaunchError::Gone);
        }
        answer.await.unwrap_or(Err(LaunchError::Gone))
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // The reader holds the socket, too, so closing it here would tell nothing.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }
}

impl Exits {
    /// The next process that has ended; `None`: the launcher is gone, and what it had started is
    /// nobody's child. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<Exit> {
        self.0.recv().await
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Answer>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, number: u64, answer: Answer) {
        let waiting = self.lock().as_mut().and_then(|waiting| waiting.remove(&number));
        match waiting {
            // Who has asked may wait no longer; a socket that was opened is closed then.
            Some(waiting) => drop(waiting.send(answer)),
            None => tracing::debug!("nobody waits for {answer:?}"),
        }
    }
}

fn unexpected(answer: &(Granted, Option<OwnedFd>)) -> LaunchError {
    LaunchError::Failed(format!("not the answer to what was asked: {answer:?}"))
}

/// Hears the launcher until it ends.
async fn read(
    socket: Arc<AsyncFd<OwnedFd>>,
    waiting: Arc<Waiting>,
    exits: mpsc::UnboundedSender<Exit>,
) {
    let mut buffer = vec![0; LONGEST];
    loop {
        let received = socket.async_io(Interest::READABLE, |socket| {
            let received = wire::receive(socket.as_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
            received
                .map(|packet| Ok((serde_json::from_slice(packet.bytes)?, packet.handed)))
                .transpose()
        });
        match received.await {
            Ok(Some((Told::Answer { number, answer }, handed))) => {
                waiting.answer(number, answer.map(|granted| (granted, handed)));
            }
            Ok(Some((Told::Exited(exit), _))) => {
                // The one who would be told may be gone.
                let _ = exits.send(exit);
            }
            Ok(None) => break,
            Err(error) => {
                tracing::error!("the launcher is not understood: {error}");
                break;
            }
        }
    }
    *waiting.lock() = None;
}
