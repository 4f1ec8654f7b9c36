//! What the facts of a single tick tell: the state and the totals, which need nothing of the tick
//! before.

use super::link::OperState;
use super::snapshot::{Counted, DeviceCounters, InterfaceFacts, Silence};

/// The state shown for an interface that does not exist.
pub const ABSENT: &str = "absent";
/// The state shown for an interface whose own process is not running.
pub const UNKNOWN: &str = "unknown";
/// The state shown for an interface whose own process has not sent anything for some time.
pub const STALE: &str = "stale";

/// One direction. An absent number is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Total bytes.
    pub bytes: Option<u64>,
    /// Total packets.
    pub packets: Option<u64>,
    /// Packets dropped, from the kernel.
    pub dropped: Option<u64>,
    /// Errors, from the kernel.
    pub errors: Option<u64>,
}

impl InterfaceFacts {
    /// `operstate`, or a word of ours. `None` when it cannot be read.
    #[must_use]
    pub fn state_word(&self) -> Option<&'static str> {
        match (self.ifindex, self.silence) {
            (None, _) => Some(ABSENT),
            (Some(_), Some(Silence::NotRunning)) => Some(UNKNOWN),
            (Some(_), Some(Silence::Stale)) => Some(STALE),
            (Some(_), None) => self.state.operstate.map(OperState::as_str),
        }
    }

    /// Whether the numbers are of this interface as it is, or as it was last. A number that is
    /// not known now is not shown as if it were.
    const fn are_known(&self) -> bool {
        self.ifindex.is_none() || self.silence.is_none()
    }

    /// How often the carrier came, and went.
    #[must_use]
    pub fn carrier_counts(&self) -> (Option<u64>, Option<u64>) {
        let state = &self.state;
        let counts = (state.carrier_up_count, state.carrier_down_count);
        if self.are_known() { counts } else { Default::default() }
    }

    /// Received.
    #[must_use]
    pub fn rx_totals(&self) -> Totals {
        self.totals(&self.device.rx, Counted::rx_total)
    }

    /// Transmitted.
    #[must_use]
    pub fn tx_totals(&self) -> Totals {
        self.totals(&self.device.tx, Counted::tx_total)
    }

    #[inline]
    fn totals(
        &self,
        device: &DeviceCounters,
        total: fn(&Counted) -> super::accounting::Traffic,
    ) -> Totals {
        if !self.are_known() {
            return Totals::default();
        }
        let DeviceCounters { packets, bytes, errors, dropped } = *device;
        match &self.counted {
            None => Totals { bytes, packets, dropped, errors },
            Some(counted) => {
                let total = total(counted);
                Totals { bytes: Some(total.bytes), packets: Some(total.packets), dropped, errors }
            }
        }
    }
}
