//! Network namespaces by name: which there are, and that their coming and going is told.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use netmon::workers::namespace::{self, Changes, Named, Where};
use netmon_tests::netns::Namespace;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use crate::{
    Test,
    common::{in_time, on_a_thread_of_its_own, runtime},
};

pub(crate) const TESTS: &[Test] = &[
    ("names_are_listed_with_their_inodes", names_are_listed),
    ("a_name_that_comes_and_goes_is_told", a_name_that_comes_and_goes),
    ("a_file_that_becomes_a_name_is_told", a_file_that_becomes_a_name),
    ("a_link_that_comes_and_goes_is_told", a_link_that_comes_and_goes),
    ("a_name_that_stands_for_another_is_told", a_name_for_another),
    ("the_folder_of_names_may_come_later", the_folder_may_come_later),
    ("changes_are_told_once", changes_are_told_once),
];

const NAMES: &str = "/run/netns";
const OWN: &str = "/proc/thread-self/ns/net";
/// Long against what netmon does when it hears of something. Nothing fails when it is not.
const PAUSE: Duration = Duration::from_millis(200);

/// Hears of changes until it is as wished: other tests have their own names.
async fn told(changes: &mut Changes, is_it: impl Fn(&Named) -> bool) -> Result<()> {
    while !is_it(&in_time(changes.next()).await??) {}
    Ok(())
}

/// A name that is a link, removed when dropped.
struct Link(PathBuf);

impl Link {
    fn new(target: impl AsRef<Path>) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(NAMES).join(format!("nmt-{}-link{number}", process::id()));
        symlink(target.as_ref(), &path)?;
        Ok(Self(path))
    }

    fn name(&self) -> Result<String> {
        let name = self.0.file_name().and_then(|name| name.to_str());
        Ok(name.context("a link without a name")?.to_owned())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Gone already, if this fails.
        let _ = fs::remove_file(&self.0);
    }
}

fn inode(path: impl AsRef<Path>) -> Result<u64> {
    Ok(fs::metadata(path)?.ino())
}

fn names_are_listed() -> Result<()> {
    let made = Namespace::new()?;
    let name = made.name().to_owned();
    let path = Path::new(NAMES).join(&name);
    let within = made.run(|| Ok((inode("/proc/thread-self/ns/net")?, namespace::own()?)))?;
    assert_eq!(within.0, within.1);
    assert_ne!(namespace::own()?, within.0);
    assert_eq!(namespace::named()?.get(&name), Some(&Some(within.0)));
    let place = Where::Named(name.clone());
    assert_eq!(namespace::resolve(&place)?, [(name.clone(), path)]);
    let argument = format!("{}*/lo", &name[..name.len() - 1]);
    let (pattern, _) = namespace::parse(&argument)?.context("it names no namespace")?;
    let found = namespace::resolve(&pattern)?;
    ensure!(found.iter().any(|(found, _)| *found == name), "{found:?}");
    drop(made);
    assert_eq!(namespace::named()?.get(&name), None);
    let refused = namespace::resolve(&place).map_err(|error| error.to_string());
    let why = format!("there is no network namespace '{name}'; ");
    ensure!(matches!(&refused, Err(told) if told.starts_with(&why)), "{refused:?}");
    Ok(())
}

fn a_name_that_comes_and_goes() -> Result<()> {
    runtime()?.block_on(async {
        let (mut changes, _) = Changes::new()?;
        let made = Namespace::new()?;
        let name = made.name().to_owned();
        let inode = inode(Path::new(NAMES).join(&name))?;
        told(&mut changes, |names| names.get(&name) == Some(&Some(inode))).await?;
        drop(made);
        told(&mut changes, |names| !names.contains_key(&name)).await
    })
}

/// Runs `work` on a thread for which `/run` is empty, and that hears of no mounts but its own.
fn with_its_own_run(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    const NOTHING: Option<&str> = None;
    let work = move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)?;
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), NOTHING)?;
        work()
    };
    on_a_thread_of_its_own(work)
}

