//! Super-packets (GSO, GRO): what the stack handles as one and a cable would carry as several.

use anyhow::{Context, Result};
use netmon_tests::{
    agent::Agent,
    ethtool::Offload,
    inet,
    json::{Direction, Pair},
    netns::Namespace,
};

use crate::{
    Test,
    common::{FAR, NEAR, agrees, interrupt, json, pair},
};

pub(crate) const TESTS: &[Test] = &[
    ("udp_segments_by_tcx", || udp_segments("tc")),
    ("udp_segments_by_clsact", || udp_segments("clsact")),
    ("tcp_by_tcx", || tcp(Case { near: Some("tc"), far: "tc", offloads: Offloads::AsTheyAre })),
    ("tcp_by_clsact", || {
        tcp(Case { near: Some("clsact"), far: "clsact", offloads: Offloads::AsTheyAre })
    }),
    ("tcp_without_tso", || tcp(Case { near: Some("tc"), far: "tc", offloads: Offloads::NoTso })),
    ("tcp_with_gro", || tcp(Case { near: None, far: "tc", offloads: Offloads::Gro })),
    ("tcp_to_a_peer_with_gro", || {
        tcp(Case { near: Some("tc"), far: "tc", offloads: Offloads::Gro })
    }),
    ("tcp_by_native_xdp", || tcp(Case { near: None, far: "xdp", offloads: Offloads::AsTheyAre })),
    ("tcp_over_lo", tcp_over_lo),
    ("tcp_over_vxlan", tcp_over_vxlan),
    ("offloads_switched_meanwhile", offloads_switched_meanwhile),
];

/// What is sent by TCP: several hundred super-packets of 64 KiB.
pub(crate) const BYTES: u64 = 20 << 20;
/// Before the payload of a TCP segment: Ethernet, IPv4, TCP with time stamps.
const TCP_HEADERS: u64 = 14 + 20 + 20 + 12;

/// A transfer by TCP from the near end of a veth to the far one.
#[derive(Clone, Copy)]
struct Case {
    /// The hook by which the near end is counted, if it is looked at.
    near: Option<&'static str>,
    /// The hook by which the far end is counted.
    far: &'static str,
    offloads: Offloads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offloads {
    AsTheyAre,
    /// The far end joins what comes.
    Gro,
    /// The near end's stack segments.
    NoTso,
}

fn udp_segments(hook: &str) -> Result<()> {
    const SENDS: u64 = 50;
    let (here, there) = pair()?;
    let (near, far) = (counting(&here, hook)?, counting(&there, hook)?);
    let (from, to) = (here.udp(NEAR)?, there.udp(FAR)?);
    for _ in 0..SENDS {
        // Ten segments of 1000 bytes and one of 500.
        inet::send_segmented(&from, &to, 1000, 10_500)?;
    }
    let headers = inet::UDP_HEADERS as u64;
    let skb = Some(Pair { packets: SENDS, bytes: SENDS * (10_500 + headers) });
    let wire = Some(Pair { packets: SENDS * 11, bytes: SENDS * (10_500 + 11 * headers) });
    let sent = agrees(&near, &here, "nt0")?.tx;
    assert_eq!((sent.skb, sent.wire), (skb, wire));
    let received = agrees(&far, &there, "nt0")?.rx;
    assert_eq!((received.skb, received.wire), (skb, wire));
    interrupt(near)?;
    interrupt(far).map(drop)
}

/// The two counts of TCP's data suit one another: each further segment repeats the headers.
fn suits(direction: &Direction, headers: u64) -> Result<(Pair, Pair)> {
    let (skb, wire) =
        (direction.skb.context("no skb count")?, direction.wire.context("no wire count")?);
    let further = wire.packets.checked_sub(skb.packets).context("less wire than skb")?;
    assert_eq!(wire.bytes, skb.bytes + further * headers, "{direction:#?}");
    Ok((skb, wire))
}

/// The data itself is on the wire in full segments.
fn is_data(wire: Pair, bytes: u64) {
    // 1500 less the IP and TCP headers.
    let least = bytes / 1448;
    // Connection set-up, and segments that were not full: few.
    let most = least + least / 4;
    assert!((least..most).contains(&wire.packets), "{wire:?} for {bytes} bytes");
    assert!(wire.bytes >= bytes + least * TCP_HEADERS, "{wire:?} for {bytes} bytes");
}

fn tcp(case: Case) -> Result<()> {
    let (here, there) = pair()?;
    match case.offloads {
        Offloads::AsTheyAre => {}
        Offloads::Gro => there.set_offload("nt0", Offload::Gro, true)?,
        Offloads::NoTso => here.set_offload("nt0", Offload::Tso, false)?,
    }
    let far = counting(&there, case.far)?;
    let near = case.near.map(|hook| counting(&here, hook)).transpose()?;
    here.tcp_bulk(&there, FAR, BYTES)?;
    inet::settle(&here, "nt0")?;

    let (rx_skb, rx_wire) = suits(&agrees(&far, &there, "nt0")?.rx, TCP_HEADERS)?;
    is_data(rx_wire, BYTES);
    interrupt(far)?;
    let Some(near) = near else { return Ok(()) };
    let (tx_skb, tx_wire) = suits(&agrees(&near, &here, "nt0")?.tx, TCP_HEADERS)?;
    assert_eq!(tx_wire, rx_wire, "the cable carries at one end what it carries at the other");
    assert!(tx_skb.packets < tx_wire.packets / 2, "super-packets: {tx_skb:?} {tx_wire:?}");
    if case.offloads == Offloads::AsTheyAre {
        assert_eq!(tx_skb, rx_skb);
    }
    interrupt(near).map(drop)
}

pub(crate) fn counting(namespace: &Namespace, hook: &str) -> Result<Agent> {
    let agent = json(namespace, &["nt0", "--hook", hook])?;
    let line = match hook {
        "xdp" => "XDP native in, TCX out",
        "clsact" => "clsact in+out",
        _ => "TCX in+out",
    };
    agent.says_counted("nt0", line)?;
    Ok(agent)
}

fn tcp_over_lo() -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.set_up("lo")?;
    let agent = json(&namespace, &["lo"])?;
    agent.says_counted("lo", "TCX in+out")?;
    namespace.tcp_bulk(&namespace, std::net::Ipv4Addr::LOCALHOST, BYTES)?;
    inet::settle(&namespace, "lo")?;
    let told = agrees(&agent, &namespace, "lo")?;
    let (skb, _) = suits(&told.tx, TCP_HEADERS)?;
    assert!(skb.bytes > BYTES);
    // On the way the stack cuts those of 64 KiB and more; a cable would not see it.
    assert_eq!(told.rx.wire, told.tx.wire);
    interrupt(agent).map(drop)
}

