//! How it ends, in good ways and bad ones, and that nothing of it is left in the kernel.

use std::{
    fs::File,
    io::{BufRead, BufReader, PipeReader, pipe},
    os::fd::OwnedFd,
};

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::Agent, bpf::Object, frame, inventory::Attached, json::Tick, kernel::TCX,
    netns::Namespace, wait,
};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::signal::Signal,
};

use crate::{
    Test,
    common::{agrees, interrupt, is_bare, json, monitor, netmon, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("ctrl_c_ends_it", || ended_by(Signal::SIGINT, "text")),
    ("ctrl_c_ends_it_with_json", || ended_by(Signal::SIGINT, "json")),
    ("ctrl_c_is_heeded_from_the_first_line", ctrl_c_is_heeded_from_the_first_line),
    ("sigterm_ends_it", || ended_by(Signal::SIGTERM, "text")),
    ("a_second_ctrl_c_ends_it_at_once", a_second_ctrl_c_ends_it_at_once),
    ("ctrl_c_while_attaching_ends_it", ctrl_c_while_attaching_ends_it),
    ("it_detaches_tcx", || detaches("tc")),
    ("it_detaches_clsact", || detaches("clsact")),
    ("it_detaches_xdp", || detaches("xdp")),
    ("it_detaches_generic_xdp", || detaches("xdp-generic")),
    ("count_detaches_too", count_detaches_too),
    ("a_closed_stdout_ends_it_quietly", a_closed_stdout_ends_it_quietly),
    ("a_stdout_that_cannot_be_written_is_a_failure", an_unwritable_stdout_is_a_failure),
    ("a_blocked_stdout_leaves_no_gap", a_blocked_stdout_leaves_no_gap),
    ("a_blocked_stderr_does_not_stop_the_report", a_blocked_stderr_does_not_stop_it),
    ("a_blocked_stdout_does_not_stop_recovery", a_blocked_stdout_does_not_stop_recovery),
    ("kill_leaves_no_tcx", || killed("tc")),
    ("kill_leaves_no_xdp", || killed("xdp")),
    ("kill_while_attaching_leaves_nothing", kill_while_attaching_leaves_nothing),
    ("what_kill_leaves_of_clsact_is_cleaned_by_clsact", || cleaned_at_the_next_start("clsact")),
    ("a_living_netmons_filters_are_not_cleaned", a_living_netmons_filters_are_not_cleaned),
    ("what_kill_leaves_of_clsact_is_cleaned_by_tcx", || cleaned_at_the_next_start("tc")),
];

fn ended_by(signal: Signal, format: &str) -> Result<()> {
    let namespace = veth()?;
    let agent = monitor(&namespace, &["nt0", "peer", "--format", format]).start()?;
    agent.says_counted("nt0", "TCX in+out")?;
    agent.says_counted("peer", "TCX in+out")?;
    agent.stdout()?.wait_for("some ticks", |lines| (lines.len() > 8).then_some(()))?;
    let held = agent.bpf_objects()?;
    ensure!(held.iter().any(|object| matches!(object, Object::Program(_))), "{held:?}");
    agent.signal(signal)?;
    let finished = agent.finish()?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let last = finished.stderr.lines().find(|line| line.starts_with("netmon: SIG"));
    assert_eq!(last, Some(format!("netmon: {signal}: ending").as_str()), "{finished:?}");
    // The line that it was on is finished.
    match format {
        "text" => assert_eq!(finished.blocks()?.len() % 2, 0),
        _ => assert!(finished.ticks()?.iter().all(|tick| tick.interfaces.len() == 2)),
    }
    is_bare(&namespace, "nt0")?;
    is_bare(&namespace, "peer")?;
    have_gone(&held)
}

fn ctrl_c_is_heeded_from_the_first_line() -> Result<()> {
    let namespace = veth()?;
    for source in ["sysfs", "ebpf"] {
        for _ in 0..10 {
            let agent = monitor(&namespace, &["nt0", "--source", source]).start()?;
            // Whatever it says first.
            agent.says(&[""])?;
            interrupt(agent)?;
        }
    }
    is_bare(&namespace, "nt0")
}

/// Waits until the kernel has nothing of these any more.
fn have_gone(objects: &[Object]) -> Result<()> {
    for object in objects {
        wait::until_true(format!("{object:?} to go"), || Ok(!object.exists()?))?;
    }
    Ok(())
}

/// A pipe of one page for a standard output, which is soon full.
fn small_pipe() -> Result<(PipeReader, OwnedFd)> {
    let (reader, writer) = pipe()?;
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).context("making a pipe small")?;
    Ok((reader, writer.into()))
}

