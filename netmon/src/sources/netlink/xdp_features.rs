//! Which drivers can do XDP: the generic netlink family `netdev` (Linux 6.3,
//! Documentation/netlink/specs/netdev.yaml).

use std::collections::HashMap;
use std::io;

use rtnetlink::sys::{Socket, protocols::NETLINK_GENERIC};

use super::wire::{self, Attributes, HEADER, Messages, u16_at, u32_at};
use crate::model::link::IfIndex;

/// `struct genlmsghdr`.
const GENERIC_HEADER: usize = 4;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC`: XDP_PASS, XDP_DROP, XDP_TX and XDP_ABORTED in the driver.
const XDP_ACT_BASIC: u8 = 1;
const RECEIVE: usize = 32 << 10;

/// For each interface whether its driver does native XDP.
///
/// # Errors
/// Those of the socket calls; `NotFound` before Linux 6.3.
pub fn native_xdp() -> io::Result<HashMap<IfIndex, bool>> {
    let socket = wire::connect(NETLINK_GENERIC)?;
    let name = attribute(CTRL_ATTR_FAMILY_NAME, b"netdev\0");
    let mut family = None;
    ask(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name, false, |attributes| {
        family = family_of(attributes);
    })?;
    let family = family.ok_or(io::ErrorKind::NotFound)?;
    let mut found = HashMap::new();
    ask(&socket, family, NETDEV_CMD_DEV_GET, &[], true, |attributes| {
        found.extend(device_of(attributes));
    })?;
    Ok(found)
}

/// The family's number, from the controller's answer.
fn family_of(mut attributes: Attributes<'_>) -> Option<u16> {
    let (_, value) = attributes.find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID)?;
    u16_at(value, 0)
}

/// An interface, and whether its driver does native XDP.
fn device_of(attributes: Attributes<'_>) -> Option<(IfIndex, bool)> {
    let (mut ifindex, mut features) = (None, None);
    for (kind, value) in attributes {
        match kind {
            NETDEV_A_DEV_IFINDEX => ifindex = u32_at(value, 0).map(IfIndex),
            NETDEV_A_DEV_XDP_FEATURES => features = value.first(),
            _ => {}
        }
    }
    Some((ifindex?, features? & XDP_ACT_BASIC != 0))
}

/// Takes in one datagram of answers. `true`: it was the last of a dump.
fn answers(datagram: &[u8], mut answer: impl FnMut(Attributes<'_>)) -> io::Result<bool> {
    for (header, payload) in Messages(datagram) {
        match i32::from(header.kind) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => return Err(wire::error_of(payload)),
            _ => answer(Attributes(payload.get(GENERIC_HEADER..).unwrap_or_default())),
        }
    }
    Ok(false)
}

/// Interfaces, and whether their drivers do native XDP.
pub type Devices = Vec<(IfIndex, bool)>;

/// What a datagram of either answer says: for the fuzz targets.
pub(crate) fn decode(datagram: &[u8]) -> io::Result<(Option<u16>, Devices)> {
    let (mut family, mut devices) = (None, Vec::new());
    answers(datagram, |attributes| {
        family = family_of(Attributes(attributes.0));
        devices.extend(device_of(attributes));
    })?;
    Ok((family, devices))
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sends one command and gives the attributes of each answer.
fn ask(
    socket: &Socket,
    family: u16,
    command: u8,
    attributes: &[u8],
    dump: bool,
    mut answer: impl FnMut(Attributes<'_>),
) -> io::Result<()> {
    let flags = libc::NLM_F_REQUEST | if dump { libc::NLM_F_DUMP } else { 0 };
    let length = HEADER + GENERIC_HEADER + attributes.len();
    let mut request = (length as u32).to_ne_bytes().to_vec();
    request.extend(family.to_ne_bytes());
    request.extend((flags as u16).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend(attributes);
    socket.send(&request, 0)?;
    let mut received = Vec::with_capacity(RECEIVE);
    loop {
        wire::receive(socket, &mut received)?;
        if answers(&received, &mut answer)? || !dump {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_loopback_or_has_no_such_family() {
        match native_xdp() {
            Ok(found) => assert_eq!(found.get(&IfIndex(1)), Some(&false), "lo has no native XDP"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
        }
    }
}
