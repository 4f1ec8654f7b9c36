//! Names of protocols, ports and addresses. What `/etc/services` and `/etc/protocols` say is read
//! elsewhere ([`crate::sources::services`]) and parsed here; without them there are numbers.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ecow::EcoString;

use super::facts::FlowKey;
use super::protocol::Protocol;
use crate::model::human::Short;

/// Names of addresses, where they are wanted.
pub trait Hosts: Send + Sync {
    /// The name, if it is known already. It never waits: one that is not known may be known
    /// later.
    fn name(&self, address: IpAddr) -> Option<Arc<str>>;
}

/// All names that can be had.
#[derive(Clone, Default)]
pub struct Names {
    /// By protocol and port, in the byte order of people.
    services: HashMap<(u8, u16), Box<str>>,
    protocols: HashMap<u8, Box<str>>,
    hosts: Option<Arc<dyn Hosts>>,
    /// Those that exist, so that one whose name could be a pattern is known.
    interfaces: Arc<[EcoString]>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { services, protocols, hosts, interfaces } = self;
        let (services, protocols) = (services.len(), protocols.len());
        let (hosts, interfaces) = (hosts.is_some(), interfaces.len());
        write!(
            f,
            "Names({services} services, {protocols} protocols, {interfaces} interfaces, hosts: \
             {hosts})"
        )
    }
}

/// Names longer than this are no names (RFC 6335 allows 15 characters).
const LONGEST: usize = 40;

/// Which end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

impl Names {
    /// Reads what the two files say: services(5) and protocols(5). Lines that are not understood
    /// are passed over; of several names, the first counts.
    #[must_use]
    pub fn parse(services: &str, protocols: &str) -> Self {
        let mut names = Self::default();
        for (name, number) in lines(protocols) {
            if let Ok(number) = number.parse() {
                names.protocols.entry(number).or_insert_with(|| name.into());
            }
        }
        for (name, place) in lines(services) {
            let Some((port, protocol)) = place.split_once('/') else { continue };
            if let (Ok(port), Some(protocol)) = (port.parse(), names.number(protocol)) {
                names.services.entry((protocol, port)).or_insert_with(|| name.into());
            }
        }
        names
    }

    /// With names of addresses.
    #[must_use]
    pub fn with_hosts(self, hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts: Some(hosts), ..self }
    }

    /// With the names of the interfaces that there are.
    #[must_use]
    pub fn with_interfaces(self, interfaces: impl IntoIterator<Item = EcoString>) -> Self {
        Self { interfaces: interfaces.into_iter().collect(), ..self }
    }

    /// The names of the interfaces that there were when that was told.
    #[must_use]
    pub fn interfaces(&self) -> &[EcoString] {
        &self.interfaces
    }

    /// The name of a protocol, else its number; an `EtherType` in hexadecimal.
    #[must_use]
    pub fn protocol(&self, protocol: Protocol) -> Short {
        match protocol {
            Protocol::Ip(number) => match known(number).or_else(|| self.named(number)) {
                Some(name) => Short::new(name),
                None => Short::of(format_args!("{number}")),
            },
            Protocol::Ethernet(0x0806) => Short::new("arp"),
            Protocol::Ethernet(0x88cc) => Short::new("lldp"),
            Protocol::Ethernet(0x8863 | 0x8864) => Short::new("pppoe"),
            Protocol::Ethernet(other) => Short::of(format_args!("0x{other:04x}")),
        }
    }

    fn named(&self, number: u8) -> Option<&str> {
        self.protocols.get(&number).map(|name| &**name)
    }

    /// The number of a protocol over IP that has this name, whatever the case.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u8> {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        let known = (0..=u8::MAX).find(|number| known(*number).is_some_and(is));
        known.or_else(|| Some(*self.protocols.iter().find(|(_, known)| is(known))?.0))
    }

    /// The service of a port.
    #[must_use]
    pub fn service(&self, protocol: Protocol, port: u16) -> Option<&str> {
        let Protocol::Ip(protocol) = protocol else { return None };
        self.services.get(&(protocol, port)).map(|name| &**name)
    }

    /// The ports of the services of this name, whatever the protocol.
    #[must_use]
    pub fn ports(&self, service: &str) -> Vec<u16> {
        let named = self.services.iter().filter(|(_, name)| name.eq_ignore_ascii_case(service));
        let mut ports: Vec<u16> = named.map(|((_, port), _)| *port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// The name of an address, if names are wanted and it is known already.
    #[must_use]
    pub fn host(&self, address: IpAddr) -> Option<Arc<str>> {
        self.hosts.as_ref()?.name(address)
    }

    /// An end of a flow in words: `10.0.0.1:443 (https)`; `None` where it is not IP.
    #[must_use]
    pub fn endpoint(&self, key: &FlowKey, end: End) -> Option<String> {
        let address = key.address(end)?;
        let host = self.host(address);
        let Some(port) = key.port(end) else {
            return Some(host.map_or_else(|| address.to_string(), |host| host.to_string()));
        };
        let place = match host {
            Some(host) => format!("{host}:{port}"),
            None => SocketAddr::new(address, port).to_string(),
        };
        Some(match self.service(key.protocol, port) {
            Some(service) => format!("{place} ({service})"),
            None => place,
        })
    }
}

impl FlowKey {
    /// The address of an end; `None` where it is not IP.
    #[must_use]
    pub fn address(&self, end: End) -> Option<IpAddr> {
        let (source, destination) = self.addresses?;
        Some(match end {
            End::Source => source,
            End::Destination => destination,
        })
    }

    /// The port of an end; `None` where the protocol has none, and in fragments behind the first.
    #[must_use]
    pub fn port(&self, end: End) -> Option<u16> {
        let port = match end {
            End::Source => self.ports.0,
            End::Destination => self.ports.1,
        };
        (has_ports(self.protocol) && port != 0).then_some(port)
    }

    /// Type and code, of ICMP.
    #[must_use]
    pub fn icmp(&self) -> Option<(u16, u16)> {
        matches!(self.protocol, Protocol::Ip(ICMP | ICMPV6)).then_some(self.ports)
    }
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// TCP, UDP, DCCP, SCTP, UDP-Lite.
const fn has_ports(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Ip(6 | 17 | 33 | 132 | 136))
}

/// The names that the classes of protocols have, too, and those that every system knows.
const fn known(number: u8) -> Option<&'static str> {
    Some(match number {
        ICMP => "icmp",
        2 => "igmp",
        4 => "ipip",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        ICMPV6 => "icmpv6",
        89 => "ospf",
        103 => "pim",
        112 => "vrrp",
        132 => "sctp",
        136 => "udplite",
        _ => return None,
    })
}

