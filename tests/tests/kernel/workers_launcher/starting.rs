//! Starting processes: where they are, and what they may.

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Result, bail, ensure};
use netmon::{
    privileges::drop_all_but,
    workers::launcher::{LaunchError, Start},
};
use netmon_tests::{
    bpf::{self, Object},
    inventory::Attached,
    netns::Namespace,
    privileges::held,
    scratch::Scratch,
    wait,
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{signal::Signal, stat::Mode},
    unistd::{Pid, getpgid, mkfifo},
};

use super::{
    HANDED_ON, Idle, inode_of, launching, own_inode, path, place, proc, shown_by_a_process, signal,
    sysfs_of,
};
use crate::{
    Test,
    common::{in_time, on_a_thread_of_its_own, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("a_process_is_in_its_namespace", a_process_is_in_its_namespace),
    ("a_process_without_one_is_where_the_launcher_is", without_a_namespace),
    ("a_process_can_attach_there", a_process_can_attach_there),
    ("what_cannot_be_is_refused", what_cannot_be_is_refused),
    ("a_namespace_made_anew_is_refused", a_namespace_made_anew_is_refused),
    ("a_process_holds_no_other_namespace", holds_no_other),
    ("the_sysfs_of_a_process_is_nobody_elses", sysfs_is_nobody_elses),
    ("without_privileges_it_starts_processes_here_alone", without_privileges),
];

fn a_process_is_in_its_namespace() -> Result<()> {
    let (namespace, idle) = (veth()?, Idle::new()?);
    let place = place(&namespace)?;
    launching(async |launcher, _| {
        let pid = in_time(launcher.spawn(idle.start(Some(place.clone())))).await??;
        assert_eq!(inode_of(pid)?, place.1);
        let shown = sysfs_of(pid)?.into_iter().collect::<Vec<_>>();
        assert_eq!(shown, ["lo", "nt0", "peer"]);
        assert_eq!(held(&proc(pid))?, [HANDED_ON; 4]);
        let ours = fs::metadata("/proc/thread-self/ns/mnt")?.ino();
        assert_ne!(fs::metadata(proc(pid).join("ns/mnt"))?.ino(), ours);
        Ok(())
    })?;
    // The host's sysfs is as it was.
    ensure!(!Path::new("/sys/class/net/nt0").exists(), "/sys shows another namespace");
    Ok(())
}

fn without_a_namespace() -> Result<()> {
    let idle = Idle::new()?;
    launching(async |launcher, _| {
        let pid = in_time(launcher.spawn(idle.start(None))).await??;
        assert_eq!(inode_of(pid)?, own_inode()?);
        assert_eq!(held(&proc(pid))?, [HANDED_ON; 4]);
        let mounts = |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path.join("ns/mnt"))?.ino());
        assert_eq!(mounts(&proc(pid))?, mounts(Path::new("/proc/thread-self"))?);
        // Ctrl-C in a terminal reaches neither.
        let group = getpgid(Some(Pid::from_raw(i32::try_from(pid)?)))?;
        assert_eq!(group.as_raw(), i32::try_from(launcher.process())?);
        assert_ne!(group, getpgid(None)?);
        Ok(())
    })
}

fn a_process_can_attach_there() -> Result<()> {
    let (namespace, idle) = (veth()?, Idle::new()?);
    let place = place(&namespace)?;
    launching(async |launcher, _| {
        let pid = in_time(launcher.spawn(idle.start_for("nt0", Some(place)))).await??;
        let (mut monitor, _) = idle.monitor.accept()?;
        let orders = r#"{"Monitor":{"version":1,"interval_ns":3600000000000,"source":"ebpf","hook":"auto","recovery":false,"log":false}}"#;
        writeln!(monitor, "{orders}")?;
        wait::until_true("programs on nt0", || {
            let attached = namespace.attached("nt0")?;
            let held = bpf::held_by(pid)?;
            let holds = held.iter().any(|object| matches!(object, Object::Program(_)));
            Ok(holds && attached != Attached::default())
        })
    })
}

fn what_cannot_be_is_refused() -> Result<()> {
    let (scratch, idle) = (Scratch::new()?, Idle::new()?);
    mkfifo(&scratch.path().join("fifo"), Mode::S_IRWXU)?;
    let file = scratch.write("file", "")?;
    launching(async |launcher, exits| {
        let nowhere = [
            Path::new("/run/netns/there-is-no-such-namespace"),
            Path::new("/proc/self/ns/uts"),
            Path::new("/dev/null"),
            &scratch.path().join("fifo"),
            &file,
            &file.join("below"),
        ];
        for path in nowhere {
            let refused = in_time(launcher.open(path)).await?.map(drop);
            let shown = path.display();
            let text = match path.exists() {
                true => format!("{shown} is no network namespace"),
                false => format!("there is no network namespace {shown}"),
            };
            assert_eq!(refused, Err(LaunchError::NoNamespace(text)));
            let start = idle.start(Some((path.to_owned(), 1)));
            let refused = in_time(launcher.spawn(start)).await?;
            ensure!(matches!(refused, Err(LaunchError::NoNamespace(_))), "{path:?}: {refused:?}");
        }
        // One of another kind, with its right number.
        let uts = PathBuf::from("/proc/self/ns/uts");
        let start = idle.start(Some((uts.clone(), fs::metadata(&uts)?.ino())));
        let refused = in_time(launcher.spawn(start)).await?;
        ensure!(matches!(refused, Err(LaunchError::NoNamespace(_))), "{refused:?}");
        let long = Start { namespace: None, arguments: vec!["x".repeat(1 << 20).into()] };
        let refused = in_time(launcher.spawn(long)).await?;
        ensure!(matches!(&refused, Err(LaunchError::Failed(why)) if why.contains("too long")));
        // It goes on after that, and nothing was started.
        let pid = in_time(launcher.spawn(idle.start(None))).await??;
        signal(pid, Signal::SIGKILL)?;
        assert_eq!(in_time(exits.next()).await?.map(|exit| exit.pid), Some(pid));
        Ok(())
    })
}

