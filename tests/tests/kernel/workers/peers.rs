//! Those who connect and are no good: the network monitor goes on, and nobody else is harmed.

use std::{
    fs::Permissions,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, FromRawFd, OwnedFd},
        linux::fs::MetadataExt,
        unix::{fs::PermissionsExt, net::UnixStream},
    },
};

use anyhow::{Context, Result, bail, ensure};
use netmon_tests::{
    agent::{Agent, AgentCommand},
    frame,
    netns::Namespace,
    privileges::{NOBODY, Privileges},
    process,
    scratch::Scratch,
    wait,
};
use nix::sys::{
    signal::Signal,
    socket::{AddressFamily, SockaddrLike, UnixAddr, getpeername},
};
use std::os::fd::AsRawFd;

use super::{Runtime, agrees, deaths::unharmed};
use crate::{
    Test,
    common::{NETMON, is_bare, netmon, veth},
    lifecycle::next_start,
};

pub(crate) const TESTS: &[Test] = &[
    ("garbage_is_sent_away", garbage_is_sent_away),
    ("half_a_line_is_sent_away", half_a_line_is_sent_away),
    ("a_line_without_end_is_not_kept", a_line_without_end_is_not_kept),
    ("one_who_says_nothing_is_sent_away", one_who_says_nothing_is_sent_away),
    ("one_who_says_nothing_is_sent_away_between_ticks", one_who_says_nothing_between_ticks),
    ("those_who_wait_without_end_do_not_take_all", those_who_wait_without_end),
    ("one_who_does_not_read_is_no_matter", one_who_does_not_read_is_no_matter),
    ("a_wrong_version_is_told_both", a_wrong_version_is_told_both),
    ("an_unknown_message_is_skipped", an_unknown_message_is_skipped),
    ("a_message_of_a_wrong_shape_is_sent_away", a_wrong_shape_is_sent_away),
    ("one_by_hand_who_talks_garbage_is_replaced", one_by_hand_who_talks_garbage),
    ("a_worker_who_talks_garbage_is_started_anew", a_worker_who_talks_garbage),
    ("another_user_is_refused", another_user_is_refused),
    ("the_words_of_a_dead_one_are_not_heeded", the_words_of_a_dead_one),
];

/// A network monitor of a link that is counted.
struct Watching {
    namespace: Namespace,
    runtime: Runtime,
    agent: Agent,
    /// The process that counts it.
    pid: u32,
    /// As many ticks had been reported then.
    seen: usize,
}

impl Watching {
    fn start() -> Result<Self> {
        let (namespace, runtime) = (veth()?, Runtime::new()?);
        let agent = runtime.json(&namespace, &["nt0"])?;
        let pid = runtime.pid_of("nt0")?;
        agent.says_counted("nt0", "TCX in+out")?;
        agrees(&agent, "nt0", &namespace, "nt0")?;
        let seen = agent.stdout()?.count();
        Ok(Self { namespace, runtime, agent, pid, seen })
    }

    /// It goes on as before, with the same process, until it is ended.
    fn goes_on(self) -> Result<()> {
        let Self { namespace, runtime, agent, pid, seen } = self;
        namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
        let told = agrees(&agent, "nt0", &namespace, "nt0")?;
        assert_eq!((told.source.as_str(), told.tx.packets), ("ebpf", Some(30)));
        unharmed(&agent, seen, "nt0")?;
        let worker = runtime.running("nt0")?;
        assert_eq!((worker.pid, worker.restarts), (Some(pid), 0));
        let finished = runtime.end(agent)?;
        assert!(!finished.stderr.contains("by hand"), "{finished:?}");
        is_bare(&namespace, "nt0")
    }

