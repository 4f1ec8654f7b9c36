//! The interfaces of a network namespace, and the news about them (rtnetlink(7): `RTM_GETLINK`,
//! group `RTNLGRP_LINK`).

use std::ffi::OsStr;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rtnetlink::Handle;
use rtnetlink::sys::{Socket, protocols::NETLINK_ROUTE};

use super::ethtool::{Ethtool, name_of};
use super::wire::Messages;
use crate::model::link::{IfIndex, Link, Peer};
use channel::{Channel, Heard, Message};
pub(super) use describe::{Description, describe, statistics};

mod channel;
mod describe;

/// `RTNLGRP_LINK` of linux/rtnetlink.h.
const GROUP: u32 = 1;

/// Why the interfaces cannot be known.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// The list could not be read.
    #[error("cannot list the interfaces (RTM_GETLINK): {0}")]
    Dump(io::Error),
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

/// What lists and news have in common.
struct Shared {
    channel: Channel,
    /// `None`: it is another namespace's, where ethtool cannot be asked from here.
    ethtool: Option<Ethtool>,
    /// That a name is not UTF-8 was said.
    warned: AtomicBool,
}

/// The connection.
pub struct Links {
    shared: Arc<Shared>,
    /// `None`: it is another namespace's.
    handle: Option<Handle>,
}

/// What comes in over it unasked.
pub struct News {
    shared: Arc<Shared>,
}

impl Links {
    /// Connects and subscribes; from now on no news is missed. Needs a tokio runtime.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn connect() -> Result<(Self, News), LinksError> {
        let links = Self::own(true)?;
        let news = News { shared: Arc::clone(&links.shared) };
        Ok((links, news))
    }

    /// Takes over a socket of another namespace, subscribed already. Offloads and the other ends
    /// of veths stay unknown. Needs a tokio runtime.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn over(socket: OwnedFd) -> Result<(Self, News), LinksError> {
        // SAFETY: the descriptor is ours alone, and is a netlink socket's, which is what it is
        // used as.
        let socket = unsafe { Socket::from_raw_fd(socket.into_raw_fd()) };
        let channel = Channel::over(socket)?;
        let shared = Arc::new(Shared { channel, ethtool: None, warned: AtomicBool::new(false) });
        Ok((Self { shared: Arc::clone(&shared), handle: None }, News { shared }))
    }

    /// Connects without subscribing, for those who only ask. Needs a tokio runtime.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn connect_to_ask() -> Result<Self, LinksError> {
        Self::own(false)
    }

    fn own(subscribed: bool) -> Result<Self, LinksError> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        if subscribed {
            socket.add_membership(GROUP)?;
        }
        let channel = Channel::over(socket)?;
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let ethtool = Some(Ethtool::new()?);
        let shared = Arc::new(Shared { channel, ethtool, warned: AtomicBool::new(false) });
        Ok(Self { shared, handle: Some(handle) })
    }

    /// For requests of others in the same namespace. `None` where that is another one.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        self.handle.clone()
    }

    /// For reading the statistics over the same connection.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics { shared: Arc::clone(&self.shared) }
    }

    /// All interfaces that exist now.
    ///
    /// # Errors
    /// When the kernel refuses the dump.
    pub async fn list(&self) -> Result<Vec<Link>, LinksError> {
        let listed = self.shared.channel.list(false, |message| self.shared.link(message));
        let mut links = listed.map_err(LinksError::Dump)?;
        // What changes meanwhile may come twice.
        links.sort_by_key(|link| link.ifindex);
        links.dedup_by_key(|link| link.ifindex);
        Ok(links)
    }
}

/// Reads the statistics over the connection of a [`Links`].
pub struct Statistics {
    shared: Arc<Shared>,
}

impl Statistics {
    /// What `read` makes of each interface's message.
    pub(super) fn read<T>(&self, read: impl Fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
        self.shared.channel.list(true, read)
    }
}

impl News {
    /// The next news. `None`: the connection has ended. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<LinkNews> {
        loop {
            let news = match self.shared.channel.next().await {
                Ok(Heard::Message(message)) => self.shared.news(&message),
                Ok(Heard::Lost) => Some(LinkNews::Lost),
                Err(error) => {
                    tracing::warn!("no news of interfaces any more (netlink): {error}");
                    return None;
                }
            };
            if news.is_some() {
                return news;
            }
        }
    }
}

impl Shared {
    fn news(&self, (kind, message): &Message) -> Option<LinkNews> {
        match *kind {
            libc::RTM_NEWLINK => self.link(message).map(LinkNews::Is),
            libc::RTM_DELLINK => describe::ifindex(message).map(LinkNews::Gone),
            _ => None,
        }
    }

    fn link(&self, message: &[u8]) -> Option<Link> {
        let Description { mut link, name, other } = describe(message)?;
        if std::str::from_utf8(name).is_err() && !self.warned.swap(true, Ordering::Relaxed) {
            let (ifindex, shown) = (link.ifindex, &link.name);
            tracing::warn!(
                "the name of the interface with ifindex {ifindex} is not UTF-8: it is shown as \
                 '{shown}', and can be chosen by that, by a pattern, or by --all (said once)"
            );
        }
        let Some(ethtool) = &self.ethtool else {
            return Some(link);
        };
        link.offloads = ethtool.offloads(OsStr::from_bytes(name));
        if let Some(ifindex) = other.filter(|_| link.kind.as_deref() == Some("veth"))
            && let Ok(name) = name_of(ifindex)
        {
            // Whether it has XDP is told by its own description.
            let offloads = ethtool.offloads(&name);
            link.peer = Some(Peer { ifindex, offloads, native_xdp: false });
        }
        Some(link)
    }
}

/// What a datagram describes: for the fuzz targets.
pub(crate) fn described(datagram: &[u8]) -> impl Iterator<Item = Description<'_>> {
    let new = Messages(datagram).filter(|(header, _)| header.kind == libc::RTM_NEWLINK);
    new.filter_map(|(_, message)| describe(message))
}