/// The first two words of each line that has two, comments left out, where the first can be a
/// name.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let (name, number) = (words.next()?, words.next()?);
        let is_name = name.len() <= LONGEST && name.bytes().all(|byte| byte.is_ascii_graphic());
        is_name.then_some((name, number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::link::IfIndex;
    use crate::model::traffic::protocol::Direction;

    fn names() -> Names {
        let services = "# first\nhttps\t443/tcp # web\nhttps 443/udp\nsecond 443/tcp\n\nodd 70000/tcp\n\
            domain 53/udp named\nx 1/nothing\nhalf\n\u{1b}[2J 7/tcp\nmtp 57/sctp\nlast 99/foo";
        Names::parse(services, "ip 0 IP\nfoo 99 FOO\ntcp 6\nipv6-icmp 58\nbad 256\nworse x\n")
    }

    fn key(protocol: Protocol, ports: (u16, u16)) -> FlowKey {
        let addresses = Some(("10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()));
        let (ifindex, direction, vlan) = (IfIndex(1), Direction::Rx, None);
        FlowKey { ifindex, direction, vlan, protocol, addresses, ports }
    }

    #[test]
    fn the_first_name_counts_and_oddities_are_passed_over() {
        let names = names();
        assert_eq!(names.service(Protocol::Ip(6), 443), Some("https"));
        assert_eq!(names.service(Protocol::Ip(17), 53), Some("domain"));
        assert_eq!(names.service(Protocol::Ip(132), 57), Some("mtp"));
        assert_eq!(names.service(Protocol::Ip(99), 99), Some("last"));
        assert_eq!(names.service(Protocol::Ip(6), 53), None);
        assert_eq!(names.service(Protocol::Ip(6), 7), None);
        assert_eq!(names.service(Protocol::Ethernet(6), 443), None);
        assert_eq!((names.ports("HTTPS"), names.ports("none")), (vec![443], vec![]));
        assert_eq!(names.services.len(), 5);
    }

    #[test]
    fn protocols_have_names_or_numbers() {
        let names = names();
        let shown = |protocol| names.protocol(protocol).to_string();
        assert_eq!(shown(Protocol::Ip(99)), "foo");
        assert_eq!(shown(Protocol::Ip(58)), "icmpv6", "as the class is called");
        assert_eq!(shown(Protocol::Ip(200)), "200");
        assert_eq!(shown(Protocol::Ethernet(0x0806)), "arp");
        assert_eq!(shown(Protocol::Ethernet(0x22)), "0x0022");
        assert_eq!((names.number("TCP"), names.number("ip")), (Some(6), Some(0)));
        assert_eq!(Names::default().protocol(Protocol::Ip(99)).to_string(), "99");
    }

    #[test]
    fn ends_of_flows() {
        let names = names();
        let tcp = key(Protocol::Ip(6), (40_000, 443));
        assert_eq!(names.endpoint(&tcp, End::Source).unwrap(), "10.0.0.1:40000");
        assert_eq!(names.endpoint(&tcp, End::Destination).unwrap(), "[2001:db8::1]:443 (https)");
        let ping = key(Protocol::Ip(58), (128, 0));
        assert_eq!((ping.icmp(), ping.port(End::Source)), (Some((128, 0)), None));
        assert_eq!(names.endpoint(&ping, End::Source).unwrap(), "10.0.0.1");
        assert_eq!(key(Protocol::Ip(6), (0, 0)).port(End::Source), None, "a later fragment");
        let arp = FlowKey { addresses: None, ..key(Protocol::Ethernet(0x806), (0, 0)) };
        assert_eq!(names.endpoint(&arp, End::Source), None);
    }

    #[test]
    fn addresses_have_names_where_they_are_wanted() {
        struct Fake;
        impl Hosts for Fake {
            fn name(&self, address: IpAddr) -> Option<Arc<str>> {
                address.is_ipv4().then(|| "host.example".into())
            }
        }
        let names = names().with_hosts(Arc::new(Fake));
        let tcp = key(Protocol::Ip(6), (443, 443));
        assert_eq!(names.endpoint(&tcp, End::Source).unwrap(), "host.example:443 (https)");
        assert_eq!(names.endpoint(&tcp, End::Destination).unwrap(), "[2001:db8::1]:443 (https)");
    }
}