/// Lets ticks go by, by another netmon's clock.
fn ticks_go_by(namespace: &Namespace, count: usize) -> Result<()> {
    let clock = json(namespace, &["lo", "--source", "sysfs"])?;
    clock.later_tick(count).map(drop)
}

fn a_second_ctrl_c_ends_it_at_once() -> Result<()> {
    let namespace = veth()?;
    let (_unread, writer) = small_pipe()?;
    let agent = monitor(&namespace, &["--all", "--format", "json"]).output_to(writer).start()?;
    agent.says_counted("nt0", "TCX in+out")?;
    let held = agent.bpf_objects()?;
    ticks_go_by(&namespace, 10)?;
    agent.signal(Signal::SIGINT)?;
    agent.says(&["netmon: SIGINT: ending"])?;
    agent.signal(Signal::SIGINT)?;
    agent.finish()?;
    next_start(&namespace)?;
    is_bare(&namespace, "nt0")?;
    have_gone(&held)
}

fn ctrl_c_while_attaching_ends_it() -> Result<()> {
    for hook in ["tc", "clsact"] {
        let namespace = Namespace::new()?;
        for number in 0..16 {
            namespace.add_veth_up(&format!("a{number}"), &format!("b{number}"))?;
        }
        let agent = monitor(&namespace, &["--all", "--hook", hook]).start()?;
        // The first is attached, most of the others are not.
        agent.says(&[" in+out"])?;
        interrupt(agent)?;
        for link in namespace.sysfs_links()? {
            is_bare(&namespace, &link)?;
        }
    }
    Ok(())
}

fn detaches(hook: &str) -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0", "--hook", hook])?;
    agent.says_counted("nt0", "")?;
    agent.fresh_tick()?;
    let attached = namespace.attached("nt0")?;
    assert_eq!(attached.programs().len(), 2, "{attached:?}");
    interrupt(agent)?;
    is_bare(&namespace, "nt0")?;
    let programs: Vec<_> = attached.programs().into_iter().map(Object::Program).collect();
    have_gone(&programs)
}

fn count_detaches_too() -> Result<()> {
    let namespace = veth()?;
    let arguments = ["nt0", "--hook", "clsact", "--count", "5"];
    assert_eq!(monitor(&namespace, &arguments).finish()?.code, Some(0));
    is_bare(&namespace, "nt0")
}

fn a_closed_stdout_ends_it_quietly() -> Result<()> {
    for format in ["text", "json", "csv"] {
        let namespace = veth()?;
        let (reader, writer) = pipe()?;
        let arguments = ["nt0", "peer", "--format", format];
        let agent = monitor(&namespace, &arguments).output_to(writer.into()).start()?;
        // As `head -3` does.
        let lines = BufReader::new(reader).lines().take(3).collect::<Result<Vec<_>, _>>()?;
        assert_eq!(lines.len(), 3);
        let finished = agent.finish()?;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let said = finished.stderr.to_lowercase();
        assert!(!said.contains("pipe") && !said.contains("error"), "{finished:?}");
        is_bare(&namespace, "nt0")?;
    }
    Ok(())
}

fn an_unwritable_stdout_is_a_failure() -> Result<()> {
    let namespace = veth()?;
    let full = File::options().write(true).open("/dev/full")?;
    let finished = monitor(&namespace, &["nt0"]).output_to(full.into()).finish()?;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("No space left"), "{finished:?}");
    is_bare(&namespace, "nt0")
}

