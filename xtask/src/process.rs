//! Running other programs: one way to say what is run, and what to make of its end.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// The command as one would type it, without its environment.
pub(crate) fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(name).chain(command.get_args()).map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if !word.is_empty() && !word.contains([' ', '\'', '"', '$', '*']) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs it to its end; anything but success is an error that names the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}`: {status}", describe(command));
    }
    Ok(())
}

/// Runs it to its end and leaves the judgement to the caller.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("`{}` could not be started", describe(command)))
}

/// What it prints on stdout; anything but success is an error with what it said on stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("`{}` could not be started", describe(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}`: {}: {}", describe(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs it to its end with each line of its stdout given to `line` as soon as it is there.
pub(crate) fn lines(command: &mut Command, mut line: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{}` could not be started", describe(command)))?;
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let mut bytes = Vec::new();
        while stdout.read_until(b'\n', &mut bytes)? > 0 {
            line(String::from_utf8_lossy(&bytes).trim_end_matches('\n'));
            bytes.clear();
        }
    }
    Ok(child.wait()?)
}

/// Runs a `cargo build` and returns the executable that it says it has made, instead of
/// guessing where that may be. `command` must build exactly one.
pub(crate) fn built_executable(command: &mut Command) -> Result<PathBuf> {
    let mut built = built_executables(command)?;
    let last = built.pop().map(|(_, path)| path);
    last.with_context(|| format!("`{}` has made no executable", describe(command)))
}

/// The same for several, each with the name of its target.
pub(crate) fn built_executables(command: &mut Command) -> Result<Vec<(String, PathBuf)>> {
    command.arg("--message-format=json-render-diagnostics");
    let mut executables = Vec::new();
    let status = lines(command, |line| {
        // The first name in a message is the target's.
        if let (Some(name), Some(path)) =
            (json_string(line, "name"), json_string(line, "executable"))
        {
            executables.push((name, PathBuf::from(path)));
        }
    })?;
    if !status.success() {
        bail!("`{}`: {status}", describe(command));
    }
    Ok(executables)
}

/// The string value of `key` in one line of cargo's JSON, or `None` when it is absent or null.
fn json_string(line: &str, key: &str) -> Option<String> {
    let start = line.find(&format!("\"{key}\":\""))? + key.len() + 4;
    let mut value = String::new();
    let mut chars = line[start..].chars();
    loop {
        match chars.next()? {
            '"' => return Some(value),
            '\\' => value.push(chars.next()?),
            other => value.push(other),
        }
    }
}

/// The first executable file of that name on `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| is_executable(path))
}

/// Whether the path names a file that may be executed.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether we run as root, told by the owner of our own entry in /proc (proc(5)).
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|meta| meta.uid() == 0)
}

/// Whether a continuous integration system runs us: `CI` is set, and not to nothing or `false`.
pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_executable_in_a_message_of_cargo() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"a-b"},"filenames":["/a"],"executable":"/a b\\\"c","x":1}"#;
        assert_eq!(json_string(line, "name").as_deref(), Some("a-b"));
        assert_eq!(json_string(line, "executable").as_deref(), Some(r#"/a b\"c"#));
        assert_eq!(json_string(r#"{"executable":null}"#, "executable"), None);
        assert_eq!(json_string(r#"{"reason":"build-finished"}"#, "executable"), None);
    }

    #[test]
    fn describes_a_command_as_one_would_type_it() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["xtask", "run", "--", "eth*", "it's"]);
        assert_eq!(describe(&command), r"cargo xtask run -- 'eth*' 'it'\''s'");
    }
}
