//! Datagrams and streams that are cut into packets: by IP, by the stack, by the link.

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    ethtool::Offload,
    inet::{self, UDP_HEADERS},
    json::{Direction, Pair},
};

use super::{counting, load};
use crate::{
    Test,
    common::{FAR, NEAR, agrees, interrupt, pair},
};

pub(crate) const TESTS: &[Test] = &[
    ("fragments_by_tcx", || fragments("tc")),
    ("fragments_by_clsact", || fragments("clsact")),
    ("fragments_by_native_xdp", || fragments("xdp")),
    ("udp_with_gso_by_tcx", || udp_with_gso("tc")),
    ("udp_with_gso_by_clsact", || udp_with_gso("clsact")),
    ("tcp_with_gso_by_tcx", || tcp("tc", true)),
    ("tcp_with_gso_by_clsact", || tcp("clsact", true)),
    ("tcp_without_gso_by_tcx", || tcp("tc", false)),
    ("tcp_without_gso_by_clsact", || tcp("clsact", false)),
    ("tcp_to_native_xdp", || tcp("xdp", true)),
];

/// Datagrams that are too large for a packet, both ways.
fn fragments(hook: &str) -> Result<()> {
    /// A UDP payload near the largest, and what IP makes of it with its header on each part:
    /// parts of 1480 bytes.
    const PAYLOAD: usize = 60_000;
    const PARTS: u64 = (PAYLOAD as u64 + 8).div_ceil(1480);
    const BYTES: u64 = PAYLOAD as u64 + 8 + PARTS * (14 + 20);
    let (here, there) = pair()?;
    let agent = counting(&here, &["nt0"], hook)?;
    let (near, far) = (here.udp(NEAR)?, there.udp(FAR)?);
    let (sent, received) = (load(3000)?, load(2000)?);
    inet::send_datagrams(&near, &far, PAYLOAD, sent)?;
    inet::send_datagrams(&far, &near, PAYLOAD, received)?;
    let told = agrees(&agent, &here, "nt0")?;
    for (direction, datagrams) in [(&told.tx, sent), (&told.rx, received)] {
        let expected = Pair { packets: datagrams * PARTS, bytes: datagrams * BYTES };
        crate::counting::is_counted(direction, expected);
    }
    interrupt(agent).map(drop)
}

/// Datagrams that the link is to cut, as QUIC servers send them.
fn udp_with_gso(hook: &str) -> Result<()> {
    /// Forty-four segments of 1400 bytes and one of 7.
    const PAYLOAD: u64 = 44 * 1400 + 7;
    const SEGMENTS: u64 = 45;
    let (here, there) = pair()?;
    let (near, far) = (counting(&here, &["nt0"], hook)?, counting(&there, &["nt0"], hook)?);
    let (from, to) = (here.udp(NEAR)?, there.udp(FAR)?);
    let sends = load(5000)?;
    for _ in 0..sends {
        inet::send_segmented(&from, &to, 1400, usize::try_from(PAYLOAD)?)?;
    }
    let headers = UDP_HEADERS as u64;
    let skb = Some(Pair { packets: sends, bytes: sends * (PAYLOAD + headers) });
    let packets = sends * SEGMENTS;
    let wire = Some(Pair { packets, bytes: sends * PAYLOAD + packets * headers });
    let (sent, received) = (agrees(&near, &here, "nt0")?.tx, agrees(&far, &there, "nt0")?.rx);
    assert_eq!((sent.skb, sent.wire), (skb, wire));
    assert_eq!((received.skb, received.wire), (skb, wire));
    interrupt(near)?;
    interrupt(far).map(drop)
}

/// A stream of known length: what is left of the bytes on the wire without the headers of the
/// packets on the wire is the stream.
fn tcp(hook: &str, gso: bool) -> Result<()> {
    let (here, there) = pair()?;
    for offload in [Offload::Tso, Offload::Gso] {
        here.set_offload("nt0", offload, gso)?;
    }
    // An XDP program would switch segmentation off towards it: the far end only.
    let near = counting(&here, &["nt0"], if hook == "xdp" { "auto" } else { hook })?;
    let far = counting(&there, &["nt0"], hook)?;
    let bytes = load(if gso && hook != "xdp" { 1 << 30 } else { 256 << 20 })?;
    let sent = here.tcp_bulk(&there, FAR, bytes)?;
    inet::settle(&here, "nt0")?;
    let transmitted = agrees(&near, &here, "nt0");
    // The near end cannot know of an XDP program in another namespace, by which its packets are
    // counted otherwise; the drift tells it, and other tests hold it to that.
    let transmitted = if hook == "xdp" { None } else { Some(transmitted?.tx) };
    let received = agrees(&far, &there, "nt0")?.rx;
    carries(&received, sent)?;
    if let Some(transmitted) = transmitted {
        carries(&transmitted, sent)?;
        ensure!(transmitted.wire == received.wire, "{transmitted:#?} {received:#?}");
    }
    interrupt(near)?;
    interrupt(far).map(drop)
}

/// Checks that a direction has carried a connection with so many bytes of data.
fn carries(direction: &Direction, bytes: u64) -> Result<()> {
    /// Before the data: Ethernet, IPv4, TCP with time stamps.
    const HEADERS: u64 = 14 + 20 + 20 + 12;
    /// Further options of the first packet: MSS, SACK and window scale.
    const FIRST: u64 = 8;
    let Pair { packets, bytes: on_wire } = direction.wire.context("no wire count")?;
    let data = on_wire.checked_sub(packets * HEADERS + FIRST);
    ensure!(data == Some(bytes), "{data:?} of {bytes} bytes of data: {direction:#?}");
    Ok(())
}
