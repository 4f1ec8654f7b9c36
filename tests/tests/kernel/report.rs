//! The report: its three formats, its order, when it comes and when it ends.

use std::{collections::BTreeSet, os::unix::net::UnixDatagram};

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    csv_report, frame,
    kernel::said_here,
    netns::Namespace,
    report::{self, Block, names},
    scratch::Scratch,
    wait,
};
use nix::sys::{
    signal::Signal,
    socket::{AddressFamily, SockFlag, SockType, socketpair},
};

use crate::{
    Test,
    common::{agrees, interrupt, json, monitor, netmon, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("the_text_is_exact", the_text_is_exact),
    ("names_come_in_the_order_asked_for", names_come_in_the_order_asked_for),
    ("patterns_come_in_natural_order", patterns_come_in_natural_order),
    ("excluded_ones_do_not_come", excluded_ones_do_not_come),
    ("all_are_all", all_are_all),
    ("the_first_does_not_wait_for_an_interval", the_first_does_not_wait),
    ("count_and_duration_end_it", count_and_duration_end_it),
    ("no_tick_is_left_out", no_tick_is_left_out),
    ("a_tick_is_one_write", a_tick_is_one_write),
    ("json_csv_and_text_agree", json_csv_and_text_agree),
    ("json_tells_states_and_rates", json_tells_states_and_rates),
    ("json_has_exactly_its_keys", json_has_exactly_its_keys),
    ("odd_names_are_quoted", odd_names_are_quoted),
    ("csv_has_one_header", csv_has_one_header),
    ("stdout_holds_only_the_report", stdout_holds_only_the_report),
    ("a_line_says_what_counts", a_line_says_what_counts),
    ("completions_and_manual_are_generated", completions_and_manual_are_generated),
];

/// A namespace with `eth1`, `eth2` and `eth10` and their other ends, `p…`, made in another order.
fn several() -> Result<Namespace> {
    let namespace = Namespace::new()?;
    for number in [10, 1, 2] {
        namespace.add_veth_up(&format!("eth{number}"), &format!("p{number}"))?;
    }
    Ok(namespace)
}

/// The names in a report of one tick.
fn reported(namespace: &Namespace, arguments: &[&str]) -> Result<Vec<String>> {
    let finished = monitor(namespace, arguments).args(["--count", "1"]).finish()?;
    ensure!(finished.code == Some(0), "{finished:?}");
    Ok(names(&finished.blocks()?).into_iter().map(str::to_owned).collect())
}

fn the_text_is_exact() -> Result<()> {
    let namespace = veth()?;
    namespace.set_up("lo")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 60), 5)?;
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 100), 7)?;
    let finished = monitor(&namespace, &["nt0", "lo", "--count", "3"]).finish()?;
    ensure!(finished.code == Some(0), "{finished:?}");
    let mut expected = Vec::new();
    for link in ["nt0", "lo"] {
        let state = namespace.sysfs_state(link)?;
        expected.push(Block {
            interface: link.to_owned(),
            state: state.state,
            up_count: Some(state.up_count),
            down_count: Some(state.down_count),
            totals: namespace.sysfs_totals(link)?.present(),
        });
    }
    assert_eq!((expected[0].state.as_str(), expected[1].state.as_str()), ("up", "unknown"));
    assert_eq!(finished.blocks()?, [expected.clone(), expected.clone(), expected].concat());
    Ok(())
}

fn names_come_in_the_order_asked_for() -> Result<()> {
    let namespace = several()?;
    assert_eq!(
        reported(&namespace, &["eth2", "lo", "eth10", "p1"])?,
        ["eth2", "lo", "eth10", "p1"]
    );
    Ok(())
}

fn patterns_come_in_natural_order() -> Result<()> {
    let namespace = several()?;
    assert_eq!(reported(&namespace, &["eth*"])?, ["eth1", "eth2", "eth10"]);
    assert_eq!(reported(&namespace, &["eth?"])?, ["eth1", "eth2"]);
    assert_eq!(reported(&namespace, &["p[12]"])?, ["p1", "p2"]);
    // What has been asked for before is not asked for again by a pattern.
    assert_eq!(reported(&namespace, &["eth10", "eth*", "p1"])?, ["eth10", "eth1", "eth2", "p1"]);
    Ok(())
}

