//! Processes that are killed: an interface's, again and again, the network monitor itself, and
//! the launcher.

use anyhow::{Result, ensure};
use netmon_tests::{
    agent::Agent,
    bpf::{self, Object},
    frame,
    inventory::Attached,
    json::{Interface, Tick},
    netns::Namespace,
    process,
    report::Totals,
    wait,
};
use nix::sys::signal::Signal;

use super::{Runtime, agrees, history, launcher, sweep};
use crate::{
    Test,
    common::{interrupt, is_bare, veth},
    lifecycle::next_start,
};

pub(crate) const TESTS: &[Test] = &[
    ("a_killed_worker_is_started_again", a_killed_worker_is_started_again),
    ("a_worker_that_was_told_to_end_by_another_is_started_again", one_ended_by_another),
    ("ten_deaths_are_enough", ten_deaths_are_enough),
    ("a_killed_monitor_leaves_nothing", || a_killed_monitor_leaves_nothing("auto")),
    ("a_killed_monitor_leaves_no_xdp", || a_killed_monitor_leaves_nothing("xdp-generic")),
    ("a_killed_monitor_leaves_no_clsact", || a_killed_monitor_leaves_nothing("clsact")),
    ("a_killed_monitor_leaves_none_that_is_stopped", a_killed_monitor_leaves_none_stopped),
    ("the_next_monitor_replaces_a_stale_socket", the_next_monitor_replaces_a_stale_socket),
    ("without_the_launcher_it_goes_on", without_the_launcher_it_goes_on),
];

/// Nothing is known of it, and no number shown as if it were.
pub(super) fn is_not_known(told: &Interface, state: &str) -> bool {
    let rates = [told.rx.packets_per_s, told.tx.packets_per_s];
    let counts = [told.rx.skb, told.tx.skb, told.rx.kernel, told.tx.kernel];
    told.is(state)
        && told.totals() == Totals::default()
        && (told.up_count, told.down_count) == (None, None)
        && rates == [None; 2]
        && counts == [None; 4]
}

/// In every tick of it so far that something is known of `link`: after a silence the first one has
/// totals and no rate, and after that nothing happens on the link.
pub(super) fn no_jump_after_silence(told: &[Interface]) -> Result<()> {
    let silent = |told: &Interface| told.tx.packets.is_none();
    let begin = told.iter().position(silent).unwrap_or(told.len());
    let after: Vec<_> = told[begin..].iter().skip_while(|told| silent(told)).collect();
    ensure!(after.len() > 2, "no ticks after the silence: {told:#?}");
    let rates = |told: &Interface| [told.rx.packets_per_s, told.tx.packets_per_s];
    ensure!(rates(after[0]) == [None; 2], "a rate over the silence: {:#?}", after[0]);
    let quiet = after[1..].iter().all(|told| rates(told).into_iter().flatten().all(|it| it == 0.0));
    ensure!(quiet, "a rate without traffic: {after:#?}");
    Ok(())
}

/// Its process has lived in each tick so far. That its samples come late, as on a busy machine,
/// makes it stale at most.
pub(super) fn unharmed(agent: &Agent, from: usize, link: &str) -> Result<()> {
    let told = history(agent, from, link)?;
    let harmed = told.iter().find(|told| !told.is("up") && !is_not_known(told, "stale"));
    ensure!(harmed.is_none(), "{link}: {harmed:#?}");
    ensure!(told.iter().any(|told| told.is("up")), "{link} is always stale");
    Ok(())
}

fn has_event(tick: &Tick, link: &str, parts: [&str; 2]) -> bool {
    tick.events.iter().any(|event| {
        let says = parts.iter().all(|part| event.message.contains(part));
        event.is_of(link) && event.kind == "warning" && says
    })
}

/// A network monitor that watches both ends of a veth, on which packets were sent.
fn watching(namespace: &Namespace, runtime: &Runtime) -> Result<Agent> {
    let agent = runtime.json(namespace, &["nt0", "peer"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    agent.says_counted("peer", "TCX in+out")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 1000)?;
    agrees(&agent, "nt0", namespace, "nt0")?;
    agrees(&agent, "peer", namespace, "peer")?;
    Ok(agent)
}

fn a_killed_worker_is_started_again() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = watching(&namespace, &runtime)?;
    let (pid, seen) = (runtime.pid_of("nt0")?, agent.stdout()?.count());
    process::signal(pid, Signal::SIGKILL)?;
    agent.wait_for_tick_from(seen, "nothing known", |tick| {
        tick.interface("nt0").is_ok_and(|told| is_not_known(told, "unknown"))
    })?;
    agent.wait_for_tick_from(seen, "the event", |tick| {
        has_event(tick, "nt0", ["killed by SIGKILL", "started again in 0.1 s"])
    })?;
    let worker = runtime.running("nt0")?;
    assert!(worker.pid != Some(pid) && worker.restarts == 1, "{worker:?}");
    let told = agrees(&agent, "nt0", &namespace, "nt0")?;
    assert_eq!(told.tx.packets, Some(1000), "totals go on");
    agent.later_tick(5)?;
    no_jump_after_silence(&history(&agent, seen, "nt0")?)?;
    unharmed(&agent, seen, "peer")?;
    // It counts as before.
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    let told = agrees(&agent, "nt0", &namespace, "nt0")?;
    assert_eq!((told.source.as_str(), told.tx.packets), ("ebpf", Some(1030)));
    runtime.end(agent)?;
    next_start(&namespace)?;
    is_bare(&namespace, "nt0")
}

