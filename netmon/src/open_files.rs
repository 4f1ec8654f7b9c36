//! The limit of open files (`RLIMIT_NOFILE`, getrlimit(2)): raised at the start, checked before
//! anything relies on it, and named where something was refused because of it.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What any command opens before it can count: libraries that it is built with panic when they get
/// none.
const LEAST: u64 = 32;

/// Why netmon cannot start.
#[derive(Debug, thiserror::Error)]
#[error("too few files may be open: {free} more can be opened now and {LEAST} are needed; {help}")]
pub struct TooFew {
    free: u64,
    help: String,
}

/// Raises the limit of open files to the most that is allowed: an interface takes five, and
/// thirteen when its statistics are read from sysfs, so the usual 1024 end at some 80. What netmon
/// starts inherits it.
///
/// # Errors
/// When netmon could not even start with it, or with what it has inherited.
pub fn raise() -> Result<(), TooFew> {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where that is refused the limit stays, and what it lets through is counted.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let free = room();
    if free < LEAST {
        let help = help(Errno::EMFILE);
        return Err(TooFew { free, help });
    }
    Ok(())
}

/// How many files can be opened now, as far as that matters.
fn room() -> u64 {
    let mut held = Vec::new();
    while (held.len() as u64) < LEAST {
        match io::stderr().as_fd().try_clone_to_owned() {
            Ok(copy) => held.push(copy),
            Err(error) if is_shortage(&error) => break,
            Err(_) => return LEAST,
        }
    }
    held.len() as u64
}

/// Whether something was refused because too many files are open.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// What helps, if this message is about too many open files.
#[must_use]
pub fn help_for(message: &str) -> Option<String> {
    // Libraries give some errors as text only.
    let names = |errno: Errno| {
        let system = io::Error::from(errno).to_string();
        message.contains(&system) || message.contains(&format!("{errno}"))
    };
    // One's text may be the beginning of the other's.
    [Errno::ENFILE, Errno::EMFILE].into_iter().find(|errno| names(*errno)).map(help)
}

fn help(errno: Errno) -> String {
    if errno == Errno::ENFILE {
        return "this machine has as many files open as it allows: \
                `sysctl fs.file-max` shows how many, and raises it"
            .to_owned();
    }
    let most = getrlimit(Resource::RLIMIT_NOFILE)
        .map_or_else(|_| "few".to_owned(), |(soft, _)| soft.to_string());
    format!(
        "at most {most} files may be open at once here; to allow more: `ulimit -n 4096` before \
         netmon (as root where the hard limit is lower), or LimitNOFILE=4096 in a systemd unit"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_known_by_its_text() {
        for text in [
            format!("cannot open it: {}", io::Error::from_raw_os_error(libc::EMFILE)),
            format!("cannot open it: {}", Errno::EMFILE),
        ] {
            let help = help_for(&text).unwrap();
            assert!(help.contains("ulimit -n") && help.contains("LimitNOFILE="), "{help}");
        }
        let machine = help_for(&io::Error::from_raw_os_error(libc::ENFILE).to_string()).unwrap();
        assert!(machine.contains("fs.file-max"), "{machine}");
        assert!(help_for(&Errno::ENFILE.to_string()).unwrap().contains("fs.file-max"));
        assert_eq!(help_for(&io::Error::from_raw_os_error(libc::EPERM).to_string()), None);
    }

    #[test]
    fn there_is_room_in_a_test() {
        assert_eq!(room(), LEAST);
    }
}
