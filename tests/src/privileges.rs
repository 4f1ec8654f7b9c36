//! What a process under test may do.

use std::{fs, io, os::unix::process::CommandExt, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use nix::{errno::Errno, unistd::geteuid};

/// Whether the tests themselves run as root.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// A capability by its number in `linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(u8);

impl Capability {
    /// `CAP_NET_ADMIN`.
    pub const NET_ADMIN: Self = Self(12);
    /// `CAP_SYS_ADMIN`, which for eBPF stands for the narrower ones too.
    pub const SYS_ADMIN: Self = Self(21);
    /// `CAP_PERFMON`.
    pub const PERFMON: Self = Self(38);
    /// `CAP_BPF`.
    pub const BPF: Self = Self(39);
}

/// The capabilities of a process or thread, by its folder in /proc: inheritable, permitted,
/// effective and ambient, a bit for each number.
///
/// # Errors
/// When it is gone, or may get more than these by exec(2): it lacks no_new_privs.
pub fn held(by: &Path) -> Result<[u64; 4]> {
    let status = fs::read_to_string(by.join("status"))?;
    ensure!(status.contains("NoNewPrivs:\t1"), "{status}");
    let mut sets = [0; 4];
    for (set, name) in sets.iter_mut().zip(["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"]) {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context(name)?;
        *set = u64::from_str_radix(line.trim(), 16)?;
    }
    Ok(sets)
}

/// What a process is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privileges {
    /// Those of the tests: root.
    Full,
    /// Root's user id with all capabilities but these.
    Without(&'static [Capability]),
    /// Root's user id without any capability.
    NoCapability,
    /// The user `nobody`.
    Nobody,
}

/// The user and group id that Linux distributions give to `nobody`.
pub const NOBODY: u32 = 65_534;

impl Capability {
    /// Its bit in [`held`].
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self.0
    }
}

impl Privileges {
    /// Makes `command` start with these.
    pub(crate) fn apply(self, command: &mut Command) {
        let dropped: Option<&'static [Capability]> = match self {
            Self::Full => return,
            Self::Nobody => {
                command.uid(NOBODY).gid(NOBODY);
                return;
            }
            Self::NoCapability => None,
            Self::Without(capabilities) => Some(capabilities),
        };
        // SAFETY: between fork and exec only prctl(2) is called, and no memory is allocated.
        unsafe {
            command.pre_exec(move || match dropped {
                None => drop_all(),
                Some(capabilities) => {
                    capabilities.iter().try_for_each(|&capability| drop_bound(capability))
                }
            });
        }
    }
}

/// Takes a capability from the bounding set, and with it from root's after exec(2).
fn drop_bound(Capability(number): Capability) -> io::Result<()> {
    // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
    let result =
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
    Ok(Errno::result(result).map(drop)?)
}

fn drop_all() -> io::Result<()> {
    for number in 0..64 {
        match drop_bound(Capability(number)) {
            // The first number that this kernel has no capability for.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}
