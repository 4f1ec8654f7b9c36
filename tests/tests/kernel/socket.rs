//! The network monitor's socket, where only root can make a place unfit or be another user.

use std::{
    fs,
    io::Error,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, ensure};
use netmon::workers::{
    peer::{ConnectError, connect},
    socket::{SocketError, bind},
};
use netmon_tests::{netns::Namespace, privileges::NOBODY, scratch::Scratch};
use nix::mount::{MsFlags, mount};

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("a_full_file_system_is_told_and_nothing_stays", a_full_file_system_is_told),
    ("a_read_only_file_system_is_told", a_read_only_file_system_is_told),
    ("a_stranger_is_not_obeyed", a_stranger_is_not_obeyed),
    ("nobody_cannot_talk_to_roots_monitor", nobody_cannot_talk_to_roots_monitor),
];

/// Runs `work` where a tmpfs with these options lies over the directory that it is given.
fn on_tmpfs(
    options: &'static str,
    work: impl FnOnce(&Path) -> Result<()> + Send + 'static,
) -> Result<()> {
    let (namespace, scratch) = (Namespace::new()?, Scratch::new()?);
    let directory = scratch.path().to_owned();
    namespace.run(move || {
        mount(Some("tmpfs"), &directory, Some("tmpfs"), MsFlags::empty(), Some(options))?;
        work(&directory)
    })
}

/// What is told when the socket cannot be made: with the reason, and what to do.
fn refused(path: &Path, reason: &str) -> Result<()> {
    let error = bind(path).err().with_context(|| format!("{} is bound", path.display()))?;
    let words = error.to_string();
    ensure!(words.contains(reason) && words.contains("--socket PATH"), "{words}");
    ensure!(words.contains(&path.display().to_string()), "where? {words}");
    Ok(())
}

fn a_full_file_system_is_told() -> Result<()> {
    // The root directory, and one more.
    on_tmpfs("nr_inodes=2", |directory| {
        refused(&directory.join("netmon/netmon.sock"), "No space left on device")?;
        ensure!(fs::read_dir(directory)?.next().is_none(), "the directory that was made stays");
        drop(bind(&directory.join("netmon.sock"))?);
        fs::create_dir(directory.join("other"))?;
        refused(&directory.join("netmon.sock"), "No space left on device")
    })
}

fn a_read_only_file_system_is_told() -> Result<()> {
    on_tmpfs("ro", |directory| {
        refused(&directory.join("netmon.sock"), "Read-only file system")?;
        let error = bind(&directory.join("netmon/netmon.sock")).err().context("it is bound")?;
        let words = error.to_string();
        ensure!(matches!(error, SocketError::Io { .. }), "{words}");
        ensure!(words.contains("cannot make the directory"), "{words}");
        ensure!(words.contains("Read-only file system"), "{words}");
        ensure!(words.contains("--socket PATH"), "{words}");
        Ok(())
    })
}

/// Runs `work` in a thread that is the user nobody.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: no pointers. The system call and not the C library's function, which would
            // change the user of all threads.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
            ensure!(changed == 0, "becoming nobody: {}", Error::last_os_error());
            Ok(work())
        });
        thread.join().map_err(std::panic::resume_unwind)?
    })
}

/// A directory in which everybody may make files.
fn shared() -> Result<(Scratch, PathBuf)> {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new()?;
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o1777))?;
    let path = scratch.path().join("netmon.sock");
    Ok((scratch, path))
}

fn a_stranger_is_not_obeyed() -> Result<()> {
    let (_scratch, path) = shared()?;
    let _bound = as_nobody(|| bind(&path))??;
    let error = connect(&path).err().context("root obeys nobody")?;
    ensure!(matches!(error, ConnectError::Stranger { uid: NOBODY, .. }), "{error}");
    // Its own may.
    as_nobody(|| connect(&path))??;
    Ok(())
}

fn nobody_cannot_talk_to_roots_monitor() -> Result<()> {
    let (_scratch, path) = shared()?;
    let bound = bind(&path)?;
    let error = as_nobody(|| connect(&path))?.err().context("nobody is connected")?;
    ensure!(matches!(error, ConnectError::Denied { .. }), "{error}");
    // Nor take its place, neither while it lives nor when it is dead.
    as_nobody(|| refused(&path, "Permission denied"))??;
    let file = bound.file;
    drop(bound.listener);
    as_nobody(|| refused(&path, "Permission denied"))??;
    drop(file);
    ensure!(!path.exists(), "the socket stays");
    Ok(())
}
