//! `netmon compare`: the numbers of both modes for traffic that is known, the rule that explains
//! each difference, and what it does when it cannot.

use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::{Agent, Finished},
    bpf::Object,
    foreign::{self, XdpMode},
    frame::{self, BROADCAST},
    netns::Namespace,
    privileges::Privileges,
    scratch::Scratch,
    tuntap::Layer,
    wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    Test,
    common::{is_bare, netmon, veth},
    lifecycle::next_start,
};

pub(crate) const TESTS: &[Test] = &[
    ("what_both_count_is_the_same", what_both_count_is_the_same),
    ("a_header_that_the_device_leaves_out", a_header_that_the_device_leaves_out),
    ("tags_that_the_stack_takes_out_are_explained", tags_are_explained),
    ("what_the_device_drops_is_explained", what_the_device_drops_is_explained),
    ("what_anothers_xdp_drops_is_explained", what_anothers_xdp_drops_is_explained),
    ("what_goes_around_the_hooks_is_unexplained", what_goes_around_the_hooks_is_unexplained),
    ("a_result_is_compared_with_an_earlier_one", a_result_is_compared_with_an_earlier_one),
    ("ctrl_c_ends_it_with_what_there_is", ctrl_c_ends_it_with_what_there_is),
    ("ended_early_it_leaves_no_clsact", ended_early_it_leaves_no_clsact),
    ("kill_leaves_nothing", kill_leaves_nothing),
    ("an_ebpf_mode_that_dies_is_a_failure", || a_mode_that_dies_is_a_failure("ebpf")),
    ("a_sysfs_mode_that_dies_is_a_failure", || a_mode_that_dies_is_a_failure("sysfs")),
    ("an_interface_that_goes_is_not_compared", an_interface_that_goes_is_not_compared),
    ("without_privileges_it_says_what_helps", without_privileges_it_says_what_helps),
    ("wrong_use_is_said", wrong_use_is_said),
];

/// A comparison at ten ticks a second that does not end by itself, up to where traffic counts.
pub(crate) fn comparing(namespace: &Namespace, arguments: &[&str]) -> Result<Agent> {
    comparing_for(namespace, "1h", arguments)
}

fn comparing_for(namespace: &Namespace, time: &str, arguments: &[&str]) -> Result<Agent> {
    let fixed = ["-v", "compare", "--interval", "100ms", "--duration", time, "--format", "json"];
    let agent = netmon(namespace, &fixed).args(arguments).start()?;
    agent.says(&[&format!("comparing for {time}")])?;
    Ok(agent)
}

/// Ends it when ticks have told of all that has passed up to now.
pub(crate) fn ended(agent: Agent) -> Result<Finished> {
    wait_for_ticks(&agent)?;
    agent.signal(Signal::SIGINT)?;
    agent.finish()
}

/// Until two ticks have been taken that began after this: older ones may still be on their way, and
/// the first may not have heard yet that an interface is gone.
fn wait_for_ticks(agent: &Agent) -> Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    let is_later = |line: &str| {
        let (_, time) = line.split_once(" of the eBPF mode, of ")?;
        Some(time.strip_suffix(" ms")?.parse::<u128>().ok()? > now)
    };
    let later = |line: &str| is_later(line) == Some(true);
    wait::until_true("two later ticks", || Ok(agent.stderr()?.count_of(later) >= 2))
}

pub(crate) fn result(finished: &Finished) -> Result<Value> {
    serde_json::from_str(&finished.stdout).with_context(|| format!("{finished:?}"))
}

/// What is said of a direction of the first interface.
fn direction(finished: &Finished, direction: &str) -> Result<Value> {
    Ok(result(finished)?["interfaces"][0][direction].clone())
}

pub(crate) fn pair(packets: i64, bytes: i64) -> Value {
    serde_json::json!({ "packets": packets, "bytes": bytes })
}

fn part(rule: &str, packets: i64, bytes: i64) -> Value {
    serde_json::json!([{ "rule": rule, "packets": packets, "bytes": bytes }])
}

