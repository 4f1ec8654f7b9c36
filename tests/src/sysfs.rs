//! The witness: what the namespace's own sysfs says, read as `cat` would, each time anew.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::{netns::Namespace, report::Totals, wait};

/// What a link's directory in sysfs says of its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// The file `operstate`.
    pub state: String,
    /// The file `carrier_up_count`.
    pub up_count: u64,
    /// The file `carrier_down_count`.
    pub down_count: u64,
}

impl Namespace {
    /// The eight counters that a report shows, from the directory `statistics`.
    ///
    /// # Errors
    /// When a file is missing or holds no number.
    pub fn sysfs_totals(&self, link: &str) -> Result<Totals> {
        let directory = class_net().join(link).join("statistics");
        self.run(move || Totals::read(|name| number(directory.join(name))))
    }

    /// The state and the carrier's changes.
    ///
    /// # Errors
    /// When a file is missing.
    pub fn sysfs_state(&self, link: &str) -> Result<LinkState> {
        let directory = class_net().join(link);
        self.run(move || {
            let state = fs::read_to_string(directory.join("operstate"))
                .with_context(|| directory.display().to_string())?;
            Ok(LinkState {
                state: state.trim_end().to_owned(),
                up_count: number(directory.join("carrier_up_count"))?,
                down_count: number(directory.join("carrier_down_count"))?,
            })
        })
    }

    /// Waits until a link is in an operational state: the kernel tells of carriers with a delay
    /// of up to a second.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn wait_for_state(&self, link: &str, state: &str) -> Result<()> {
        wait::until_true(format!("{link} {state}"), || Ok(self.sysfs_state(link)?.state == state))
    }

    /// The names of all links.
    ///
    /// # Errors
    /// When sysfs cannot be read.
    pub fn sysfs_links(&self) -> Result<Vec<String>> {
        self.run(|| {
            let mut names = Vec::new();
            for entry in fs::read_dir(class_net())? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            Ok(names)
        })
    }
}

/// Where sysfs has a directory for each link.
#[must_use]
pub fn class_net() -> PathBuf {
    PathBuf::from("/sys/class/net")
}

fn number(path: PathBuf) -> Result<u64> {
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.trim_end().parse().with_context(|| format!("{}: {text:?}", path.display()))
}
