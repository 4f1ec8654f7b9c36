//! The processes of a container, found by the names of their control groups: Docker, Podman,
//! containerd and CRI-O have the container's id in them, each in its own way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::NamespaceError;
use crate::sources::cgroup::{self, container_of};

/// What `docker ps` and `podman ps` show of it.
const SHORT: usize = 12;

/// Whether an id can begin so.
pub(super) fn may_be_id(text: &str) -> bool {
    (SHORT..=cgroup::ID).contains(&text.len()) && cgroup::is_hexadecimal(text)
}

/// The living process with the lowest number in the container whose id begins so.
///
/// # Errors
/// When there is none, or another container's id begins so, too.
pub(super) fn process(proc: &Path, beginning: &str) -> Result<u32, NamespaceError> {
    let entries = fs::read_dir(proc)
        .map_err(|error| NamespaceError::Unreadable("/proc", error.to_string()))?;
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    for entry in entries.flatten() {
        let process = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(process) = process else { continue };
        // One that has ended meanwhile has no such file.
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let Some(id) = container_of(&groups).filter(|id| id.starts_with(beginning)) else {
            continue;
        };
        if is_alive(&entry.path()) {
            let lowest = found.entry(id.to_owned()).or_insert(process);
            *lowest = process.min(*lowest);
        }
    }
    let mut processes = found.into_values();
    match (processes.next(), processes.next()) {
        (Some(process), None) => Ok(process),
        (Some(_), Some(_)) => Err(NamespaceError::Ambiguous(beginning.to_owned())),
        (None, _) => Err(NamespaceError::NoContainer(beginning.to_owned())),
    }
}

/// A zombie is in its control group, and in no namespace.
fn is_alive(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    // The name, in brackets, may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f1c2d4e5b6a79880123456789abcdef3f1c2d4e5b6a79880123456789abcdef";
    const OTHER: &str = "3f1c2d4e5b6a7988ffffffffffffffff3f1c2d4e5b6a79880123456789abcdef";

    #[test]
    fn ids_as_each_runtime_writes_them() {
        for shape in [
            // Docker: cgroup v1, v2 by systemd, v2 by itself, systemd inside.
            "12:pids:/docker/ID\n11:memory:/docker/ID\n0::/",
            "0::/system.slice/docker-ID.scope",
            "0::/docker/ID",
            "0::/system.slice/docker-ID.scope/init.scope",
            // Kubernetes with containerd: by systemd, by itself, and with the two mixed up.
            "0::/kubepods.slice/kubepods-burstable.slice/\
             kubepods-burstable-pod1b2c3d4e_0000_4000_8000_0123456789ab.slice/\
             cri-containerd-ID.scope",
            "0::/kubepods/besteffort/pod1b2c3d4e-0000-4000-8000-0123456789ab/ID",
            "0::/system.slice/containerd.service/\
             kubepods-pod1b2c3d4e_0000_4000_8000_0123456789ab.slice:cri-containerd:ID",
            // CRI-O, also with the group that it makes inside.
            "0::/kubepods.slice/kubepods-pod1b2c.slice/crio-ID.scope",
            "0::/kubepods.slice/kubepods-pod1b2c.slice/crio-ID.scope/container",
            // Podman: root, a user's, with crun's group inside, with conmon split off.
            "0::/machine.slice/libpod-ID.scope",
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            "0::/system.slice/web.service/libpod-payload-ID",
            // nerdctl.
            "0::/system.slice/nerdctl-ID.scope",
            "0::/default/ID",
            // A container within another.
            "0::/docker/OTHER/docker/ID",
        ] {
            let text = shape.replace("ID", ID).replace("OTHER", OTHER);
            assert_eq!(container_of(&text), Some(ID), "{text}");
        }
    }

    #[test]
    fn what_is_in_no_container() {
        for shape in [
            "0::/",
            "0::/user.slice/user-1000.slice/session-1.scope",
            "0::/system.slice/docker.service",
            "0::/machine.slice/libpod-conmon-ID.scope",
            "0::/system.slice/crio-conmon-ID.scope",
            // Longer, upper case, not hexadecimal, and not on the edge of a character.
            "0::/docker/aID",
            "0::/docker/A3F1C2D4E5B6A79880123456789ABCDEF3F1C2D4E5B6A79880123456789ABCD",
            "0::/docker/g3f1c2d4e5b6a79880123456789abcdef3f1c2d4e5b6a79880123456789abcd",
            "0::/ä3f1c2d4e5b6a79880123456789abcdef3f1c2d4e5b6a79880123456789abcde",
            "no control group",
            "",
        ] {
            let text = shape.replace("ID", ID);
            assert_eq!(container_of(&text), None, "{text}");
        }
    }

    #[test]
    fn the_first_living_process_of_the_one_container() {
        let proc = std::env::temp_dir().join(format!("nmt-proc-{}", std::process::id()));
        let add = |pid: &str, id: &str, state: &str| {
            fs::create_dir_all(proc.join(pid)).unwrap();
            fs::write(proc.join(pid).join("cgroup"), format!("0::/docker/{id}\n")).unwrap();
            fs::write(proc.join(pid).join("stat"), format!("{pid} (a) Z b) {state} 1\n")).unwrap();
        };
        add("7", ID, "Z");
        add("100", ID, "S");
        add("20", ID, "R");
        add("5", OTHER, "S");
        add("self", ID, "S");
        fs::create_dir(proc.join("3")).unwrap();
        let found = [&ID[..20], &ID[..12], "0123456789ab"].map(|part| process(&proc, part));
        fs::remove_dir_all(&proc).unwrap();
        assert_eq!(found[0], Ok(20));
        assert_eq!(found[1], Err(NamespaceError::Ambiguous(ID[..12].to_owned())));
        assert_eq!(found[2], Err(NamespaceError::NoContainer("0123456789ab".to_owned())));
    }
}
