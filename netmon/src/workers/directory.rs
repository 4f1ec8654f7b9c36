//! The directory that the socket lies in: made when it is missing, checked, and locked while
//! somebody looks and binds, so that of two who start at once only one takes the place.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use super::socket::SocketError;

/// An open directory. If it was made for us, it goes with this value when it is empty.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    file: File,
    made: bool,
}

impl Directory {
    /// Opens it, or makes it (the last component), and takes its lock. `ours`: it has to be
    /// netmon's own.
    pub(super) fn open_locked(
        path: &Path,
        ours: bool,
        patience: Duration,
    ) -> Result<Self, SocketError> {
        let deadline = Instant::now() + patience;
        loop {
            let directory = Self::open(path)?;
            if ours || directory.made {
                directory.check()?;
            }
            directory.lock(deadline.saturating_duration_since(Instant::now()))?;
            if directory.is_there() {
                return Ok(directory);
            }
            // Who ended at this moment has taken it along.
            if Instant::now() >= deadline {
                return Err(SocketError::Locked { path: path.to_owned() });
            }
        }
    }

    fn open(path: &Path) -> Result<Self, SocketError> {
        let made = match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => true,
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => false,
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                let above = path.parent().unwrap_or(path);
                return Err(SocketError::NoDirectory { path: above.to_owned() });
            }
            Err(why) => return Err(SocketError::io("make the directory", path, why)),
        };
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(path);
        match opened {
            Ok(file) => Ok(Self { path: path.to_owned(), file, made }),
            Err(why) => Err(not_opened(path, why)),
        }
    }

    /// Nobody else may put anything into it.
    fn check(&self) -> Result<(), SocketError> {
        let path = || self.path.clone();
        let found =
            self.file.metadata().map_err(|why| SocketError::io("look at", &self.path, why))?;
        let (owner, us) = (found.uid(), geteuid().as_raw());
        if owner != us {
            return Err(SocketError::ForeignDirectory { path: path(), owner, us });
        }
        let mode = found.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(SocketError::OpenDirectory { path: path(), mode });
        }
        if mode & 0o077 != 0 {
            // Made by somebody with another umask: others have no business in it.
            let alone = fs::Permissions::from_mode(0o700);
            let failed = |why| SocketError::io("close to others", &self.path, why);
            self.file.set_permissions(alone).map_err(failed)?;
        }
        Ok(())
    }

    /// Takes the lock. Anybody who may read the directory could hold it for ever, so with an end.
    pub(super) fn lock(&self, patience: Duration) -> Result<(), SocketError> {
        const MOMENT: Duration = Duration::from_millis(5);
        let deadline = Instant::now() + patience;
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(why)) => {
                    return Err(SocketError::io("lock the directory", &self.path, why));
                }
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(MOMENT),
                Err(TryLockError::WouldBlock) => {
                    return Err(SocketError::Locked { path: self.path.clone() });
                }
            }
        }
    }

    /// Gives it back.
    pub(super) fn unlock(&self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!("the lock of {}: {error}", self.path.display());
        }
    }

    /// The path still leads to it.
    fn is_there(&self) -> bool {
        let identity = |found: io::Result<fs::Metadata>| found.ok().map(|of| (of.dev(), of.ino()));
        let ours = identity(self.file.metadata());
        ours.is_some() && ours == identity(fs::symlink_metadata(&self.path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.made && self.is_there() {
            // Not when there is something in it, which is then somebody else's.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

fn not_opened(path: &Path, why: io::Error) -> SocketError {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => SocketError::SymbolicLink { path: path.to_owned() },
        Ok(found) if !found.is_dir() => SocketError::NotADirectory { path: path.to_owned() },
        _ => SocketError::io("open the directory", path, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::scratch::{Scratch, mode, set_mode};
    use std::os::unix::fs::{chown, symlink};

    fn open(path: &Path, ours: bool) -> Result<Directory, SocketError> {
        Directory::open_locked(path, ours, Duration::ZERO)
    }

    #[test]
    fn it_is_made_for_us_alone_and_goes_when_it_is_empty() {
        let scratch = Scratch::new();
        let path = scratch.join("netmon");
        let directory = open(&path, true).unwrap();
        assert_eq!(mode(&path), 0o700);
        drop(directory);
        assert!(!path.exists());

        let directory = open(&path, true).unwrap();
        fs::write(path.join("notes"), "").unwrap();
        drop(directory);
        assert!(path.join("notes").exists());

        fs::remove_file(path.join("notes")).unwrap();
        drop(open(&path, true).unwrap());
        assert!(path.exists(), "it was there before");
    }

    #[test]
    fn one_that_has_taken_its_place_stays() {
        let scratch = Scratch::new();
        let path = scratch.join("netmon");
        let directory = open(&path, true).unwrap();
        fs::rename(&path, scratch.join("elsewhere")).unwrap();
        fs::create_dir(&path).unwrap();
        drop(directory);
        assert!(path.exists());
    }

    #[test]
    fn only_the_last_component_is_made() {
        let scratch = Scratch::new();
        let error = open(&scratch.join("a/b"), false).unwrap_err().to_string();
        let above = scratch.join("a");
        assert!(
            error.starts_with(&format!("there is no directory {}:", above.display())),
            "{error}"
        );
        assert!(!above.exists());
    }

    #[test]
    fn links_and_files_are_no_directory() {
        let scratch = Scratch::new();
        let (link, file) = (scratch.join("link"), scratch.join("file"));
        fs::create_dir(scratch.join("target")).unwrap();
        symlink(scratch.join("target"), &link).unwrap();
        fs::write(&file, "").unwrap();
        for ours in [true, false] {
            let refused = open(&link, ours);
            assert!(matches!(refused, Err(SocketError::SymbolicLink { .. })), "{refused:?}");
            let refused = open(&file, ours);
            assert!(matches!(refused, Err(SocketError::NotADirectory { .. })), "{refused:?}");
        }
        let dangling = scratch.join("dangling");
        symlink(scratch.join("nowhere"), &dangling).unwrap();
        let refused = open(&dangling, true);
        assert!(matches!(refused, Err(SocketError::SymbolicLink { .. })), "{refused:?}");
        assert!(!scratch.join("nowhere").exists());
    }

    #[test]
    fn nobody_else_may_write_into_our_own() {
        let scratch = Scratch::new();
        for (open_mode, told) in [(0o720, "mode 720"), (0o702, "mode 702"), (0o1777, "mode 1777")] {
            set_mode(scratch.path(), open_mode);
            let error = open(scratch.path(), true).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("chmod 700"), "{error}");
            // Such as /tmp, which somebody has chosen.
            open(scratch.path(), false).unwrap();
        }
        // Others could look into it, or hold its lock: that is mended.
        set_mode(scratch.path(), 0o755);
        open(scratch.path(), false).unwrap();
        assert_eq!(mode(scratch.path()), 0o755, "not where somebody has chosen it");
        open(scratch.path(), true).unwrap();
        assert_eq!(mode(scratch.path()), 0o700);
    }

    #[test]
    fn our_own_is_not_somebody_elses() {
        let scratch = Scratch::new();
        // Others cannot give a directory away, but for them there is root's.
        let path = if geteuid().is_root() {
            chown(scratch.path(), Some(65_534), None).unwrap();
            scratch.path()
        } else {
            Path::new("/")
        };
        let error = open(path, true).unwrap_err();
        assert!(matches!(error, SocketError::ForeignDirectory { .. }), "{error}");
        open(path, false).unwrap();
    }

    #[test]
    fn a_lock_is_not_waited_for_for_ever() {
        let scratch = Scratch::new();
        let holder = open(scratch.path(), true).unwrap();
        let refused = open(scratch.path(), true);
        assert!(matches!(refused, Err(SocketError::Locked { .. })), "{refused:?}");
        holder.unlock();
        open(scratch.path(), true).unwrap();
    }

    #[test]
    fn one_that_goes_while_its_lock_is_waited_for_is_made_again() {
        let scratch = Scratch::new();
        let path = scratch.join("netmon");
        let ends = open(&path, true).unwrap();
        let starts = thread::spawn({
            let path = path.clone();
            move || Directory::open_locked(&path, true, Duration::from_secs(60))
        });
        let open_twice = || {
            let files = fs::read_dir("/proc/self/fd").unwrap();
            let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
            links.filter(|link| *link == path).count() == 2
        };
        while !open_twice() {
            thread::yield_now();
        }
        drop(ends);
        let directory = starts.join().unwrap().unwrap();
        assert!(path.exists() && directory.is_there());
    }
}
