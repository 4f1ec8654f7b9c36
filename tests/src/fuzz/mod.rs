//! A fuzz target for each parser of what comes from outside. libFuzzer runs them
//! (`cargo xtask fuzz`), and so do the ordinary tests (tests/fuzz.rs), over the kept seeds in
//! `fuzz/corpus/<target>` and over changes of them.
//!
//! A target is a function that panics when the parser is wrong: not only when it panics itself,
//! but also when what it gives cannot be. It returns whether the input was understood, so that
//! a test can tell good seeds from noise. A new target is a file here and a line in [`TARGETS`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

mod btf;
mod config;
mod filter;
mod flow_key;
mod links;
pub mod mutate;
mod names;
mod process;
mod prompt;
mod protocol;
mod queues;
mod result;
pub mod segments;
mod statistics;
mod sysfs;
mod xdp_features;

/// A target: panics when the parser is wrong, and returns whether the input was understood.
pub type Target = fn(&[u8]) -> bool;

/// Every target. The name is that of the folder of its seeds, too.
pub const TARGETS: &[(&str, Target)] = &[
    ("btf", btf::target),
    ("cgroups", process::cgroups),
    ("config", config::target),
    ("flow_key", flow_key::target),
    ("filter", filter::target),
    ("links", links::target),
    ("names", names::target),
    ("passwd", process::passwd),
    ("prompt", prompt::target),
    ("protocol", protocol::target),
    ("queues", queues::target),
    ("result", result::target),
    ("segments", segments::target),
    ("stat", process::stat),
    ("statistics", statistics::target),
    ("sysfs", sysfs::target),
    ("tick", result::tick),
    ("xdp_features", xdp_features::target),
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// Where the kept seeds are, a folder for each target.
#[must_use]
pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The kept seeds of a target, with their names, in the order of these.
///
/// # Errors
/// When they cannot be read.
pub fn seeds(name: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = corpus().join(name);
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let seed = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        let content = fs::read(entry.path())?;
        Ok((entry.file_name().to_string_lossy().into_owned(), content))
    };
    let mut seeds = entries.map(seed).collect::<Result<Vec<_>>>()?;
    seeds.sort();
    Ok(seeds)
}
