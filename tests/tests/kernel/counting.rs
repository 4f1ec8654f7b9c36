//! Counts: those of the programs in the kernel against those that were sent, and the report's
//! totals against sysfs, for each kind of device and each hook.

use anyhow::Result;
use netmon_tests::{
    agent::Agent,
    ethtool::Offload,
    foreign::{self, XdpMode},
    frame::{self, BROADCAST},
    inet,
    json::{Direction, Drift, Pair},
    netns::Namespace,
    tuntap::Layer,
};

use crate::{
    Test,
    common::{FAR, NEAR, agrees, interrupt, json, observed, pair, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("veth_by_tcx", || veth_counts("tc", "TCX in+out")),
    ("veth_by_clsact", || veth_counts("clsact", "clsact in+out")),
    ("veth_by_native_xdp", || veth_counts("xdp", "XDP native in, TCX out")),
    ("veth_by_generic_xdp", || veth_counts("xdp-generic", "XDP generic in, TCX out")),
    ("veth_with_jumbo_frames_by_native_xdp", veth_with_jumbo_frames),
    ("veth_from_sysfs", veth_from_sysfs),
    ("veth_whose_peer_has_native_xdp", || veth_by_napi(Napi::PeerHasXdp)),
    ("veth_with_gro_whose_peer_has_no_tso", || veth_by_napi(Napi::GroAndPeerWithoutTso)),
    ("veth_without_tso_whose_peer_has_gro", || veth_by_napi(Napi::PeerHasGroAndNoTso)),
    ("lo_by_tcx", || lo_counts("tc", "TCX in+out")),
    ("lo_by_clsact", || lo_counts("clsact", "clsact in+out")),
    ("lo_has_no_native_xdp", || lo_counts("xdp", "TCX in+out")),
    ("bridge_by_tcx", || bridge_counts("tc", "TCX in+out")),
    ("bridge_by_clsact", || bridge_counts("clsact", "clsact in+out")),
    ("macvlan_by_tcx", || macvlan_counts("tc", "TCX in+out")),
    ("macvlan_by_clsact", || macvlan_counts("clsact", "clsact in+out")),
    ("tap_by_tcx", || tap_counts("tc", "TCX in+out")),
    ("tap_by_clsact", || tap_counts("clsact", "clsact in+out")),
    ("tap_by_native_xdp", || tap_counts("xdp", "XDP native in, TCX out")),
    ("tun_by_tcx", || tun_counts("tc", "TCX in+out")),
    ("tun_by_clsact", || tun_counts("clsact", "clsact in+out")),
    ("vxlan_by_tcx", || vxlan_counts("tc", "TCX in+out")),
    ("vxlan_by_clsact", || vxlan_counts("clsact", "clsact in+out")),
    ("lo_by_generic_xdp", || lo_counts("xdp-generic", "XDP generic in, TCX out")),
    ("bridge_by_generic_xdp", || bridge_counts("xdp-generic", "XDP generic in, TCX out")),
    ("macvlan_by_generic_xdp", || macvlan_counts("xdp-generic", "XDP generic in, TCX out")),
    ("tap_by_generic_xdp", || tap_counts("xdp-generic", "XDP generic in, TCX out")),
    ("tun_by_generic_xdp", || tun_counts("xdp-generic", "XDP generic in, TCX out")),
    ("vxlan_by_generic_xdp", || vxlan_counts("xdp-generic", "XDP generic in, TCX out")),
    ("vlan_tags_by_tcx", || vlan_tags("tc", "TCX in+out")),
    ("vlan_tags_by_clsact", || vlan_tags("clsact", "clsact in+out")),
    ("high_ifindexes_by_tcx", || high_ifindexes("tc", "TCX in+out")),
    ("high_ifindexes_by_xdp", || high_ifindexes("xdp", "XDP native in, TCX out")),
];

/// Packets of the same size.
pub(crate) fn packets(packets: u64, size: usize) -> Pair {
    Pair { packets, bytes: packets * size as u64 }
}

/// Both counts of one direction, which are the same where nothing is segmented or tagged.
pub(crate) fn is_counted(direction: &Direction, expected: Pair) {
    assert_eq!((direction.skb, direction.wire), (Some(expected), Some(expected)), "{direction:#?}");
}

/// netmon with a JSON report of this link, counting by this hook.
pub(crate) fn counting(namespace: &Namespace, link: &str, hook: &str, line: &str) -> Result<Agent> {
    let agent = json(namespace, &[link, "--hook", hook])?;
    agent.says_counted(link, line)?;
    Ok(agent)
}

fn veth_counts(hook: &str, line: &str) -> Result<()> {
    let namespace = veth()?;
    namespace.send_frames("peer", &frame::plain(BROADCAST, 100), 50)?;
    namespace.send_frames("nt0", &frame::plain(BROADCAST, 100), 60)?;
    let agent = counting(&namespace, "nt0", hook, line)?;
    let before = agrees(&agent, &namespace, "nt0")?;
    assert_eq!((before.rx.packets, before.tx.packets), (Some(50), Some(60)), "totals, not since");

    namespace.send_frames("peer", &frame::plain(BROADCAST, 60), 1000)?;
    namespace.send_frames("nt0", &frame::plain(BROADCAST, 1514), 300)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    assert_eq!(told.source, "ebpf");
    is_counted(&told.rx, packets(1000, 60));
    is_counted(&told.tx, packets(300, 1514));
    assert_eq!((told.rx.packets, told.tx.packets), (Some(1050), Some(360)));
    assert_eq!(told.rx.dropped, Some(1050), "no protocol has taken them");
    interrupt(agent).map(drop)
}

fn veth_with_jumbo_frames() -> Result<()> {
    let namespace = veth()?;
    namespace.set_mtu("nt0", 9000)?;
    namespace.set_mtu("peer", 9000)?;
    let agent = counting(&namespace, "nt0", "xdp", "XDP native in, TCX out")?;
    namespace.send_frames("peer", &frame::plain(BROADCAST, 9014), 50)?;
    namespace.send_frames("nt0", &frame::plain(BROADCAST, 9014), 60)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    is_counted(&told.rx, packets(50, 9014));
    is_counted(&told.tx, packets(60, 9014));
    interrupt(agent).map(drop)
}

fn veth_from_sysfs() -> Result<()> {
    let namespace = veth()?;
    namespace.send_frames("peer", &frame::plain(BROADCAST, 100), 50)?;
    let sysfs = json(&namespace, &["nt0", "--source", "sysfs"])?;
    let ebpf = counting(&namespace, "nt0", "auto", "TCX in+out")?;
    sysfs.says_counted("nt0", "sysfs (")?;
    namespace.send_frames("peer", &frame::plain(BROADCAST, 60), 1000)?;
    namespace.send_frames("nt0", &frame::plain(BROADCAST, 1514), 300)?;
    let (by_file, by_program) =
        (agrees(&sysfs, &namespace, "nt0")?, agrees(&ebpf, &namespace, "nt0")?);
    assert_eq!(by_file.totals(), by_program.totals());
    assert_eq!((by_file.source.as_str(), by_program.source.as_str()), ("sysfs", "ebpf"));
    assert_eq!((by_file.rx.skb, by_file.tx.wire), (None, None));
    interrupt(sysfs)?;
    interrupt(ebpf).map(drop)
}

/// What makes a veth's packets go through NAPI, and count without their Ethernet header.
#[derive(Clone, Copy)]
enum Napi {
    PeerHasXdp,
    GroAndPeerWithoutTso,
    PeerHasGroAndNoTso,
}

fn veth_by_napi(napi: Napi) -> Result<()> {
    let namespace = veth()?;
    let _foreign = match napi {
        Napi::PeerHasXdp => {
            Some(namespace.foreign_xdp("peer", XdpMode::Native, foreign::XDP_PASS)?)
        }
        Napi::GroAndPeerWithoutTso => {
            namespace.set_offload("nt0", Offload::Gro, true)?;
            namespace.set_offload("peer", Offload::Tso, false)?;
            None
        }
        Napi::PeerHasGroAndNoTso => {
            namespace.set_offload("peer", Offload::Gro, true)?;
            namespace.set_offload("nt0", Offload::Tso, false)?;
            None
        }
    };
    let agent = counting(&namespace, "nt0", "tc", "TCX in+out")?;
    // Few at a time: the receiving end's ring must not run over.
    for _ in 0..5 {
        namespace.send_frames("peer", &frame::plain(BROADCAST, 60), 40)?;
        namespace.send_frames("nt0", &frame::plain(BROADCAST, 1514), 30)?;
        let told = agrees(&agent, &namespace, "nt0")?;
        assert_eq!(told.tx.dropped, Some(0));
    }
    let told = agrees(&agent, &namespace, "nt0")?;
    is_counted(&told.rx, packets(200, 60));
    is_counted(&told.tx, packets(150, 1514));
    let sent = told.tx.kernel.map(|kernel| kernel.bytes);
    let headers = if matches!(napi, Napi::GroAndPeerWithoutTso) { 0 } else { 150 * 14 };
    assert_eq!(sent, Some(150 * 1514 - headers), "that it is by NAPI");
    interrupt(agent).map(drop)
}

fn lo_counts(hook: &str, line: &str) -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.set_up("lo")?;
    let local = std::net::Ipv4Addr::LOCALHOST;
    let (from, to) = (namespace.udp(local)?, namespace.udp(local)?);
    inet::send_datagrams(&from, &to, 10, 20)?;
    let agent = counting(&namespace, "lo", hook, line)?;
    inet::send_datagrams(&from, &to, 100, 500)?;
    let told = agrees(&agent, &namespace, "lo")?;
    is_counted(&told.rx, packets(500, 100 + inet::UDP_HEADERS));
    is_counted(&told.tx, packets(500, 100 + inet::UDP_HEADERS));
    assert_eq!((told.rx.packets, told.tx.packets), (Some(520), Some(520)));
    interrupt(agent).map(drop)
}

