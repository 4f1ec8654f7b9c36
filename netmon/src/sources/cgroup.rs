//! Control groups (cgroups(7)): which ones a process is in, by the text of `/proc/PID/cgroup`,
//! which container that is, and how much memory they allow.

use std::fs;
use std::path::{Path, PathBuf};

/// An id of a container: SHA-256, or as random and as long.
pub const ID: usize = 64;

/// The paths of the control groups that a process is in: version 2's, and those of each
/// hierarchy of version 1, of which there may be none, or both kinds.
pub fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (hierarchy, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Group { is_version_2: hierarchy == "0", controllers, path })
    })
}

/// A control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// Of the one hierarchy of version 2.
    pub is_version_2: bool,
    /// What version 1's hierarchy controls, separated by commas; `name=systemd` for systemd's.
    pub controllers: &'a str,
    /// Its path in its hierarchy.
    pub path: &'a str,
}

/// The id in one part of a control group's path, and what is before it: `<id>`,
/// `docker-<id>.scope`, `cri-containerd-<id>.scope`, `libpod-<id>.scope`,
/// `…slice:cri-containerd:<id>`. `None`: it is no container's.
#[must_use]
pub fn container(part: &str) -> Option<(&str, &str)> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let (before, id) = part.split_at_checked(part.len().checked_sub(ID)?)?;
    // A conmon watches its container from outside.
    let is_inside = !before.ends_with("conmon-");
    let is_apart = before.is_empty() || before.ends_with(['-', ':']);
    (is_inside && is_apart && is_hexadecimal(id)).then_some((before, id))
}

/// The id of the container that a process is in. In a container within a container it is the
/// inner one.
#[must_use]
pub fn container_of(text: &str) -> Option<&str> {
    groups(text).find_map(|group| group.path.rsplit('/').find_map(container)).map(|(_, id)| id)
}

/// Whether it may be a part of an id.
#[must_use]
pub fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The memory that this process's control group may use, in bytes: the least of what it and the
/// groups above it are allowed, as far as they can be seen. `None`: as much as there is.
///
/// `proc` is `/proc`, or what is read in its place.
#[must_use]
pub fn memory_limit(proc: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(proc.join(name)).unwrap_or_default();
    let (groups_text, mounts) = (read("self/cgroup"), read("self/mountinfo"));
    let limits = mounts.lines().filter_map(|line| {
        let Hierarchy { root, mounted, is_version_2 } = hierarchy(line)?;
        let is_it = |group: &Group<'_>| match is_version_2 {
            true => group.is_version_2,
            false => group.controllers.split(',').any(|it| it == "memory"),
        };
        let group = groups(&groups_text).find(is_it)?;
        let name = if is_version_2 { "memory.max" } else { "memory.limit_in_bytes" };
        // Of a path that is not below what is mounted, what is mounted is all that can be seen.
        let below = Path::new(group.path).strip_prefix(root).unwrap_or(Path::new(""));
        // What has no limit says `max`, or has no such file.
        let limit = |group: &Path| {
            fs::read_to_string(mounted.join(group).join(name)).ok()?.trim().parse::<u64>().ok()
        };
        below.ancestors().filter_map(limit).min()
    });
    limits.min()
}

/// A hierarchy that is mounted and may limit memory.
struct Hierarchy<'a> {
    /// The control group that is seen at the mount point.
    root: &'a str,
    mounted: PathBuf,
    is_version_2: bool,
}

/// By a line of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
fn hierarchy(line: &str) -> Option<Hierarchy<'_>> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, mounted) = (mount.next()?, PathBuf::from(mount.next()?));
    let mut kind = kind.split(' ');
    let (name, options) = (kind.next()?, kind.nth(1)?);
    let is_version_2 = name == "cgroup2";
    let is_wanted =
        is_version_2 || (name == "cgroup" && options.split(',').any(|it| it == "memory"));
    is_wanted.then_some(Hierarchy { root, mounted, is_version_2 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that is removed when this is dropped, with these files.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root =
                std::env::temp_dir().join(format!("nmt-cgroup-{name}-{}", std::process::id()));
            for (path, content) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content.replace("ROOT", root.to_str().unwrap())).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_least_limit_of_all_groups_above() {
        const MOUNT: &str = "30 25 0:26 / ROOT/fs rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        let files = [
            ("self/mountinfo", MOUNT),
            ("self/cgroup", "0::/a.slice/b.service\n"),
            ("fs/a.slice/memory.max", "67108864\n"),
            ("fs/a.slice/b.service/memory.max", "max\n"),
        ];
        let tree = Tree::new("v2", &files);
        assert_eq!(memory_limit(&tree.0), Some(64 << 20));
        fs::write(tree.0.join("fs/a.slice/b.service/memory.max"), "1048576\n").unwrap();
        assert_eq!(memory_limit(&tree.0), Some(1 << 20));
        fs::write(tree.0.join("self/cgroup"), "0::/c\n").unwrap();
        assert_eq!(memory_limit(&tree.0), None);
        assert_eq!(memory_limit(&tree.0.join("none")), None);
    }

    /// In a container the path is the host's, and only the container's own group is mounted.
    #[test]
    fn version_1_in_a_container() {
        let mounts = "40 36 0:30 /docker/x ROOT/memory ro - cgroup cgroup rw,memory\n\
                      41 36 0:31 /docker/x ROOT/pids ro - cgroup cgroup rw,pids\n\
                      42 36 0:32 / ROOT/unified ro - cgroup2 cgroup2 rw\n";
        let files = [
            ("self/mountinfo", mounts),
            ("self/cgroup", "9:pids:/docker/x\n4:memory:/docker/x/in\n0::/\n"),
            ("memory/memory.limit_in_bytes", "33554432\n"),
            ("memory/in/memory.limit_in_bytes", "9223372036854771712\n"),
            ("pids/memory.limit_in_bytes", "1\n"),
        ];
        let tree = Tree::new("v1", &files);
        assert_eq!(memory_limit(&tree.0), Some(32 << 20));
        // With a control group namespace the path is seen from there.
        fs::write(tree.0.join("self/cgroup"), "4:memory:/\n0::/\n").unwrap();
        assert_eq!(memory_limit(&tree.0), Some(32 << 20));
    }

    #[test]
    fn groups_of_both_versions() {
        let text = "12:cpu,cpuacct:/a:b\n1:name=systemd:/c\nnonsense\n0::/d\n";
        let found: Vec<_> =
            groups(text).map(|group| (group.is_version_2, group.controllers, group.path)).collect();
        let expected =
            [(false, "cpu,cpuacct", "/a:b"), (false, "name=systemd", "/c"), (true, "", "/d")];
        assert_eq!(found, expected);
    }
}
