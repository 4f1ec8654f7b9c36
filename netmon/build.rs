//! Picks the object of netmon's kernel programs that the agent embeds.
//!
//! `NETMON_EBPF_OBJECT` (a path) wins, for trying an object that was just built; else it is
//! the one kept in the tree. The agent includes `$OUT_DIR/netmon.bpf.o`, and finds the hash of
//! the sources of it in `NETMON_EBPF_SOURCES_SHA256` (`unknown` where no list lies beside it).

use std::path::{Path, PathBuf};
use std::{env, fs};

const KEPT: &str = "../netmon-ebpf/prebuilt/netmon.bpf.o";
const CHOICE: &str = "NETMON_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={CHOICE}");
    let chosen = env::var_os(CHOICE).filter(|path| !path.is_empty());
    let object = chosen.clone().map_or_else(|| PathBuf::from(KEPT), PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());

    let Some(out) = env::var_os("OUT_DIR") else {
        return println!("cargo::error=OUT_DIR is not set: build netmon with cargo");
    };
    if let Err(error) = fs::copy(&object, Path::new(&out).join("netmon.bpf.o")) {
        let path = object.display();
        let advice = if chosen.is_some() {
            format!("{CHOICE} names it: give an absolute path, or unset it for the kept object")
        } else {
            "restore it (git checkout -- netmon-ebpf/prebuilt) or build it (cargo xtask \
             build-ebpf)"
                .to_owned()
        };
        return println!("cargo::error=the eBPF object {path}: {error}: {advice}");
    }
    let hash = sources_hash(&object).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=NETMON_EBPF_SOURCES_SHA256={hash}");
}

/// The line `# sources: <hash>` in the list that `cargo xtask build-ebpf` puts beside an object.
fn sources_hash(object: &Path) -> Option<String> {
    let mut list = object.as_os_str().to_owned();
    list.push(".sources.sha256");
    let text = fs::read_to_string(&list).ok()?;
    println!("cargo::rerun-if-changed={}", Path::new(&list).display());
    let hash = text.lines().find_map(|line| line.strip_prefix("# sources: "))?;
    Some(hash.trim().to_owned())
}