fn excluded_ones_do_not_come() -> Result<()> {
    let namespace = several()?;
    let excluded = ["--all", "--exclude", "p*", "--exclude", "lo"];
    assert_eq!(reported(&namespace, &excluded)?, ["eth1", "eth2", "eth10"]);
    assert_eq!(reported(&namespace, &["eth*", "--exclude", "eth2"])?, ["eth1", "eth10"]);
    Ok(())
}

fn all_are_all() -> Result<()> {
    let expected = ["eth1", "eth2", "eth10", "lo", "p1", "p2", "p10"];
    assert_eq!(reported(&several()?, &["--all"])?, expected);
    Ok(())
}

fn the_first_does_not_wait() -> Result<()> {
    let namespace = several()?;
    let finished = netmon(&namespace, &["run", "eth1", "--interval", "1h", "--count", "1"]);
    assert_eq!(names(&finished.finish()?.blocks()?), ["eth1"]);
    Ok(())
}

fn count_and_duration_end_it() -> Result<()> {
    let namespace = veth()?;
    let finished = monitor(&namespace, &["nt0", "--count", "4"]).finish()?;
    assert_eq!((finished.code, finished.blocks()?.len()), (Some(0), 4));
    let finished = monitor(&namespace, &["nt0", "--duration", "1s"]).finish()?;
    let ticks = finished.blocks()?.len();
    // Never more than fit into it; how many fewer is a matter of how busy the machine is.
    assert_eq!((finished.code, (1..=11).contains(&ticks)), (Some(0), true), "{ticks} ticks");
    Ok(())
}

fn no_tick_is_left_out() -> Result<()> {
    let namespace = Namespace::new()?;
    for number in 0..10 {
        namespace.add_veth_up(&format!("a{number}"), &format!("b{number}"))?;
    }
    // Attaching to twenty takes longer than an interval.
    let agent = json(&namespace, &["--all", "--count", "15"])?;
    let ticks: Vec<_> = agent.finish()?.ticks()?.iter().map(|tick| tick.tick).collect();
    assert_eq!(ticks, (1..=15).collect::<Vec<_>>(), "stdout was never blocked");
    Ok(())
}

fn a_tick_is_one_write() -> Result<()> {
    let namespace = Namespace::new()?;
    for number in 0..32 {
        namespace.add_veth(&format!("a{number}"), &format!("b{number}"))?;
    }
    // A socket that keeps writes apart.
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let agent = monitor(&namespace, &["--all", "--count", "3"]).output_to(theirs).start()?;
    // The type is that of another socket, but what it does is recv(2).
    let ours = UnixDatagram::from(ours);
    let mut buffer = vec![0; 1 << 20];
    let mut ticks = Vec::new();
    loop {
        match ours.recv(&mut buffer)? {
            0 => break,
            length => ticks.push(String::from_utf8(buffer[..length].to_vec())?),
        }
    }
    assert_eq!(ticks.len(), 3, "{ticks:?}");
    for tick in ticks {
        assert_eq!(report::parse(&tick)?.len(), 65);
    }
    assert_eq!(agent.finish()?.code, Some(0));
    Ok(())
}

