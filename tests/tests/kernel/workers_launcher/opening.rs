//! Looking into namespaces, and that nothing of them stays with the launcher.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::{FromRawFd, IntoRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt};
use netmon::privileges::drop_all_but;
use netmon_tests::netns::Namespace;
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::signal::Signal,
};
use rtnetlink::{
    LinkUnspec,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{RouteNetlinkMessage, link::LinkAttribute},
    sys::TokioSocket,
};

use super::{Idle, inode_of, launching, own_inode, place, proc, shown_by_a_process, signal};
use crate::{
    Test,
    common::{in_time, on_a_thread_of_its_own, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("links_of_another_namespace_are_listed_and_followed", links_are_listed_and_followed),
    ("the_namespace_of_a_mightier_process_can_be_opened", that_of_a_mightier_process),
    ("the_launcher_holds_nothing_that_it_looked_at", it_holds_nothing),
    ("many_requests_at_once_are_answered", many_at_once),
];

/// As in the network monitor: without privileges once the launcher is there.
fn links_are_listed_and_followed() -> Result<()> {
    let namespace = veth()?;
    let (path, inode) = place(&namespace)?;
    let add = || namespace.add_veth("later", "other");
    let work = move || {
        launching(async |launcher, _| {
            drop_all_but(&[]);
            let opened = in_time(launcher.open(&path)).await??;
            assert_eq!(opened.inode, inode);
            list_and_follow(opened.links, add).await
        })
    };
    on_a_thread_of_its_own(work)
}

async fn list_and_follow(links: OwnedFd, add: impl FnOnce() -> Result<()>) -> Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(&links, FcntlArg::F_GETFL)?);
    ensure!(flags.contains(OFlag::O_NONBLOCK), "{flags:?}");
    assert_eq!(fcntl(&links, FcntlArg::F_GETFD)?, libc::FD_CLOEXEC);
    // SAFETY: nobody else owns it.
    let socket = unsafe { TokioSocket::from_raw_fd(links.into_raw_fd()) };
    let (connection, handle, mut news) = rtnetlink::from_socket(socket);
    tokio::spawn(connection);
    let listed: Vec<_> = in_time(handle.link().get().execute().try_collect()).await??;
    let mut names: Vec<_> = listed.iter().filter_map(|link| name(&link.attributes)).collect();
    names.sort_unstable();
    assert_eq!(names, ["lo", "nt0", "peer"]);
    add()?;
    let is_later = |message: NetlinkMessage<RouteNetlinkMessage>| match message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
            name(&link.attributes) == Some("later")
        }
        _ => false,
    };
    while !is_later(in_time(news.next()).await?.context("no news any more")?.0) {}
    // The launcher's privileges are not handed over with it.
    let down = LinkUnspec::new_with_name("nt0").down().build();
    let refused = in_time(handle.link().set(down).execute()).await?;
    let Err(rtnetlink::Error::NetlinkError(error)) = &refused else { bail!("{refused:?}") };
    assert_eq!(error.raw_code(), -libc::EPERM);
    Ok(())
}

fn name(attributes: &[LinkAttribute]) -> Option<&str> {
    attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn that_of_a_mightier_process() -> Result<()> {
    let namespace = veth()?;
    let path = shown_by_a_process(&namespace)?;
    launching(async |launcher, _| {
        let opened = in_time(launcher.open(&path)).await??;
        assert_eq!(opened.inode, place(&namespace)?.1);
        Ok(())
    })
}

/// What a process has open.
fn open_files(pid: u32) -> Result<BTreeSet<PathBuf>> {
    let entries = fs::read_dir(proc(pid).join("fd"))?;
    // One that is closed meanwhile is not open.
    let targets = entries.map(|entry| Ok(fs::read_link(entry?.path()).ok()));
    targets.filter_map(Result::transpose).collect()
}

fn it_holds_nothing() -> Result<()> {
    let (namespace, idle) = (veth()?, Idle::new()?);
    let place = place(&namespace)?;
    launching(async |launcher, exits| {
        // With its first answer it is ready.
        let refused = in_time(launcher.open(Path::new("/"))).await?;
        ensure!(refused.is_err(), "{refused:?}");
        let before = open_files(launcher.process())?;
        let opened = in_time(launcher.open(&place.0)).await??;
        let pid = in_time(launcher.spawn(idle.start(Some(place.clone())))).await??;
        let other = (place.0.clone(), place.1 + 1);
        let refused = in_time(launcher.spawn(idle.start(Some(other)))).await?;
        ensure!(refused.is_err(), "{refused:?}");
        assert_eq!(open_files(launcher.process())?, before);
        assert_eq!(inode_of(launcher.process())?, own_inode()?);
        // Nor does what it starts get anything of it.
        let inherited = open_files(pid)?;
        let handles = |path: &&PathBuf| {
            let text = path.to_string_lossy();
            let is_a_socket = text.starts_with("socket:") && before.contains(*path);
            text.starts_with("net:") || is_a_socket || text.contains("signalfd")
        };
        // The report is neither's business: its reader sees its end when the monitor ends.
        for pid in [launcher.process(), pid] {
            assert_eq!(fs::read_link(proc(pid).join("fd/1"))?, Path::new("/dev/null"));
        }
        ensure!(!inherited.iter().any(|path| handles(&path)), "{inherited:?}");
        signal(pid, Signal::SIGKILL)?;
        in_time(exits.next()).await?;
        drop((opened, namespace));
        Ok(())
    })
}

fn many_at_once() -> Result<()> {
    /// More than the socket takes at once.
    const MANY: usize = 2000;
    let (near, far) = (Namespace::new()?, Namespace::new()?);
    let places = [place(&near)?, place(&far)?];
    launching(async |launcher, _| {
        let asked = (0..MANY).map(async |number| {
            let (path, inode) = &places[number % 2];
            let opened = launcher.open(path).await?;
            Ok::<_, anyhow::Error>(opened.inode == *inode)
        });
        let answers = in_time(futures_util::future::try_join_all(asked)).await??;
        assert_eq!(answers, [true; MANY]);
        Ok(())
    })
}
