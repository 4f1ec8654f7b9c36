//! The objects of JSON, one for each kind of row.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::model::accounting::Traffic;
use crate::model::human::Short;
use crate::model::link::IfIndex;
use crate::model::traffic::facts::SocketTraffic;
use crate::model::traffic::names::{End, Names};
use crate::model::traffic::protocol::Direction;
use crate::model::traffic::rows::{ProtocolRow, SizeRow};
use crate::model::traffic::view::{
    self, AlertSummary, DirectionTrafficView, DropView, FlowView, InterfaceTrafficView,
    ProcessView, Speed,
};

/// Makes the object of a row.
pub(super) trait ToObject {
    /// The object.
    type Object<'a>: Serialize
    where
        Self: 'a;
    /// Makes it.
    fn object<'a>(&'a self, names: &Names) -> Self::Object<'a>;
}

#[derive(Serialize)]
pub(super) struct Process<'a> {
    pid: u32,
    process: &'a str,
    command: Option<&'a str>,
    uid: u32,
    user: Option<&'a str>,
    cgroup: Option<&'a str>,
    kernel_thread: bool,
    alive: bool,
    alert: bool,
    rx: Sockets,
    tx: Sockets,
}

#[derive(Serialize)]
struct Sockets {
    bytes: u64,
    bytes_per_s: Option<f64>,
    average_bytes_per_s: Option<f64>,
    peak_bytes_per_s: Option<f64>,
    tcp: Messages,
    udp: Messages,
}

#[derive(Serialize)]
struct Messages {
    messages: u64,
    bytes: u64,
}

impl ToObject for ProcessView {
    type Object<'a> = Process<'a>;

    fn object<'a>(&'a self, _: &Names) -> Process<'a> {
        let Self {
            id: _,
            life: _,
            pid,
            name,
            command,
            uid,
            user,
            cgroup,
            kernel_thread,
            alive,
            tcp,
            udp,
            rx,
            tx,
            alert,
        } = self;
        let sockets = |speed: &Speed, messages: fn(&SocketTraffic) -> Messages| {
            let (tcp, udp) = (messages(tcp), messages(udp));
            Sockets {
                bytes: tcp.bytes.saturating_add(udp.bytes),
                bytes_per_s: speed.now,
                average_bytes_per_s: speed.average,
                peak_bytes_per_s: speed.peak,
                tcp,
                udp,
            }
        };
        Process {
            pid: *pid,
            process: name,
            command: command.as_deref(),
            uid: *uid,
            user: user.as_deref(),
            cgroup: cgroup.as_deref(),
            kernel_thread: *kernel_thread,
            alive: *alive,
            alert: *alert,
            rx: sockets(rx, |t| Messages { messages: t.rx_messages, bytes: t.rx_bytes }),
            tx: sockets(tx, |t| Messages { messages: t.tx_messages, bytes: t.tx_bytes }),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Flow<'a> {
    interface: &'a str,
    ifindex: IfIndex,
    direction: Direction,
    vlan: Option<u16>,
    #[serde(serialize_with = "short")]
    protocol: Short,
    source: Option<IpAddr>,
    source_port: Option<u16>,
    source_name: Option<Arc<str>>,
    destination: Option<IpAddr>,
    destination_port: Option<u16>,
    destination_name: Option<Arc<str>>,
    icmp_type: Option<u16>,
    icmp_code: Option<u16>,
    skb: &'a Traffic,
    wire: &'a Traffic,
    bytes_per_s: Option<f64>,
    average_bytes_per_s: Option<f64>,
    peak_bytes_per_s: Option<f64>,
    packets_per_s: Option<f64>,
    first_ago_s: f64,
    last_ago_s: f64,
    #[serde(serialize_with = "tcp_flags")]
    tcp_flags: &'a FlowView,
    pid: Option<u32>,
    process: Option<&'a str>,
    estimate: bool,
    alert: bool,
}

impl ToObject for FlowView {
    type Object<'a> = Flow<'a>;

    fn object<'a>(&'a self, names: &Names) -> Flow<'a> {
        let Self {
            id: _,
            life: _,
            key,
            interface,
            skb,
            wire,
            rates: _,
            first,
            last,
            tcp_flags: _,
            process,
            estimate,
            alert,
        } = self;
        let speed = self.speed();
        let (source, destination) = (key.address(End::Source), key.address(End::Destination));
        let host = |address: Option<IpAddr>| address.and_then(|address| names.host(address));
        Flow {
            interface,
            ifindex: key.ifindex,
            direction: key.direction,
            vlan: key.vlan,
            protocol: names.protocol(key.protocol),
            source,
            source_port: key.port(End::Source),
            source_name: host(source),
            destination,
            destination_port: key.port(End::Destination),
            destination_name: host(destination),
            icmp_type: key.icmp().map(|(kind, _)| kind),
            icmp_code: key.icmp().map(|(_, code)| code),
            skb,
            wire,
            bytes_per_s: speed.now,
            average_bytes_per_s: speed.average,
            peak_bytes_per_s: speed.peak,
            packets_per_s: self.packets_per_s(),
            first_ago_s: first.get().as_secs_f64(),
            last_ago_s: last.get().as_secs_f64(),
            tcp_flags: self,
            pid: process.as_ref().map(|process| process.pid),
            process: process.as_ref().map(|process| &*process.name),
            estimate: *estimate,
            alert: *alert,
        }
    }
}

