//! Which columns each table has: a line each.

use std::cmp::Ordering;

use super::{Column, Kind, Value};
use crate::model::traffic::filter::Key;
use crate::model::traffic::names::{End, Names};
use crate::model::traffic::rows::{ProtocolRow, SizeRow};
use crate::model::traffic::view::{DropView, FlowView, InterfaceTrafficView, ProcessView, both};

/// A table's columns: the variant, its name and title, its kind and perhaps the key that looks
/// there, and what a row has.
macro_rules! columns {
    (
        $(#[$doc:meta])*
        $table:ident of $row:ty {
            shown: $shown:expr,
            default: $default:ident,
            tie: |$a:ident, $b:ident| $tie:expr,
        }
        |$one:ident, $names:ident|
        $($column:ident $name:literal $title:literal $kind:ident $($key:ident)? => $value:expr;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $table {
            $(#[doc = concat!("`", $name, "`.")] $column,)*
        }

        impl Column for $table {
            type Row = $row;
            const ALL: &'static [Self] = &[$(Self::$column,)*];
            const SHOWN: &'static [Self] = { use $table::*; &$shown };
            const DEFAULT: Self = Self::$default;

            fn name(self) -> &'static str {
                match self { $(Self::$column => $name,)* }
            }

            fn title(self) -> &'static str {
                match self { $(Self::$column => $title,)* }
            }

            fn kind(self) -> Kind {
                match self { $(Self::$column => Kind::$kind,)* }
            }

            fn key(self) -> Option<Key> {
                match self {
                    $(Self::$column => columns!(@key $($key)?),)*
                }
            }

            fn value<'a>(self, $one: &'a Self::Row, $names: &Names) -> Value<'a> {
                let _ = $names;
                match self { $(Self::$column => Value::from($value),)* }
            }

            fn tie($a: &Self::Row, $b: &Self::Row) -> Ordering {
                $tie
            }
        }
    };
    (@key) => { None };
    (@key $key:ident) => { Some(Key::$key) };
}

columns! {
    /// Columns of the processes.
    ProcessColumn of ProcessView {
        shown: [Pid, Process, User, Rx, Tx, Average, RxBytes, TxBytes, Cgroup, Command],
        default: Average,
        tie: |a, b| (a.pid, a.id, a.life).cmp(&(b.pid, b.id, b.life)),
    }
    |one, names|
    Pid "pid" "PID" Id Pid => one.pid;
    Process "process" "PROCESS" Text Process => &one.name;
    Command "command" "COMMAND" Text => one.command.as_ref();
    Uid "uid" "UID" Id User => one.uid;
    User "user" "USER" Text User => one.user.as_ref();
    Cgroup "cgroup" "CGROUP" Text Cgroup => one.cgroup.as_ref();
    KernelThread "kernel_thread" "KERNEL" Flag => one.kernel_thread;
    Alive "alive" "ALIVE" Flag => one.alive;
    Alert "alert" "ALERT" Flag => one.alert;
    Rate "bytes_per_s" "RATE" ByteRate => both(one.rx.now, one.tx.now);
    Average "average_bytes_per_s" "AVERAGE" ByteRate => both(one.rx.average, one.tx.average);
    Rx "rx_bytes_per_s" "RX" ByteRate => one.rx.now;
    RxAverage "rx_average_bytes_per_s" "RX-AVG" ByteRate => one.rx.average;
    RxPeak "rx_peak_bytes_per_s" "RX-PEAK" ByteRate => one.rx.peak;
    Tx "tx_bytes_per_s" "TX" ByteRate => one.tx.now;
    TxAverage "tx_average_bytes_per_s" "TX-AVG" ByteRate => one.tx.average;
    TxPeak "tx_peak_bytes_per_s" "TX-PEAK" ByteRate => one.tx.peak;
    RxBytes "rx_bytes" "RECEIVED" Bytes => one.tcp.rx_bytes.saturating_add(one.udp.rx_bytes);
    TxBytes "tx_bytes" "SENT" Bytes => one.tcp.tx_bytes.saturating_add(one.udp.tx_bytes);
    TcpRxBytes "tcp_rx_bytes" "TCP-RX" Bytes => one.tcp.rx_bytes;
    TcpRxMessages "tcp_rx_messages" "TCP-RX-MSG" Count => one.tcp.rx_messages;
    TcpTxBytes "tcp_tx_bytes" "TCP-TX" Bytes => one.tcp.tx_bytes;
    TcpTxMessages "tcp_tx_messages" "TCP-TX-MSG" Count => one.tcp.tx_messages;
    UdpRxBytes "udp_rx_bytes" "UDP-RX" Bytes => one.udp.rx_bytes;
    UdpRxMessages "udp_rx_messages" "UDP-RX-MSG" Count => one.udp.rx_messages;
    UdpTxBytes "udp_tx_bytes" "UDP-TX" Bytes => one.udp.tx_bytes;
    UdpTxMessages "udp_tx_messages" "UDP-TX-MSG" Count => one.udp.tx_messages;
}

