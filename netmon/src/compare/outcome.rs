//! What a comparison found. Written as JSON it is read back by `--with`; field names are stable,
//! `null` is "not known".

use serde::{Deserialize, Serialize};

use super::explain::Reason;
use crate::model::accounting::Traffic;
use crate::model::snapshot::Source;

/// Raised when an older netmon could not read it any more.
pub const VERSION: u32 = 1;

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`VERSION`].
    pub version: u32,
    /// Where and how it was measured.
    pub setting: Setting,
    /// In the order of the report.
    pub interfaces: Vec<Compared>,
    /// What each mode cost.
    pub cost: Costs,
}

/// Where and how it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// When it began, in ms since 1970.
    pub time_ms: u64,
    /// netmon's version.
    pub netmon: String,
    /// The kernel's release.
    pub kernel: String,
    /// CPUs that are online.
    pub cpus: usize,
    /// `--hook`.
    pub hook: String,
    /// Seconds between ticks.
    pub interval_s: f64,
    /// Seconds between the first and the last tick that were compared.
    pub duration_s: f64,
    /// Ticks in that time.
    pub ticks: u64,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Its name.
    pub interface: String,
    /// What gave packets and bytes in eBPF mode.
    pub source: Source,
    /// What counted it in eBPF mode, in words.
    pub hook: String,
    /// Why there are no numbers.
    pub not_compared: Option<String>,
    /// Received.
    pub rx: Option<Direction>,
    /// Transmitted.
    pub tx: Option<Direction>,
}

impl Compared {
    /// Both directions, as far as they were compared.
    pub fn directions(&self) -> impl Iterator<Item = (&'static str, &Direction)> {
        let rx = self.rx.as_ref().map(|rx| ("rx", rx));
        rx.into_iter().chain(self.tx.as_ref().map(|tx| ("tx", tx)))
    }
}

/// One direction of an interface: what passed between the first and the last tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// By eBPF, as the stack handles packets.
    pub skb: Traffic,
    /// By eBPF, as a cable carries them.
    pub wire: Traffic,
    /// By eBPF, as the report shows them: in the currency of the device's counters.
    pub report: Traffic,
    /// By the kernel's own counters.
    pub kernel: Traffic,
    /// `skb` − `kernel`; the `reasons` and `unexplained` add up to it.
    pub difference: Difference,
    /// What explains it.
    pub reasons: Vec<Part>,
    /// What nothing explains.
    pub unexplained: Difference,
    /// Dropped meanwhile, by the kernel's counters.
    pub dropped: Option<u64>,
    /// Errors meanwhile, by the kernel's counters.
    pub errors: Option<u64>,
    /// Dropped meanwhile by filters and queueing disciplines after the hook at egress; `None`:
    /// not known, since the queueing discipline was replaced.
    pub queue_dropped: Option<u64>,
    /// skb packets a second, on the average.
    pub packets_per_s: f64,
    /// skb bytes a second, on the average.
    pub bytes_per_s: f64,
}

/// Packets and bytes that may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Packets.
    pub packets: i64,
    /// Bytes.
    pub bytes: i64,
}

impl Difference {
    /// `ours` − `theirs`.
    #[must_use]
    pub const fn of(ours: Traffic, theirs: Traffic) -> Self {
        Self {
            packets: ours.packets.wrapping_sub(theirs.packets).cast_signed(),
            bytes: ours.bytes.wrapping_sub(theirs.bytes).cast_signed(),
        }
    }

    /// What came since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets.wrapping_sub(earlier.packets),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
        }
    }

    /// Whether it is none.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.packets == 0 && self.bytes == 0
    }
}

/// A part of a difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The rule.
    pub rule: Reason,
    /// How much of the difference it explains.
    #[serde(flatten)]
    pub amount: Difference,
}

/// What the modes cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// `netmon run --source ebpf`.
    pub ebpf: ModeCost,
    /// `netmon run --source sysfs`.
    pub sysfs: ModeCost,
    /// The programs, by name.
    pub programs: Vec<ProgramCost>,
    /// Nanoseconds that the measuring itself adds to a run; taken off already.
    pub measuring_ns: Option<f64>,
    /// What could not be measured, and why.
    pub missing: Vec<String>,
}

/// What a mode cost a tick, the whole process, each tick written as JSON into a pipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModeCost {
    /// Microseconds on a CPU.
    pub cpu_us: f64,
    /// Of these in user space.
    pub user_us: Option<f64>,
    /// Of these in the kernel.
    pub kernel_us: Option<f64>,
    /// System calls.
    pub system_calls: Option<f64>,
    /// Part of one CPU for the ticks, in per cent.
    pub cpu_percent: f64,
}

/// What a program cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgramCost {
    /// Its name.
    pub program: String,
    /// Packets that it was measured with.
    pub packets: u64,
    /// Nanoseconds a packet.
    pub ns: f64,
    /// Part of one CPU, at the rate of packets then, in per cent.
    pub cpu_percent: f64,
}