    /// It is watched by a process that was started after the first.
    fn goes_on_with_another(self, restarts: u32) -> Result<()> {
        let Self { namespace, runtime, agent, pid, .. } = self;
        let worker = runtime.wait_for("nt0", "to be watched by another", |worker| {
            worker.launched && worker.is_running() && worker.pid != Some(pid)
        })?;
        assert_eq!(worker.restarts, restarts);
        namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
        assert_eq!(agrees(&agent, "nt0", &namespace, "nt0")?.tx.packets, Some(30));
        runtime.end(agent)?;
        // One that was killed has not detached.
        next_start(&namespace)?;
        is_bare(&namespace, "nt0")
    }
}

/// All that somebody is told until the connection ends.
fn told(mut stream: &UnixStream) -> Result<String> {
    let mut told = Vec::new();
    match stream.read_to_end(&mut told) {
        // What it had said besides was not read.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => drop(other?),
    }
    Ok(String::from_utf8(told)?)
}

/// Says this, and waits until it is sent away with these words, which it is told, too.
fn sent_away(words: &[u8], why: &str) -> Result<()> {
    let watching = Watching::start()?;
    let mut stream = watching.runtime.connect()?;
    stream.write_all(words)?;
    stream.shutdown(Shutdown::Write)?;
    let answer = told(&stream)?;
    assert!(answer.contains(r#"{"Shut Down":{"reason":""#) && answer.contains(why), "{answer}");
    watching.agent.says(&["is sent away: ", why])?;
    watching.goes_on()
}

fn garbage_is_sent_away() -> Result<()> {
    sent_away(b"\0\xff{]\n\n", "a line that is no message")
}

fn half_a_line_is_sent_away() -> Result<()> {
    sent_away(br#"{"Ready":{"version":1,"inter"#, "the connection ended within a line")
}

fn a_wrong_shape_is_sent_away() -> Result<()> {
    sent_away(b"{\"Sample\":{\"tick\":-1}}\n", "is not as it should be")
}

fn a_wrong_version_is_told_both() -> Result<()> {
    const SAID: &str = "speaks version 99 of the protocol, and this netmon version 1";
    // Whatever else is in the message of another version.
    sent_away(b"{\"Ready\":{\"version\":99,\"colour\":\"blue\"}}\n", SAID)?;
    sent_away(b"{\"List\":{\"version\":99}}\n", SAID)
}

fn a_line_without_end_is_not_kept() -> Result<()> {
    const PIECE: usize = 1 << 16;
    const PIECES: usize = (100 << 20) / PIECE;
    let watching = Watching::start()?;
    let before = watching.agent.resident_kib()?;
    let mut stream = watching.runtime.connect()?;
    let piece = [b'x'; PIECE];
    let refused = (0..PIECES).find_map(|_| stream.write_all(&piece).err());
    let refused = refused.context("it has taken 100 MB")?;
    ensure!(
        [Some(libc::EPIPE), Some(libc::ECONNRESET)].contains(&refused.raw_os_error()),
        "{refused}"
    );
    watching.agent.says(&["is sent away: ", "a line of more than 65536 bytes"])?;
    let grown = watching.agent.resident_kib()?.saturating_sub(before);
    assert!(grown < 1024, "{grown} KiB more");
    watching.goes_on()
}

fn one_who_says_nothing_is_sent_away() -> Result<()> {
    let watching = Watching::start()?;
    let stream = watching.runtime.connect()?;
    let why = "it has not said within 10 s what it is";
    let told = told(&stream)?;
    assert!(told.contains("Shut Down") && told.contains(why), "{told:?}");
    watching.agent.says(&["is sent away: ", why])?;
    watching.goes_on()
}

/// The next tick may be an hour away.
fn one_who_says_nothing_between_ticks() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let socket = runtime.socket_text();
    // Nothing else has to be looked at: nothing is started.
    let arguments = ["--workers", "--interval", "1h", "--socket", &socket, "--wait", "later0"];
    let agent = netmon(&namespace, &["run"]).args(arguments).start()?;
    wait::until_true("it to listen", || Ok(runtime.listing().is_ok()))?;
    let stream = runtime.connect()?;
    let told = told(&stream)?;
    assert!(told.contains("it has not said within 10 s what it is"), "{told:?}");
    runtime.end(agent).map(drop)
}

/// They come forward for an interface that nobody wants.
fn those_who_wait_without_end() -> Result<()> {
    const MOST: usize = 4;
    let watching = Watching::start()?;
    let Watching { namespace, runtime, agent, .. } = &watching;
    let open = || {
        Ok::<_, anyhow::Error>(std::fs::read_dir(process::folder(agent.pid()).join("fd"))?.count())
    };
    let before = open()?;
    let ready = ready(namespace, 1)?.replace("\"ifindex\":", "\"ifindex\":7777");
    let connect = || {
        let mut stream = runtime.connect()?;
        // It may have been sent away already.
        let _ = stream.write_all(ready.as_bytes());
        Ok::<_, anyhow::Error>(stream)
    };
    let mut streams = (0..200).map(|_| connect()).collect::<Result<Vec<_>>>()?;
    let us = std::process::id();
    for refused in &streams[MOST..] {
        let told = told(refused)?;
        let why = format!("process {us} has 4 connections already, and may not have more");
        assert!(told.contains("Shut Down") && told.contains(&why), "{told:?}");
    }
    agent.says(&[&format!("process {us} is refused: "), "4 connections"])?;
    // Of all that there is little to be read.
    assert!(agent.times_said(&["is refused: "])? < 100, "{:?}", agent.stderr()?.all());
    wait::until_true("the others' descriptors", || Ok(open()? <= before + MOST))?;
    // The first ones still wait, and another process is heard.
    streams.truncate(MOST);
    for waiting in &streams {
        waiting.set_nonblocking(true)?;
        let nothing = (&*waiting).read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(nothing, Err(ErrorKind::WouldBlock));
    }
    assert_eq!(runtime.workers()?.len(), 1);
    drop(streams);
    // And so is this one again.
    wait::until_true("room for one more", || {
        let mut stream = runtime.connect()?;
        stream.write_all(b"{\"List\":{\"version\":1}}\n")?;
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer)?;
        Ok(answer.starts_with("{\"Processes\":"))
    })?;
    watching.goes_on()
}

fn one_who_does_not_read_is_no_matter() -> Result<()> {
    let watching = Watching::start()?;
    let mut stream = watching.runtime.connect()?;
    let questions = b"{\"List\":{\"version\":1}}\n".repeat(100);
    let before = watching.agent.resident_kib()?;
    // Ten megabytes of questions, and of answers ten times as much.
    let refused = (0..4000).find_map(|_| stream.write_all(&questions).err());
    let refused = refused.context("all its questions were taken")?;
    watching.agent.says(&["is sent away: ", "the other side does not read"])?;
    let grown = watching.agent.resident_kib()?.saturating_sub(before);
    assert!(grown < 8192, "{grown} KiB more; asking ended with {refused:?}");
    watching.goes_on()
}

fn an_unknown_message_is_skipped() -> Result<()> {
    let watching = Watching::start()?;
    let mut stream = watching.runtime.connect()?;
    stream.write_all(b"{\"Weather\":{\"rain\":true}}\n{\"List\":{\"version\":1}}\n")?;
    let mut lines = BufReader::new(&stream).lines();
    for begins in [r#"{"Processes":{"monitor":"#, r#"{"Workers":[{"interface":"nt0""#] {
        let answer = lines.next().context("no answer")??;
        assert!(answer.starts_with(begins), "{answer}");
    }
    drop(lines);
    drop(stream);
    watching.goes_on()
}

/// Whatever the mode of the socket: somebody may have opened it to all.
fn another_user_is_refused() -> Result<()> {
    let watching = Watching::start()?;
    let (socket, scratch) = (watching.runtime.socket(), Scratch::new()?);
    let directory = socket.parent().context("no directory")?;
    for (path, mode) in [(directory, 0o755), (socket.as_path(), 0o666)] {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    let program = scratch.copy_program(std::path::Path::new(NETMON))?;
    let arguments = ["workers", "--socket", &watching.runtime.socket_text()];
    let command = AgentCommand::on_host(program).args(arguments);
    let finished = command.privileges(Privileges::Nobody).finish()?;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr.contains("the network monitor does not answer"), "{finished:?}");
    watching
        .agent
        .says(&["a connection is not taken: ", &format!(" is user {NOBODY}'s, not ours")])?;
    watching.goes_on()
}

/// What a worker of `nt0` says first.
fn ready(namespace: &Namespace, pid: u32) -> Result<String> {
    let inode = namespace.run(|| Ok(std::fs::metadata("/proc/thread-self/ns/net")?.st_ino()))?;
    let ifindex = namespace.ifindex("nt0")?;
    Ok(format!(
        r#"{{"Ready":{{"version":1,"interface":"nt0","ifindex":{ifindex},"namespace":{inode},"pid":{pid}}}}}"#
    ) + "\n")
}

fn one_by_hand_who_talks_garbage() -> Result<()> {
    let watching = Watching::start()?;
    let (agent, pid) = (&watching.agent, std::process::id());
    let mut stream = watching.runtime.connect()?;
    stream.write_all(ready(&watching.namespace, pid)?.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer)?;
    assert!(answer.starts_with(r#"{"Monitor":{"version":1,"interval_ns":100000000,"#), "{answer}");
    agent.says(&[&format!("nt0: watched by process {pid}, which was started by hand")])?;
    stream.write_all(b"garbage\n")?;
    agent.says(&[&format!("nt0/{pid} is sent away: a line that is no message: garbage")])?;
    watching.goes_on_with_another(0)
}

/// The connection of a worker with its network monitor: a copy of the worker's own end.
fn end_of(pid: u32, runtime: &Runtime) -> Result<UnixStream> {
    let pid_t = i32::try_from(pid)?;
    // SAFETY: pidfd_open(2) takes numbers; what it gives is ours.
    let process = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid_t, 0);
        ensure!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(i32::try_from(fd)?)
    };
    for entry in std::fs::read_dir(process::folder(pid).join("fd"))? {
        let number: libc::c_int = entry?.file_name().to_string_lossy().parse()?;
        // SAFETY: pidfd_getfd(2) takes numbers; what it gives is ours.
        let copy = unsafe {
            match libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) {
                fd if fd < 0 => continue,
                fd => OwnedFd::from_raw_fd(i32::try_from(fd)?),
            }
        };
        let peer = getpeername::<UnixAddr>(copy.as_fd().as_raw_fd());
        let Ok(peer) = peer.map(|peer| (peer.family(), peer.path().map(ToOwned::to_owned))) else {
            continue;
        };
        if peer == (Some(AddressFamily::Unix), Some(runtime.socket())) {
            return Ok(UnixStream::from(copy));
        }
    }
    bail!("{pid} has no connection")
}

