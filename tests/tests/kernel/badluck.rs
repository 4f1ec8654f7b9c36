//! Numbers that cannot be read: an absent one is `-`, never 0.

use anyhow::Result;
use netmon_tests::{
    frame,
    report::{Totals, names},
    sysfs::class_net,
};

use crate::{
    Test,
    common::{interrupt, json, monitor, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("counters_that_cannot_be_read_are_absent", counters_that_cannot_be_read_are_absent),
    ("all_of_sysfs_cannot_be_read", all_of_sysfs_cannot_be_read),
    ("absent_in_json_and_csv", absent_in_json_and_csv),
    ("without_sysfs_there_is_a_report", without_sysfs_there_is_a_report),
    ("ebpf_does_not_need_the_counters_files", ebpf_does_not_need_the_files),
];

fn counters_that_cannot_be_read_are_absent() -> Result<()> {
    let namespace = veth()?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 10)?;
    namespace.hide(class_net().join("nt0/statistics"))?;
    let arguments = ["nt0", "peer", "--source", "sysfs", "--count", "2"];
    let finished = monitor(&namespace, &arguments).finish()?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let blocks = finished.blocks()?;
    let state = namespace.sysfs_state("nt0")?;
    for block in [&blocks[0], &blocks[2]] {
        assert_eq!(block.totals, Totals::default(), "each of them `-`: {block:?}");
        // What can be read is there.
        assert_eq!((block.state.as_str(), block.up_count), ("up", Some(state.up_count)));
    }
    assert_eq!(blocks[1].totals, namespace.sysfs_totals("peer")?.present());
    Ok(())
}

fn all_of_sysfs_cannot_be_read() -> Result<()> {
    let namespace = veth()?;
    namespace.hide(class_net())?;
    let finished = monitor(&namespace, &["nt0", "--source", "sysfs", "--count", "2"]).finish()?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for block in finished.blocks()? {
        assert_eq!((block.totals, block.interface.as_str()), (Totals::default(), "nt0"));
        // The state and the carrier's changes may be had by netlink; if not, they are absent.
        assert_ne!(block.up_count, Some(0), "{block:?}");
    }
    Ok(())
}

fn absent_in_json_and_csv() -> Result<()> {
    let namespace = veth()?;
    namespace.hide(class_net().join("nt0/statistics"))?;
    let arguments = ["nt0", "--source", "sysfs", "--count", "2", "--format"];
    let finished = monitor(&namespace, &arguments).args(["json"]).finish()?;
    for tick in finished.ticks()? {
        let told = tick.interface("nt0")?;
        assert_eq!(told.totals(), Totals::default());
        assert_eq!((told.rx.bytes_per_s, told.tx.packets_per_s), (None, None));
    }
    let finished = monitor(&namespace, &arguments).args(["csv"]).finish()?;
    for row in netmon_tests::csv_report::parse(&finished.stdout)? {
        assert_eq!((row.totals(), row.rx_bytes_per_s), (Totals::default(), None));
    }
    Ok(())
}

fn without_sysfs_there_is_a_report() -> Result<()> {
    let namespace = veth()?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 10)?;
    namespace.hide("/sys")?;
    let finished = monitor(&namespace, &["nt0", "--count", "3"]).finish()?;
    namespace.unhide("/sys")?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let blocks = finished.blocks()?;
    assert_eq!(names(&blocks), ["nt0"; 3]);
    // eBPF cannot be used without the list of CPUs; netlink has the same numbers as sysfs.
    let present = namespace.sysfs_totals("nt0")?.present();
    assert!(blocks.iter().all(|block| block.totals == present), "{blocks:?}");
    assert!(finished.stderr.contains("nt0: netlink ("), "{finished:?}");
    Ok(())
}

fn ebpf_does_not_need_the_files() -> Result<()> {
    let namespace = veth()?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 10)?;
    let statistics = class_net().join("nt0/statistics");
    namespace.hide(statistics.clone())?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 10)?;
    let tick = agent.fresh_tick()?;
    namespace.unhide(statistics)?;
    let told = tick.interface("nt0")?;
    assert_eq!(told.totals(), namespace.sysfs_totals("nt0")?.present());
    assert_eq!(told.tx.packets, Some(20));
    interrupt(agent).map(drop)
}
