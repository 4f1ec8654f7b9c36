//! What an object was built from: a list in the format of sha256sum(1), beside the object.
//!
//! ```text
//! # sources: <hash of the flags and of the lines of the sources>
//! # toolchain: rustc 1.96.0 …, bpf-linker 0.13.0
//! # flags: -Cdebuginfo=2 …
//! <hash>  netmon-common/Cargo.toml
//! …
//! <hash>  netmon-ebpf/prebuilt/netmon.bpf.o
//! ```
//! The object's own hash makes an object that was edited by hand, or committed without its
//! list, noticed. `sha256sum --check` in the checkout understands it too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{FLAGS, OBJECT, PREBUILT};
use crate::workspace::Workspace;

/// Files and folders that make the object, relative to the checkout.
const PARTS: [&str; 5] = [
    "netmon-common/Cargo.toml",
    "netmon-common/src",
    "netmon-ebpf/Cargo.lock",
    "netmon-ebpf/Cargo.toml",
    "netmon-ebpf/src",
];

/// The sources' hashes by their path in the checkout.
pub(super) struct Sources(BTreeMap<String, String>);

impl Sources {
    /// Reads and hashes the sources as they are now.
    pub(super) fn read(workspace: &Workspace) -> Result<Self> {
        let mut hashes = BTreeMap::new();
        for part in PARTS {
            add(workspace, &workspace.path(part), &mut hashes)?;
        }
        Ok(Self(hashes))
    }

    /// The list that belongs beside an object.
    pub(super) fn write(&self, object: &Path, toolchain: &str) -> Result<()> {
        let own = sha256(&fs::read(object)?);
        let flags = flags_line();
        let lines = self.lines();
        let all = sha256(format!("{flags}\n{lines}").as_bytes());
        let text = format!(
            "# sources: {all}\n# toolchain: {toolchain}\n{flags}\n{lines}{own}  {PREBUILT}/{OBJECT}\n"
        );
        let path = list_of(object);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    }

    /// What differs between the sources now and the list beside `object`, one sentence each.
    pub(super) fn differences(&self, object: &Path) -> Result<Vec<String>> {
        let text = read_list(object)?;
        let bytes = fs::read(object).with_context(|| format!("{}", object.display()))?;
        Ok(self.differ(&text, &sha256(&bytes)))
    }

    fn differ(&self, list: &str, object_hash: &str) -> Vec<String> {
        let mut listed: BTreeMap<&str, &str> = list
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once("  "))
            .map(|(hash, path)| (path, hash))
            .collect();
        let mut found = Vec::new();
        if listed.remove(&*format!("{PREBUILT}/{OBJECT}")) != Some(object_hash) {
            found.push("the object itself is not the one that was built".to_owned());
        }
        if !list.lines().any(|line| line == flags_line()) {
            found.push("the flags of the build have changed".to_owned());
        }
        for (path, hash) in &self.0 {
            match listed.remove(path.as_str()) {
                None => found.push(format!("{path} is new")),
                Some(then) if then != hash => found.push(format!("{path} has changed")),
                Some(_) => {}
            }
        }
        found.extend(listed.keys().map(|path| format!("{path} is gone")));
        found
    }

    fn lines(&self) -> String {
        let line = |(path, hash): (&String, &String)| format!("{hash}  {path}\n");
        self.0.iter().map(line).collect()
    }
}

/// The toolchain that built `object`, as its list says.
pub(super) fn toolchain_of(object: &Path) -> Result<String> {
    let list = read_list(object)?;
    list.lines()
        .find_map(|line| line.strip_prefix("# toolchain: "))
        .map(str::to_owned)
        .with_context(|| format!("{} names no toolchain", list_of(object).display()))
}

fn flags_line() -> String {
    format!("# flags: {}", FLAGS.join(" "))
}

fn list_of(object: &Path) -> PathBuf {
    let mut path = object.as_os_str().to_owned();
    path.push(".sources.sha256");
    path.into()
}

fn read_list(object: &Path) -> Result<String> {
    let path = list_of(object);
    fs::read_to_string(&path).with_context(|| {
        format!("{} cannot be read (run `cargo xtask build-ebpf`)", path.display())
    })
}

/// Adds a file, or every file below a folder except the hidden ones that editors leave.
fn add(workspace: &Workspace, path: &Path, hashes: &mut BTreeMap<String, String>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                add(workspace, &entry.path(), hashes)?;
            }
        }
        return Ok(());
    }
    let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    hashes.insert(workspace.display(path), sha256(&bytes));
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Sources {
        Sources(
            files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), sha256(text.as_bytes())))
                .collect(),
        )
    }

    fn list(of: &Sources, object: &str) -> String {
        let own = sha256(object.as_bytes());
        let flags = flags_line();
        format!("# sources: x\n{flags}\n{}{own}  {PREBUILT}/{OBJECT}\n", of.lines())
    }

    #[test]
    fn an_untouched_object_has_no_differences() {
        let then = sources(&[("a.rs", "1"), ("b.rs", "2")]);
        assert!(then.differ(&list(&then, "o"), &sha256(b"o")).is_empty());
    }

    #[test]
    fn each_kind_of_staleness_is_named() {
        let list = list(&sources(&[("a.rs", "1"), ("gone.rs", "2")]), "o");
        let now = sources(&[("a.rs", "changed"), ("new.rs", "3")]);
        let found = now.differ(&list, &sha256(b"edited"));
        assert_eq!(
            found,
            [
                "the object itself is not the one that was built",
                "a.rs has changed",
                "new.rs is new",
                "gone.rs is gone",
            ]
        );
    }

    #[test]
    fn changed_flags_are_staleness() {
        let then = sources(&[("a.rs", "1")]);
        let list = list(&then, "o").replace("debuginfo=2", "debuginfo=1");
        let found = then.differ(&list, &sha256(b"o"));
        assert_eq!(found, ["the flags of the build have changed"]);
    }
}
