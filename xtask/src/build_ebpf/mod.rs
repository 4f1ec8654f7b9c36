//! `cargo xtask build-ebpf`: the eBPF objects, from their sources into `netmon-ebpf/prebuilt`.
//!
//! The objects are kept in the tree so that a user needs stable Rust and nothing more. Beside them
//! lies the list of what they were built from ([`sources`]), by which `--check` tells, without any
//! toolchain, that the objects are not the sources' own any more.
//!
//! The same sources and toolchain give the same bytes in any folder: paths are remapped, so is
//! what cargo derives from them ([`wrapper`]), debug sections are taken out (BTF stays), and
//! what the host is does not enter.

mod debian;
mod linker;
mod rustup;
mod sources;
mod toolchain;
mod wrapper;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::process;
use crate::workspace::Workspace;
use sources::Sources;
pub(crate) use toolchain::{Choice, Toolchain};
pub(crate) use wrapper::become_rustc;

/// Where the objects are kept, in the checkout.
const PREBUILT: &str = "netmon-ebpf/prebuilt";
/// The programs of `netmon-ebpf` (its binaries) and the file that each becomes.
pub(crate) const OBJECTS: [(&str, &str); 3] =
    [("netmon", "netmon.bpf.o"), ("trace", "trace.bpf.o"), ("traffic", "traffic.bpf.o")];
const MANIFEST: &str = "netmon-ebpf/Cargo.toml";
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// What every build gets. `debuginfo` is what BTF is made from; the programs use nothing that
/// differs by architecture, so all hosts build for the same one.
const FLAGS: [&str; 3] = ["-Cdebuginfo=2", "-Clink-arg=--btf", "--cfg=bpf_target_arch=\"x86_64\""];

/// Build the eBPF objects from source and keep them in netmon-ebpf/prebuilt.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tell whether the kept objects are the sources' own; needs no toolchain.
    #[arg(long, conflicts_with_all = ["install", "out"])]
    check: bool,
    /// Install what the build needs and is missing: packages with apt-get, bpf-linker with cargo.
    #[arg(long)]
    install: bool,
    /// What builds it.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    toolchain: Choice,
    /// Put the objects and their list of sources here, and leave the kept ones alone.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let kept = kept_objects(workspace);
    if args.check {
        check(workspace)?;
        println!("{}: built from these sources", workspace.display(&kept));
        return Ok(ExitCode::SUCCESS);
    }
    let toolchain = Toolchain::get(workspace, args.toolchain, args.install)?;
    eprintln!("xtask: building with {toolchain}");
    let out = match &args.out {
        Some(dir) => env::current_dir()?.join(dir),
        None => kept,
    };
    let before = OBJECTS.map(|(_, file)| fs::read(out.join(file)).ok());
    build(workspace, &toolchain, &out)?;
    for ((_, file), before) in OBJECTS.into_iter().zip(before) {
        let path = out.join(file);
        let object = fs::read(&path)?;
        let news = match before {
            None => "new",
            Some(before) if before == object => "the same as before",
            Some(_) => "changed",
        };
        println!("{}: {} bytes, {news}", workspace.display(&path), object.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder of the objects that are kept in the tree.
pub(crate) fn kept_objects(workspace: &Workspace) -> PathBuf {
    workspace.path(PREBUILT)
}

/// Fails when the kept objects are not what the sources beside them were built into.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let objects = kept_objects(workspace);
    let differences = Sources::read(workspace)?.differences(&objects)?;
    ensure!(
        differences.is_empty(),
        "{} is stale: {}: run `cargo xtask build-ebpf` and commit it",
        workspace.display(&objects),
        differences.join(", ")
    );
    Ok(())
}

/// Whether objects built by `toolchain` into `built` should equal the kept ones to the byte, and
/// if so whether they do.
pub(crate) fn reproduced(
    workspace: &Workspace,
    toolchain: &Toolchain,
    built: &Path,
) -> Result<Option<bool>> {
    let kept = kept_objects(workspace);
    if sources::toolchain_of(&kept)? != toolchain.version() {
        return Ok(None);
    }
    for (_, file) in OBJECTS {
        if fs::read(kept.join(file))? != fs::read(built.join(file))? {
            return Ok(Some(false));
        }
    }
    Ok(Some(true))
}

/// Builds the objects and their list of sources into `out`.
pub(crate) fn build(workspace: &Workspace, toolchain: &Toolchain, out: &Path) -> Result<()> {
    let sources = Sources::read(workspace)?;
    let mut fetch = toolchain.cargo(workspace);
    // First, so that the registry's folder is there to be remapped.
    process::run(fetch.args(["fetch", "--locked", "--target", TARGET]))?;

    let mut build = toolchain.cargo(workspace);
    build.args(["build", "--release", "--locked", "--bins"]);
    build.args(toolchain.target_args());
    let private = private_paths(workspace, toolchain)?;
    build.env("CARGO_ENCODED_RUSTFLAGS", rustflags(&private)?);
    wrapper::set_up(&mut build)?;
    let linked = process::built_executables(&mut build)?;

    fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;
    for (name, file) in OBJECTS {
        let built = linked.iter().find(|(built, _)| built == name);
        let (_, linked) = built.with_context(|| format!("{MANIFEST} has no binary {name}"))?;
        let object = out.join(file);
        let mut strip = Command::new(toolchain.objcopy());
        process::run(strip.arg("--strip-debug").arg(linked).arg(&object))?;
        refuse_paths(&private, &object)?;
    }
    sources.write(out, toolchain.version())
}

/// Clippy over the kernel programs, warnings as errors.
pub(crate) fn clippy(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let mut clippy = toolchain.clippy(workspace);
    clippy.args(["--release", "--locked", "--bins", "--lib"]);
    clippy.args(toolchain.target_args());
    clippy.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    process::run(clippy.args(["--", "-D", "warnings"]))
}

/// The folder whose subfolders hold the unpacked crates of each registry.
fn registry() -> Result<PathBuf> {
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?)
            .join(".cargo"),
    };
    Ok(home.join("registry/src"))
}

