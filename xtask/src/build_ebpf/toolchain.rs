//! A complete toolchain for the kernel's target, whichever of the two kinds it is.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::{MANIFEST, TARGET, debian, rustup};
use crate::process;
use crate::workspace::Workspace;

/// What the user wants to build with.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Choice {
    /// The one that is complete; Debian's where neither is and apt-get is there.
    Auto,
    /// Debian's packages rustc-web, cargo-web and libstd-rust-web-dev-bpf.
    Debian,
    /// The nightly toolchain of rustup, with rust-src.
    Rustup,
}

/// A rustc and cargo for [`TARGET`] with a bpf-linker of the same LLVM.
pub(crate) struct Toolchain {
    kind: Kind,
    version: String,
    linker: PathBuf,
    objcopy: PathBuf,
}

/// The two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Debian,
    Rustup,
}

impl Toolchain {
    /// Finds the toolchain, or installs what is missing of it, or says how to.
    pub(crate) fn get(workspace: &Workspace, choice: Choice, install: bool) -> Result<Self> {
        match choice {
            Choice::Debian => Self::debian(workspace, install),
            Choice::Rustup => Self::rustup(workspace, install),
            Choice::Auto if debian::missing().is_empty() => Self::debian(workspace, install),
            Choice::Auto if rustup::missing().is_none() => Self::rustup(workspace, install),
            Choice::Auto if process::on_path("apt-get").is_some() => {
                Self::debian(workspace, install)
            }
            Choice::Auto => Self::rustup(workspace, install),
        }
    }

    fn debian(workspace: &Workspace, install: bool) -> Result<Self> {
        debian::complete(install)?;
        Self::with_linker(workspace, Kind::Debian, debian::objcopy, install)
    }

    fn rustup(workspace: &Workspace, install: bool) -> Result<Self> {
        if let Some(command) = rustup::missing() {
            bail!(
                "no nightly toolchain with rust-src: run `{command}`; or use Debian's packages: \
                 `cargo xtask build-ebpf --toolchain debian --install`"
            );
        }
        Self::with_linker(workspace, Kind::Rustup, |_| rustup::objcopy(), install)
    }

    fn with_linker(
        workspace: &Workspace,
        kind: Kind,
        objcopy: impl Fn(u32) -> Result<PathBuf>,
        install: bool,
    ) -> Result<Self> {
        let rustc = super::linker::Rustc::ask(&mut kind.program("rustc"))?;
        let linker = super::linker::get(workspace, kind, &rustc, install)?;
        Ok(Self {
            kind,
            version: format!("{}, {}", rustc.version, super::linker::NAME_AND_VERSION),
            linker,
            objcopy: objcopy(rustc.llvm)?,
        })
    }

    /// The exact versions of compiler and linker: two builds by the same give the same bytes.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The program that takes debug sections out of an object.
    pub(super) fn objcopy(&self) -> &Path {
        &self.objcopy
    }

    /// Its cargo, in netmon-ebpf, with an output folder apart from the host's.
    pub(super) fn cargo(&self, workspace: &Workspace) -> Command {
        self.set_up(self.kind.program("cargo"), workspace)
    }

    /// Its `cargo clippy`.
    pub(super) fn clippy(&self, workspace: &Workspace) -> Command {
        let mut command = match self.kind {
            // Cargo would prefer a cargo-clippy of rustup's, which is of another version.
            Kind::Debian => Command::new(debian::CARGO_CLIPPY),
            Kind::Rustup => self.kind.program("cargo"),
        };
        command.arg("clippy");
        self.set_up(command, workspace)
    }

    /// The arguments that choose the target, and where its core library comes from.
    pub(super) fn target_args(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Debian => &["--target", TARGET],
            Kind::Rustup => &["--target", TARGET, "-Zbuild-std=core"],
        }
    }

    /// Where the core library's sources lie, when the build compiles them.
    pub(super) fn core_sources(&self) -> Result<Option<PathBuf>> {
        Ok(match self.kind {
            Kind::Debian => None,
            Kind::Rustup => Some(rustup::core_sources()?),
        })
    }

    fn set_up(&self, mut command: Command, workspace: &Workspace) -> Command {
        self.kind.environment(&mut command);
        let manifest = workspace.path(MANIFEST);
        if let Some(dir) = manifest.parent() {
            command.current_dir(dir);
        }
        command.env("CARGO_TARGET_DIR", workspace.target().join("ebpf"));
        command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker);
        command
    }
}

impl Display for Toolchain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.version)
    }
}

impl Kind {
    /// `rustc` or `cargo` of this kind, with the environment it needs.
    pub(super) fn program(self, name: &str) -> Command {
        let mut command = match self {
            Self::Debian => Command::new(Path::new(debian::BIN).join(name)),
            Self::Rustup => {
                let mut command = Command::new("rustup");
                command.args(["run", rustup::CHANNEL, name]);
                command
            }
        };
        self.environment(&mut command);
        command
    }

    /// Only this kind's own: what the cargo that runs us, or a user, has set for the host is
    /// not meant for the kernel's target.
    fn environment(self, command: &mut Command) {
        for name in [
            "CARGO",
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "LD_LIBRARY_PATH",
            "RUSTC",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ] {
            command.env_remove(name);
        }
        if self == Self::Debian {
            command.envs(debian::ENVIRONMENT);
        }
    }
}
