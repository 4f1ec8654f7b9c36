//! The news of qdiscs and filters (rtnetlink(7), group `RTNLGRP_TC`): of which interface they are,
//! and no more. What is lost of them is not asked for again.

use std::io;

use rtnetlink::sys::{Socket, protocols::NETLINK_ROUTE};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::wire::{self, Messages, u32_at};
use crate::model::link::IfIndex;

/// `RTNLGRP_TC` of linux/rtnetlink.h.
const GROUP: u32 = 4;
/// `RTM_NEWQDISC` to `RTM_DELTFILTER`, of which these are of interest: a new filter may stand in
/// front of another, and what is deleted may have been somebody's.
const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
/// A filter's news are a few hundred bytes.
const RECEIVE: usize = 16 << 10;

/// The subscription.
pub struct TcNews {
    socket: AsyncFd<Socket>,
    received: Vec<u8>,
}

impl TcNews {
    /// Subscribes in the current network namespace. Needs a tokio runtime.
    ///
    /// # Errors
    /// Those of the socket calls.
    pub fn subscribe() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.add_membership(GROUP)?;
        socket.set_non_blocking(true)?;
        // SAFETY: the socket owns its descriptor, always gives the same one, and closes it only
        // when it is dropped, which AsyncFd does after it has deregistered it.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self { socket, received: Vec::with_capacity(RECEIVE) })
    }

    /// Waits for news, and calls `heard` with the interfaces that they are about, one by one.
    ///
    /// # Errors
    /// Those of recv(2), but for lost news.
    pub async fn next(&mut self, mut heard: impl FnMut(IfIndex)) -> io::Result<()> {
        let Self { socket, received } = self;
        let read = socket.async_io(Interest::READABLE, |socket| wire::receive(socket, received));
        match read.await {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                changed(received, &mut heard);
                Ok(())
            }
        }
    }
}

/// The interfaces of a datagram's messages (`struct tcmsg` of linux/rtnetlink.h).
pub(crate) fn changed(datagram: &[u8], heard: &mut impl FnMut(IfIndex)) {
    for (header, payload) in Messages(datagram) {
        if matches!(header.kind, RTM_DELQDISC | RTM_NEWTFILTER | RTM_DELTFILTER)
            && let Some(ifindex) = u32_at(payload, 4)
        {
            heard(IfIndex(ifindex));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_goes_and_new_filters_are_of_interest() {
        let message = |kind: u16, ifindex: u32| {
            let mut message = 36_u32.to_ne_bytes().to_vec();
            message.extend(kind.to_ne_bytes());
            message.extend([0; 10]);
            message.extend([0; 4]);
            message.extend(ifindex.to_ne_bytes());
            message.extend([0; 12]);
            message
        };
        let datagram: Vec<u8> =
            [(36, 1), (37, 2), (44, 3), (45, 4), (16, 5)].map(|(k, i)| message(k, i)).concat();
        let mut heard = Vec::new();
        changed(&datagram, &mut |ifindex| heard.push(ifindex.0));
        assert_eq!(heard, [2, 3, 4]);
        heard.clear();
        changed(&datagram[..36 + 20], &mut |ifindex| heard.push(ifindex.0));
        assert_eq!(heard, [0; 0], "cut short");
    }
}