fn json_csv_and_text_agree() -> Result<()> {
    let namespace = veth()?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 60), 5)?;
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 100), 7)?;
    let report = |format: &str| -> Result<_> {
        let arguments = ["nt0", "peer", "--count", "2", "--format", format];
        let finished = monitor(&namespace, &arguments).finish()?;
        ensure!(finished.code == Some(0), "{finished:?}");
        Ok(finished)
    };
    let (text, json, csv) = (report("text")?.blocks()?, report("json")?.ticks()?, report("csv")?);
    let csv = csv_report::parse(&csv.stdout)?;
    assert_eq!((text.len(), json.len(), csv.len()), (4, 2, 4));
    for (tick, (blocks, rows)) in json.iter().zip(text.chunks(2).zip(csv.chunks(2))) {
        assert_eq!(tick.names(), ["nt0", "peer"]);
        for (told, (block, row)) in tick.interfaces.iter().zip(blocks.iter().zip(rows)) {
            let totals = namespace.sysfs_totals(&told.interface)?.present();
            assert_eq!((told.totals(), block.totals, row.totals()), (totals, totals, totals));
            assert_eq!([&told.interface, &told.interface], [&block.interface, &row.interface]);
            assert_eq!((&told.state, told.is(&block.state)), (&row.state, true));
            let counts = (told.up_count, told.down_count);
            assert_eq!(counts, (block.up_count, block.down_count));
            assert_eq!(counts, (row.up_count, row.down_count));
            assert_eq!((told.ifindex, &told.admin_state), (row.ifindex, &row.admin_state));
            assert_eq!(tick.tick, row.tick);
        }
    }
    Ok(())
}

fn json_tells_states_and_rates() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    let told = agrees(&agent, &namespace, "nt0")?;
    let hook = said_here("TCX in+out");
    assert_eq!(told.ifindex, Some(namespace.ifindex("nt0")?));
    assert_eq!((told.admin_state.as_deref(), told.state.as_deref()), (Some("up"), Some("up")));
    assert_eq!((told.source.as_str(), told.hook.as_deref()), ("ebpf", Some(hook.as_str())));
    for direction in [&told.rx, &told.tx] {
        assert_eq!((direction.bytes_per_s, direction.packets_per_s), (Some(0.0), Some(0.0)));
    }
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 60), 50)?;
    let busy = agent.wait_for_tick("a rate", |tick| {
        tick.interface("nt0").is_ok_and(|told| told.tx.packets_per_s > Some(0.0))
    })?;
    let tx = &busy.interface("nt0")?.tx;
    let (bytes, packets) = (tx.bytes_per_s, tx.packets_per_s);
    let ratio = bytes.context("no rate of bytes")? / packets.context("no rate of packets")?;
    assert!((ratio - 60.0).abs() < 0.01, "{tx:?}");

    let ticks = agent.ticks()?;
    assert!(ticks.iter().zip(1..).all(|(tick, number)| tick.tick == number), "from 1, by 1");
    assert!(ticks.is_sorted_by_key(|tick| tick.time_ms));
    // The time from one tick to the next; before the first there was none.
    assert_eq!(ticks[0].elapsed_s, None);
    assert!(ticks[1..].iter().all(|tick| tick.elapsed_s > Some(0.0)));
    interrupt(agent).map(drop)
}

fn json_has_exactly_its_keys() -> Result<()> {
    let namespace = veth()?;
    let arguments = ["nt0", "--count", "1", "--format", "json", "--source", "sysfs"];
    let finished = monitor(&namespace, &arguments).finish()?;
    // Ours must not be missing one (an absent value is null), and theirs must not have another.
    let tick: serde_json::Value = serde_json::from_str(&finished.stdout)?;
    let keys = |value: &serde_json::Value| -> BTreeSet<String> {
        value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
    };
    let named = |names: &str| names.split_whitespace().map(str::to_owned).collect();
    let expected: BTreeSet<_> = named("time_ms tick elapsed_s read_us interfaces events");
    assert_eq!(keys(&tick), expected);
    let interface = &tick["interfaces"][0];
    let expected = named(
        "interface ifindex admin_state state state_reason source hook up_count down_count rx tx",
    );
    assert_eq!(keys(interface), expected);
    let expected =
        named("bytes packets dropped errors bytes_per_s packets_per_s skb wire kernel drift");
    for direction in ["rx", "tx"] {
        let direction = &interface[direction];
        assert_eq!(keys(direction), expected);
        assert!(direction["skb"].is_null() && direction["wire"].is_null(), "{direction}");
    }
    Ok(())
}

