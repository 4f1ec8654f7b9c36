//! What runs in the virtual machine: the tests and netmon, linked statically, with a first
//! process of our own and the modules of the kernel; put together as an initramfs.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::kernels::Kernel;
use crate::process;
use crate::workspace::Workspace;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The modules that the tests need, each after those that it needs itself. What is missing here
/// shows as a kind of link or qdisc that the kernel does not know.
const MODULES: [&str; 11] = [
    "llc",
    "stp",
    "bridge",
    "veth",
    "macvlan",
    "udp_tunnel",
    "ip6_udp_tunnel",
    "vxlan",
    "tun",
    "sch_ingress",
    "cls_bpf",
];

/// The programs of the virtual machine.
pub(super) struct Guest {
    init: PathBuf,
    netmon: PathBuf,
    peer: PathBuf,
    tests: PathBuf,
}

impl Guest {
    /// Builds them, in an output folder of their own: other flags would have all of the usual
    /// output built anew.
    pub(super) fn build(workspace: &Workspace) -> Result<Self> {
        let target = workspace.target().join("vm");
        fs::create_dir_all(&target).with_context(|| target.display().to_string())?;
        // The path that cargo compiles into the tests is one in the archive: no `..` in it.
        let target = target.canonicalize()?;
        let mut cargo = workspace.cargo();
        cargo.args(["build", "--locked", "--package", "netmon-tests", "--test", "kernel"]);
        cargo.args(["--bin", "netmon-under-test", "--bin", "netmon-peer"]);
        cargo.args(["--bin", "netmon-vm-init"]);
        // With a target, the flags are not those of build scripts and macros.
        cargo.args(["--target", TARGET, "--target-dir"]).arg(target);
        cargo.env_remove("CARGO_ENCODED_RUSTFLAGS");
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
        // Faster to run than the usual profile, and faster to build than the one for releases.
        cargo.envs([("CARGO_PROFILE_DEV_OPT_LEVEL", "1"), ("CARGO_PROFILE_DEV_DEBUG", "0")]);
        let built = process::built_executables(&mut cargo)?;
        let get = |wanted: &str| {
            let found = built.iter().find(|(name, _)| name == wanted);
            let path = found.map(|(_, path)| path.clone());
            path.with_context(|| format!("cargo has not made {wanted}"))
        };
        Ok(Self {
            init: get("netmon-vm-init")?,
            netmon: get("netmon-under-test")?,
            peer: get("netmon-peer")?,
            tests: get("kernel")?,
        })
    }

    /// Writes an initramfs that runs the tests with these arguments on that kernel.
    pub(super) fn pack(&self, kernel: &Kernel, arguments: &[String], to: &Path) -> Result<()> {
        // Whole or not at all, should another one be writing or reading it.
        let partial = to.with_extension("partial");
        let file = File::create(&partial).with_context(|| partial.display().to_string())?;
        let mut archive = Archive::new(BufWriter::new(file))?;
        let mut put = |path: &str, from: &Path| -> Result<()> {
            let content = fs::read(from).with_context(|| from.display().to_string())?;
            Ok(archive.file(path, &content)?)
        };
        put("init", &self.init)?;
        // The tests look for these where cargo has put them.
        for program in [&self.netmon, &self.peer, &self.tests] {
            put(text(program)?, program)?;
        }
        for (number, name) in MODULES.iter().enumerate() {
            let module = kernel.module(name)?;
            let file_name = module.file_name().map(Path::new).context("no file")?;
            put(&format!("modules/{number:02}-{}", file_name.display()), &module)?;
        }
        let mut command = vec![text(&self.tests)?];
        command.extend(arguments.iter().map(String::as_str));
        archive.file("command", command.join("\n").as_bytes())?;
        archive.finish()?;
        Ok(fs::rename(&partial, to)?)
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not in UTF-8", path.display()))
}
