//! What a process under test may do.

use std::{io, os::unix::process::CommandExt, process::Command};

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
    /// `CAP_BPF`.
    pub const BPF: Self = Self(39);
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
const NOBODY: u32 = 65_534;

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