fn what_both_count_is_the_same() -> Result<()> {
    let namespace = veth()?;
    // On a busy machine that is emulated it took four seconds to send.
    let agent = comparing_for(&namespace, "12s", &["nt0", "peer"])?;
    namespace.send_frames("nt0", &frame::plain(BROADCAST, 500), 400)?;
    agent.says(&["a closer look"])?;
    namespace.send_frames("nt0", &frame::plain(BROADCAST, 500), 100)?;
    let finished = agent.finish()?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let result = result(&finished)?;
    for (interface, direction) in [(0, "tx"), (1, "rx")] {
        let counted = &result["interfaces"][interface][direction];
        for way in ["skb", "wire", "report", "kernel"] {
            assert_eq!(counted[way], pair(400, 200_000), "{interface} {direction} {way}");
        }
        assert_eq!(counted["unexplained"], pair(0, 0));
        assert_eq!(counted["reasons"], serde_json::json!([]));
    }
    let cost = &result["cost"];
    assert_eq!(cost["missing"], serde_json::json!([]), "{cost:#}");
    let of = |mode: &str, figure: &str| cost[mode][figure].as_f64().context("no such figure");
    for mode in ["ebpf", "sysfs"] {
        let (cpu, user, kernel) =
            (of(mode, "cpu_us")?, of(mode, "user_us")?, of(mode, "kernel_us")?);
        // All of it can be the kernel's share: time that a hypervisor takes counts there alone.
        ensure!(cpu > 0.0 && user >= 0.0 && kernel > 0.0, "{mode}: {cost:#}");
        ensure!((user + kernel - cpu).abs() < 0.001 * cpu, "{mode}: {cost:#}");
    }
    // Eleven reads of each interface. eBPF takes six calls for all, and more while somebody
    // holds rtnetlink's lock. Of the few ticks a busy machine may leave out half.
    let calls = (of("ebpf", "system_calls")?, of("sysfs", "system_calls")?);
    ensure!(calls.0 >= 3.0 && calls.1 >= 11.0, "{calls:?} calls a tick");
    let programs = cost["programs"].as_array().context("no programs")?;
    let packets: Vec<_> = programs.iter().filter_map(|one| one["packets"].as_u64()).collect();
    // Those of the second hundred that came while it looked: all, unless the machine is slow.
    ensure!(matches!(packets[..], [sent, received] if sent == received && sent <= 100), "{cost:#}");
    is_bare(&namespace, "nt0")
}

fn a_header_that_the_device_leaves_out() -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.set_up("lo")?;
    let agent = comparing(&namespace, &["lo"])?;
    namespace.send_frames("lo", &frame::plain(BROADCAST, 100), 50)?;
    let finished = ended(agent)?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let rx = direction(&finished, "rx")?;
    assert_eq!((&rx["skb"], &rx["kernel"]), (&pair(50, 5_000), &pair(50, 4_300)));
    assert_eq!(rx["reasons"], part("no_ethernet_header", 0, 700));
    Ok(())
}

fn tags_are_explained() -> Result<()> {
    let namespace = veth()?;
    let agent = comparing(&namespace, &["nt0"])?;
    namespace.send_frames("peer", &frame::tagged(BROADCAST, 5, 200), 50)?;
    let finished = ended(agent)?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let rx = direction(&finished, "rx")?;
    assert_eq!((&rx["wire"], &rx["kernel"]), (&pair(50, 10_000), &pair(50, 10_000)));
    assert_eq!(rx["reasons"], part("vlan_tags", 0, -200));
    Ok(())
}

fn what_the_device_drops_is_explained() -> Result<()> {
    const SENT: i64 = 1_500;
    let namespace = Namespace::new()?;
    let mut tap = namespace.add_tuntap("tap0", Layer::Ethernet)?;
    let agent = comparing(&namespace, &["tap0"])?;
    // More than the device's queue holds.
    namespace.send_frames("tap0", &frame::plain(BROADCAST, 100), SENT.unsigned_abs())?;
    let dropped = i64::try_from(namespace.sysfs_totals("tap0")?.tx_dropped)?;
    assert!((1..SENT).contains(&dropped), "{dropped} were dropped");
    for _ in 0..SENT - dropped {
        tap.receive()?;
    }
    let finished = ended(agent)?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let tx = direction(&finished, "tx")?;
    assert_eq!(tx["difference"], pair(dropped, dropped * 100));
    assert_eq!(tx["reasons"], part("dropped_after_hook", dropped, dropped * 100));
    Ok(())
}

