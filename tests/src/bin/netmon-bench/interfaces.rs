//! The interfaces to watch: ends of veth pairs through which nothing flows, all up.

use anyhow::{Context, Result};
use netmon_tests::agent::Agent;
use netmon_tests::netns::Namespace;

/// They take a second or two.
const SOME: usize = 64;

/// A namespace whose interfaces `nb0`, `nb1`, … become more and more.
pub(crate) struct Interfaces {
    pub(crate) namespace: Namespace,
    pub(crate) count: usize,
}

impl Interfaces {
    pub(crate) fn none() -> Result<Self> {
        let namespace = Namespace::new()?;
        // One of the other programs listens there; nobody watches it.
        namespace.set_up("lo")?;
        Ok(Self { namespace, count: 0 })
    }

    /// Makes them so many.
    pub(crate) fn grow(&mut self, count: usize) -> Result<()> {
        for pair in (self.count..count).step_by(2) {
            let (one, other) = (format!("nb{pair}"), format!("nb{}", pair + 1));
            self.namespace
                .add_veth_up(&one, &other)
                .with_context(|| format!("making {one} and {other}"))?;
        }
        self.count = count;
        Ok(())
    }

    /// Waits until netmon has said of each what counts it: one line each on its standard error.
    /// As long as there is progress it may take any time.
    pub(crate) fn wait_until_counted(&self, agent: &Agent) -> Result<()> {
        for said in (SOME..self.count).step_by(SOME).chain([self.count]) {
            let what = format!("what counts {said} of {} interfaces", self.count);
            agent.stderr()?.wait_for(&what, |lines| (lines.len() >= said).then_some(()))?;
        }
        Ok(())
    }
}