fn tcp_over_vxlan() -> Result<()> {
    let (here, there) = pair()?;
    here.add_vxlan("vx0", NEAR, FAR)?;
    there.add_vxlan("vx0", FAR, NEAR)?;
    let (inner_near, inner_far) = ([198, 51, 100, 1].into(), [198, 51, 100, 2].into());
    here.add_address("vx0", inner_near, 24)?;
    there.add_address("vx0", inner_far, 24)?;
    here.add_neighbour("vx0", inner_far, there.mac("vx0")?)?;
    there.add_neighbour("vx0", inner_near, here.mac("vx0")?)?;
    let agent = json(&here, &["vx0", "nt0"])?;
    agent.says_counted("vx0", "TCX in+out")?;
    agent.says_counted("nt0", "TCX in+out")?;
    here.tcp_bulk(&there, inner_far, BYTES)?;
    inet::settle(&here, "nt0")?;
    /// What VXLAN puts before the inner frame: Ethernet, IPv4, UDP, VXLAN.
    const OUTER: u64 = 14 + 20 + 8 + 8;
    let (inner, outer) = (agrees(&agent, &here, "vx0")?, agrees(&agent, &here, "nt0")?);
    let (_, inner) = suits(&inner.tx, TCP_HEADERS)?;
    let (_, outer) = suits(&outer.tx, OUTER + TCP_HEADERS)?;
    assert_eq!(outer.packets, inner.packets);
    assert_eq!(outer.bytes, inner.bytes + inner.packets * OUTER);
    interrupt(agent).map(drop)
}

fn offloads_switched_meanwhile() -> Result<()> {
    let (here, there) = pair()?;
    let agent = json(&here, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    for on in [false, true] {
        here.set_offload("nt0", Offload::Tso, on)?;
        // The rule for the total follows the switch by the next tick or so.
        agent.fresh_tick()?;
        here.tcp_bulk(&there, FAR, BYTES)?;
        inet::settle(&here, "nt0")?;
        agrees(&agent, &here, "nt0")?;
    }
    interrupt(agent).map(drop)
}
