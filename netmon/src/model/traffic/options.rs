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