fn a_worker_who_talks_garbage() -> Result<()> {
    let watching = Watching::start()?;
    let pid = watching.pid;
    let mut end = end_of(pid, &watching.runtime)?;
    // Not into the middle of a message.
    process::signal(pid, Signal::SIGSTOP)?;
    end.write_all(b"garbage\n")?;
    drop(end);
    let why = format!("nt0/{pid} is sent away: a line that is no message: garbage");
    watching.agent.says(&[&why])?;
    watching.goes_on_with_another(1)
}

fn the_words_of_a_dead_one() -> Result<()> {
    let watching = Watching::start()?;
    let Watching { namespace, runtime, agent, .. } = &watching;
    // It comes forward and dies before anybody looks.
    agent.signal(Signal::SIGSTOP)?;
    let socket = runtime.socket_text();
    let arguments = ["interface-monitor", "--launched", "--socket", &socket, "--", "nt0"];
    let dead = netmon(namespace, &arguments).start()?;
    let pid = dead.pid();
    let mut end = wait::until("its connection", || Ok(end_of(pid, runtime).ok()))?;
    dead.kill()?;
    end.write_all(ready(namespace, pid)?.as_bytes())?;
    drop(end);
    agent.signal(Signal::SIGCONT)?;
    watching.goes_on()
}