fn bridge_counts(hook: &str, line: &str) -> Result<()> {
    let namespace = veth()?;
    namespace.add_bridge("br0", &["nt0"])?;
    namespace.send_frames("peer", &frame::plain(BROADCAST, 100), 10)?;
    let agent = json(&namespace, &["br0", "nt0", "--hook", hook])?;
    agent.says_counted("br0", line)?;
    // The kernel has no XDP for a port of what has XDP itself.
    agent.says_counted("nt0", line.replace("XDP generic in, TCX out", "TCX in+out").as_str())?;
    namespace.send_frames("peer", &frame::plain(BROADCAST, 200), 300)?;
    namespace.send_frames("br0", &frame::plain(BROADCAST, 1000), 200)?;
    for link in ["br0", "nt0"] {
        let told = agrees(&agent, &namespace, link)?;
        is_counted(&told.rx, packets(300, 200));
        is_counted(&told.tx, packets(200, 1000));
    }
    interrupt(agent).map(drop)
}

fn macvlan_counts(hook: &str, line: &str) -> Result<()> {
    let namespace = veth()?;
    namespace.add_macvlan("mv0", "nt0")?;
    let mac = namespace.mac("mv0")?;
    namespace.send_frames("peer", &frame::plain(mac, 100), 10)?;
    let agent = counting(&namespace, "mv0", hook, line)?;
    namespace.send_frames("peer", &frame::plain(mac, 200), 300)?;
    namespace.send_frames("mv0", &frame::plain(frame::SENDER, 1000), 200)?;
    let told = agrees(&agent, &namespace, "mv0")?;
    is_counted(&told.rx, packets(300, 200));
    is_counted(&told.tx, packets(200, 1000));
    interrupt(agent).map(drop)
}

