//! Picks the objects of netmon's kernel programs that the agent embeds.
//!
//! `NETMON_EBPF_OBJECTS` (a folder) wins, for trying objects that were just built; else they are
//! the ones kept in the tree. The agent includes `$OUT_DIR/<name>.bpf.o`, and finds the hash of
//! their sources in `NETMON_EBPF_SOURCES_SHA256` (`unknown` where no list lies beside them).

use std::path::{Path, PathBuf};
use std::{env, fs};

const KEPT: &str = "../netmon-ebpf/prebuilt";
const CHOICE: &str = "NETMON_EBPF_OBJECTS";
const OBJECTS: [&str; 3] = ["netmon.bpf.o", "trace.bpf.o", "traffic.bpf.o"];
/// The list that `cargo xtask build-ebpf` puts beside them.
const LIST: &str = "sources.sha256";

fn main() {
    println!("cargo::rerun-if-env-changed={CHOICE}");
    let chosen = env::var_os(CHOICE).filter(|path| !path.is_empty());
    let folder = chosen.clone().map_or_else(|| PathBuf::from(KEPT), PathBuf::from);
    let Some(out) = env::var_os("OUT_DIR") else {
        return println!("cargo::error=OUT_DIR is not set: build netmon with cargo");
    };
    for name in OBJECTS {
        let object = folder.join(name);
        println!("cargo::rerun-if-changed={}", object.display());
        if let Err(error) = fs::copy(&object, Path::new(&out).join(name)) {
            let path = object.display();
            let advice = if chosen.is_some() {
                format!(
                    "{CHOICE} names its folder: give an absolute path, or unset it for the kept objects"
                )
            } else {
                "restore it (git checkout -- netmon-ebpf/prebuilt) or build it (cargo xtask \
                 build-ebpf)"
                    .to_owned()
            };
            return println!("cargo::error=the eBPF object {path}: {error}: {advice}");
        }
    }
    let hash = sources_hash(&folder.join(LIST)).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=NETMON_EBPF_SOURCES_SHA256={hash}");
}

/// The line `# sources: <hash>` in the list.
fn sources_hash(list: &Path) -> Option<String> {
    let text = fs::read_to_string(list).ok()?;
    println!("cargo::rerun-if-changed={}", list.display());
    let hash = text.lines().find_map(|line| line.strip_prefix("# sources: "))?;
    Some(hash.trim().to_owned())
}
