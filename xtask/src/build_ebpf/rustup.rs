//! Rustup's nightly with rust-src: aya's usual set-up, which builds the core library itself.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::toolchain::Kind;
use crate::process;

/// `-Zbuild-std` is nightly's.
pub(super) const CHANNEL: &str = "nightly";

/// The command that installs what is missing, or `None` when all is there.
pub(super) fn missing() -> Option<String> {
    let there = core_sources().is_ok_and(|dir| dir.join("library/core").is_dir());
    let install = format!("rustup toolchain install {CHANNEL} --component rust-src");
    (!there).then_some(install)
}

/// Where the component rust-src puts the core library's sources.
pub(super) fn core_sources() -> Result<PathBuf> {
    Ok(sysroot()?.join("lib/rustlib/src/rust"))
}

/// The objcopy that comes with rustc (1.82 and later).
pub(super) fn objcopy() -> Result<PathBuf> {
    let host = host()?;
    let path = sysroot()?.join(format!("lib/rustlib/{host}/bin/rust-objcopy"));
    ensure!(
        process::is_executable(&path),
        "{} is missing: update the toolchain with `rustup update {CHANNEL}`",
        path.display()
    );
    Ok(path)
}

fn host() -> Result<String> {
    let text = process::output(rustc().arg("-vV"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc -vV names no host")
}

fn sysroot() -> Result<PathBuf> {
    let text = process::output(rustc().args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(text.trim()))
}

fn rustc() -> Command {
    Kind::Rustup.program("rustc")
}
