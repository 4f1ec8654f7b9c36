//! Places where the socket cannot be, and those who look for one in vain.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use netmon_tests::{agent::Finished, frame, netns::Namespace, scratch::Scratch};
use nix::mount::{MsFlags, mount};

use super::{Runtime, agrees, launcher};
use crate::{
    Test,
    common::{is_bare, monitor, netmon, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("it_is_the_users_alone", it_is_the_users_alone),
    ("a_read_only_directory_is_told", || not_writable(MsFlags::MS_RDONLY, "", "Read-only")),
    ("a_full_directory_is_told", || not_writable(MsFlags::empty(), "nr_inodes=1", "No space")),
    ("a_symbolic_link_is_not_followed", a_symbolic_link_is_not_followed),
    ("a_file_is_not_replaced", a_file_is_not_replaced),
    ("a_living_monitors_is_not_taken", a_living_monitors_is_not_taken),
    ("nobody_to_ask_is_told", nobody_to_ask_is_told),
];

/// A network monitor there fails before anything is started.
fn refused(namespace: &Namespace, socket: &Path, why: &str) -> Result<Finished> {
    let socket = socket.display().to_string();
    let finished = monitor(namespace, &["--workers", "nt0", "--socket", &socket, "-v"]).finish()?;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
    // One line, with the reason and what helps.
    let [line] = finished.stderr.lines().collect::<Vec<_>>()[..] else {
        anyhow::bail!("not one line: {finished:?}");
    };
    assert!(line.contains(why) && line.contains("--socket PATH"), "{line}");
    is_bare(namespace, "nt0")?;
    Ok(finished)
}

fn it_is_the_users_alone() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt0"])?;
    runtime.running("nt0")?;
    let socket = runtime.socket();
    let mode = |path: &Path| Ok::<_, anyhow::Error>(fs::symlink_metadata(path)?.mode() & 0o7777);
    let directory = socket.parent().context("no directory")?;
    assert_eq!((mode(&socket)?, mode(directory)?), (0o600, 0o700));
    runtime.end(agent).map(drop)
}

fn not_writable(flags: MsFlags, options: &'static str, why: &str) -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let directory = scratch.path().to_owned();
    let target = directory.clone();
    namespace.run(move || {
        let mounted = mount(Some("tmpfs"), &target, Some("tmpfs"), flags, Some(options));
        mounted.context("mounting a tmpfs")
    })?;
    for socket in ["netmon.sock", "run/netmon.sock"] {
        refused(&namespace, &directory.join(socket), why)?;
    }
    Ok(())
}

fn a_symbolic_link_is_not_followed() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let link = scratch.path().join("netmon.sock");
    symlink(scratch.path().join("elsewhere"), &link)?;
    refused(&namespace, &link, "is a symbolic link")?;
    let directory = scratch.path().join("run");
    symlink("/tmp", &directory)?;
    refused(&namespace, &directory.join("nmt.sock"), "is a symbolic link")?;
    ensure!(fs::symlink_metadata(&link)?.is_symlink(), "it was replaced");
    Ok(())
}

fn a_file_is_not_replaced() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let file = scratch.write("netmon.sock", "precious")?;
    refused(&namespace, &file, "is no socket")?;
    assert_eq!(fs::read_to_string(file)?, "precious");
    Ok(())
}

fn a_living_monitors_is_not_taken() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["peer"])?;
    agent.says_counted("peer", "TCX in+out")?;
    let why = format!("already (process {}): end it", agent.pid());
    refused(&namespace, &runtime.socket(), &why)?;
    assert!(launcher(&agent).is_ok() && runtime.processes()?.len() == 1);
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 100), 30)?;
    assert_eq!(agrees(&agent, "peer", &namespace, "peer")?.tx.packets, Some(30));
    runtime.end(agent).map(drop)
}

fn nobody_to_ask_is_told() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let told = || -> Result<()> {
        let finished = runtime.ask("text")?;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
        let hint = "start one with `netmon run --workers`, or say where it is with --socket PATH";
        assert!(finished.stderr.contains(hint), "{finished:?}");
        Ok(())
    };
    told()?;
    // Nor is one there when only its socket is left.
    let agent = runtime.json(&namespace, &["nt0"])?;
    runtime.running("nt0")?;
    let launcher = launcher(&agent)?;
    agent.kill()?;
    told()?;
    runtime.has_ended(launcher)?;
    let finished = netmon(&namespace, &["workers", "--socket", "/tmp/x/y/z"]).finish()?;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    Ok(())
}