fn a_blocked_stdout_leaves_no_gap() -> Result<()> {
    let namespace = veth()?;
    let (reader, writer) = small_pipe()?;
    let command = monitor(&namespace, &["nt0", "peer", "--format", "json"]);
    let mut agent = command.output_to(writer).start()?;
    agent.says_counted("nt0", "TCX in+out")?;
    // By now no more than two or three ticks have found room.
    ticks_go_by(&namespace, 10)?;
    let before = agent.resident_kib()?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 1000)?;
    ticks_go_by(&namespace, 40)?;
    let grown = agent.resident_kib()?.saturating_sub(before);
    assert!(grown < 512, "{grown} KiB more after forty ticks that nobody read");

    agent.collect(reader)?;
    // First come the ticks that had found room.
    agent.wait_for_tick("a tick after the traffic", |tick| {
        tick.interface("nt0").is_ok_and(|told| told.tx.packets == Some(1000))
    })?;
    let told = agrees(&agent, &namespace, "nt0")?;
    assert_eq!(told.tx.skb.map(|count| count.packets), Some(1000), "counting has gone on");
    let ticks: Vec<Tick> = agent.ticks()?;
    let last = ticks.last().context("no ticks")?;
    assert!(last.tick > ticks.len() as u64 + 20, "ticks that found no room are left out");
    assert!(ticks.is_sorted_by(|a, b| a.tick < b.tick));
    interrupt(agent).map(drop)
}

fn a_blocked_stderr_does_not_stop_it() -> Result<()> {
    let namespace = Namespace::new()?;
    for number in 0..32 {
        namespace.add_veth_up(&format!("a{number}"), &format!("b{number}"))?;
    }
    let (_unread, writer) = small_pipe()?;
    let command = monitor(&namespace, &["a*", "b*", "--format", "json"]);
    let agent = command.errors_to(writer).start()?;
    // Several lines for each of them: more than the pipe holds.
    let is_down = |number: i32| namespace.set_down(&format!("a{number}"));
    agent.wait_for_tick("all attached", |tick| {
        tick.interfaces.iter().all(|told| told.source == "ebpf")
    })?;
    for round in 0..3 {
        (0..32).try_for_each(is_down)?;
        wait::until_true(format!("all to be set up ({round})"), || {
            (0..32).try_fold(true, |up, number| Ok(up && namespace.is_up(&format!("a{number}"))?))
        })?;
    }
    agent.fresh_tick()?;
    agent.signal(Signal::SIGTERM)?;
    assert_eq!(agent.finish()?.code, Some(0));
    is_bare(&namespace, "a0")
}

fn a_blocked_stdout_does_not_stop_recovery() -> Result<()> {
    let namespace = veth()?;
    let (_unread, writer) = small_pipe()?;
    let agent = monitor(&namespace, &["nt0", "--format", "json"]).output_to(writer).start()?;
    agent.says_counted("nt0", "TCX in+out")?;
    ticks_go_by(&namespace, 20)?;
    namespace.set_down("nt0")?;
    wait::until_true("nt0 to be set up", || namespace.is_up("nt0"))?;
    drop(agent);
    Ok(())
}

fn killed(hook: &str) -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0", "peer", "--hook", hook])?;
    agent.says_counted("nt0", "")?;
    agent.says_counted("peer", "")?;
    agent.fresh_tick()?;
    let held = agent.bpf_objects()?;
    let attached = namespace.attached("nt0")?;
    assert_eq!(attached.programs().len(), 2, "{attached:?}");
    agent.kill()?;
    next_start(&namespace)?;
    wait_until_bare(&namespace, &["nt0", "peer"])?;
    have_gone(&held)
}

