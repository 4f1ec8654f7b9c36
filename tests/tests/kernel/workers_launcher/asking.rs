//! Who may ask the launcher, and what for.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use anyhow::{Result, ensure};
use netmon::workers::launcher::{LaunchError, Launcher, Reach, Start};
use netmon_tests::{
    agent::{Agent, AgentCommand},
    netns::Namespace,
    privileges::{NOBODY, Privileges},
    process,
    scratch::Scratch,
};
use nix::{
    sys::{
        signal::Signal,
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair,
            sockopt::PassCred,
        },
        stat::Mode,
    },
    unistd::mkfifo,
};

use super::{Idle, launching, path, worker};
use crate::{
    Test,
    common::{NETMON, in_time, runtime, veth},
    tracing::Installed,
};

pub(crate) const TESTS: &[Test] = &[
    ("nothing_but_interface_monitors_is_started", nothing_but_interface_monitors),
    ("where_only_its_own_namespace_is_asked_for_it_enters_no_other", here_it_enters_no_other),
];

/// These need a shell, which the virtual machine for older kernels has not: `workers::` is not run
/// there.
pub(crate) const WITH_A_SHELL: &[Test] = &[
    ("one_without_its_capabilities_is_not_served", one_without_its_capabilities),
    ("one_who_has_handed_the_socket_on_is_not_served", one_who_has_handed_the_socket_on),
    ("what_was_asked_before_it_was_netmon_is_not_heeded", asked_before_it_was_netmon),
];

fn refused<T: std::fmt::Debug>(answer: &Result<T, LaunchError>) -> Result<()> {
    let why = "refused: this is nothing that a network monitor asks for";
    ensure!(matches!(answer, Err(LaunchError::Failed(told)) if told == why), "{answer:?}");
    Ok(())
}

fn nothing_but_interface_monitors() -> Result<()> {
    let (scratch, idle) = (Scratch::new()?, Idle::new()?);
    let pages = scratch.path().display().to_string();
    launching(async |launcher, exits| {
        for wrong in [
            &["generate-man", &pages][..],
            &["run", "--all"],
            &["launcher"],
            &["interface-monitor", "--print", "lo"],
            &["interface-monitor", "--launched", "--socket", "s", "--", "lo"],
            &[],
        ] {
            let arguments = wrong.iter().map(Into::into).collect();
            let answer = in_time(launcher.spawn(Start { namespace: None, arguments })).await?;
            refused(&answer)?;
        }
        ensure!(fs::read_dir(scratch.path())?.count() == 0, "something was started");
        // It goes on after that.
        let pid = in_time(launcher.spawn(idle.start(None))).await??;
        super::signal(pid, Signal::SIGKILL)?;
        assert_eq!(in_time(exits.next()).await?.map(|exit| exit.pid), Some(pid));
        Ok(())
    })
}

fn here_it_enters_no_other() -> Result<()> {
    let (namespace, idle) = (Namespace::new()?, Idle::new()?);
    let place = super::place(&namespace)?;
    runtime()?.block_on(async {
        let (launcher, _exits) = Launcher::start_program(Path::new(NETMON), Reach::Here)?;
        refused(&in_time(launcher.open(&path(&namespace))).await?.map(|opened| opened.inode))?;
        refused(&in_time(launcher.look(&path(&namespace))).await?)?;
        refused(&in_time(launcher.spawn(idle.start(Some(place)))).await?)?;
        Ok(in_time(launcher.end()).await??)
    })
}

