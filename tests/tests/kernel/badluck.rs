//! Numbers that cannot be read: an absent one is `-`, never 0.

use std::{thread, time::Duration};

use anyhow::Result;
use netmon_tests::{
    frame,
    json::Tick,
    netns::Namespace,
    report::{Totals, names},
    sysfs::class_net,
};

use crate::{
    Test,
    common::{interrupt, json, monitor, veth},
};

/// A dump that takes longer is followed by ticks that read sysfs.
const SLOW_DUMP: Duration = Duration::from_millis(100);

pub(crate) const TESTS: &[Test] = &[
    ("counters_that_cannot_be_read_are_absent", counters_that_cannot_be_read_are_absent),
    ("all_of_sysfs_cannot_be_read", all_of_sysfs_cannot_be_read),
    ("absent_in_json_and_csv", absent_in_json_and_csv),
    ("without_sysfs_there_is_a_report", without_sysfs_there_is_a_report),
    ("ebpf_does_not_need_the_counters_files", ebpf_does_not_need_the_files),
    ("a_held_lock_does_not_stop_the_next_ticks", a_held_lock_does_not_stop_the_next_ticks),
    ("few_open_files_are_named_as_the_reason", few_open_files_are_named_as_the_reason),
    ("the_limit_of_open_files_is_raised", the_limit_of_open_files_is_raised),
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

fn a_held_lock_does_not_stop_the_next_ticks() -> Result<()> {
    let namespace = veth()?;
    let mut sender = namespace.packet_socket("nt0")?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    // One dump has to wait; what comes next is read from sysfs, which waits for nobody.
    let from = agent.stdout()?.count();
    let held = namespace.hold_rtnl()?;
    thread::sleep(3 * SLOW_DUMP);
    drop(held);
    let slow = |tick: &Tick| tick.read_us > SLOW_DUMP.as_secs_f64() * 1e6;
    agent.wait_for_tick_from(from, "a tick that had to wait", slow)?;
    let held = namespace.hold_rtnl()?;
    sender.send_many(&frame::plain(frame::BROADCAST, 100), 10)?;
    let tick = agent.fresh_tick()?;
    assert!(held.release(), "the tick has waited for the lock");
    let ten = Totals { tx_packets: 10, tx_bytes: 1_000, ..Totals::<u64>::default() };
    let told = tick.interface("nt0")?;
    assert_eq!((told.totals(), told.source.as_str()), (ten.present(), "ebpf"));
    assert_eq!(told.tx.kernel.as_ref().map(|kernel| kernel.packets), Some(10));
    interrupt(agent).map(drop)
}

fn few_open_files_are_named_as_the_reason() -> Result<()> {
    let namespace = veth()?;
    for pair in ["a", "b"] {
        namespace.add_veth_up(&format!("{pair}0"), &format!("{pair}1"))?;
    }
    let mut missing = 0;
    for limit in (3..=40).chain([48, 56, 64]) {
        for source in ["auto", "sysfs"] {
            let arguments = ["--all", "--no-recover", "--count", "1", "--source", source];
            let run = monitor(&namespace, &arguments).open_files(limit, limit);
            let finished = run.finish()?;
            let said = &finished.stderr;
            assert!(finished.code.is_some_and(|code| code != 101), "{limit}: {finished:?}");
            assert!(!said.contains("another network namespace"), "{limit}: {said}");
            let is_whole = finished.code == Some(0)
                && finished.blocks()?.iter().all(|block| {
                    let Totals { rx_packets, tx_dropped, .. } = block.totals;
                    rx_packets.is_some() && tx_dropped.is_some() && block.up_count.is_some()
                });
            // With the very least not even the libraries can be opened, which is not ours to say.
            if !is_whole && finished.code != Some(127) {
                missing += usize::from(finished.code == Some(0));
                assert!(said.contains("LimitNOFILE="), "{source}, {limit}: {finished:?}");
            }
            assert!(is_whole || !said.is_empty(), "{source}, {limit}: {finished:?}");
        }
    }
    assert!(missing > 0, "none ran and lacked files");
    Ok(())
}

fn the_limit_of_open_files_is_raised() -> Result<()> {
    let namespace = Namespace::new()?;
    let pairs: Vec<_> = (0..15).map(|at| (format!("a{at}"), format!("b{at}"))).collect();
    for (one, other) in &pairs {
        namespace.add_veth_up(one, other)?;
    }
    let run = monitor(&namespace, &["--all", "--format", "json"]).open_files(64, 4096);
    let agent = run.start()?;
    for (one, other) in &pairs {
        agent.says_counted(one, "TCX in+out")?;
        agent.says_counted(other, "TCX in+out")?;
    }
    let finished = interrupt(agent)?;
    assert!(!finished.stderr.contains("open files"), "{finished:?}");
    Ok(())
}