fn tap_counts(hook: &str, line: &str) -> Result<()> {
    let namespace = Namespace::new()?;
    let mut tap = namespace.add_tuntap("tap0", Layer::Ethernet)?;
    tap.send(&frame::plain(BROADCAST, 100))?;
    let agent = counting(&namespace, "tap0", hook, line)?;
    for _ in 0..300 {
        tap.send(&frame::ethernet_ipv4(BROADCAST, 200))?;
    }
    let (frame, mut socket) = (frame::plain(BROADCAST, 1000), namespace.packet_socket("tap0")?);
    for _ in 0..200 {
        socket.send(&frame)?;
        assert_eq!(tap.receive()?.len(), 1000);
    }
    let told = agrees(&agent, &namespace, "tap0")?;
    is_counted(&told.rx, packets(300, 200));
    is_counted(&told.tx, packets(200, 1000));
    interrupt(agent).map(drop)
}

fn tun_counts(hook: &str, line: &str) -> Result<()> {
    let namespace = Namespace::new()?;
    let mut tun = namespace.add_tuntap("tun0", Layer::Ip)?;
    tun.send(&frame::ipv4(100))?;
    let agent = counting(&namespace, "tun0", hook, line)?;
    for _ in 0..300 {
        tun.send(&frame::ipv4(200))?;
    }
    let (packet, mut socket) = (frame::ipv4(1000), namespace.packet_socket("tun0")?);
    for _ in 0..200 {
        socket.send(&packet)?;
        assert_eq!(tun.receive()?.len(), 1000);
    }
    let told = agrees(&agent, &namespace, "tun0")?;
    is_counted(&told.rx, packets(300, 200));
    is_counted(&told.tx, packets(200, 1000));
    interrupt(agent).map(drop)
}

