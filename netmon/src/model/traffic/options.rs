//! Choices about traffic by flow.

use std::time::Duration;

/// Flows that the table can hold, unless chosen.
pub const DEFAULT_FLOWS: u32 = 65_536;
/// The largest table: 192 bytes of the kernel's memory for each flow, so 3 GiB.
pub const MOST_FLOWS: u32 = 1 << 24;
/// When a flow without packets leaves the table, unless chosen.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(60);

/// How flows are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowOptions {
    /// How many flows the table can hold. The kernel takes memory only for those that it does.
    pub capacity: u32,
    /// Of so many packets one is looked at for its flow; 1: all.
    pub sample: u32,
    /// A flow that had no packet for so long leaves the table.
    pub idle: Duration,
    /// Whether anybody wants the flows themselves, and not only totals: else none is looked for.
    pub keep: bool,
    /// How many interfaces are known at the start: room for bursts is made for twice as many.
    pub interfaces: usize,
}

impl Default for FlowOptions {
    fn default() -> Self {
        Self { capacity: DEFAULT_FLOWS, sample: 1, idle: DEFAULT_IDLE, keep: true, interfaces: 0 }
    }
}

/// The table of flows that a limit of memory allows: with it netmon is to take at most half of
/// the limit, and all else that it takes is to fit in, too.
#[must_use]
pub fn flows_within(limit: u64, wanted: u32) -> u32 {
    /// The kernel's 192 bytes and netmon's 230, and some for lists that are sorted.
    const EACH: u64 = 512;
    /// Without flows: the program, its maps in the kernel, and what the start takes.
    const OTHERWISE: u64 = 24 << 20;
    /// Fewer are of no use.
    const LEAST: u32 = 1_024;
    let room = (limit / 2).min(limit.saturating_sub(OTHERWISE));
    let most = u32::try_from(room / EACH).unwrap_or(u32::MAX).max(LEAST);
    wanted.min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_makes_the_table_smaller() {
        let mib = [0, 16, 25, 32, 48, 64, 1024, 1 << 40];
        let flows = mib.map(|mib| flows_within(mib << 20, DEFAULT_FLOWS));
        assert_eq!(flows, [1_024, 1_024, 2_048, 16_384, 49_152, 65_536, 65_536, 65_536]);
        assert_eq!(flows_within(0, 16), 16);
    }
}
