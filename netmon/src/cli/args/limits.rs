//! How many interface monitors there are at most.

use clap::Args;

/// Flags of `netmon run`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(in crate::cli) struct WorkerLimitArgs {
    /// At most so many processes that watch interfaces; what is beyond it is counted by the
    /// kernel's own counters. Interfaces that are named come first [default: 128]
    #[arg(long, value_name = "N")]
    pub(super) max_workers: Option<u32>,

    /// And so many of them in each other network namespace, whose owner decides how many
    /// interfaces there are [default: 32]
    #[arg(long, value_name = "N")]
    pub(super) max_workers_per_namespace: Option<u32>,
}
