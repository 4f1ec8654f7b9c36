//! Debian's kernel packages: which one is meant by `6.1`, downloaded and unpacked once.
//!
//! Of the kernels for clouds, because they are small and boot fast; those for other machines are
//! built from the same sources. The machine's own apt sources are asked: Debian 12's have both,
//! 6.1 and 6.12.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::apt;
use crate::process;

/// What every name of a package with a kernel begins with.
const PREFIX: &str = "linux-image-";
/// How those end that are wanted; `-unsigned` or `-dbg` may follow in others.
const SUFFIX: &str = "-cloud-amd64";
/// Behind the name of what is not whole yet.
const PARTIAL: &str = ".partial";

/// A kernel, unpacked.
#[derive(Debug)]
pub(super) struct Kernel {
    /// The name of its package.
    pub(super) package: String,
    root: PathBuf,
}

impl Kernel {
    /// The newest that apt knows of this series (such as `6.1`). `update`: with leave to ask the
    /// sources anew, if need be.
    pub(super) fn get(series: &str, update: bool) -> Result<Self> {
        ensure!(
            process::on_path("apt-get").is_some() && process::on_path("dpkg-deb").is_some(),
            "no apt-get here: the kernels are Debian's packages, so this needs Debian or a \
             distribution that descends from it"
        );
        let cache = cache()?;
        match Self::newest(series, &cache) {
            Err(error) if update => {
                eprintln!("xtask: {error:#}: asking apt's sources anew");
                apt::update()?;
                Self::newest(series, &cache)
            }
            other => other,
        }
    }

    fn newest(series: &str, cache: &Path) -> Result<Self> {
        let names = process::output(Command::new("apt-cache").args(["pkgnames", PREFIX]))?;
        let names: Vec<_> = names.lines().collect();
        let Some(package) = newest(&names, series) else {
            let known = all_series(&names);
            let known = if known.is_empty() { "none at all".to_owned() } else { known.join(", ") };
            bail!("apt knows no kernel {series}, but {known}; `apt-get update` (as root) may help");
        };
        let root = cache.join(package);
        if !root.exists() {
            download(package, cache, &root)?;
            forget_older(cache, series, package);
        }
        Ok(Self { package: package.to_owned(), root })
    }

    /// The kernel itself.
    pub(super) fn image(&self) -> Result<PathBuf> {
        find(&self.root.join("boot"), &|name| name.starts_with("vmlinuz-"))
            .with_context(|| format!("{} has no kernel", self.package))
    }

    /// The file of a module of this name, compressed or not.
    pub(super) fn module(&self, name: &str) -> Result<PathBuf> {
        let is_it = |file: &str| {
            file.split_once('.')
                .is_some_and(|(stem, rest)| stem == name && matches!(rest, "ko" | "ko.xz"))
        };
        // /lib has become /usr/lib in Debian 13.
        ["lib/modules", "usr/lib/modules"]
            .iter()
            .find_map(|folder| find(&self.root.join(folder), &is_it))
            .with_context(|| format!("{} has no module {name}", self.package))
    }
}

/// The newest kernel of the series among names of packages.
fn newest<'a>(names: &[&'a str], series: &str) -> Option<&'a str> {
    let of_series = names.iter().filter(|name| series_of(name).as_deref() == Some(series));
    of_series.copied().max_by_key(|name| numbers(name))
}

/// All series that there is a kernel of.
fn all_series(names: &[&str]) -> Vec<String> {
    let mut all: Vec<_> = names.iter().filter_map(|name| series_of(name)).collect();
    all.sort_by_key(|series| numbers(series));
    all.dedup();
    all
}

/// `6.1` of `linux-image-6.1.0-56-cloud-amd64`. A name without more behind the series is that of a
/// package that only needs another one.
fn series_of(name: &str) -> Option<String> {
    let version = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let mut parts = version.splitn(3, '.');
    let (major, minor, _) = (parts.next()?, parts.next()?, parts.next()?);
    Some(format!("{major}.{minor}"))
}

/// The numbers in a name, by which versions compare.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// Where kernels are kept: outside the tree, for all checkouts.
fn cache() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("netmon/vm"))
}

/// Only what is whole gets its name: until then it lies in a folder that the next try begins with.
fn download(package: &str, cache: &Path, root: &Path) -> Result<()> {
    let partial = cache.join(format!("{package}{PARTIAL}"));
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    let unpacked = partial.join("root");
    fs::create_dir_all(&unpacked).with_context(|| format!("making {}", unpacked.display()))?;
    eprintln!("xtask: downloading {package} into {}", cache.display());
    // Without the sandbox root's apt needs no folder that its own user may write to.
    let mut apt = Command::new("apt-get");
    apt.args(["download", "--quiet=2", "-o", "APT::Sandbox::User=root", package]);
    process::run(apt.current_dir(&partial))
        .context("apt's lists may be old: `apt-get update` (as root) may help")?;
    let archive = find(&partial, &|name| name.ends_with(".deb")).context("no package has come")?;
    process::run(Command::new("dpkg-deb").arg("-x").arg(archive).arg(&unpacked))?;
    fs::rename(&unpacked, root)?;
    Ok(fs::remove_dir_all(&partial)?)
}

/// Removes what the series had before. What cannot be removed does no harm.
fn forget_older(cache: &Path, series: &str, package: &str) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default().trim_end_matches(PARTIAL);
        if name != package && series_of(name).as_deref() == Some(series) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A file in a folder or below it, by its name.
fn find(folder: &Path, is_it: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).ok()?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        } else if entry.file_name().to_str().is_some_and(is_it) {
            return Some(entry.path());
        }
    }
    folders.iter().find_map(|folder| find(folder, is_it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_of_a_series_is_chosen() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64-dbg",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-image-6.1.0-50-amd64",
            "linux-image-6.12-cloud-amd64",
            "linux-image-6.12-cloud-amd64-dbg",
            "linux-image-6.12.9+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-arm64",
            "linux-image-cloud-amd64",
        ];
        let newest = |series| newest(&names, series);
        assert_eq!(newest("6.1"), Some("linux-image-6.1.0-50-cloud-amd64"));
        assert_eq!(newest("6.12"), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        for series in ["5.10", "6.11", "6.1.0-50"] {
            assert_eq!(newest(series), None, "{series}");
        }
        assert_eq!(all_series(&names), ["6.1", "6.12"]);
    }
}