/// Where a kernel without TCX makes netmon take clsact, what one that has not detached leaves of it
/// is there until the next start.
pub(crate) fn next_start(namespace: &Namespace) -> Result<()> {
    if !TCX.is_here() {
        let agent = json(namespace, &["lo"])?;
        // Only after it has looked for what others have left.
        agent.says_counted("lo", "")?;
        interrupt(agent)?;
    }
    Ok(())
}

/// The kernel lets go of a killed process's files a moment after it has gone.
fn wait_until_bare(namespace: &Namespace, links: &[&str]) -> Result<()> {
    for link in links {
        wait::until_true(format!("{link} to have nothing attached"), || {
            Ok(namespace.attached(link)? == Attached::default())
        })?;
    }
    Ok(())
}

fn kill_while_attaching_leaves_nothing() -> Result<()> {
    let namespace = Namespace::new()?;
    for number in 0..16 {
        namespace.add_veth_up(&format!("a{number}"), &format!("b{number}"))?;
    }
    let agent = monitor(&namespace, &["--all"]).start()?;
    // The first is attached, most of the others are not.
    agent.says(&[" in+out"])?;
    let held = agent.bpf_objects()?;
    agent.kill()?;
    next_start(&namespace)?;
    let links = namespace.sysfs_links()?;
    assert_eq!(links.len(), 33);
    let mut links: Vec<_> = links.iter().map(String::as_str).collect();
    if !TCX.is_here() {
        // The one that it was at may have a qdisc without a filter, which tells nobody whose it is.
        let qdisc = Attached { qdiscs: vec!["clsact".to_owned()], ..Attached::default() };
        let attached: Vec<_> = links.iter().map(|link| namespace.attached(link)).collect();
        if let Some(at) = attached.iter().position(|at| at.as_ref().is_ok_and(|at| *at == qdisc)) {
            links.remove(at);
        }
    }
    wait_until_bare(&namespace, &links)?;
    have_gone(&held)
}

fn cleaned_at_the_next_start(hook: &str) -> Result<()> {
    let namespace = veth()?;
    let start = |hook| -> Result<Agent> {
        let agent = json(&namespace, &["nt0", "--hook", hook])?;
        agent.says_counted("nt0", "")?;
        agent.fresh_tick()?;
        Ok(agent)
    };
    let first = start("clsact")?;
    let left = namespace.attached("nt0")?;
    assert_eq!((left.filters_ingress.len(), left.filters_egress.len()), (1, 1), "{left:?}");
    first.kill()?;

    let next = start(hook)?;
    let attached = namespace.attached("nt0")?;
    assert_eq!(attached.programs().len(), 2, "no second pair: {attached:?}");
    let gone: Vec<_> = left.programs().into_iter().map(Object::Program).collect();
    have_gone(&gone)?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 100)?;
    let told = agrees(&next, &namespace, "nt0")?;
    assert_eq!(told.tx.skb.map(|count| count.packets), Some(100), "each is counted once");
    interrupt(next)?;
    is_bare(&namespace, "nt0")?;

    // Also when nothing is to be monitored there: doctor only looks.
    assert_eq!(netmon(&namespace, &["doctor"]).finish()?.code, Some(0));
    is_bare(&namespace, "nt0")
}

fn a_living_netmons_filters_are_not_cleaned() -> Result<()> {
    let namespace = veth()?;
    let start = || -> Result<Agent> {
        let agent = json(&namespace, &["nt0", "--hook", "clsact"])?;
        agent.says_counted("nt0", "clsact in+out")?;
        agent.fresh_tick()?;
        Ok(agent)
    };
    let (killed, living) = (start()?, start()?);
    let of_both = namespace.attached("nt0")?;
    assert_eq!(of_both.programs().len(), 4, "{of_both:?}");
    killed.kill()?;
    let third = start()?;
    assert_eq!(namespace.attached("nt0")?.programs().len(), 4, "two living ones'");
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 100)?;
    for agent in [living, third] {
        let told = agrees(&agent, &namespace, "nt0")?;
        assert_eq!(told.tx.skb.map(|count| count.packets), Some(100));
        interrupt(agent)?;
    }
    is_bare(&namespace, "nt0")
}
