//! Names of protocols and directions, as they stand in reports.

use std::fmt;

/// Which way a packet goes, seen from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Received.
    Rx,
    /// Transmitted.
    Tx,
}

impl Direction {
    /// `rx` or `tx`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rx => "rx",
            Self::Tx => "tx",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a packet is: the innermost header that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// A protocol over IPv4 or IPv6, by its number (RFC 5237).
    Ip(u8),
    /// Not IP: its `EtherType`.
    Ethernet(u16),
}

/// The classes whose packets and bytes are counted exactly for each interface and direction,
/// whatever happens to single flows. The number is the index in the kernel's array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProtocolClass {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, over IPv4.
    Icmp,
    /// ICMP version 6.
    Icmpv6,
    /// SCTP.
    Sctp,
    /// GRE.
    Gre,
    /// ESP and AH (`IPsec`).
    Ipsec,
    /// IPv4 or IPv6 inside IPv4 or IPv6.
    Tunnel,
    /// Any other protocol over IPv4.
    Ipv4,
    /// Any other protocol over IPv6.
    Ipv6,
    /// ARP.
    Arp,
    /// Anything else, packets that are cut short included.
    Other,
}

impl ProtocolClass {
    /// All of them, in the order of the kernel's array.
    pub const ALL: [Self; 12] = [
        Self::Tcp,
        Self::Udp,
        Self::Icmp,
        Self::Icmpv6,
        Self::Sctp,
        Self::Gre,
        Self::Ipsec,
        Self::Tunnel,
        Self::Ipv4,
        Self::Ipv6,
        Self::Arp,
        Self::Other,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
            Self::Sctp => "sctp",
            Self::Gre => "gre",
            Self::Ipsec => "ipsec",
            Self::Tunnel => "tunnel",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Arp => "arp",
            Self::Other => "other",
        }
    }
}

/// The upper ends, in bytes, of the classes of packet sizes (RFC 2819's, with one more for jumbo
/// frames): frames on the wire from the link-layer header on, without frame check sequence.
/// The last class has no upper end.
pub const SIZE_ENDS: [u32; 7] = [64, 127, 255, 511, 1023, 1518, 9216];

/// How many classes of sizes there are.
pub const SIZES: usize = SIZE_ENDS.len() + 1;

/// The class's name: `0-64`, `65-127`, … `9217-`.
#[must_use]
pub fn size_name(class: usize) -> String {
    let from =
        class.checked_sub(1).and_then(|before| SIZE_ENDS.get(before)).map_or(0, |end| end + 1);
    match SIZE_ENDS.get(class) {
        Some(end) => format!("{from}-{end}"),
        None => format!("{from}-"),
    }
}
