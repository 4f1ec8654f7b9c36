//! What most tests begin and end with.

use std::{future::Future, net::Ipv4Addr, panic, thread};

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::{Agent, AgentCommand, Finished},
    inventory::Attached,
    json::{Direction, Drift, Interface, Pair},
    netns::Namespace,
    report::Totals,
    wait::{self, PATIENCE},
};
use nix::sys::signal::Signal;

/// The binary under test, which cargo has built with these tests.
pub(crate) const NETMON: &str = env!("CARGO_BIN_EXE_netmon-under-test");

/// The addresses of [`pair`].
pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// netmon in a namespace, with these arguments.
pub(crate) fn netmon<'a>(namespace: &'a Namespace, arguments: &[&str]) -> AgentCommand<'a> {
    AgentCommand::new(namespace, NETMON).args(arguments)
}

/// The main job with these arguments, ten ticks a second.
pub(crate) fn monitor<'a>(namespace: &'a Namespace, arguments: &[&str]) -> AgentCommand<'a> {
    netmon(namespace, &["run", "--interval", "100ms"]).args(arguments)
}

/// The same, started, with a JSON report.
pub(crate) fn json(namespace: &Namespace, arguments: &[&str]) -> Result<Agent> {
    monitor(namespace, arguments).args(["--format", "json"]).start()
}

/// A namespace with the veth `nt0`, its other end `peer`, both up.
pub(crate) fn veth() -> Result<Namespace> {
    let namespace = Namespace::new()?;
    namespace.add_veth_up("nt0", "peer")?;
    namespace.wait_for_state("nt0", "up")?;
    Ok(namespace)
}

/// Two namespaces joined by a veth that is `nt0` in both, with the addresses [`NEAR`] and [`FAR`]
/// known to one another.
pub(crate) fn pair() -> Result<(Namespace, Namespace)> {
    let (here, there) = (Namespace::new()?, Namespace::new()?);
    here.add_veth_to("nt0", &there, "nt0")?;
    here.add_address("nt0", NEAR, 24)?;
    there.add_address("nt0", FAR, 24)?;
    here.add_neighbour("nt0", FAR, there.mac("nt0")?)?;
    there.add_neighbour("nt0", NEAR, here.mac("nt0")?)?;
    here.wait_for_state("nt0", "up")?;
    there.wait_for_state("nt0", "up")?;
    Ok((here, there))
}

/// For what of netmon is called here, and waits.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Runs what changes its thread: the mounts that it sees, or its privileges.
/// A namespace that is used in it is to be dropped by another: it takes privileges.
pub(crate) fn on_a_thread_of_its_own<T: Send>(
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

/// What must come, be it late.
pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, what).await.context("waited in vain")
}

/// Waits for a tick of a JSON report measured while the link was quiet, and checks what must
/// always hold: that it shows the kernel's own numbers as they are, and the difference.
pub(crate) fn observed(agent: &Agent, namespace: &Namespace, link: &str) -> Result<Interface> {
    let (witness, tick) = wait::until(format!("{link} to be quiet"), || {
        let before = namespace.sysfs_totals(link)?;
        let tick = agent.fresh_tick()?;
        Ok((namespace.sysfs_totals(link)? == before).then_some((before, tick)))
    })?;
    let told = tick.interface(link)?.clone();
    let Totals { rx_bytes, rx_dropped, rx_errors, rx_packets, .. } = witness;
    let Totals { tx_bytes, tx_dropped, tx_errors, tx_packets, .. } = witness;
    let directions = [
        (&told.rx, Pair { packets: rx_packets, bytes: rx_bytes }, rx_dropped, rx_errors),
        (&told.tx, Pair { packets: tx_packets, bytes: tx_bytes }, tx_dropped, tx_errors),
    ];
    for (direction, kernel, dropped, errors) in directions {
        let is_same = (direction.dropped, direction.errors) == (Some(dropped), Some(errors))
            && match told.source.as_str() {
                "ebpf" => direction.kernel == Some(kernel) && tells_drift(direction, kernel),
                // Only one count: nothing to compare it with.
                _ => direction.drift.is_none_or(|drift| drift == Drift::default()),
            };
        ensure!(is_same, "{link}: the kernel has {witness:?}: {told:#?}");
    }
    Ok(told)
}

fn tells_drift(direction: &Direction, kernel: Pair) -> bool {
    direction.drift.is_some_and(|drift| {
        direction.packets == kernel.packets.checked_add_signed(drift.packets)
            && direction.bytes == kernel.bytes.checked_add_signed(drift.bytes)
    })
}

/// As [`observed`], and that the totals are the kernel's own, to the packet and to the byte.
pub(crate) fn agrees(agent: &Agent, namespace: &Namespace, link: &str) -> Result<Interface> {
    let told = observed(agent, namespace, link)?;
    // It has been quiet since.
    let witness = namespace.sysfs_totals(link)?.present();
    ensure!(
        told.totals() == witness,
        "{link} reports\n{:?} and sysfs\n{witness:?}; all of it: {told:#?}",
        told.totals(),
    );
    Ok(told)
}

/// Ends it as Ctrl-C does, and checks that it says so and takes it for no failure.
pub(crate) fn interrupt(agent: Agent) -> Result<Finished> {
    agent.signal(Signal::SIGINT)?;
    let finished = agent.finish()?;
    ensure!(finished.code == Some(0), "{finished:?}");
    ensure!(finished.stderr.lines().any(|line| line == "netmon: SIGINT: ending"), "{finished:?}");
    Ok(finished)
}

/// Checks that nothing is attached to a link.
pub(crate) fn is_bare(namespace: &Namespace, link: &str) -> Result<()> {
    let attached = namespace.attached(link).with_context(|| link.to_owned())?;
    ensure!(attached == Attached::default(), "{link} has {attached:?}");
    Ok(())
}
