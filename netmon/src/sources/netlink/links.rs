//! The interfaces of this network namespace, and the news about them, through the crate
//! rtnetlink (`RTM_GETLINK`, group `RTNLGRP_LINK`).

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use ecow::EcoString;
use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::{
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, Prop, State, XdpAttached,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{AsyncSocket as _, TokioSocket};
use rtnetlink::{Handle, MulticastGroup};
use tokio::task::AbortHandle;

use super::ethtool::{Ethtool, name_of};
use crate::model::link::{IfIndex, Link, LinkState, Offloads, OperState, Peer};

/// Room for the news of some thousand interfaces that change at once. The kernel caps it at
/// net.core.rmem_max; what does not fit is told as [`LinkNews::Lost`].
const RECEIVE_BUFFER: usize = 4 << 20;

/// Why the interfaces cannot be known.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The list could not be read.
    #[error("cannot list the interfaces (RTM_GETLINK): {0}")]
    Dump(rtnetlink::Error),
}

/// What became of an interface.
#[derive(Debug)]
pub enum LinkNews {
    /// It is new, or something of it changed.
    Is(Link),
    /// It is gone (removed, or moved to another namespace).
    Gone(IfIndex),
    /// Too much happened at once and some of it is lost: list the interfaces again.
    Lost,
}

type Messages = futures_util::stream::BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>;

/// The connection.
pub struct Links {
    handle: Handle,
    /// `None`: it is another namespace's, where ethtool cannot be asked from here.
    ethtool: Option<Ethtool>,
    /// What carries it, if that has to end with this value: by itself it ends only when there is
    /// news for which nobody is left, and until then its socket keeps the namespace alive.
    carrier: Option<AbortHandle>,
}

impl Drop for Links {
    fn drop(&mut self) {
        if let Some(carrier) = &self.carrier {
            carrier.abort();
        }
    }
}

/// What comes in over it unasked.
pub struct News {
    messages: Messages,
    ethtool: Option<Ethtool>,
}

impl Links {
    /// Connects and subscribes; from now on no news is missed. Needs a tokio runtime.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn connect() -> Result<(Self, News), LinksError> {
        let (mut connection, handle, messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
        let socket = connection.socket_mut().socket_mut();
        if let Err(error) = socket.set_rx_buf_sz(RECEIVE_BUFFER as libc::c_int) {
            tracing::debug!("netlink receive buffer stays as it is: {error}");
        }
        tokio::spawn(connection);
        let messages = messages.map(|(message, _)| message).boxed();
        let news = News { messages, ethtool: Some(Ethtool::new()?) };
        Ok((Self { handle, ethtool: Some(Ethtool::new()?), carrier: None }, news))
    }

    /// Takes over a socket of another namespace, subscribed already. Offloads and the other ends
    /// of veths stay unknown. The news end with the first part. Needs a tokio runtime.
    #[must_use]
    pub fn over(socket: OwnedFd) -> (Self, News) {
        // SAFETY: the descriptor is ours alone, and is a netlink socket's, which is what it is
        // used as.
        let mut socket = unsafe { TokioSocket::from_raw_fd(socket.into_raw_fd()) };
        if let Err(error) = socket.socket_mut().set_rx_buf_sz(RECEIVE_BUFFER as libc::c_int) {
            tracing::debug!("netlink receive buffer stays as it is: {error}");
        }
        let (connection, handle, messages) = rtnetlink::from_socket(socket);
        let carrier = Some(tokio::spawn(connection).abort_handle());
        let messages = messages.map(|(message, _)| message).boxed();
        (Self { handle, ethtool: None, carrier }, News { messages, ethtool: None })
    }

    /// Connects without subscribing, for those who only ask. Needs a tokio runtime.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn connect_to_ask() -> Result<Self, LinksError> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle, ethtool: Some(Ethtool::new()?), carrier: None })
    }

    /// For requests of others over the same connection.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// All interfaces that exist now.
    ///
    /// # Errors
    /// When the kernel refuses the dump.
    pub async fn list(&self) -> Result<Vec<Link>, LinksError> {
        let mut dump = std::pin::pin!(self.handle.link().get().execute());
        let mut links = Vec::new();
        while let Some(message) = dump.try_next().await.map_err(LinksError::Dump)? {
            links.extend(link(message, self.ethtool.as_ref()));
        }
        Ok(links)
    }
}