columns! {
    /// Columns of the flows.
    FlowColumn of FlowView {
        shown: [
            Interface, Direction, Protocol, From, To, Rate, Average, Peak, Packets, WireBytes, Last,
            Process,
        ],
        default: Average,
        tie: |a, b| (a.id, a.life).cmp(&(b.id, b.life)),
    }
    |one, names|
    Interface "interface" "INTERFACE" Text Interface => &one.interface;
    Direction "direction" "DIR" Text Direction => one.key.direction;
    Vlan "vlan" "VLAN" Id Vlan => one.key.vlan;
    Protocol "protocol" "PROTO" Text Protocol => names.protocol(one.key.protocol);
    Source "source" "SOURCE" Address Source => one.key.address(End::Source);
    SourcePort "source_port" "SPORT" Id SourcePort => one.key.port(End::Source);
    SourceName "source_name" "SOURCE-NAME" Host =>
        one.key.address(End::Source).and_then(|address| names.host(address));
    Destination "destination" "DESTINATION" Address Destination => one.key.address(End::Destination);
    DestinationPort "destination_port" "DPORT" Id DestinationPort => one.key.port(End::Destination);
    DestinationName "destination_name" "DESTINATION-NAME" Host =>
        one.key.address(End::Destination).and_then(|address| names.host(address));
    From "from" "FROM" Endpoint => names.endpoint(&one.key, End::Source);
    To "to" "TO" Endpoint => names.endpoint(&one.key, End::Destination);
    IcmpType "icmp_type" "ICMP-TYPE" Id => one.key.icmp().map(|(kind, _)| kind);
    IcmpCode "icmp_code" "ICMP-CODE" Id => one.key.icmp().map(|(_, code)| code);
    Pid "pid" "PID" Id Pid => one.process.as_ref().map(|process| process.pid);
    Process "process" "PROCESS" Text Process => one.process.as_ref().map(|process| &process.name);
    TcpFlags "tcp_flags" "FLAGS" Text => one.tcp_flag_names();
    Alert "alert" "ALERT" Flag => one.alert;
    Estimate "estimate" "ESTIMATE" Flag => one.estimate;
    Rate "bytes_per_s" "RATE" ByteRate => one.speed().now;
    Average "average_bytes_per_s" "AVERAGE" ByteRate => one.speed().average;
    Peak "peak_bytes_per_s" "PEAK" ByteRate => one.speed().peak;
    Packets "packets_per_s" "PACKETS" CountRate => one.packets_per_s();
    SkbPackets "skb_packets" "SKB-PACKETS" Count => one.skb.packets;
    SkbBytes "skb_bytes" "SKB-BYTES" Bytes => one.skb.bytes;
    WirePackets "wire_packets" "WIRE-PACKETS" Count => one.wire.packets;
    WireBytes "wire_bytes" "BYTES" Bytes => one.wire.bytes;
    First "first_ago_s" "FIRST" Ago => one.first.get();
    Last "last_ago_s" "LAST" Ago => one.last.get();
}

