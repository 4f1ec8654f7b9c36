//! What helps who lacks privileges. It depends on where netmon runs: `sudo` gives nothing to root,
//! nor in a user namespace, and nothing gives what a seccomp filter refuses.

use std::fs;

use caps::{CapSet, Capability};

use crate::privileges;

/// Where netmon runs, as far as that decides what it may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    /// In a user namespace that is not the first: its capabilities do not reach eBPF.
    user_namespace: bool,
    /// As user 0.
    root: bool,
    /// What is needed is there and has no effect.
    capable: bool,
    /// What is needed is out of reach for this process and all that it starts, sudo too.
    out_of_reach: bool,
    /// No program that this process starts gets more privileges than it has.
    no_new_privs: bool,
    /// A seccomp filter decides on system calls.
    seccomp: bool,
    /// The kernel keeps its secrets even from root (kernel_lockdown(7)).
    lockdown: bool,
}

/// Whether this process is in another user namespace than the first.
#[must_use]
pub fn in_user_namespace() -> bool {
    // Without /proc nobody knows, and the usual is likely.
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| is_of_user_namespace(&map))
}

/// What to do when the kernel refuses what needs these capabilities, before netmon gives any up.
#[must_use]
pub fn for_lack_of(needed: &[Capability]) -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let bound = |capability: &Capability| {
        caps::has_cap(None, CapSet::Bounding, *capability).unwrap_or(true)
    };
    let place = Place {
        user_namespace: in_user_namespace(),
        root: nix::unistd::geteuid().is_root(),
        capable: needed.iter().all(|capability| privileges::has(*capability)),
        out_of_reach: !needed.iter().all(bound),
        no_new_privs: field(&status, "NoNewPrivs:") == Some("1"),
        seccomp: field(&status, "Seccomp:") == Some("2"),
        lockdown: lockdown.contains("[confidentiality]"),
    };
    advice(place, needed)
}

/// By the text of `/proc/PID/uid_map` (user_namespaces(7)): the first one maps all users to
/// themselves.
fn is_of_user_namespace(map: &str) -> bool {
    !map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// proc_pid_status(5).
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn advice(place: Place, needed: &[Capability]) -> String {
    let names = |separator: &str, prefix: &str| {
        let names = needed.iter().map(|capability| {
            let name = capability.to_string();
            format!("{prefix}{}", name.strip_prefix("CAP_").unwrap_or(&name))
        });
        names.collect::<Vec<_>>().join(separator)
    };
    let add = names(" ", "--cap-add ");
    if place.user_namespace {
        return "netmon is in a user namespace, whose privileges the kernel does not take for its \
                own: run it outside (not in a rootless container, nor after `unshare --user`)"
            .to_owned();
    }
    if place.capable && place.seccomp {
        return format!(
            "netmon has the privileges, and a seccomp filter may be what refuses: in a container \
             start that with `{add}`, which Docker's filter heeds, or with \
             `--security-opt seccomp=unconfined`; in a systemd unit see SystemCallFilter="
        );
    }
    if place.capable && place.lockdown {
        return "netmon has the privileges, and the kernel is locked down (lockdown: \
                confidentiality): it has to be started without that"
            .to_owned();
    }
    if place.capable {
        return "netmon has the privileges, so something else refuses: a security module, or the \
                kernel's settings"
            .to_owned();
    }
    if place.root || place.out_of_reach {
        return format!(
            "what started netmon has taken the privilege away, and sudo does not give it back: \
             start a container with `{add}`, a systemd unit with {} in CapabilityBoundingSet=",
            names(" ", "CAP_")
        );
    }
    if place.no_new_privs {
        return "netmon was started where no program gets more privileges (no_new_privs), not even \
                sudo: start it elsewhere"
            .to_owned();
    }
    let exe = std::env::current_exe()
        .map_or_else(|_| "netmon".to_owned(), |path| path.display().to_string());
    // What setcap is to give is what counting needs.
    match needed.contains(&Capability::CAP_SYS_ADMIN)
        || needed.contains(&Capability::CAP_SYS_PTRACE)
    {
        true => "run it with sudo".to_owned(),
        false => format!(
            "run it with sudo, or once `sudo setcap cap_bpf,cap_perfmon,cap_net_admin+ep {exe}`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_own_help() {
        let needed = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN];
        let usual = Place::default();
        let cases = [
            (usual, "run it with sudo, or once `sudo setcap"),
            (Place { user_namespace: true, root: true, capable: true, ..usual }, "user namespace"),
            (Place { capable: true, seccomp: true, root: true, ..usual }, "seccomp"),
            (Place { capable: true, lockdown: true, root: true, ..usual }, "lockdown"),
            (Place { capable: true, root: true, ..usual }, "security module"),
            (Place { root: true, seccomp: true, ..usual }, "`--cap-add BPF --cap-add NET_ADMIN`"),
            (Place { out_of_reach: true, ..usual }, "CAP_BPF CAP_NET_ADMIN in Capability"),
            (Place { no_new_privs: true, ..usual }, "no_new_privs"),
        ];
        for (place, expected) in cases {
            let help = advice(place, &needed);
            assert!(help.contains(expected), "{place:?}: {help}");
            let has_sudo = help.contains("run it with sudo");
            assert_eq!(has_sudo, place == usual, "{place:?}: {help}");
        }
        assert_eq!(advice(usual, &[Capability::CAP_SYS_ADMIN]), "run it with sudo");
    }

    #[test]
    fn user_namespaces_by_their_map() {
        assert!(!is_of_user_namespace("         0          0 4294967295\n"));
        assert!(is_of_user_namespace("         0       1000          1\n"));
        assert!(is_of_user_namespace("0 0 1\n"));
        assert_eq!(field("A:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n", "Seccomp:"), Some("2"));
    }
}