/// Every folder of this machine that rustc may write into an object, with what is written instead.
fn private_paths(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<(PathBuf, String)>> {
    let mut paths = vec![
        (workspace.root().to_path_buf(), String::new()),
        (workspace.target().to_path_buf(), "target".to_owned()),
    ];
    paths.extend(toolchain.core_sources()?.map(|dir| (dir, "rust".to_owned())));
    let registry = registry()?;
    let entries = fs::read_dir(&registry)
        .with_context(|| format!("{} cannot be read", registry.display()))?;
    for entry in entries {
        // Named after the registry's host, which may be a mirror.
        paths.push((entry?.path(), "crates".to_owned()));
    }
    Ok(paths)
}

/// [`FLAGS`], and those that take every path of this machine out of the object.
fn rustflags(private: &[(PathBuf, String)]) -> Result<String> {
    let mut flags = FLAGS.map(str::to_owned).to_vec();
    for (from, to) in private {
        let from = from.to_str().with_context(|| format!("{} is not UTF-8", from.display()))?;
        flags.push(format!("--remap-path-prefix={from}={to}"));
    }
    Ok(flags.join("\x1f"))
}

/// Fails when the object holds a path of this machine.
fn refuse_paths(private: &[(PathBuf, String)], object: &Path) -> Result<()> {
    let bytes = fs::read(object)?;
    for (path, _) in private {
        if holds_path(&bytes, path.as_os_str().as_encoded_bytes()) {
            bail!("{} holds the path {}", object.display(), path.display());
        }
    }
    Ok(())
}

/// Whether `path` stands somewhere as a whole: `/src` does not in `netmon/src` and `/srcs`.
fn holds_path(bytes: &[u8], path: &[u8]) -> bool {
    let in_name = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
    };
    bytes.windows(path.len()).enumerate().any(|(at, window)| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        window == path && !in_name(before) && !in_name(bytes.get(at + path.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_only_as_a_whole() {
        for text in ["/src", "\0/src\0", "\0/src/a.rs", "(/src)"] {
            assert!(holds_path(text.as_bytes(), b"/src"), "{text}");
        }
        for text in ["netmon/src", "/srcs", "/usr/src/a", "/sr", ""] {
            assert!(!holds_path(text.as_bytes(), b"/src"), "{text}");
        }
    }

    #[test]
    fn every_private_path_is_remapped() -> Result<()> {
        let flags = rustflags(&[("/a".into(), String::new()), ("/b".into(), "x".into())])?;
        let flags: Vec<_> = flags.split('\x1f').skip(FLAGS.len()).collect();
        assert_eq!(flags, ["--remap-path-prefix=/a=", "--remap-path-prefix=/b=x"]);
        Ok(())
    }
}