fn what_anothers_xdp_drops_is_explained() -> Result<()> {
    let namespace = veth()?;
    let _foreign = namespace.foreign_xdp("nt0", XdpMode::Native, foreign::XDP_DROP)?;
    let agent = comparing(&namespace, &["nt0"])?;
    namespace.send_frames("peer", &frame::plain(BROADCAST, 200), 100)?;
    let finished = ended(agent)?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let rx = direction(&finished, "rx")?;
    assert_eq!((&rx["skb"], &rx["difference"]["packets"]), (&pair(0, 0), &Value::from(-100)));
    assert_eq!(rx["reasons"][0]["rule"], "xdp_before_hook");
    Ok(())
}

fn what_goes_around_the_hooks_is_unexplained() -> Result<()> {
    let namespace = veth()?;
    let agent = comparing(&namespace, &["nt0"])?;
    let mut socket = namespace.packet_socket("nt0")?;
    socket.bypass_qdisc()?;
    for _ in 0..100 {
        socket.send(&frame::plain(BROADCAST, 200))?;
    }
    let finished = ended(agent)?;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let tx = direction(&finished, "tx")?;
    assert_eq!((&tx["unexplained"], &tx["reasons"]), (&pair(-100, -20_000), &Value::Array(vec![])));
    Ok(())
}

fn a_result_is_compared_with_an_earlier_one() -> Result<()> {
    let namespace = veth()?;
    let scratch = Scratch::new()?;
    let before = ended(comparing(&namespace, &["nt0"])?)?;
    assert_eq!(before.code, Some(0), "{before:?}");
    let path = scratch.write("before.json", &before.stdout)?;
    let path = path.to_str().context("not UTF-8")?;
    let with = ["--hook", "clsact", "--with", path];
    let now = ended(comparing(&namespace, &[&["nt0"][..], &with].concat())?)?;
    assert_eq!(now.code, Some(0), "{now:?}");
    let now = result(&now)?;
    assert_eq!(now["changes"]["differs"], serde_json::json!(["--hook: auto before, clsact now"]));
    let figures = now["changes"]["figures"].as_array().context("no figures")?;
    let cpu = figures.iter().find(|figure| figure["what"] == "eBPF: CPU µs a tick");
    let cpu = cpu.context("no CPU time")?;
    assert_eq!(cpu["before"], result(&before)?["cost"]["ebpf"]["cpu_us"]);
    assert_eq!(cpu["now"], now["cost"]["ebpf"]["cpu_us"]);
    Ok(())
}

fn ctrl_c_ends_it_with_what_there_is() -> Result<()> {
    let namespace = veth()?;
    let arguments = ["-v", "compare", "nt0", "--interval", "100ms", "--duration", "1h"];
    let agent = netmon(&namespace, &arguments).start()?;
    agent.says(&["comparing for 1h"])?;
    namespace.send_frames("nt0", &frame::plain(BROADCAST, 500), 40)?;
    let seen = || -> Result<Option<()>> {
        Ok((namespace.sysfs_totals("nt0")?.tx_packets == 40).then_some(()))
    };
    wait::until("the frames", seen)?;
    let finished = ended(agent)?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let row = finished.stdout.lines().find(|line| line.contains("eBPF, skb"));
    let numbers: Vec<_> = row.context("no row")?.split_whitespace().rev().take(2).collect();
    assert_eq!(numbers, ["20000", "40"], "{finished:?}");
    ensure!(finished.stdout.contains("ended by SIGINT"), "{finished:?}");
    is_bare(&namespace, "nt0")
}

