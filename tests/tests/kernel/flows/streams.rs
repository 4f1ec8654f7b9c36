//! Real traffic: streams in super-packets, what is forwarded, tunnels, devices without a link
//! header; and the bytes of one moment.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netmon::model::traffic::facts::{Burst, FlowFacts};
use netmon::model::traffic::options::FlowOptions;
use netmon::model::traffic::protocol::{Direction, Protocol, ProtocolClass};
use netmon_tests::netns::Namespace;
use netmon_tests::tuntap::Layer;
use netmon_tests::{frame, headers, inet, wait};

use super::{Watch, class_of, everything, packets, sum};
use crate::common::{FAR, NEAR, pair};
use crate::{Test, segments::BYTES};

pub(crate) const TESTS: &[Test] = &[
    ("a_stream_of_super_packets", a_stream_of_super_packets),
    ("segments_have_sizes", segments_have_sizes),
    ("a_tunnel_by_its_outer_headers", a_tunnel_by_its_outer_headers),
    ("forwarded_packets_are_seen_twice", forwarded_packets_are_seen_twice),
    ("no_link_header", no_link_header),
    ("a_moment_is_recovered", a_moment_is_recovered),
];

/// Before the payload of a TCP segment: Ethernet, IPv4, TCP with time stamps.
pub(super) const TCP_HEADERS: u64 = 14 + 20 + 20 + 12;
/// What the options of a first segment are longer.
pub(super) const SYN_MORE: u64 = 8;
/// How often the kernel sends it (`net.ipv4.tcp_syn_retries` is 6).
pub(super) const MOST_SYNS: u64 = 7;
const SEEN: [(u8, &str); 4] = [(1, "FIN"), (2, "SYN"), (8, "PSH"), (16, "ACK")];

/// Both directions' sums are what is counted.
fn agrees(watch: &mut Watch) -> Result<()> {
    watch.read()?;
    let (_, tx) = watch.counted(Direction::Tx)?;
    let (_, rx) = watch.counted(Direction::Rx)?;
    assert_eq!(everything(watch.table()?), tx.plus(rx));
    let interface = watch.interface()?;
    for (totals, wire) in [(&interface.tx, tx), (&interface.rx, rx)] {
        assert_eq!((sum(&totals.protocols), sum(&totals.sizes)), (wire, wire));
    }
    Ok(())
}

fn tcp(watch: &Watch, direction: Direction) -> Result<FlowFacts> {
    let flow = watch.flow(|key| (key.protocol, key.direction) == (Protocol::Ip(6), direction))?;
    for (flag, name) in SEEN.iter().filter(|(flag, _)| *flag != 8 || direction == Direction::Tx) {
        ensure!(flow.tcp_flags & flag != 0, "{name} in {:#x}", flow.tcp_flags);
    }
    Ok(flow)
}

fn a_stream_of_super_packets() -> Result<()> {
    let (here, there) = pair()?;
    let mut watch = Watch::new(&here, &[("nt0", true)], FlowOptions::default())?;
    let sent = here.tcp_bulk(&there, FAR, BYTES)?;
    inet::settle(&here, "nt0")?;
    agrees(&mut watch)?;
    let (out, back) = (tcp(&watch, Direction::Tx)?, tcp(&watch, Direction::Rx)?);
    assert_eq!(out.key.addresses, Some((NEAR.into(), FAR.into())));
    assert_eq!(back.key.addresses, Some((FAR.into(), NEAR.into())));
    assert_eq!(out.key.ports, (back.key.ports.1, back.key.ports.0));
    // The kernel's own word for what the socket has sent, what it has sent again included. Where the
    // first segment is not answered in time, it is sent again, too.
    let more = out.wire.bytes - out.wire.packets * TCP_HEADERS - sent;
    let is_of_first = more.is_multiple_of(SYN_MORE) && (1..=MOST_SYNS).contains(&(more / SYN_MORE));
    ensure!(is_of_first, "{more} bytes too many for {sent}: {out:?}");
    ensure!(out.skb.packets < out.wire.packets / 2, "no super-packets: {out:?}");
    assert_eq!(watch.counted(Direction::Tx)?, (out.skb, out.wire));
    assert_eq!(watch.counted(Direction::Rx)?, (back.skb, back.wire));
    // Nearly all of it is in full segments of 1514 bytes.
    let full = watch.interface()?.tx.sizes[5];
    ensure!(full.bytes > out.wire.bytes / 10 * 9, "{full:?} of {out:?}");
    Ok(())
}