fn odd_names_are_quoted() -> Result<()> {
    // The kernel allows all but white space, a slash and a colon.
    const ODD: &str = "a\"b,c\\d\u{fc}";
    let namespace = Namespace::new()?;
    namespace.add_veth_up(ODD, "peer")?;
    for format in ["text", "json", "csv"] {
        let arguments = [ODD, "--count", "2", "--format", format];
        let finished = monitor(&namespace, &arguments).finish()?;
        ensure!(finished.code == Some(0), "{finished:?}");
        let names: Vec<String> = match format {
            "text" => finished.blocks()?.into_iter().map(|block| block.interface).collect(),
            "json" => {
                let ticks = finished.ticks()?.into_iter();
                ticks.flat_map(|tick| tick.interfaces).map(|told| told.interface).collect()
            }
            _ => {
                csv_report::parse(&finished.stdout)?.into_iter().map(|row| row.interface).collect()
            }
        };
        assert_eq!(names, [ODD, ODD], "{format}");
    }
    Ok(())
}

fn csv_has_one_header() -> Result<()> {
    let namespace = veth()?;
    let arguments = ["nt0", "--count", "3", "--format", "csv"];
    let finished = monitor(&namespace, &arguments).finish()?;
    let lines: Vec<_> = finished.stdout.lines().collect();
    assert_eq!((finished.code, lines.len(), lines[0]), (Some(0), 4, csv_report::HEADER));
    assert_eq!(csv_report::parse(&finished.stdout)?.len(), 3);
    Ok(())
}

fn stdout_holds_only_the_report() -> Result<()> {
    let namespace = veth()?;
    namespace.set_down("nt0")?;
    for verbosity in ["-q", "-v", "-vv"] {
        // With an event, too: the link is set up.
        let agent = monitor(&namespace, &["nt0", verbosity]).start()?;
        wait::until_true("both programs", || Ok(namespace.attached("nt0")?.programs().len() == 2))?;
        let seen = agent.blocks()?.len();
        agent.wait_for_block(seen + 2, "three more", |_| true)?;
        agent.signal(Signal::SIGTERM)?;
        let finished = agent.finish()?;
        assert_eq!(finished.code, Some(0), "{verbosity}");
        assert!(finished.blocks()?.len() > 2, "{verbosity}");
        let says_what_counts = finished.stderr.contains(&said_here("nt0: TCX in+out"));
        assert_eq!(says_what_counts, verbosity != "-q", "{verbosity}: {finished:?}");
        namespace.set_down("nt0")?;
    }
    Ok(())
}

fn a_line_says_what_counts() -> Result<()> {
    let namespace = several()?;
    let hooks = [
        ("auto", "TCX in+out"),
        ("tc", "TCX in+out"),
        ("clsact", "clsact in+out"),
        ("xdp", "XDP native in, TCX out"),
    ];
    for (hook, expected) in hooks.map(|(hook, expected)| (hook, said_here(expected))) {
        let agent = json(&namespace, &["eth2", "eth1", "--hook", hook])?;
        for link in ["eth1", "eth2"] {
            assert_eq!(agent.says_counted(link, "")?, format!("{link}: {expected}"), "{hook}");
        }
        interrupt(agent)?;
    }
    let agent = json(&namespace, &["eth1", "--source", "sysfs"])?;
    let line = agent.says_counted("eth1", "sysfs (")?;
    assert!(line.ends_with(')'), "{line}");
    interrupt(agent).map(drop)
}

fn completions_and_manual_are_generated() -> Result<()> {
    let namespace = Namespace::new()?;
    for shell in ["bash", "zsh", "fish"] {
        let finished = netmon(&namespace, &["completions", shell]).finish()?;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(
            finished.stdout.contains("netmon") && finished.stdout.contains("exclude"),
            "{shell}"
        );
    }
    let scratch = Scratch::new()?;
    let directory = scratch.path().to_string_lossy().into_owned();
    let finished = netmon(&namespace, &["generate-man", &directory]).finish()?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let manual = std::fs::read_to_string(scratch.path().join("netmon.1"))?;
    assert!(manual.contains(".TH netmon"), "{manual}");
    Ok(())
}
