//! How many processes watch interfaces, where each has one of its own.

/// For each network namespace but netmon's own: whoever makes interfaces there decides how many
/// there are. A container has a few.
const PER_NAMESPACE: u32 = 32;
/// In all. A process takes about 1.6 MiB.
const IN_ALL: u32 = 128;

/// How many processes watch interfaces at most. What is beyond it has the kernel's own counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLimits {
    /// In each network namespace but netmon's own.
    pub per_namespace: u32,
    /// In all of them together.
    pub in_all: u32,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self { per_namespace: PER_NAMESPACE, in_all: IN_ALL }
    }
}
