//! Networks: an address and how many of its bits count.

use std::net::IpAddr;
use std::str::FromStr;

/// An IPv4 or IPv6 network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address is in it. IPv4 and IPv6 are told apart.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                same(a.to_bits().into(), b.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128, self.bits),
            _ => false,
        }
    }
}

/// Whether the first `bits` of `width` are the same.
fn same(a: u128, b: u128, width: u32, bits: u8) -> bool {
    (a ^ b).checked_shr(width.saturating_sub(bits.into())).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = &'static str;

    /// Reads `10.0.0.1`, `10.0.0.0/8`, `fe80::1`, `2001:db8::/32`. Bits beyond the length are
    /// not looked at.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| "it is no address")?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match length {
            None => most,
            Some(length) => match length.parse() {
                Ok(bits) if bits <= most && !length.starts_with('+') => bits,
                _ if most == 32 => return Err("the length is from 0 to 32"),
                _ => return Err("the length is from 0 to 128"),
            },
        };
        Ok(Self { address, bits })
    }
}