fn segments_have_sizes() -> Result<()> {
    const SENDS: u64 = 20;
    let (here, there) = pair()?;
    let mut near = Watch::new(&here, &[("nt0", true)], FlowOptions::default())?;
    let mut far = Watch::new(&there, &[("nt0", true)], FlowOptions::default())?;
    let (from, to) = (here.udp(NEAR)?, there.udp(FAR)?);
    for _ in 0..SENDS {
        // Ten segments of 1000 bytes and one of 100.
        inet::send_segmented(&from, &to, 1000, 10_100)?;
    }
    agrees(&mut near)?;
    agrees(&mut far)?;
    for totals in [near.interface()?.tx, far.interface()?.rx] {
        assert_eq!(totals.sizes[5], packets(10 * SENDS, 1000 + inet::UDP_HEADERS));
        assert_eq!(totals.sizes[2], packets(SENDS, 100 + inet::UDP_HEADERS));
        assert_eq!(class_of(&totals.protocols, ProtocolClass::Udp).packets, 11 * SENDS);
    }
    Ok(())
}

fn a_tunnel_by_its_outer_headers() -> Result<()> {
    let (here, there) = pair()?;
    here.add_vxlan("vx0", NEAR, FAR)?;
    there.add_vxlan("vx0", FAR, NEAR)?;
    let (inner_near, inner_far) = ([198, 51, 100, 1].into(), [198, 51, 100, 2].into());
    here.add_address("vx0", inner_near, 24)?;
    there.add_address("vx0", inner_far, 24)?;
    here.add_neighbour("vx0", inner_far, there.mac("vx0")?)?;
    there.add_neighbour("vx0", inner_near, here.mac("vx0")?)?;
    let mut watch = Watch::new(&here, &[("nt0", true), ("vx0", true)], FlowOptions::default())?;
    here.tcp_bulk(&there, inner_far, BYTES)?;
    inet::settle(&here, "nt0")?;
    watch.read()?;
    let (inner, outer) = (here.ifindex("vx0")?, here.ifindex("nt0")?);
    let inner = watch.flow(|key| (key.ifindex.0, key.direction) == (inner, Direction::Tx))?;
    assert_eq!(inner.key.protocol, Protocol::Ip(6));
    // The outer source port is by the inner flow, so there is one.
    let is_outer = |flow: &&FlowFacts| {
        (flow.key.ifindex.0, flow.key.direction) == (outer, Direction::Tx)
            && (flow.key.protocol, flow.key.ports.1) == (Protocol::Ip(17), 4789)
    };
    let outer = watch.table()?.flows.iter().filter(is_outer).map(|flow| flow.wire);
    let outer = outer.fold(packets(0, 0), |sum, more| sum.plus(more));
    /// Ethernet, IPv4, UDP, VXLAN.
    const OUTER: u64 = 14 + 20 + 8 + 8;
    assert_eq!(outer.packets, inner.wire.packets);
    assert_eq!(outer.bytes, inner.wire.bytes + inner.wire.packets * OUTER);
    Ok(())
}

fn forwarded_packets_are_seen_twice() -> Result<()> {
    const SENT: u64 = 200;
    const PAYLOAD: usize = 300;
    let [sender, router, receiver] = [Namespace::new()?, Namespace::new()?, Namespace::new()?];
    router.run(|| Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?))?;
    let side = |end: &Namespace, port: &str, number: u8| -> Result<Ipv4Addr> {
        let (ours, theirs) = (Ipv4Addr::new(10, number, 0, 1), Ipv4Addr::new(10, number, 0, 2));
        end.add_veth_to("nt0", &router, port)?;
        end.add_address("nt0", ours, 24)?;
        router.add_address(port, theirs, 24)?;
        end.add_neighbour("nt0", theirs, router.mac(port)?)?;
        router.add_neighbour(port, ours, end.mac("nt0")?)?;
        end.add_route(Ipv4Addr::new(10, 3 - number, 0, 0), 24, theirs)?;
        Ok(ours)
    };
    let (source, target) = (side(&sender, "a0", 1)?, side(&receiver, "b0", 2)?);
    let links = [("a0", true), ("b0", true)];
    let mut watch = Watch::new(&router, &links, FlowOptions::default())?;
    let (from, to) = (sender.udp(source)?, receiver.udp(target)?);
    inet::send_datagrams(&from, &to, PAYLOAD, SENT)?;
    watch.read()?;
    let ports = (from.local_addr()?.port(), to.local_addr()?.port());
    for (link, direction) in [("a0", Direction::Rx), ("b0", Direction::Tx)] {
        let ifindex = router.ifindex(link)?;
        let flow = watch.flow(|key| (key.ifindex.0, key.direction) == (ifindex, direction))?;
        assert_eq!(flow.wire, packets(SENT, PAYLOAD + inet::UDP_HEADERS));
        assert_eq!((flow.key.ports, flow.key.protocol), (ports, Protocol::Ip(17)));
        assert_eq!(flow.key.addresses, Some((source.into(), target.into())));
    }
    Ok(())
}