fn a_link_that_comes_and_goes() -> Result<()> {
    fs::create_dir_all(NAMES)?;
    runtime()?.block_on(async {
        let (mut changes, _) = Changes::new()?;
        let link = Link::new(OWN)?;
        let name = link.name()?;
        told(&mut changes, |names| names.contains_key(&name)).await?;
        drop(link);
        told(&mut changes, |names| !names.contains_key(&name)).await
    })
}

fn a_name_for_another() -> Result<()> {
    let (before, after) = (Namespace::new()?, Namespace::new()?);
    let [before, after] = [before.name(), after.name()].map(|name| Path::new(NAMES).join(name));
    let is = |namespace: &Path| inode(namespace).map(|inode| Some(Some(inode)));
    let (is_before, is_after) = (is(&before)?, is(&after)?);
    runtime()?.block_on(async {
        let (mut changes, _) = Changes::new()?;
        let link = Link::new(&before)?;
        let name = link.name()?;
        told(&mut changes, |names| names.get(&name).copied() == is_before).await?;
        let other = Link::new(&after)?;
        fs::rename(&other.0, &link.0)?;
        told(&mut changes, |names| names.get(&name).copied() == is_after).await
    })
}

fn a_file_that_becomes_a_name() -> Result<()> {
    with_its_own_run(|| {
        fs::create_dir(NAMES)?;
        let file = Path::new(NAMES).join("late");
        runtime()?.block_on(async {
            let (mut changes, _) = Changes::new()?;
            fs::write(&file, "")?;
            let early = tokio::time::timeout(PAUSE, changes.next()).await;
            ensure!(early.is_err(), "{early:?}");
            let nothing: Option<&str> = None;
            mount(Some(OWN), &file, nothing, MsFlags::MS_BIND, nothing)?;
            assert_eq!(in_time(changes.next()).await??.len(), 1);
            umount2(&file, MntFlags::MNT_DETACH)?;
            assert_eq!(in_time(changes.next()).await??, Named::new());
            Ok(())
        })
    })
}

fn the_folder_may_come_later() -> Result<()> {
    with_its_own_run(|| {
        runtime()?.block_on(async {
            let (mut changes, names) = Changes::new()?;
            assert_eq!(names, Named::new());
            for _ in 0..2 {
                fs::create_dir(NAMES)?;
                // Time to hear of it alone, which is no change of the names.
                let early = tokio::time::timeout(PAUSE, changes.next()).await;
                ensure!(early.is_err(), "{early:?}");
                let link = Link::new(OWN)?;
                let name = link.name()?;
                told(&mut changes, |names| names.contains_key(&name)).await?;
                drop(link);
                told(&mut changes, Named::is_empty).await?;
                fs::remove_dir(NAMES)?;
            }
            Ok(())
        })
    })
}

fn changes_are_told_once() -> Result<()> {
    const UNRELATED: &str = "/run/unrelated";
    with_its_own_run(move || {
        fs::create_dir(NAMES)?;
        fs::create_dir(UNRELATED)?;
        runtime()?.block_on(async {
            let (mut changes, _) = Changes::new()?;
            for number in 0..100 {
                symlink(OWN, Path::new(NAMES).join(number.to_string()))?;
            }
            let names = in_time(changes.next()).await??;
            assert_eq!(names.len(), 100, "the whole burst is one change");
            let nothing: Option<&str> = None;
            mount(Some("tmpfs"), UNRELATED, Some("tmpfs"), MsFlags::empty(), nothing)?;
            fs::write(Path::new(NAMES).join("stale"), "")?;
            // What is told next is not that, but what comes later.
            let later = async {
                tokio::time::sleep(PAUSE).await;
                Link::new(OWN)
            };
            let (told, link) = tokio::join!(changes.next(), later);
            let (told, name) = (told?, link?.name()?);
            assert_eq!((told.len(), told.contains_key(&name)), (101, true));
            Ok(())
        })
    })
}
