//! What the objects were built from: a list in the format of sha256sum(1), beside them.
//!
//! ```text
//! # sources: <hash of the flags and of the lines of the sources>
//! # toolchain: rustc 1.96.0 …, bpf-linker 0.13.0
//! # flags: -Cdebuginfo=2 …
//! <hash>  netmon-common/Cargo.toml
//! …
//! <hash>  netmon-ebpf/prebuilt/netmon.bpf.o
//! …
//! ```
//! The objects' own hashes make one that was edited by hand, or committed without the list,
//! noticed. `sha256sum --check` in the checkout understands it too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{FLAGS, OBJECTS, PREBUILT};
use crate::workspace::Workspace;

/// The list's file name.
const LIST: &str = "sources.sha256";

/// Files and folders that make the objects, relative to the checkout.
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

    /// Writes the list that belongs beside the objects in `folder`.
    pub(super) fn write(&self, folder: &Path, toolchain: &str) -> Result<()> {
        let flags = flags_line();
        let lines = self.lines();
        let all = sha256(format!("{flags}\n{lines}").as_bytes());
        let mut text = format!("# sources: {all}\n# toolchain: {toolchain}\n{flags}\n{lines}");
        for (path, hash) in hashes(folder)? {
            text.push_str(&format!("{hash}  {path}\n"));
        }
        let path = folder.join(LIST);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    }

    /// What differs between the sources now and the list beside the objects in `folder`, one
    /// sentence each.
    pub(super) fn differences(&self, folder: &Path) -> Result<Vec<String>> {
        Ok(self.differ(&read_list(folder)?, &hashes(folder)?))
    }

    fn differ(&self, list: &str, objects: &[(String, String)]) -> Vec<String> {
        let mut listed: BTreeMap<&str, &str> = list
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once("  "))
            .map(|(hash, path)| (path, hash))
            .collect();
        let mut found = Vec::new();
        for (path, hash) in objects {
            if listed.remove(path.as_str()) != Some(hash) {
                found.push(format!("{path} is not the one that was built"));
            }
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

/// The objects in `folder`: where each belongs in the checkout, and its hash.
fn hashes(folder: &Path) -> Result<Vec<(String, String)>> {
    let hash = |(_, file)| {
        let path = folder.join(file);
        let bytes = fs::read(&path).with_context(|| format!("{}", path.display()))?;
        Ok((format!("{PREBUILT}/{file}"), sha256(&bytes)))
    };
    OBJECTS.into_iter().map(hash).collect()
}

/// The toolchain that built the objects in `folder`, as their list says.
pub(super) fn toolchain_of(folder: &Path) -> Result<String> {
    let list = read_list(folder)?;
    list.lines()
        .find_map(|line| line.strip_prefix("# toolchain: "))
        .map(str::to_owned)
        .with_context(|| format!("{} names no toolchain", folder.join(LIST).display()))
}

fn flags_line() -> String {
    format!("# flags: {}", FLAGS.join(" "))
}

fn read_list(folder: &Path) -> Result<String> {
    let path = folder.join(LIST);
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

    fn objects(content: &str) -> Vec<(String, String)> {
        OBJECTS.map(|(_, file)| (format!("{PREBUILT}/{file}"), sha256(content.as_bytes()))).to_vec()
    }

    fn list(of: &Sources, content: &str) -> String {
        let flags = flags_line();
        let mut list = format!("# sources: x\n{flags}\n{}", of.lines());
        objects(content)
            .iter()
            .for_each(|(path, hash)| list.push_str(&format!("{hash}  {path}\n")));
        list
    }

    #[test]
    fn untouched_objects_have_no_differences() {
        let then = sources(&[("a.rs", "1"), ("b.rs", "2")]);
        assert!(then.differ(&list(&then, "o"), &objects("o")).is_empty());
    }

    #[test]
    fn each_kind_of_staleness_is_named() {
        let list = list(&sources(&[("a.rs", "1"), ("gone.rs", "2")]), "o");
        let now = sources(&[("a.rs", "changed"), ("new.rs", "3")]);
        let mut edited = objects("o");
        edited[1].1 = sha256(b"edited");
        let found = now.differ(&list, &edited);
        assert_eq!(
            found,
            [
                "netmon-ebpf/prebuilt/trace.bpf.o is not the one that was built",
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
        let found = then.differ(&list, &objects("o"));
        assert_eq!(found, ["the flags of the build have changed"]);
    }
}
