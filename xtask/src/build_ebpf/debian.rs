//! Debian's Rust (12's security archive and later): the only one that ships a core library for
//! the kernel's target, so that nothing of std is built and no nightly is needed.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::apt;
use crate::process;

/// Where Debian puts programs; what rustup puts before them on `PATH` is of another version.
pub(super) const BIN: &str = "/usr/bin";
/// Its own `cargo clippy`.
pub(super) const CARGO_CLIPPY: &str = "/usr/bin/cargo-clippy";
/// What its cargo needs: its own rustc, and leave to build for a target without a stable ABI.
pub(super) const ENVIRONMENT: [(&str, &str); 3] =
    [("CARGO", "/usr/bin/cargo"), ("RUSTC", "/usr/bin/rustc"), ("RUSTC_BOOTSTRAP", "1")];

/// Packages, each with a path that tells that it is there.
const PACKAGES: [(&str, &str); 4] = [
    ("rustc-web", "/usr/bin/rustc"),
    ("cargo-web", "/usr/bin/cargo"),
    ("rust-web-clippy", CARGO_CLIPPY),
    ("libstd-rust-web-dev-bpf", "/usr/lib/rustlib/bpfel-unknown-none/lib"),
];

/// The packages of the compiler that are not installed.
pub(super) fn missing() -> Vec<String> {
    PACKAGES
        .iter()
        .filter(|(_, path)| !Path::new(path).exists())
        .map(|(package, _)| (*package).to_owned())
        .collect()
}

/// Sees to it that the compiler's packages are installed.
pub(super) fn complete(install: bool) -> Result<()> {
    ensure_packages(&missing(), install)
}

/// The folder of an LLVM of Debian's, with its headers and programs.
pub(super) fn llvm_prefix(major: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{major}"))
}

/// Sees to it that the headers and programs of LLVM are installed.
pub(super) fn ensure_llvm(major: u32, install: bool) -> Result<()> {
    if llvm_prefix(major).join("bin/llvm-config").exists() {
        return Ok(());
    }
    ensure_packages(&[format!("llvm-{major}-dev")], install)
}

/// `llvm-objcopy` of the LLVM that rustc uses.
pub(super) fn objcopy(major: u32) -> Result<PathBuf> {
    let path = llvm_prefix(major).join("bin/llvm-objcopy");
    ensure!(
        process::is_executable(&path),
        "{} is missing: run `apt-get install llvm-{major}`",
        path.display()
    );
    Ok(path)
}

fn ensure_packages(packages: &[String], install: bool) -> Result<()> {
    let else_how = "or this with --install; where it is not packaged, use --toolchain rustup";
    apt::ensure_packages(packages, install, else_how)
}