fn a_namespace_made_anew_is_refused() -> Result<()> {
    let (before, after) = (Namespace::new()?, Namespace::new()?);
    let (scratch, idle) = (Scratch::new()?, Idle::new()?);
    let name = scratch.path().join("name");
    symlink(path(&before), &name)?;
    launching(async |launcher, exits| {
        let inode = in_time(launcher.open(&name)).await??.inode;
        assert_eq!(inode, place(&before)?.1);
        fs::remove_file(&name)?;
        symlink(path(&after), &name)?;
        let refused = in_time(launcher.spawn(idle.start(Some((name.clone(), inode))))).await?;
        let text = format!("the network namespace {} is not the one that it was", name.display());
        assert_eq!(refused, Err(LaunchError::NoNamespace(text)));
        let now = in_time(launcher.open(&name)).await??.inode;
        let pid = in_time(launcher.spawn(idle.start(Some((name, now))))).await??;
        assert_eq!(inode_of(pid)?, place(&after)?.1);
        signal(pid, Signal::SIGKILL)?;
        // The one before was not started.
        assert_eq!(in_time(exits.next()).await?.map(|exit| exit.pid), Some(pid));
        Ok(())
    })
}

/// A namespace whose name goes while a process lives in another one goes, and with it its end of
/// a veth.
fn holds_no_other() -> Result<()> {
    let (here, there, idle) = (Namespace::new()?, Namespace::new()?, Idle::new()?);
    here.add_veth_to("nt0", &there, "nt0")?;
    let place = place(&here)?;
    launching(async |launcher, _| {
        in_time(launcher.open(&path(&there))).await??;
        in_time(launcher.spawn(idle.start(Some(place)))).await??;
        assert_eq!(here.sysfs_links()?, ["lo", "nt0"]);
        drop(there);
        wait::until_true("the end of the other namespace", || Ok(here.sysfs_links()? == ["lo"]))
    })
}

/// Where mounts are told to all, as systemd has it, that one is not.
fn sysfs_is_nobody_elses() -> Result<()> {
    const NOTHING: Option<&str> = None;
    let (namespace, idle) = (veth()?, Idle::new()?);
    let place = place(&namespace)?;
    let work = move || -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        for kind in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
            mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | kind, NOTHING)?;
        }
        launching(async |launcher, _| {
            let before = fs::read_to_string("/proc/thread-self/mountinfo")?;
            let pid = in_time(launcher.spawn(idle.start(Some(place)))).await??;
            ensure!(sysfs_of(pid)?.contains(OsStr::new("nt0")), "it has no sysfs of its own");
            let after = fs::read_to_string("/proc/thread-self/mountinfo")?;
            // Other tests' names may go meanwhile.
            let on_sys =
                |mounts: &str| mounts.lines().filter(|line| line.contains(" /sys ")).count();
            assert_eq!(on_sys(&after), on_sys(&before), "{before}\n{after}");
            Ok(())
        })
    };
    on_a_thread_of_its_own(work)
}

fn without_privileges() -> Result<()> {
    let (namespace, idle) = (veth()?, Idle::new()?);
    let (place, shown) = (place(&namespace)?, shown_by_a_process(&namespace)?);
    let work = move || {
        // Of this thread, and no exec gives them back.
        drop_all_but(&[]);
        launching(async |launcher, _| {
            let pid = in_time(launcher.spawn(idle.start(None))).await??;
            assert_eq!(held(&proc(pid))?, [0; 4]);
            let refused = [
                in_time(launcher.open(&place.0)).await?.map(drop),
                in_time(launcher.spawn(idle.start(Some(place.clone())))).await?.map(drop),
            ];
            for refused in refused {
                let Err(LaunchError::Denied(why)) = refused else { bail!("{refused:?}") };
                ensure!(why.contains("CAP_SYS_ADMIN") && why.contains("sudo"), "{why}");
            }
            let refused = in_time(launcher.open(&shown)).await?.map(drop);
            let Err(LaunchError::Denied(why)) = refused else { bail!("{refused:?}") };
            ensure!(why.contains("CAP_SYS_PTRACE") && why.contains("sudo"), "{why}");
            Ok(())
        })
    };
    on_a_thread_of_its_own(work)
}
