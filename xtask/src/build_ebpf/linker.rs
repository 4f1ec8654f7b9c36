//! bpf-linker: found, or built from its source package against the LLVM that rustc uses.
//!
//! It reads rustc's LLVM bitcode, so it must know at least rustc's version of that.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::debian;
use super::toolchain::Kind;
use crate::process;
use crate::workspace::Workspace;

const VERSION: &str = "0.13.0";
/// What `bpf-linker --version` says.
pub(super) const NAME_AND_VERSION: &str = "bpf-linker 0.13.0";

/// What matters of a rustc here.
pub(super) struct Rustc {
    /// Its first line of `rustc --version`.
    pub(super) version: String,
    /// The major version of its LLVM.
    pub(super) llvm: u32,
}

impl Rustc {
    /// Asks a rustc who it is.
    pub(super) fn ask(rustc: &mut Command) -> Result<Self> {
        Self::parse(&process::output(rustc.arg("-vV"))?)
    }

    fn parse(text: &str) -> Result<Self> {
        let llvm = text
            .lines()
            .find_map(|line| line.strip_prefix("LLVM version: "))
            .and_then(|version| version.split('.').next()?.trim().parse().ok())
            .context("`rustc -vV` names no LLVM version")?;
        let version = text.lines().next().unwrap_or_default().trim().to_owned();
        Ok(Self { version, llvm })
    }
}

/// The bpf-linker for this rustc: our own build of it, else one on `PATH` of the right version.
pub(super) fn get(
    workspace: &Workspace,
    kind: Kind,
    rustc: &Rustc,
    install: bool,
) -> Result<PathBuf> {
    let root = workspace.target().join(format!("tools/bpf-linker-{VERSION}-llvm-{}", rustc.llvm));
    let own = root.join("bin/bpf-linker");
    if works(&own) {
        return Ok(own);
    }
    if let Some(path) = process::on_path("bpf-linker").filter(|path| works(path)) {
        return Ok(path);
    }
    let prefix = debian::llvm_prefix(rustc.llvm);
    let feature = format!("llvm-{}", rustc.llvm);
    let mut cargo = kind.program("cargo");
    cargo.args(["install", "bpf-linker", "--version", VERSION, "--locked"]);
    cargo.args(["--no-default-features", "--features", &feature]);
    if !install {
        bail!(
            "{NAME_AND_VERSION} is missing: run this with --install, or `LLVM_PREFIX={} {}` (it \
             needs the package llvm-{}-dev), or put a released one on PATH",
            prefix.display(),
            process::describe(&cargo),
            rustc.llvm
        );
    }
    debian::ensure_llvm(rustc.llvm, install)?;
    eprintln!("xtask: installing {NAME_AND_VERSION} into {}", root.display());
    cargo.env("LLVM_PREFIX", prefix).arg("--root").arg(&root);
    // A target folder that outlives a failed try, and is ours alone.
    cargo.env("CARGO_TARGET_DIR", workspace.target().join("tools/build"));
    process::run(cargo.arg("--quiet"))?;
    Ok(own)
}

/// Whether it runs (its LLVM may have gone) and is the version that we want.
fn works(linker: &std::path::Path) -> bool {
    process::is_executable(linker)
        && process::output(Command::new(linker).arg("--version"))
            .is_ok_and(|text| text.trim() == NAME_AND_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_llvm_version_of_rustc() -> Result<()> {
        let rustc = Rustc::parse("rustc 1.96.0 (ac68 2026-05-25)\nLLVM version: 22.1.8\n")?;
        assert_eq!(rustc.version, "rustc 1.96.0 (ac68 2026-05-25)");
        assert_eq!(rustc.llvm, 22);
        assert!(Rustc::parse("rustc 1.0\n").is_err());
        Ok(())
    }
}