columns! {
    /// Columns of the protocols of each interface and direction.
    ProtocolColumn of ProtocolRow {
        shown: [Interface, Direction, Protocol, Rate, Average, Peak, Packets, Bytes],
        default: Average,
        tie: |a, b| a.place.cmp(&b.place),
    }
    |one, names|
    Interface "interface" "INTERFACE" Text Interface => &one.interface;
    Direction "direction" "DIR" Text Direction => one.direction;
    Protocol "protocol" "PROTO" Text Protocol => one.class.name();
    Rate "bytes_per_s" "RATE" ByteRate => one.speed.now;
    Average "average_bytes_per_s" "AVERAGE" ByteRate => one.speed.average;
    Peak "peak_bytes_per_s" "PEAK" ByteRate => one.speed.peak;
    Packets "packets" "PACKETS" Count => one.traffic.packets;
    Bytes "bytes" "BYTES" Bytes => one.traffic.bytes;
}

columns! {
    /// Columns of the sizes of each interface and direction.
    SizeColumn of SizeRow {
        shown: [Interface, Direction, Size, Rate, Packets, Bytes],
        default: Rate,
        tie: |a, b| a.place.cmp(&b.place),
    }
    |one, names|
    Interface "interface" "INTERFACE" Text Interface => &one.interface;
    Direction "direction" "DIR" Text Direction => one.direction;
    Size "size" "SIZE" Text => one.name();
    Rate "packets_per_s" "RATE" CountRate => one.packets_per_s;
    Packets "packets" "PACKETS" Count => one.traffic.packets;
    Bytes "bytes" "BYTES" Bytes => one.traffic.bytes;
}

columns! {
    /// Columns of the interfaces.
    InterfaceColumn of InterfaceTrafficView {
        shown: [
            Interface, Rx, Tx, RxAverage, TxAverage, RxPeak, TxPeak, RxBurst, TxBurst, RxBytes,
            TxBytes,
        ],
        default: Average,
        tie: |a, b| a.ifindex.cmp(&b.ifindex),
    }
    |one, names|
    Interface "interface" "INTERFACE" Text Interface => &one.interface;
    IfIndex "ifindex" "IFINDEX" Id => one.ifindex.0;
    Alert "alert" "ALERT" Flag => one.alert;
    Rate "bytes_per_s" "RATE" ByteRate => both(one.rx.speed.now, one.tx.speed.now);
    Average "average_bytes_per_s" "AVERAGE" ByteRate =>
        both(one.rx.speed.average, one.tx.speed.average);
    RxPackets "rx_packets" "RX-PACKETS" Count => one.rx.total.packets;
    RxBytes "rx_bytes" "RECEIVED" Bytes => one.rx.total.bytes;
    Rx "rx_bytes_per_s" "RX" ByteRate => one.rx.speed.now;
    RxAverage "rx_average_bytes_per_s" "RX-AVG" ByteRate => one.rx.speed.average;
    RxPeak "rx_peak_bytes_per_s" "RX-PEAK" ByteRate => one.rx.speed.peak;
    RxBurst "rx_burst_bytes_per_s" "RX-BURST" ByteRate => one.rx.burst;
    RxBurstPeak "rx_burst_peak_bytes_per_s" "RX-BURST-PEAK" ByteRate => one.rx.burst_peak;
    TxPackets "tx_packets" "TX-PACKETS" Count => one.tx.total.packets;
    TxBytes "tx_bytes" "SENT" Bytes => one.tx.total.bytes;
    Tx "tx_bytes_per_s" "TX" ByteRate => one.tx.speed.now;
    TxAverage "tx_average_bytes_per_s" "TX-AVG" ByteRate => one.tx.speed.average;
    TxPeak "tx_peak_bytes_per_s" "TX-PEAK" ByteRate => one.tx.speed.peak;
    TxBurst "tx_burst_bytes_per_s" "TX-BURST" ByteRate => one.tx.burst;
    TxBurstPeak "tx_burst_peak_bytes_per_s" "TX-BURST-PEAK" ByteRate => one.tx.burst_peak;
}

columns! {
    /// Columns of the drops.
    DropColumn of DropView {
        shown: [Interface, Reason, Rate, Packets],
        default: Rate,
        tie: |a, b| (a.ifindex, &a.reason).cmp(&(b.ifindex, &b.reason)),
    }
    |one, names|
    Interface "interface" "INTERFACE" Text Interface => one.interface.as_ref();
    Reason "reason" "REASON" Text Reason => &one.reason;
    Rate "packets_per_s" "RATE" CountRate => one.packets_per_s;
    Packets "packets" "PACKETS" Count => one.packets;
}
