//! Sockets that go from process to process.

use std::{
    io::{IoSlice, IoSliceMut},
    net::TcpListener,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::Command,
    sync::Barrier,
    thread,
};

use anyhow::{Context, Result, bail};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork, getpid},
};

use crate::{connect, receive, say, send, wait_for_end, wait_for_go};

/// What the first process of two sends itself, so that both are seen.
const OWN: usize = 1000;

/// Unix sockets, of both kinds.
pub(crate) fn unix(bytes: usize) -> Result<()> {
    let (here, there) = UnixStream::pair()?;
    wait_for_go()?;
    let (here, there): (OwnedFd, OwnedFd) = (here.into(), there.into());
    send::all(&here, "send", bytes)?;
    say(format_args!("done {}", receive::all(&there, "recv", bytes)?))
}

/// A child sends on what it has inherited.
pub(crate) fn inherit(socket: OwnedFd, bytes: usize) -> Result<()> {
    wait_for_go()?;
    send::all(&socket, "send", OWN)?;
    let child = child(|| send::all(&socket, "send", bytes).map(drop))?;
    say(format_args!("done {child}"))?;
    wait_for_end()?;
    waitpid(child, None).map(drop).context("waiting for the child")
}

/// A child sends on what it was given by SCM_RIGHTS.
pub(crate) fn pass(socket: OwnedFd, bytes: usize) -> Result<()> {
    let (here, there) = UnixStream::pair()?;
    // It comes before the socket would be inherited as an open one: it closes its copy.
    let raw = socket.as_raw_fd();
    let child = child(move || {
        nix::unistd::close(raw)?;
        let mut byte = [0];
        let mut parts = [IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!(RawFd);
        let flags = MsgFlags::empty();
        let message = recvmsg::<UnixAddr>(there.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let mut messages = message.cmsgs()?;
        let Some(ControlMessageOwned::ScmRights(given)) = messages.next() else {
            bail!("nothing was given");
        };
        // SAFETY: a descriptor that the kernel has just made, and nobody else has.
        let given = unsafe { OwnedFd::from_raw_fd(*given.first().context("no descriptor")?) };
        send::all(&given, "send", bytes).map(drop)
    })?;
    wait_for_go()?;
    let given = [socket.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&given)];
    let parts = [IoSlice::new(b"x")];
    sendmsg::<UnixAddr>(here.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None)?;
    say(format_args!("done {child}"))?;
    wait_for_end()?;
    waitpid(child, None).map(drop).context("waiting for the child")
}

/// Children accept on what the parent listens to, and receive.
pub(crate) fn prefork(address: &str, children: usize, bytes: usize) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    let port = listener.local_addr()?.port();
    let serve = || {
        let socket: OwnedFd = listener.accept()?.0.into();
        receive::all(&socket, "recv", bytes)?;
        say(format_args!("child {}", getpid()))
    };
    let children = (0..children).map(|_| child(serve)).collect::<Result<Vec<_>>>()?;
    say(format_args!("port {port}"))?;
    for child in children {
        waitpid(child, None)?;
    }
    wait_for_end()
}

/// Threads that each send on a socket of their own, all at once: the first calls of the process.
pub(crate) fn threads(address: &str, threads: usize, bytes: usize) -> Result<()> {
    let sockets = (0..threads).map(|_| connect("udp", address)).collect::<Result<Vec<_>>>()?;
    wait_for_go()?;
    let start = Barrier::new(threads);
    let send = |socket: &OwnedFd| {
        start.wait();
        send::all(socket, "send", bytes)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = sockets.iter().map(|it| scope.spawn(|| send(it))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(sent) => sent.map(drop),
            Err(_) => bail!("a thread panicked"),
        })
    })?;
    say(format_args!("done 0"))
}

/// Sends, becomes another program, and sends again.
pub(crate) fn exec(address: &str, bytes: usize, program: &str) -> Result<()> {
    let socket = connect("tcp", address)?;
    wait_for_go()?;
    send::all(&socket, "send", bytes)?;
    say(format_args!("done {}", getpid()))?;
    wait_for_go()?;
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let raw = socket.as_raw_fd().to_string();
    Err(Command::new(program).args(["go-on", &raw, &bytes.to_string()]).exec().into())
}

/// The other program.
pub(crate) fn go_on(socket: RawFd, bytes: usize) -> Result<()> {
    // SAFETY: `exec` has left it open, and nobody else knows of it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    send::all(&socket, "send", bytes)?;
    say(format_args!("done {}", getpid()))?;
    wait_for_end()
}

/// Does something in a process of its own, which waits for the end of standard input with us.
fn child(work: impl FnOnce() -> Result<()>) -> Result<Pid> {
    // SAFETY: there is one thread.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let result = work().and_then(|()| wait_for_end());
            if let Err(error) = &result {
                eprintln!("{error:?}");
            }
            // SAFETY: no one else's clean-up is run twice.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
    }
}