impl News {
    /// The next news. `None`: the connection has ended. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<LinkNews> {
        loop {
            match self.messages.next().await?.payload {
                NetlinkPayload::Overrun(_) => return Some(LinkNews::Lost),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) => {
                    if let Some(link) = link(message, self.ethtool.as_ref()) {
                        return Some(LinkNews::Is(link));
                    }
                }
                // With AF_BRIDGE only a port has left its bridge.
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message))
                    if message.header.interface_family == AddressFamily::Unspec =>
                {
                    return Some(LinkNews::Gone(IfIndex(message.header.index)));
                }
                _ => {}
            }
        }
    }
}

fn link(message: LinkMessage, ethtool: Option<&Ethtool>) -> Option<Link> {
    let (mut link, peer) = describe(message)?;
    let Some(ethtool) = ethtool else {
        return Some(link);
    };
    link.offloads = ethtool.offloads(&link.name);
    if let Some(ifindex) = peer.filter(|_| link.kind.as_deref() == Some("veth"))
        && let Some(name) = name_of(ifindex)
    {
        // Whether it has XDP is told by its own description.
        let offloads = ethtool.offloads(&name);
        link.peer = Some(Peer { ifindex, offloads, native_xdp: false });
    }
    Some(link)
}

/// Reads a message: the interface, and the one below or beside it in the same namespace.
/// `None` when it is not about an interface as a whole.
pub(crate) fn describe(message: LinkMessage) -> Option<(Link, Option<IfIndex>)> {
    let LinkMessage { header, attributes, .. } = message;
    if header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let mut link = Link {
        ifindex: IfIndex(header.index),
        name: EcoString::new(),
        altnames: Vec::new(),
        hardware_type: header.link_layer_type.into(),
        kind: None,
        bus: None,
        permanent_address: None,
        admin_up: header.flags.contains(LinkFlags::Up),
        native_xdp: false,
        xdp: false,
        peer: None,
        state: LinkState::default(),
        offloads: Offloads::default(),
    };
    let (mut other, mut elsewhere) = (None, false);
    // Wireless events come as a message with little more than the name: no description.
    let whole = attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::OperState(_)));
    for attribute in attributes {
        match attribute {
            LinkAttribute::Link(ifindex) => other = Some(IfIndex(ifindex)),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            attribute => take(&mut link, attribute),
        }
    }
    let other = other.filter(|_| !elsewhere);
    (whole && !link.name.is_empty()).then_some((link, other))
}

fn take(link: &mut Link, attribute: LinkAttribute) {
    match attribute {
        LinkAttribute::IfName(name) => link.name = name.into(),
        LinkAttribute::PropList(properties) => {
            link.altnames.extend(properties.into_iter().filter_map(|property| match property {
                Prop::AltIfName(name) => Some(name),
                _ => None,
            }));
        }
        LinkAttribute::LinkInfo(infos) => {
            link.kind = infos.into_iter().find_map(|info| match info {
                LinkInfo::Kind(kind) => Some(kind.to_string()),
                _ => None,
            });
        }
        LinkAttribute::ParentDevBusName(bus) => link.bus = Some(bus),
        LinkAttribute::PermAddress(address) => link.permanent_address = Some(address),
        LinkAttribute::OperState(state) => link.state.operstate = operstate(state),
        LinkAttribute::CarrierUpCount(count) => {
            link.state.carrier_up_count = Some(u64::from(count));
        }
        LinkAttribute::CarrierDownCount(count) => {
            link.state.carrier_down_count = Some(u64::from(count));
        }
        LinkAttribute::Xdp(xdp) => {
            link.xdp = xdp.iter().any(|attribute| {
                matches!(attribute, LinkXdp::Attached(how) if *how != XdpAttached::None)
            });
            link.native_xdp = xdp.iter().any(|attribute| {
                matches!(attribute, LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Multiple))
            });
        }
        _ => {}
    }
}

const fn operstate(state: State) -> Option<OperState> {
    Some(match state {
        State::Unknown => OperState::Unknown,
        State::NotPresent => OperState::NotPresent,
        State::Down => OperState::Down,
        State::LowerLayerDown => OperState::LowerLayerDown,
        State::Testing => OperState::Testing,
        State::Dormant => OperState::Dormant,
        State::Up => OperState::Up,
        _ => return None,
    })
}