fn no_link_header() -> Result<()> {
    let namespace = Namespace::new()?;
    let mut tun = namespace.add_tuntap("tun0", Layer::Ip)?;
    let mut watch = Watch::new(&namespace, &[("tun0", false)], FlowOptions::default())?;
    let four: (Ipv4Addr, Ipv4Addr) = ([192, 0, 2, 8].into(), [192, 0, 2, 9].into());
    let datagram = headers::ipv4(four, 17, &headers::udp((5, 6), 40));
    let six = ("2001:db8::1".parse()?, "2001:db8::2".parse()?);
    let segment = headers::ipv6(six, &[], 6, &headers::tcp((7, 8), 4, 40));
    for _ in 0..10 {
        tun.send(&datagram)?;
    }
    namespace.send_frames("tun0", &segment, 20)?;
    watch.read()?;
    let received = watch.flow(|key| key.direction == Direction::Rx)?;
    assert_eq!(received.wire, packets(10, datagram.len()));
    assert_eq!(received.key.addresses, Some((four.0.into(), four.1.into())));
    assert_eq!((received.key.protocol, received.key.ports), (Protocol::Ip(17), (5, 6)));
    let sent = watch.flow(|key| key.direction == Direction::Tx)?;
    assert_eq!(sent.wire, packets(20, segment.len()));
    assert_eq!(sent.key.addresses, Some((six.0.into(), six.1.into())));
    assert_eq!((sent.key.protocol, sent.key.ports, sent.tcp_flags), (Protocol::Ip(6), (7, 8), 4));
    Ok(())
}

/// What is handed over at once lies in one of the kernel's ticks.
fn a_moment_is_recovered() -> Result<()> {
    const MOMENT: u64 = 50_000 + 50 * inet::UDP_HEADERS as u64;
    let (here, there) = pair()?;
    let mut watch = Watch::new(&here, &[("nt0", true)], FlowOptions::default())?;
    let (from, to) = (here.udp(NEAR)?, there.udp(FAR)?);
    let small = frame::plain(frame::BROADCAST, 60);
    let burst = burst_of(&mut watch, || inet::send_segmented(&from, &to, 1000, 50_000))?;
    assert_eq!(burst.bytes, MOMENT);
    ensure!((1..=10).contains(&burst.width.as_millis()), "{burst:?}");
    // It is told once.
    watch.read()?;
    assert_eq!(watch.interface()?.tx.burst, Some(Burst { bytes: 0, ..burst }));
    let burst = burst_of(&mut watch, || here.send_frames("nt0", &small, 1))?;
    assert_eq!(burst.bytes, 60);
    Ok(())
}

/// Sends, and waits for the tick of the kernel to be over. What a busy machine comes to read so late
/// that the ring has gone round is sent again.
fn burst_of(watch: &mut Watch, mut send: impl FnMut() -> Result<()>) -> Result<Burst> {
    /// Longer than the ring is, so that both are never in it.
    const TOO_OLD: Duration = Duration::from_secs(6);

    send()?;
    let mut sent = Instant::now();
    wait::until("the tick to be over", || {
        watch.read()?;
        let burst = watch.interface()?.tx.burst.filter(|burst| burst.bytes > 0);
        if burst.is_none() && sent.elapsed() > TOO_OLD {
            send()?;
            sent = Instant::now();
        }
        Ok(burst)
    })
}
