//! IPv4 routes in a namespace.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use rtnetlink::RouteMessageBuilder;

use crate::netns::Namespace;

impl Namespace {
    /// Adds a route to a network by way of a neighbour.
    ///
    /// # Errors
    /// When no link leads to that neighbour, or there is such a route.
    pub fn add_route(&self, network: Ipv4Addr, prefix: u8, gateway: Ipv4Addr) -> Result<()> {
        self.netlink(async move |handle| {
            let route = RouteMessageBuilder::<Ipv4Addr>::new();
            let route = route.destination_prefix(network, prefix).gateway(gateway).build();
            let request = handle.route().add(route);
            request.execute().await.with_context(|| format!("the route to {network}/{prefix}"))
        })
    }
}
