//! What procfs and /etc/passwd say of a process and its user.

use netmon::sources::trace::{cgroup, proc, users};

/// The control groups of a process: a name without anything that a terminal would obey.
pub(super) fn cgroups(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let Some(name) = cgroup::name_of_process(&text) else { return false };
    assert!(!name.is_empty() && !name.contains('\n'), "{name:?}");
    assert!(name.chars().count() <= text.chars().count(), "{name:?} is longer");
    true
}

/// Users: every name stands before its number.
pub(super) fn passwd(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let names = users::parse(&text);
    for (uid, name) in &names {
        assert!(!name.is_empty() && !name.contains([':', '\n']), "{uid} {name:?}");
        let begins = |line: &str| line.starts_with(&format!("{name}:"));
        assert!(text.lines().any(begins), "{uid} {name:?}");
    }
    !names.is_empty()
}

/// When a process was started; and its command line, of the same bytes.
pub(super) fn stat(data: &[u8]) -> bool {
    if let Some(command) = proc::command(data) {
        assert!(!command.is_empty() && !command.contains(char::is_control), "{command:?}");
    }
    let Some(ticks) = proc::start_ticks(data) else { return false };
    let digits = ticks.to_string();
    assert!(String::from_utf8_lossy(data).contains(&digits), "{ticks} is not in it");
    true
}
