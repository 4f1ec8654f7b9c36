use super::*;
use crate::workers::scratch::{Scratch, as_an_ordinary_user, mode, set_mode};
use std::os::unix::fs::symlink;
use std::sync::Barrier;
use std::{mem, thread};

/// A socket at which nobody listens any more.
fn stale(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    assert!(path.exists());
}

#[test]
fn the_default_is_in_a_runtime_directory_of_ours() {
    let scratch = Scratch::new();
    let us = if geteuid().is_root() { 1000 } else { geteuid().as_raw() };
    std::os::unix::fs::chown(scratch.path(), Some(us), None).unwrap();
    let default = |runtime: &Path, user| default_below(Some(runtime.to_owned()), user);
    assert_eq!(default(scratch.path(), us).unwrap(), scratch.join("netmon/netmon.sock"));
    let (missing, another) = (scratch.join("missing"), us + 1);
    for (runtime, user) in [(scratch.path(), another), (&missing, us), (Path::new(""), us)] {
        let refused = default(runtime, user);
        assert!(matches!(refused, Err(SocketError::NoDefault)), "{refused:?}");
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("--socket PATH"), "{error}");
    }
    // A relative one is another for everybody who says it.
    let here = fs::metadata(".").unwrap().uid().max(1);
    assert!(!default(Path::new("."), here).is_ok_and(|path| path.is_relative()));
    let system = Path::new("/run/netmon/netmon.sock");
    assert_eq!(default(&missing, 0).unwrap(), system);
    assert_eq!(default(scratch.path(), 0).unwrap(), system, "a login's and a service's");
    assert_eq!(default_below(None, 0).unwrap(), system);
    assert!(default_below(None, 1000).is_err());
}

#[test]
fn it_comes_and_goes_with_its_directory() {
    let scratch = Scratch::new();
    let path = scratch.join("netmon/netmon.sock");
    let bound = bind_in(&path, true).unwrap();
    assert_eq!(bound.file.path(), path);
    assert_eq!((mode(&path), mode(&scratch.join("netmon"))), (0o600, 0o700));
    let nobody_yet = bound.listener.accept().unwrap_err();
    assert_eq!(nobody_yet.kind(), io::ErrorKind::WouldBlock);
    let stream = peer::connect(&path).unwrap();
    bound.listener.accept().unwrap();
    drop((bound, stream));
    assert!(!scratch.join("netmon").exists());

    // In a directory that is there, and which stays.
    let path = scratch.join("netmon.sock");
    drop(bind(&path).unwrap());
    assert!(!path.exists() && scratch.path().exists());
}

#[test]
fn another_process_can_bind_as_soon_as_it_is_bound() {
    let scratch = Scratch::new();
    let one = bind(&scratch.join("one")).unwrap();
    // The directory's lock was given back.
    let two = bind(&scratch.join("two")).unwrap();
    drop((one, two));
}

#[test]
fn a_stale_one_is_replaced() {
    let scratch = Scratch::new();
    let path = scratch.join("netmon.sock");
    stale(&path);
    let bound = bind(&path).unwrap();
    peer::connect(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn a_living_one_is_refused_by_its_process() {
    let scratch = Scratch::new();
    let path = scratch.join("netmon.sock");
    let bound = bind(&path).unwrap();
    let error = bind(&path).unwrap_err().to_string();
    let who = format!("listens at {} already (process {})", path.display(), std::process::id());
    assert!(error.contains(&who), "{error}");
    peer::connect(&path).unwrap();
    drop(bound);

    // One that accepts nobody, perhaps because it is stopped, lives too.
    let listener = UnixListener::bind(&path).unwrap();
    nix::sys::socket::listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let waiting = peer::connect(&path).unwrap();
    let refused = bind(&path);
    assert!(matches!(refused, Err(SocketError::InUse { pid: None, .. })), "{refused:?}");
    drop(waiting);
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let scratch = Scratch::new();
    let (file, folder, fifo) = (scratch.join("file"), scratch.join("folder"), scratch.join("fifo"));
    fs::write(&file, "precious").unwrap();
    fs::create_dir(&folder).unwrap();
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    for path in [&file, &folder, &fifo] {
        let refused = bind(path);
        assert!(matches!(refused, Err(SocketError::NotASocket { .. })), "{refused:?}");
        assert!(path.exists());
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

#[test]
fn links_are_not_followed() {
    let scratch = Scratch::new();
    let (link, target) = (scratch.join("link"), scratch.join("target.sock"));
    symlink(&target, &link).unwrap();
    for there in [false, true] {
        let refused = bind(&link);
        assert!(matches!(refused, Err(SocketError::SymbolicLink { .. })), "{refused:?}");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(target.exists(), there);
        if !there {
            stale(&target);
        }
    }
}

#[test]
fn of_many_who_start_at_once_one_gets_it() {
    const MANY: usize = 8;
    let scratch = Scratch::new();
    let path = scratch.join("netmon.sock");
    for round in 0..50 {
        stale(&path);
        let start = Barrier::new(MANY);
        let results: Vec<_> = thread::scope(|scope| {
            let one = || {
                start.wait();
                bind(&path)
            };
            let threads: Vec<_> = (0..MANY).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (bound, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(bound.len(), 1, "round {round}: {refused:?}");
        for refused in refused {
            assert!(matches!(refused, Err(SocketError::InUse { .. })), "{refused:?}");
        }
    }
}

#[test]
fn what_has_come_in_its_place_stays() {
    let scratch = Scratch::new();
    let path = scratch.join("netmon.sock");
    let bound = bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let anothers = UnixListener::bind(&path).unwrap();
    drop(bound);
    peer::connect(&path).unwrap();
    drop(anothers);
}

#[test]
fn a_place_that_is_not_fit_is_told_with_what_to_do() {
    let scratch = Scratch::new();
    let told = |path: &Path| {
        let error = bind(path).unwrap_err().to_string();
        assert!(error.contains("--socket PATH"), "what to do? {error}");
        error
    };
    let length = scratch.path().as_os_str().len() + 1;
    let longest = scratch.join(&"x".repeat(LONGEST_PATH - length));
    drop(bind(&longest).unwrap());
    let longer = scratch.join(&"x".repeat(LONGEST_PATH - length + 1));
    let error = told(&longer);
    assert!(error.contains("may have 107 bytes, and this has 108"), "{error}");

    let error = told(&scratch.join("a/b/netmon.sock"));
    assert!(error.contains(&format!("no directory {}:", scratch.join("a").display())), "{error}");
    for nameless in ["/", "..", "", "/tmp/netmon.sock/"] {
        assert!(told(Path::new(nameless)).contains("names no file"), "{nameless}");
    }
    set_mode(scratch.path(), 0o500);
    for name in ["netmon.sock", "netmon/netmon.sock"] {
        let error = as_an_ordinary_user(|| told(&scratch.join(name)));
        assert!(error.contains("Permission denied"), "{error}");
    }
}

#[test]
fn what_a_killed_one_has_left_is_used() {
    let scratch = Scratch::new();
    let path = scratch.join("netmon/netmon.sock");
    let Bound { listener, file } = bind(&path).unwrap();
    mem::forget(file);
    drop(listener);
    drop(bind(&path).unwrap());
    assert!(!path.exists());
    assert!(scratch.join("netmon").exists(), "it goes with who has made it, or stays");
}
