//! A control group that limits memory, by version 1's hierarchy or version 2's: whichever has the
//! memory controller. Needs root.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use crate::{agent::AgentCommand, netns::Namespace, wait};

const MOUNTED: &str = "/sys/fs/cgroup";
const ALL: &str = "nmt-memory";

/// A control group, which is removed when this is dropped. What runs in it must have ended by then.
#[derive(Debug)]
pub struct MemoryGroup<'a> {
    namespace: &'a Namespace,
    path: PathBuf,
}

impl<'a> MemoryGroup<'a> {
    /// Makes one of so many bytes, which is seen in the namespace.
    ///
    /// # Errors
    /// When the kernel has no memory controller, or refuses.
    pub fn new(namespace: &'a Namespace, limit: u64) -> Result<Self> {
        let name = format!("{ALL}-{}", namespace.name());
        let path = namespace.run(move || {
            let file = mount_hierarchy()?;
            let path = Path::new(MOUNTED).join(name);
            fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
            fs::write(path.join(file), limit.to_string()).context("limiting memory")?;
            Ok(path)
        })?;
        Ok(Self { namespace, path })
    }

    /// A program with its arguments, to be started in it.
    #[must_use]
    pub fn command(&self, program: &[&str]) -> AgentCommand<'a> {
        let processes = self.path.join("cgroup.procs");
        let enter = "echo $$ >\"$0\" && exec \"$@\"";
        let enter = ["-c", enter].map(str::to_owned).into_iter();
        let program = program.iter().map(|part| (*part).to_owned());
        AgentCommand::new(self.namespace, "/bin/sh").args(enter).args([processes]).args(program)
    }
}

impl Drop for MemoryGroup<'_> {
    fn drop(&mut self) {
        let path = self.path.clone();
        // What has just ended may still be in it for a moment.
        let _ = self.namespace.run(move || {
            wait::until_true("the control group to be empty", || Ok(fs::remove_dir(&path).is_ok()))
        });
    }
}

/// Mounts the hierarchy that has the memory controller, and gives the name of the limit's file.
fn mount_hierarchy() -> Result<&'static str> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if mount(Some("cgroup"), MOUNTED, Some("cgroup"), flags, Some("memory")).is_ok() {
        return Ok("memory.limit_in_bytes");
    }
    mount(Some("cgroup2"), MOUNTED, Some("cgroup2"), flags, None::<&str>)
        .context("mounting control groups")?;
    fs::write(Path::new(MOUNTED).join("cgroup.subtree_control"), "+memory")
        .context("switching the memory controller on")?;
    Ok("memory.max")
}
