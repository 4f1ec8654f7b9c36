//! Links in a namespace: made, set, renamed and deleted by route netlink (crate rtnetlink).

use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::AsRawFd,
};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::{
    Handle, LinkBridge, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan,
    packet_core::DefaultNla,
    packet_route::link::{
        InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkMessage, LinkMode, MacVlanMode,
    },
};

use crate::{frame::Mac, kernel, netns::Namespace, wait};

/// The UDP port that IANA gave to VXLAN.
const VXLAN_PORT: u16 = 4789;
/// What is left of 1500 bytes after IPv4, UDP, VXLAN and the inner Ethernet header.
const VXLAN_MTU: u32 = 1450;

impl Namespace {
    /// The index of a link.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn ifindex(&self, name: &str) -> Result<u32> {
        Ok(self.link(name)?.header.index)
    }

    /// What the kernel tells about a link.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn link(&self, name: &str) -> Result<LinkMessage> {
        let name = name.to_owned();
        self.netlink(async move |handle| get(&handle, &name).await)
    }

    /// Gives a link a text that need not be UTF-8: its name (`IFLA_IFNAME`, 3) or its alias
    /// (`IFLA_IFALIAS`, 20).
    ///
    /// # Errors
    /// When there is no such link, or the kernel refuses the text.
    pub fn set_text(&self, name: &str, kind: u16, text: &[u8]) -> Result<()> {
        let attribute = LinkAttribute::Other(DefaultNla::new(kind, [text, b"\0"].concat()));
        self.change(name, move |link| link.append_extra_attribute(attribute.clone()))
    }

    /// Whether a link has been set up (IFF_UP), whatever its operational state.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn is_up(&self, name: &str) -> Result<bool> {
        Ok(self.link(name)?.header.flags.contains(LinkFlags::Up))
    }

    /// Makes the two ends of a veth, both down.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn add_veth(&self, name: &str, peer: &str) -> Result<()> {
        self.add(LinkVeth::new(name, peer).build())
    }

    /// Makes the two ends of a veth and sets them up.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn add_veth_up(&self, name: &str, peer: &str) -> Result<()> {
        self.add_veth(name, peer)?;
        self.set_up(peer)?;
        self.set_up(name)
    }

    /// Makes a veth whose first end has this index.
    ///
    /// # Errors
    /// When a name or the index is taken.
    pub fn add_veth_with_index(&self, name: &str, index: u32, peer: &str) -> Result<()> {
        self.add(LinkVeth::new(name, peer).index(index).build())
    }

    /// Makes a veth whose second end is in another namespace, and sets both up.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn add_veth_to(&self, name: &str, other: &Self, peer: &str) -> Result<()> {
        let elsewhere = LinkUnspec::new_with_name(peer).setns_by_fd(other.handle()?.as_raw_fd());
        let peer_info = InfoData::Veth(InfoVeth::Peer(elsewhere.build()));
        self.add(LinkVeth::new(name, peer).set_info_data(peer_info).build())?;
        other.set_up(peer)?;
        self.set_up(name)
    }

    /// Makes a bridge, sets it up and puts links into it. It does not snoop on multicast, for
    /// which it would send packets of its own.
    ///
    /// # Errors
    /// When the name is taken or a port is missing.
    pub fn add_bridge(&self, name: &str, ports: &[&str]) -> Result<()> {
        self.add(LinkBridge::new(name).mcast_snooping(false).up().build())?;
        let bridge = self.ifindex(name)?;
        ports.iter().try_for_each(|port| {
            self.change(port, move |link| link.controller(bridge)).context("adding a port")
        })
    }

    /// Makes a macvlan (bridge mode) on another link, and sets it up.
    ///
    /// # Errors
    /// When the name is taken or the lower link is missing.
    pub fn add_macvlan(&self, name: &str, lower: &str) -> Result<()> {
        let lower = self.ifindex(lower)?;
        self.add(LinkMacVlan::new(name, lower, MacVlanMode::Bridge).up().build())
    }

    /// Makes a VXLAN to another host, and sets it up. What it sends fits into Ethernet packets:
    /// nothing is fragmented.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn add_vxlan(&self, name: &str, local: Ipv4Addr, remote: Ipv4Addr) -> Result<()> {
        let vxlan = LinkVxlan::new(name, 7).local(local).remote(remote).port(VXLAN_PORT);
        self.add(vxlan.mtu(VXLAN_MTU).up().build())
    }

    /// Sets a link up.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn set_up(&self, name: &str) -> Result<()> {
        self.change(name, LinkMessageBuilder::up)
    }

    /// Sets a link down.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn set_down(&self, name: &str) -> Result<()> {
        self.change(name, LinkMessageBuilder::down)
    }

    /// Keeps a link dormant from the next time that it has a carrier, as if it waited for a login
    /// (802.1X). A kernel as old as 6.1 has to have seen it without one before.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn set_dormant(&self, name: &str) -> Result<()> {
        let mode = LinkAttribute::Mode(LinkMode::Dormant);
        self.change(name, move |link| link.append_extra_attribute(mode))
    }

    /// Gives a link another name. On a kernel older than 6.3 one that is up is set down for it,
    /// and up again.
    ///
    /// # Errors
    /// When there is none of that name, or the new one is taken.
    pub fn rename(&self, name: &str, new_name: &str) -> Result<()> {
        let rename = || {
            let new_name = new_name.to_owned();
            self.change(name, move |link| link.name(new_name))
        };
        if kernel::RENAME_WHILE_UP.is_here() || !self.is_up(name)? {
            return rename();
        }
        wait::until("a link to be down long enough for its new name", || {
            self.set_down(name)?;
            match rename() {
                // netmon has set it up meanwhile.
                Err(_) if self.is_up(name)? => Ok(None),
                other => other.map(Some),
            }
        })?;
        self.set_up(new_name)
    }

    /// Gives a link an alternative name.
    ///
    /// # Errors
    /// When there is none of that name, or the alternative one is taken.
    pub fn add_altname(&self, name: &str, alternative: &str) -> Result<()> {
        let (name, alternative) = (name.to_owned(), alternative.to_owned());
        self.netlink(async move |handle| {
            let index = get(&handle, &name).await?.header.index;
            let request = handle.link().property_add(index).alt_ifname(&[&alternative]);
            request.execute().await.with_context(|| format!("an alternative name of {name}"))
        })
    }

    /// Sets the largest size of a packet, link header not counted.
    ///
    /// # Errors
    /// When there is no such link, or the size does not suit it.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> Result<()> {
        self.change(name, move |link| link.mtu(mtu))
    }

    /// Sets the hardware address.
    ///
    /// # Errors
    /// When there is no such link, or it has no such address.
    pub fn set_mac(&self, name: &str, mac: Mac) -> Result<()> {
        self.change(name, move |link| link.address(mac.to_vec()))
    }

    /// The hardware address.
    ///
    /// # Errors
    /// When there is no such link, or it has no Ethernet address.
    pub fn mac(&self, name: &str) -> Result<Mac> {
        let link = self.link(name)?;
        let address = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Address(address) => Mac::try_from(address.as_slice()).ok(),
            _ => None,
        });
        address.with_context(|| format!("{name} has no Ethernet address"))
    }

    /// Deletes a link (and the other end of a veth).
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn delete(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.netlink(async move |handle| {
            let index = get(&handle, &name).await?.header.index;
            let request = handle.link().del(index);
            request.execute().await.with_context(|| format!("deleting {name}"))
        })
    }

    /// Moves a link to another namespace.
    ///
    /// # Errors
    /// When there is none of that name, or the name is taken there.
    pub fn move_to(&self, name: &str, other: &Self) -> Result<()> {
        let target = other.handle()?.as_raw_fd();
        self.change(name, move |link| link.setns_by_fd(target))
    }

    /// Gives a link an IPv4 address.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn add_address(&self, name: &str, address: Ipv4Addr, prefix: u8) -> Result<()> {
        let index = self.ifindex(name)?;
        self.netlink(async move |handle| {
            let request = handle.address().add(index, IpAddr::V4(address), prefix);
            request.execute().await.with_context(|| format!("the address {address}/{prefix}"))
        })
    }

    /// Makes the hardware address of a neighbour known, so that no ARP is needed.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn add_neighbour(&self, name: &str, address: Ipv4Addr, mac: Mac) -> Result<()> {
        let index = self.ifindex(name)?;
        self.netlink(async move |handle| {
            let request = handle.neighbours().add(index, IpAddr::V4(address));
            let request = request.link_layer_address(&mac);
            request.execute().await.with_context(|| format!("the neighbour {address}"))
        })
    }

    fn add(&self, message: LinkMessage) -> Result<()> {
        self.netlink(async move |handle| {
            let text = format!("making a link: {:?}", message.attributes);
            handle.link().add(message).execute().await.context(text)
        })
    }

    fn change<C>(&self, name: &str, change: C) -> Result<()>
    where
        C: FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>
            + Send
            + 'static,
    {
        let name = name.to_owned();
        self.netlink(async move |handle| {
            let index = get(&handle, &name).await?.header.index;
            let message = change(LinkUnspec::new_with_index(index)).build();
            let request = handle.link().change(message);
            request.execute().await.with_context(|| format!("changing {name}"))
        })
    }
}

async fn get(handle: &Handle, name: &str) -> Result<LinkMessage> {
    let mut links = handle.link().get().match_name(name).execute();
    let link = links.try_next().await.with_context(|| format!("looking for the link {name}"))?;
    link.with_context(|| format!("no link {name}"))
}
