//! What is known of a network interface, and how its state is read.

use std::fmt;

use ecow::EcoString;

/// The kernel's number of an interface, unique within a network namespace while it exists.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct IfIndex(pub u32);

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// RFC 2863 operational state, as `/sys/class/net/*/operstate` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperState {
    /// The driver does not tell (lo, tun, tap).
    Unknown,
    /// A component is missing.
    NotPresent,
    /// Down.
    Down,
    /// A lower interface is down.
    LowerLayerDown,
    /// In a test mode.
    Testing,
    /// Up, waiting for an external event such as 802.1X.
    Dormant,
    /// Up.
    Up,
}

impl OperState {
    /// The kernel's word (net/core/net-sysfs.c, `operstates`).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::NotPresent => "notpresent",
            Self::Down => "down",
            Self::LowerLayerDown => "lowerlayerdown",
            Self::Testing => "testing",
            Self::Dormant => "dormant",
            Self::Up => "up",
        }
    }

    /// The inverse of [`OperState::as_str`]; `None` for a word that the kernel does not use.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "unknown" => Self::Unknown,
            "notpresent" => Self::NotPresent,
            "down" => Self::Down,
            "lowerlayerdown" => Self::LowerLayerDown,
            "testing" => Self::Testing,
            "dormant" => Self::Dormant,
            "up" => Self::Up,
            _ => return None,
        })
    }

    /// Whether traffic cannot pass. `unknown` and `dormant` are not down.
    #[must_use]
    pub const fn is_down(self) -> bool {
        matches!(self, Self::NotPresent | Self::Down | Self::LowerLayerDown)
    }
}

/// The three facts that tell whether an interface works. Absent facts could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LinkState {
    /// Operational state.
    pub operstate: Option<OperState>,
    /// How often the carrier came.
    pub carrier_up_count: Option<u64>,
    /// How often it went.
    pub carrier_down_count: Option<u64>,
}

/// How a driver's own counters and the stack treat super-packets, as ethtool tells.
/// `None`: the driver did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Generic receive offload is on.
    pub gro: Option<bool>,
    /// TCP segmentation offload is on: the driver takes super-packets.
    pub tso: Option<bool>,
}

/// The other end of a veth, where it is in the same namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub ifindex: IfIndex,
    /// Its offloads.
    pub offloads: Offloads,
    /// A native XDP program is attached to it.
    pub native_xdp: bool,
}

/// An interface as rtnetlink describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub ifindex: IfIndex,
    /// Its name, which a string of this type holds in itself: at each tick it is read, and what
    /// lies elsewhere in memory has left the CPU's caches by then.
    pub name: EcoString,
    /// Its other names (`ip link property`).
    pub altnames: Vec<String>,
    /// `ARPHRD_…` of linux/if_arp.h.
    pub hardware_type: u16,
    /// `IFLA_INFO_KIND`: veth, bridge, …; `None` for lo and for hardware.
    pub kind: Option<String>,
    /// The bus of the device below (`virtio`, `pci`, `usb`, …), kernel 5.14 and later.
    pub bus: Option<String>,
    /// The address that the hardware came with.
    pub permanent_address: Option<Vec<u8>>,
    /// `IFF_UP`: somebody has set it up.
    pub admin_up: bool,
    /// A native XDP program is attached, whoever's.
    pub native_xdp: bool,
    /// Any XDP program is attached.
    pub xdp: bool,
    /// Its other end.
    pub peer: Option<Peer>,
    /// State, the same that sysfs shows.
    pub state: LinkState,
    /// Offloads.
    pub offloads: Offloads,
}

#[cfg(test)]
impl Link {
    /// An Ethernet card that is up, of which nothing else is known.
    pub(crate) fn sample(ifindex: u32, name: &str) -> Self {
        Self {
            ifindex: IfIndex(ifindex),
            name: name.into(),
            altnames: Vec::new(),
            hardware_type: 1,
            kind: None,
            bus: None,
            permanent_address: None,
            admin_up: true,
            native_xdp: false,
            xdp: false,
            peer: None,
            state: LinkState::default(),
            offloads: Offloads::default(),
        }
    }
}

/// Why an interface is in its state, in words for people.
#[must_use]
pub const fn state_reason(admin_up: Option<bool>, state: Option<OperState>) -> &'static str {
    match (admin_up, state) {
        (Some(false), _) => "administratively down",
        (_, None) => "the state cannot be read",
        (_, Some(OperState::Up)) => "up with carrier",
        (_, Some(OperState::Unknown)) => "up; the driver does not tell its state",
        (_, Some(OperState::Dormant)) => "up, waiting for an external event (such as 802.1X)",
        (_, Some(OperState::LowerLayerDown)) => "a lower interface or the peer is down",
        (_, Some(OperState::Testing)) => "in a test mode",
        (_, Some(OperState::NotPresent)) => "the hardware is not present",
        (_, Some(OperState::Down)) => "up but without carrier",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_kernels() {
        for word in ["unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"]
        {
            let state = OperState::parse(word);
            assert_eq!(state.map(OperState::as_str), Some(word));
            assert_eq!(serde_json::to_value(state).unwrap(), word);
        }
        assert_eq!(OperState::parse("UP"), None);
        assert_eq!(OperState::parse(""), None);
    }

    #[test]
    fn unknown_and_dormant_are_not_down() {
        let down: Vec<_> = ["unknown", "dormant", "testing", "up", "down", "lowerlayerdown"]
            .into_iter()
            .filter(|word| OperState::parse(word).is_some_and(OperState::is_down))
            .collect();
        assert_eq!(down, ["down", "lowerlayerdown"]);
    }
}
