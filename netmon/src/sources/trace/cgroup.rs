//! What a control group is called in a few characters: the systemd unit or container in its path.
//! Pure.

use crate::sources::cgroup::{self, groups};

/// What is before the id in the names of container runtimes' groups, and what is shown for them.
const RUNTIMES: [(&str, &str); 7] = [
    ("docker-", "docker"),
    ("libpod-", "podman"),
    ("libpod-payload-", "podman"),
    ("cri-containerd-", "containerd"),
    ("cri-containerd:", "containerd"),
    ("crio-", "cri-o"),
    ("nerdctl-", "nerdctl"),
];
/// As many digits of a container's id as their own tools show.
const ID: usize = 12;

/// The name for a path (or the last part of one); `None` for the root.
///
/// ```
/// use netmon::sources::trace::cgroup::name;
/// assert_eq!(name("/system.slice/nginx.service").as_deref(), Some("nginx.service"));
/// assert_eq!(name("/"), None);
/// ```
#[must_use]
pub fn name(path: &str) -> Option<String> {
    let parts = || path.split('/').filter(|part| !part.is_empty());
    let unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    container(path)
        .or_else(|| parts().rfind(unit).map(unescaped))
        .or_else(|| parts().next_back().map(unescaped))
}

/// The name for a process, by the text of its `/proc/PID/cgroup`. A container is looked for in
/// all hierarchies: with those of version 1, version 2's path may be `/`. Else version 2's path
/// counts, and without it systemd's of version 1.
#[must_use]
pub fn name_of_process(text: &str) -> Option<String> {
    let version_2 = || groups(text).find(|group| group.is_version_2);
    let systemd = || groups(text).find(|group| group.controllers == "name=systemd");
    let all = version_2().into_iter().chain(groups(text));
    let container = all.map(|group| group.path).find_map(container);
    container
        .or_else(|| version_2().and_then(|group| name(group.path)))
        .or_else(|| systemd().and_then(|group| name(group.path)))
}

/// `docker 0123456789ab` and the like, if a container is in the path: of several the innermost,
/// which is the one that is meant.
fn container(path: &str) -> Option<String> {
    let mut parts = path.rsplit('/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        if let Some(name) = part.strip_prefix("lxc.payload.") {
            return Some(format!("lxc {name}"));
        }
        if let Some((before, id)) = cgroup::container(part) {
            let runtime = match (before, parts.peek()) {
                ("", Some(&"docker")) => "docker",
                ("", Some(&"libpod_parent")) => "podman",
                _ => runtime(before),
            };
            return Some(format!("{runtime} {}", &id[..ID]));
        }
    }
    None
}

fn runtime(before: &str) -> &'static str {
    let found = RUNTIMES.iter().find(|(ending, _)| {
        before.strip_suffix(ending).is_some_and(|rest| rest.is_empty() || rest.ends_with(':'))
    });
    found.map_or("container", |(_, runtime)| runtime)
}

/// systemd writes what may not stand in a unit's name as `\x2d`.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        plain.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|byte| byte.is_ascii_graphic()) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &after[2..];
            }
            None => {
                plain.push_str("\\x");
                rest = after;
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_containers() {
        let id = "0123456789abcdef".repeat(4);
        let cases = [
            ("", None),
            ("/", None),
            ("/system.slice/nginx.service", Some("nginx.service")),
            ("/system.slice/foo.service/main", Some("foo.service")),
            ("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope")),
            ("/user.slice", Some("user.slice")),
            (r"/system.slice/system-a\x2db.slice/x\x2dy@1.service", Some("x-y@1.service")),
            (r"\x2", Some(r"\x2")),
            (r"\x00\x2d", Some(r"\x00-")),
            ("/lxc.payload.web/system.slice/a.service", Some("lxc web")),
        ];
        for (path, expected) in cases {
            assert_eq!(name(path).as_deref(), expected, "{path}");
        }
        let containers = [
            (format!("/system.slice/docker-{id}.scope"), "docker 0123456789ab"),
            (format!("/docker/{id}"), "docker 0123456789ab"),
            (format!("/kubepods.slice/x/cri-containerd-{id}.scope"), "containerd 0123456789ab"),
            (format!("/kubepods/besteffort/pod1/{id}"), "container 0123456789ab"),
            (format!("/docker/{id}/system.slice/a.service"), "docker 0123456789ab"),
        ];
        for (path, expected) in containers {
            assert_eq!(name(&path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_process_in_hierarchies_of_both_versions() {
        let id = "0123456789abcdef".repeat(4);
        let cases = [
            // Version 1, hybrid, and version 2.
            ("12:pids:/docker/ID\n11:memory:/docker/ID\n1:name=systemd:/docker/ID\n", "docker"),
            ("12:pids:/docker/ID\n1:name=systemd:/docker/ID\n0::/\n", "docker"),
            ("3:pids:/x\n1:name=systemd:/init.scope\n0::/system.slice/docker-ID.scope\n", "docker"),
            ("4:memory:/kubepods/pod1/ID\n1:name=systemd:/\n0::/a.service\n", "container"),
            ("2:cpu:/machine.slice/libpod-ID.scope\n0::/\n", "podman"),
            ("0::/s.service/kubepods-pod1.slice:cri-containerd:ID\n", "containerd"),
        ];
        for (text, runtime) in cases {
            let text = text.replace("ID", &id);
            let expected = format!("{runtime} 0123456789ab");
            assert_eq!(name_of_process(&text), Some(expected), "{text}");
        }
        let both =
            "12:cpu:/a\n1:name=systemd:/system.slice/old.service\n0::/system.slice/new.service\n";
        assert_eq!(name_of_process(both).as_deref(), Some("new.service"));
        let hybrid = "1:name=systemd:/system.slice/old.service\n0::/\n";
        assert_eq!(name_of_process(hybrid).as_deref(), Some("old.service"));
        assert_eq!(name_of_process("0::/\n"), None);
        assert_eq!(name_of_process(""), None);
        let conmon = format!("0::/machine.slice/libpod-conmon-{id}.scope\n");
        assert_eq!(name_of_process(&conmon), Some(format!("libpod-conmon-{id}.scope")));
    }
}