fn vxlan_counts(hook: &str, line: &str) -> Result<()> {
    let (here, there) = pair()?;
    here.add_vxlan("vx0", NEAR, FAR)?;
    there.add_vxlan("vx0", FAR, NEAR)?;
    there.send_frames("vx0", &frame::plain(BROADCAST, 100), 10)?;
    let agent = counting(&here, "vx0", hook, line)?;
    there.send_frames("vx0", &frame::plain(BROADCAST, 200), 300)?;
    here.send_frames("vx0", &frame::plain(BROADCAST, 1000), 200)?;
    let told = agrees(&agent, &here, "vx0")?;
    is_counted(&told.rx, packets(300, 200));
    is_counted(&told.tx, packets(200, 1000));
    interrupt(agent).map(drop)
}

fn vlan_tags(hook: &str, line: &str) -> Result<()> {
    let namespace = veth()?;
    let agent = counting(&namespace, "nt0", hook, line)?;
    namespace.send_frames("peer", &frame::tagged(BROADCAST, 5, 1000), 100)?;
    namespace.send_frames("nt0", &frame::tagged(BROADCAST, 5, 200), 50)?;
    let told = observed(&agent, &namespace, "nt0")?;
    // On receive the stack has taken the tag out before the hook; a cable would carry it.
    assert_eq!(told.rx.skb, Some(packets(100, 1000 - frame::TAG)));
    assert_eq!(told.rx.wire, Some(packets(100, 1000)));
    is_counted(&told.tx, packets(50, 200));
    // A veth counts it with the tag, which the total's rule leaves out.
    assert_eq!(told.rx.drift, Some(Drift { packets: 0, bytes: -400 }));
    assert_eq!(told.tx.drift, Some(Drift::default()));
    interrupt(agent).map(drop)
}

fn high_ifindexes(hook: &str, line: &str) -> Result<()> {
    let namespace = Namespace::new()?;
    // The last one found by index, the first one found by hashing, and one far beyond.
    let indexes = [("nt0", 65_535), ("nt1", 65_536), ("nt2", 1_000_000)];
    for (link, index) in indexes {
        let peer = link.replace("nt", "peer");
        namespace.add_veth_with_index(link, index, &peer)?;
        namespace.set_up(&peer)?;
        namespace.set_up(link)?;
    }
    let agent = json(&namespace, &["nt*", "--hook", hook])?;
    for ((link, _), number) in indexes.into_iter().zip(1..) {
        agent.says_counted(link, line)?;
        let (peer, frame) = (link.replace("nt", "peer"), frame::plain(BROADCAST, 60));
        namespace.send_frames(&peer, &frame, number * 100)?;
        namespace.send_frames(link, &frame, number * 10)?;
    }
    for ((link, index), number) in indexes.into_iter().zip(1..) {
        let told = agrees(&agent, &namespace, link)?;
        assert_eq!((told.source.as_str(), told.ifindex), ("ebpf", Some(index)));
        is_counted(&told.rx, packets(number * 100, 60));
        is_counted(&told.tx, packets(number * 10, 60));
    }
    interrupt(agent).map(drop)
}
