//! An interface as an `RTM_NEWLINK` describes it (rtnetlink(7), linux/if_link.h). Pure.
//!
//! It is decoded here and not by the crate rtnetlink, which gives up a whole message for one text
//! in it that is not UTF-8: anybody who may name interfaces could hide one so.

use ecow::EcoString;

use crate::model::link::{IfIndex, Link, LinkState, Offloads, OperState};
use crate::model::snapshot::{DeviceCounters, DeviceStats};
use crate::sources::netlink::wire::{Attributes, u16_at, u32_at};

/// `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
/// `IFF_UP`.
const UP: u32 = 1;
/// What is not `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` in an attribute's type.
const TYPE: u16 = 0x3fff;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_CARRIER_UP_COUNT: u16 = 47;
const IFLA_CARRIER_DOWN_COUNT: u16 = 48;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_PERM_ADDRESS: u16 = 54;
const IFLA_PARENT_DEV_BUS_NAME: u16 = 57;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
/// `XDP_ATTACHED_DRV` and `XDP_ATTACHED_MULTI`; 0 is none.
const XDP_NATIVE: [u8; 2] = [1, 4];

/// What one message says.
#[derive(Debug)]
pub(crate) struct Description<'a> {
    /// The interface. What is not UTF-8 of its name is replaced (U+FFFD), and of its other names
    /// those that are not are left out.
    pub(crate) link: Link,
    /// Its name as the kernel has it.
    pub(crate) name: &'a [u8],
    /// The interface below or beside it, in the same namespace.
    pub(crate) other: Option<IfIndex>,
}

/// The number of the interface that a message is about. `None` when it is not about an interface
/// as a whole: with `AF_BRIDGE` it is about a port of a bridge.
pub(super) fn ifindex(message: &[u8]) -> Option<IfIndex> {
    let family = *message.get(..IFINFOMSG)?.first()?;
    if i32::from(family) != libc::AF_UNSPEC {
        return None;
    }
    u32_at(message, 4).map(IfIndex)
}

/// Reads a message without its header. `None` when it does not describe an interface.
pub(in crate::sources::netlink) fn describe(message: &[u8]) -> Option<Description<'_>> {
    let mut link = Link {
        ifindex: ifindex(message)?,
        name: EcoString::new(),
        altnames: Vec::new(),
        hardware_type: u16_at(message, 2)?,
        kind: None,
        bus: None,
        permanent_address: None,
        admin_up: u32_at(message, 8)? & UP != 0,
        native_xdp: false,
        xdp: false,
        peer: None,
        state: LinkState::default(),
        offloads: Offloads::default(),
    };
    let (mut name, mut other, mut elsewhere) = (&[][..], None, false);
    // Wireless events come as a message with little more than the name: no description.
    let mut whole = false;
    for (kind, value) in attributes(message.get(IFINFOMSG..)?) {
        match kind {
            IFLA_IFNAME => name = until_zero(value),
            IFLA_LINK => other = u32_at(value, 0).map(IfIndex),
            IFLA_LINK_NETNSID => elsewhere = true,
            IFLA_OPERSTATE => {
                whole = true;
                link.state.operstate = value.first().copied().and_then(operstate);
            }
            kind => take(&mut link, kind, value),
        }
    }
    link.name = String::from_utf8_lossy(name).into();
    let other = other.filter(|_| !elsewhere);
    (whole && !name.is_empty()).then_some(Description { link, name, other })
}

