//! This xtask as cargo's `RUSTC_WRAPPER`: rustc, with one argument made the same everywhere.
//!
//! Cargo derives `-C metadata` of a crate from the absolute path of the path dependencies
//! outside its workspace (netmon-common, for netmon-ebpf), and rustc writes it into the names of
//! the object's local functions. So the same sources in another folder would give another object.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

/// Set where the wrapper is wanted.
const SWITCH: &str = "NETMON_XTASK_RUSTC_WRAPPER";
/// Packages whose metadata is ours to set: those that are not from a registry.
const OURS: [&str; 2] = ["netmon-common", "netmon-ebpf"];
const METADATA: &str = "metadata=";

/// Has cargo call this program as rustc's wrapper.
pub(super) fn set_up(cargo: &mut Command) -> Result<()> {
    let xtask = env::current_exe().context("the path of this program is not known")?;
    cargo.env("RUSTC_WRAPPER", xtask).env(SWITCH, "1");
    Ok(())
}

/// When called as the wrapper, becomes rustc; returns only without that, or with an error.
pub(crate) fn become_rustc() -> Result<()> {
    if env::var_os(SWITCH).is_none() {
        return Ok(());
    }
    let mut args = env::args_os().skip(1);
    let rustc = args.next().context("called as rustc's wrapper, without a rustc")?;
    let package = env::var("CARGO_PKG_NAME").unwrap_or_default();
    let error = Command::new(&rustc).args(args.map(|arg| same_everywhere(arg, &package))).exec();
    Err(error).with_context(|| format!("{} could not be started", rustc.display()))
}

/// `metadata=<hash>` without what depends on the folder, for packages of ours.
fn same_everywhere(arg: OsString, package: &str) -> OsString {
    let is_metadata = arg.to_str().is_some_and(|arg| arg.starts_with(METADATA));
    if is_metadata && OURS.contains(&package) {
        return format!("{METADATA}{package}").into();
    }
    arg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_metadata_is_replaced() {
        for (arg, package, expected) in [
            ("metadata=12ab", "netmon-ebpf", "metadata=netmon-ebpf"),
            ("metadata=12ab", "aya-ebpf", "metadata=12ab"),
            ("opt-level=3", "netmon-ebpf", "opt-level=3"),
        ] {
            assert_eq!(same_everywhere(arg.into(), package), expected);
        }
    }
}
