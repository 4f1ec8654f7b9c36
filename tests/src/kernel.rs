//! What the running kernel has, by its version: the tests ask where kernels differ, and expect
//! of each what it must do. The oldest that they were run on is 6.1.

use std::sync::LazyLock;

use nix::sys::utsname::uname;

/// Something that a kernel has from a version on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What it is called.
    pub name: &'static str,
    /// The first version with it, major and minor.
    pub since: (u32, u32),
}

/// Programs at the TC hooks that are held by a link. Before, netmon takes clsact.
pub const TCX: Feature = Feature { name: "TCX", since: (6, 6) };
/// A link may be renamed while it is up.
pub const RENAME_WHILE_UP: Feature = Feature { name: "renaming while up", since: (6, 3) };
/// The kernel tells which drivers have native XDP (the netlink family "netdev").
pub const XDP_FEATURES: Feature = Feature { name: "the list of XDP features", since: (6, 3) };
/// What a socket has sent and received is told to those who trace it. Before, netmon's programs
/// stand at the ends of the kernel's functions.
pub const SOCKET_LENGTHS: Feature =
    Feature { name: "the tracepoint sock_send_length", since: (6, 3) };

/// What is sent while a link has no qdisc, as when one is added, is told as dropped.
pub const DROPS_WITHOUT_QDISC: Feature =
    Feature { name: "drops without a qdisc in tx_dropped", since: (6, 11) };

impl Feature {
    /// Whether the running kernel has it.
    #[must_use]
    pub fn is_here(&self) -> bool {
        *VERSION >= self.since
    }
}

/// Major and minor version of the running kernel.
static VERSION: LazyLock<(u32, u32)> = LazyLock::new(|| {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned());
    // None that we could not read: a test that needs something new then fails instead of passing.
    release.ok().and_then(|release| version(&release)).unwrap_or((u32::MAX, 0))
});

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What netmon must say on this kernel where it says `line` on one with TCX.
#[must_use]
pub fn said_here(line: &str) -> String {
    match TCX.is_here() {
        true => line.to_owned(),
        false => line.replace(TCX.name, "clsact"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_the_version() {
        assert_eq!(version("6.1.0-56-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("6.12.117+deb12-cloud-amd64"), Some((6, 12)));
        assert_eq!(version("7.0-rc1"), Some((7, 0)));
        assert_eq!(version("unknown"), None);
    }
}