/// Two ends of what the launcher talks over.
fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// A request for what any network monitor may ask for.
fn request(socket: &Path) -> Result<Vec<u8>> {
    let start = Start { namespace: None, arguments: worker(socket, "lo") };
    let start = serde_json::to_string(&start)?;
    Ok(format!(r#"{{"number":1,"wish":{{"Spawn":{start}}}}}"#).into_bytes())
}

fn say(socket: &impl AsFd, packet: &[u8]) {
    // It may have ended.
    let _ = send(socket.as_fd().as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL);
}

/// The next packet; an empty one is the end.
fn hear(socket: &impl AsFd) -> Result<Vec<u8>> {
    let mut packet = vec![0; 64 << 10];
    let length = recv(socket.as_fd().as_raw_fd(), &mut packet, MsgFlags::empty())?;
    packet.truncate(length);
    Ok(packet)
}

/// Somebody whose shell has the socket as standard input, and starts the launcher with it when a
/// line comes from the FIFO: then the shell is this other program of netmon. Both run in the
/// namespace as `nobody`.
struct Stranger<'a> {
    installed: &'a Installed,
    scratch: Scratch,
}

impl<'a> Stranger<'a> {
    fn new(installed: &'a Installed) -> Result<Self> {
        let scratch = Scratch::new()?;
        let fifo = scratch.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU)?;
        std::os::unix::fs::chown(&fifo, Some(NOBODY), Some(NOBODY))?;
        Ok(Self { installed, scratch })
    }

    /// Before it is netmon, it sends something itself.
    fn start(
        &self,
        namespace: &Namespace,
        (here, there): (&OwnedFd, OwnedFd),
        sent: &[u8],
    ) -> Result<Agent> {
        const SCRIPT: &str = "printf %s \"$3\"; exec 3<&0; { read line; exec \"$0\" launcher <&3; } <\"$1\" & \
                              exec \"$0\" interface-monitor nt0 --socket \"$2\" 3<&-";
        let command = AgentCommand::new(namespace, "/bin/sh").args(["-c", SCRIPT]);
        let command = command.args([&self.installed.program, &self.scratch.path().join("fifo")]);
        let command = command.args([self.installed.socket(), String::from_utf8(sent.to_vec())?]);
        let command = command.input_from(there).output_to(here.try_clone()?);
        let agent = command.privileges(Privileges::Nobody).start()?;
        // From here on it is netmon, with its capabilities.
        agent.says(&["waiting for a network monitor"])?;
        Ok(agent)
    }

    fn start_the_launcher(&self) -> Result<()> {
        let mut fifo = OpenOptions::new().write(true).open(self.scratch.path().join("fifo"))?;
        Ok(writeln!(fifo)?)
    }
}

/// Nothing was started by it, and it says why.
fn is_not_served(agent: &Agent, idle: &Idle, why: &str) -> Result<()> {
    agent.says(&["netmon: the launcher: ", why])?;
    idle.monitor.set_nonblocking(true)?;
    ensure!(idle.monitor.accept().is_err(), "an interface monitor was started");
    let socket = idle.scratch.path().join("socket");
    ensure!(process::with_arguments(&[&socket])?.is_empty(), "an interface monitor was started");
    Ok(())
}

fn one_without_its_capabilities() -> Result<()> {
    let (installed, idle) = (Installed::new()?, Idle::new()?);
    let (here, there) = pair()?;
    say(&here, &request(&idle.scratch.path().join("socket"))?);
    // A shell has none.
    let command = AgentCommand::on_host("/bin/sh").args(["-c", "\"$0\" launcher; exit $?"]);
    let command = command.args([&installed.program]).input_from(there);
    let agent = command.privileges(Privileges::Nobody).start()?;
    is_not_served(&agent, &idle, "serves only a network monitor that has started it")?;
    assert_eq!(agent.finish()?.code, Some(1));
    Ok(())
}

/// Its parent is netmon and made the socket, but somebody else asks.
fn one_who_has_handed_the_socket_on() -> Result<()> {
    let (namespace, installed, idle) = (veth()?, Installed::new()?, Idle::new()?);
    let (here, there) = pair()?;
    let stranger = Stranger::new(&installed)?;
    let agent = stranger.start(&namespace, (&here, there), b"")?;
    stranger.start_the_launcher()?;
    let challenge = hear(&here)?;
    ensure!(challenge.starts_with(b"{\"challenge\":["), "{:?}", String::from_utf8(challenge));
    say(&here, &challenge);
    say(&here, &request(&idle.scratch.path().join("socket"))?);
    let why = format!("was asked by process {}, which has not started it", std::process::id());
    is_not_served(&agent, &idle, &why)
}

/// The shell has sent it, which is netmon by then, and so the launcher's parent.
fn asked_before_it_was_netmon() -> Result<()> {
    let (namespace, installed, idle) = (veth()?, Installed::new()?, Idle::new()?);
    let (here, there) = pair()?;
    // For the kernel to write down who sends it.
    setsockopt(&there, PassCred, &true)?;
    let stranger = Stranger::new(&installed)?;
    let sent = request(&idle.scratch.path().join("socket"))?;
    let agent = stranger.start(&namespace, (&here, there), &sent)?;
    stranger.start_the_launcher()?;
    is_not_served(&agent, &idle, "the other end of the socket is not the network monitor")
}