fn short<S: Serializer>(text: &Short, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn tcp_flags<S: Serializer>(flow: &&FlowView, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(flow.tcp_flags())
}

#[derive(Serialize)]
pub(super) struct Protocol<'a> {
    interface: &'a str,
    direction: Direction,
    protocol: &'static str,
    packets: u64,
    bytes: u64,
    bytes_per_s: Option<f64>,
    average_bytes_per_s: Option<f64>,
    peak_bytes_per_s: Option<f64>,
}

impl ToObject for ProtocolRow {
    type Object<'a> = Protocol<'a>;

    fn object<'a>(&'a self, _: &Names) -> Protocol<'a> {
        let Self { place: _, interface, direction, class, traffic, speed } = self;
        Protocol {
            interface,
            direction: *direction,
            protocol: class.name(),
            packets: traffic.packets,
            bytes: traffic.bytes,
            bytes_per_s: speed.now,
            average_bytes_per_s: speed.average,
            peak_bytes_per_s: speed.peak,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Size<'a> {
    interface: &'a str,
    direction: Direction,
    #[serde(serialize_with = "short")]
    size: Short,
    largest_bytes: Option<u32>,
    packets: u64,
    bytes: u64,
    packets_per_s: Option<f64>,
}

impl ToObject for SizeRow {
    type Object<'a> = Size<'a>;

    fn object<'a>(&'a self, _: &Names) -> Size<'a> {
        let Self { place: _, interface, direction, class: _, traffic, packets_per_s } = self;
        Size {
            interface,
            direction: *direction,
            size: self.name(),
            largest_bytes: self.end(),
            packets: traffic.packets,
            bytes: traffic.bytes,
            packets_per_s: *packets_per_s,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Drop<'a> {
    interface: Option<&'a str>,
    reason: &'a str,
    packets: u64,
    packets_per_s: Option<f64>,
}

impl ToObject for DropView {
    type Object<'a> = Drop<'a>;

    fn object<'a>(&'a self, _: &Names) -> Drop<'a> {
        let Self { ifindex: _, interface, reason, packets, packets_per_s } = self;
        let interface = interface.as_deref();
        Drop { interface, reason, packets: *packets, packets_per_s: *packets_per_s }
    }
}

#[derive(Serialize)]
pub(super) struct Interface<'a> {
    interface: &'a str,
    ifindex: IfIndex,
    alert: bool,
    rx: InterfaceDirection,
    tx: InterfaceDirection,
}

#[derive(Serialize)]
struct InterfaceDirection {
    packets: u64,
    bytes: u64,
    bytes_per_s: Option<f64>,
    average_bytes_per_s: Option<f64>,
    peak_bytes_per_s: Option<f64>,
    burst_bytes_per_s: Option<f64>,
    burst_peak_bytes_per_s: Option<f64>,
}

impl ToObject for InterfaceTrafficView {
    type Object<'a> = Interface<'a>;

    fn object<'a>(&'a self, _: &Names) -> Interface<'a> {
        let Self { ifindex, life: _, interface, rx, tx, alert } = self;
        Interface {
            interface,
            ifindex: *ifindex,
            alert: *alert,
            rx: InterfaceDirection::of(rx),
            tx: InterfaceDirection::of(tx),
        }
    }
}

impl InterfaceDirection {
    fn of(view: &DirectionTrafficView) -> Self {
        let DirectionTrafficView { total, speed, protocols: _, sizes: _, burst, burst_peak } = view;
        Self {
            packets: total.packets,
            bytes: total.bytes,
            bytes_per_s: speed.now,
            average_bytes_per_s: speed.average,
            peak_bytes_per_s: speed.peak,
            burst_bytes_per_s: *burst,
            burst_peak_bytes_per_s: *burst_peak,
        }
    }
}

#[derive(Serialize)]
pub(super) struct FlowTable {
    used: usize,
    capacity: u32,
    evicted: u64,
    expired: u64,
    untracked: Traffic,
    sample: u32,
}

impl From<view::FlowTable> for FlowTable {
    fn from(table: view::FlowTable) -> Self {
        let view::FlowTable { used, capacity, evicted, expired, untracked, sample } = table;
        Self { used, capacity, evicted, expired, untracked, sample }
    }
}

#[derive(Serialize)]
pub(super) struct Alerts {
    processes: usize,
    flows: usize,
    interfaces: usize,
}

impl From<AlertSummary> for Alerts {
    fn from(alerts: AlertSummary) -> Self {
        let AlertSummary { processes, flows, interfaces, thresholds: _ } = alerts;
        Self { processes, flows, interfaces }
    }
}
