//! What a control group is called in a few characters: the systemd unit or container in its path.
//! Pure.

/// What the names of container runtimes' groups begin with, and what is shown for them.
const RUNTIMES: [(&str, &str); 5] = [
    ("docker-", "docker"),
    ("libpod-", "podman"),
    ("cri-containerd-", "containerd"),
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
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    // The innermost: a container in a container is the one that is meant.
    let container = parts.iter().enumerate().rev().find_map(|(index, part)| {
        container(part, index.checked_sub(1).map_or("", |before| parts[before]))
    });
    let unit = |part: &&&str| part.ends_with(".service") || part.ends_with(".scope");
    container
        .or_else(|| parts.iter().rev().find(unit).map(|unit| unescaped(unit)))
        .or_else(|| parts.last().map(|last| unescaped(last)))
}

/// `docker 0123456789ab` and the like.
fn container(part: &str, parent: &str) -> Option<String> {
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some(format!("lxc {name}"));
    }
    let bare = part.strip_suffix(".scope").unwrap_or(part);
    for (prefix, runtime) in RUNTIMES {
        if let Some(id) = bare.strip_prefix(prefix).filter(|id| is_id(id)) {
            return Some(format!("{runtime} {}", &id[..ID]));
        }
    }
    let runtime = match parent {
        "docker" => "docker",
        "libpod_parent" => "podman",
        _ => "container",
    };
    is_id(bare).then(|| format!("{runtime} {}", &bare[..ID]))
}

/// 64 hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
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
}
