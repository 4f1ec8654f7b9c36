//! `netmon compare` at whatever the machine can send.

use anyhow::{Context, Result};
use netmon_tests::{
    frame::{self, BROADCAST},
    inet,
};
use serde_json::Value;

use super::{flood_all, load};
use crate::{
    Test,
    common::{FAR, pair as both_ends, veth},
    compare::{comparing, ended, pair, result},
};

pub(crate) const TESTS: &[Test] =
    &[("a_flood_is_compared", a_flood_is_compared), ("a_stream_is_compared", a_stream_is_compared)];

/// Both ends of a veth send from every CPU. What it does not take it has counted as dropped.
fn a_flood_is_compared() -> Result<()> {
    const LENGTH: u64 = 60;
    let namespace = veth()?;
    let agent = comparing(&namespace, &["nt0", "peer"])?;
    let frame = frame::plain(BROADCAST, usize::try_from(LENGTH)?);
    let each = load(250_000)?;
    let sent = each * flood_all(&namespace, &[("nt0", &frame), ("peer", &frame)], each)?;
    let dropped = |link| Ok::<_, anyhow::Error>(namespace.sysfs_totals(link)?.tx_dropped);
    let not_taken = [dropped("nt0")?, dropped("peer")?];
    let finished = ended(agent)?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let result = result(&finished)?;
    for (at, not_taken) in not_taken.into_iter().enumerate() {
        let told = &result["interfaces"][at];
        let (tx, arrived) = (&told["tx"], &result["interfaces"][1 - at]["rx"]);
        let packets = |count: u64| -> Result<Value> {
            Ok(pair(i64::try_from(count)?, i64::try_from(count * LENGTH)?))
        };
        assert_eq!((&tx["skb"], &tx["wire"]), (&packets(sent)?, &packets(sent)?), "{told:#}");
        assert_eq!(tx["difference"], packets(not_taken)?, "{told:#}");
        assert_eq!(arrived["skb"], packets(sent - not_taken)?, "{arrived:#}");
        assert_eq!(arrived["difference"], pair(0, 0), "{arrived:#}");
    }
    Ok(())
}

/// TCP with segmentation still to come: what a cable carries is many times the packets.
fn a_stream_is_compared() -> Result<()> {
    let (here, there) = both_ends()?;
    let agent = comparing(&here, &["nt0"])?;
    here.tcp_bulk(&there, FAR, load(256 << 20)?)?;
    inet::settle(&here, "nt0")?;
    let finished = ended(agent)?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let tx = &result(&finished)?["interfaces"][0]["tx"];
    let packets = |count: &str| tx[count]["packets"].as_u64().context("no packets");
    assert!(packets("wire")? > 4 * packets("skb")?, "{tx:#}");
    assert_eq!(tx["difference"], pair(0, 0), "{tx:#}");
    Ok(())
}