/// The kernel's counters in a message (`IFLA_STATS64`, `struct rtnl_link_stats64`).
pub(in crate::sources::netlink) fn statistics(message: &[u8]) -> Option<DeviceStats> {
    let mut found = attributes(message.get(IFINFOMSG..)?);
    let (_, value) = found.find(|(kind, _)| *kind == IFLA_STATS64)?;
    let at = |place: usize| {
        let bytes = value.get(place * 8..place * 8 + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    let direction = |first: usize| DeviceCounters {
        packets: at(first),
        bytes: at(first + 2),
        errors: at(first + 4),
        dropped: at(first + 6),
    };
    Some(DeviceStats { rx: direction(0), tx: direction(1) })
}

fn take(link: &mut Link, kind: u16, value: &[u8]) {
    let count = |value| u32_at(value, 0).map(u64::from);
    match kind {
        IFLA_PROP_LIST => {
            let names = attributes(value).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
            link.altnames.extend(names.filter_map(|(_, name)| text(name)));
        }
        IFLA_LINKINFO => {
            let kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
            link.kind = kind.and_then(|(_, kind)| text(kind));
        }
        IFLA_PARENT_DEV_BUS_NAME => link.bus = text(value),
        IFLA_PERM_ADDRESS => link.permanent_address = Some(value.to_vec()),
        IFLA_CARRIER_UP_COUNT => link.state.carrier_up_count = count(value),
        IFLA_CARRIER_DOWN_COUNT => link.state.carrier_down_count = count(value),
        IFLA_XDP => {
            let attached = attributes(value).find(|(kind, _)| *kind == IFLA_XDP_ATTACHED);
            let how = attached.and_then(|(_, how)| how.first().copied()).unwrap_or_default();
            (link.xdp, link.native_xdp) = (how != 0, XDP_NATIVE.contains(&how));
        }
        _ => {}
    }
}

fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    Attributes(bytes).map(|(kind, value)| (kind & TYPE, value))
}

fn until_zero(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn text(value: &[u8]) -> Option<String> {
    std::str::from_utf8(until_zero(value)).ok().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// `IF_OPER_…` of linux/if.h.
const fn operstate(state: u8) -> Option<OperState> {
    Some(match state {
        0 => OperState::Unknown,
        1 => OperState::NotPresent,
        2 => OperState::Down,
        3 => OperState::LowerLayerDown,
        4 => OperState::Testing,
        5 => OperState::Dormant,
        6 => OperState::Up,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(family: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![family, 0, 1, 0];
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(1_u32.to_ne_bytes());
        bytes.extend([0; 4]);
        attributes.iter().for_each(|attribute| bytes.extend(attribute));
        bytes
    }

    #[test]
    fn a_text_that_is_not_utf_8_hides_nothing() {
        let names = [attribute(IFLA_ALT_IFNAME, b"l\xe4n\0"), attribute(IFLA_ALT_IFNAME, b"lan\0")];
        let described = message(
            0,
            &[
                attribute(IFLA_IFNAME, b"z\xe4\xf6\0"),
                // IFLA_IFALIAS
                attribute(20, b"Geb\xe4ude"),
                attribute(IFLA_OPERSTATE, &[6]),
                attribute(IFLA_PROP_LIST | 0x8000, &names.concat()),
                attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"veth\0")),
                attribute(IFLA_XDP, &attribute(IFLA_XDP_ATTACHED, &[1])),
                attribute(IFLA_LINK, &9_u32.to_ne_bytes()),
                attribute(IFLA_CARRIER_UP_COUNT, &3_u32.to_ne_bytes()),
            ],
        );
        let Description { link, name, other } = describe(&described).unwrap();
        assert_eq!((&*link.name, name), ("z\u{fffd}\u{fffd}", &b"z\xe4\xf6"[..]));
        assert_eq!((link.ifindex, link.admin_up), (IfIndex(7), true));
        assert_eq!(link.altnames, ["lan"]);
        assert_eq!((link.kind.as_deref(), other), (Some("veth"), Some(IfIndex(9))));
        assert_eq!(link.state.operstate, Some(OperState::Up));
        assert_eq!(link.state.carrier_up_count, Some(3));
        assert!(link.xdp && link.native_xdp);
    }

    #[test]
    fn what_is_no_description() {
        let name = attribute(IFLA_IFNAME, b"eth0\0");
        let state = attribute(IFLA_OPERSTATE, &[6]);
        assert!(describe(&message(0, &[name.clone(), state.clone()])).is_some());
        assert!(describe(&message(0, std::slice::from_ref(&name))).is_none(), "a wireless event");
        assert!(describe(&message(0, std::slice::from_ref(&state))).is_none(), "no name");
        let bridge = libc::AF_BRIDGE as u8;
        assert!(describe(&message(bridge, &[name, state])).is_none(), "a port of a bridge");
        assert!(describe(&[0; IFINFOMSG - 1]).is_none(), "cut short");
        let elsewhere = [
            attribute(IFLA_IFNAME, b"eth0\0"),
            attribute(IFLA_OPERSTATE, &[6]),
            attribute(IFLA_LINK, &9_u32.to_ne_bytes()),
            attribute(IFLA_LINK_NETNSID, &0_u32.to_ne_bytes()),
        ];
        assert_eq!(describe(&message(0, &elsewhere)).unwrap().other, None, "another namespace's");
    }
}