fn ended_early_it_leaves_no_clsact() -> Result<()> {
    let namespace = veth()?;
    let arguments = ["compare", "nt0", "peer", "--hook", "clsact"];
    let agent = netmon(&namespace, &arguments).start()?;
    agent.says(&["starting eBPF and sysfs mode on 2 interfaces"])?;
    agent.signal(Signal::SIGTERM)?;
    let finished = agent.finish()?;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
    ensure!(finished.stderr.contains("before anything was compared"), "{finished:?}");
    is_bare(&namespace, "nt0")?;
    is_bare(&namespace, "peer")
}

fn a_mode_that_dies_is_a_failure(which: &str) -> Result<()> {
    let namespace = veth()?;
    // The other one then has to end in order, or it leaves its filters.
    let hook = if which == "sysfs" { "clsact" } else { "auto" };
    let agent = comparing(&namespace, &["nt0", "--hook", hook])?;
    let is_it = |process: &u32| -> Result<bool> {
        Ok(std::fs::read_to_string(format!("/proc/{process}/cmdline"))?.contains(which))
    };
    for process in children(agent.pid())? {
        if is_it(&process)? {
            kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL)?;
        }
    }
    let finished = agent.finish()?;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
    ensure!(finished.stderr.contains(&format!("the {which} mode ended")), "{finished:?}");
    // It was killed, and so could not detach.
    next_start(&namespace)?;
    is_bare(&namespace, "nt0")
}

fn kill_leaves_nothing() -> Result<()> {
    let namespace = veth()?;
    let agent = comparing(&namespace, &["nt0"])?;
    let modes = children(agent.pid())?;
    assert_eq!(modes.len(), 2, "{modes:?}");
    let held: Vec<Object> = netmon_tests::bpf::held_by(modes[0])?;
    ensure!(!held.is_empty(), "{modes:?}");
    agent.kill()?;
    for object in held {
        wait::until("the programs to go", || Ok((!object.exists()?).then_some(())))?;
    }
    is_bare(&namespace, "nt0")
}

fn an_interface_that_goes_is_not_compared() -> Result<()> {
    let namespace = veth()?;
    namespace.add_veth_up("nt1", "peer1")?;
    let agent = comparing(&namespace, &["nt*"])?;
    namespace.delete("nt1")?;
    let finished = ended(agent)?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let result = result(&finished)?;
    assert_eq!(result["interfaces"][0]["not_compared"], Value::Null);
    assert_eq!(result["interfaces"][1]["interface"], "nt1");
    assert_eq!(result["interfaces"][1]["not_compared"], "it was removed meanwhile");
    Ok(())
}

fn without_privileges_it_says_what_helps() -> Result<()> {
    let namespace = veth()?;
    let finished = netmon(&namespace, &["compare", "nt0"])
        .privileges(Privileges::NoCapability)
        .start()?
        .finish()?;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
    ensure!(finished.stderr.contains("the ebpf mode ended"), "{finished:?}");
    // Root has lost it on the way here, so neither sudo nor setcap is of help.
    ensure!(finished.stderr.contains("CapabilityBoundingSet"), "{finished:?}");
    Ok(())
}

fn wrong_use_is_said() -> Result<()> {
    let namespace = veth()?;
    let scratch = Scratch::new()?;
    let path = scratch.write("wrong.json", "{}")?;
    let wrong = path.to_str().context("not UTF-8")?;
    let cases: [(&[&str], &str); 4] = [
        (&["nope"], "there is no interface 'nope'"),
        (&["--duration", "100ms"], "is shorter than --interval"),
        (&["--with", wrong], "is no result of `netmon compare --format json`"),
        (&["--with", "/nowhere.json"], "cannot read /nowhere.json"),
    ];
    for (arguments, said) in cases {
        let finished = netmon(&namespace, &["compare"]).args(arguments.iter()).start()?.finish()?;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        ensure!(finished.stderr.contains(said), "{finished:?}");
    }
    Ok(())
}

/// The processes that a process has started, in that order.
fn children(process: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("children"))?;
        for word in text.split_whitespace() {
            children.push(word.parse()?);
        }
    }
    children.sort_unstable();
    Ok(children)
}