fn one_ended_by_another() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = watching(&namespace, &runtime)?;
    let pid = runtime.pid_of("nt0")?;
    process::signal(pid, Signal::SIGTERM)?;
    agent.says(&["nt0: ", &format!("(process {pid}) has ended: exit code 0"), "started again"])?;
    let worker = runtime.running("nt0")?;
    assert!(worker.pid != Some(pid) && worker.restarts == 1, "{worker:?}");
    runtime.end(agent)?;
    is_bare(&namespace, "nt0")
}

fn ten_deaths_are_enough() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = watching(&namespace, &runtime)?;
    let seen = agent.stdout()?.count();
    let socket = runtime.socket_text();
    let (mut killed, other) = (Vec::new(), runtime.pid_of("peer")?);
    // On a slow machine ten may take more than the minute in which they count.
    while let Some(pid) = wait::until("the next one, or none any more", || {
        // By its arguments, so that one that has not come forward yet is found, too.
        let found = process::with_arguments(&["--launched", &socket, "nt0"])?;
        let next = found.into_iter().find(|pid| !killed.contains(pid));
        let over = agent.times_said(&["nt0: ", "given up after 10 ends in a minute"])? > 0;
        Ok(if over { Some(None) } else { next.map(Some) })
    })? {
        process::signal(pid, Signal::SIGKILL)?;
        killed.push(pid);
    }
    ensure!(killed.len() >= 10, "given up after {} ends", killed.len());
    agent.wait_for_tick_from(seen, "the event", |tick| {
        // One that is killed at once is told without the signal.
        has_event(tick, "nt0", ["has ended", "given up after 10 ends"])
    })?;
    let worker = runtime.wait_for("nt0", "to be given up", |it| it.state == "given up")?;
    assert_eq!((worker.pid, worker.restarts as usize), (None, killed.len() - 1));
    let last = agent.later_tick(10)?;
    assert!(is_not_known(last.interface("nt0")?, "unknown"), "{last:#?}");
    assert_eq!(runtime.processes()?, [other], "never again");
    unharmed(&agent, seen, "peer")?;
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 100), 30)?;
    assert_eq!(agrees(&agent, "peer", &namespace, "peer")?.tx.packets, Some(30));
    runtime.end(agent)?;
    is_bare(&namespace, "peer")
}

/// All of eBPF that workers hold open or have attached to both links.
fn held(namespace: &Namespace, pids: &[u32]) -> Result<Vec<Object>> {
    let mut held = Vec::new();
    for pid in pids {
        held.extend(bpf::held_by(*pid)?);
    }
    for link in ["nt0", "peer"] {
        let programs = namespace.attached(link)?.programs();
        ensure!(programs.len() == 2, "{link}: {programs:?}");
        held.extend(programs.into_iter().map(Object::Program));
    }
    Ok(held)
}

fn have_gone(held: &[Object]) -> Result<()> {
    held.iter().try_for_each(|object| {
        wait::until_true(format!("{object:?} to go"), || Ok(!object.exists()?))
    })
}

fn become_bare(namespace: &Namespace) -> Result<()> {
    become_bare_all(namespace, ["nt0", "peer"])
}

pub(super) fn become_bare_all<'a>(
    namespace: &Namespace,
    links: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    links.into_iter().try_for_each(|link| {
        wait::until_true(format!("{link} to be bare"), || {
            Ok(namespace.attached(link)? == Attached::default())
        })
    })
}

fn a_killed_monitor_leaves_nothing(hook: &str) -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt0", "peer", "--hook", hook])?;
    let pids = [runtime.pid_of("nt0")?, runtime.pid_of("peer")?];
    agent.says_counted("nt0", "")?;
    agent.says_counted("peer", "")?;
    let (launcher, held) = (launcher(&agent)?, held(&namespace, &pids)?);
    agent.kill()?;
    runtime.has_ended(launcher)?;
    if hook == "clsact" {
        // Those that could not detach in a second and a half are killed, and filters stay then.
        sweep(&namespace)?;
    }
    become_bare(&namespace)?;
    have_gone(&held)
}

fn a_killed_monitor_leaves_none_stopped() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = watching(&namespace, &runtime)?;
    let pids = [runtime.pid_of("nt0")?, runtime.pid_of("peer")?];
    let (launcher, held) = (launcher(&agent)?, held(&namespace, &pids)?);
    process::signal(pids[0], Signal::SIGSTOP)?;
    agent.kill()?;
    runtime.has_ended(launcher)?;
    next_start(&namespace)?;
    become_bare(&namespace)?;
    have_gone(&held)
}

fn the_next_monitor_replaces_a_stale_socket() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = runtime.json(&namespace, &["nt0"])?;
    runtime.running("nt0")?;
    let launcher = launcher(&agent)?;
    agent.kill()?;
    ensure!(runtime.socket().exists(), "nothing stale to be replaced");
    // Not even waiting for the end of the one before.
    let agent = runtime.json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    assert_eq!(agrees(&agent, "nt0", &namespace, "nt0")?.tx.packets, Some(30));
    interrupt(agent)?;
    runtime.has_ended(launcher)?;
    ensure!(!runtime.socket().exists(), "the socket is left");
    become_bare(&namespace)
}

fn without_the_launcher_it_goes_on() -> Result<()> {
    let (namespace, runtime) = (veth()?, Runtime::new()?);
    let agent = watching(&namespace, &runtime)?;
    let (launcher, seen) = (launcher(&agent)?, agent.stdout()?.count());
    process::signal(launcher, Signal::SIGKILL)?;
    agent.says(&["the process that starts interface monitors has ended"])?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 30)?;
    assert_eq!(agrees(&agent, "nt0", &namespace, "nt0")?.tx.packets, Some(1030));
    unharmed(&agent, seen, "nt0")?;
    interrupt(agent)?;
    runtime.has_ended(launcher)?;
    runtime.is_empty()?;
    become_bare(&namespace)
}
