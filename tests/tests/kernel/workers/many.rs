//! Many workers.

use anyhow::{Result, ensure};
use netmon_tests::{frame, json::Tick, netns::Namespace};

use super::{Runtime, deaths::become_bare_all};
use crate::{Test, common::netmon};

pub(crate) const TESTS: &[Test] = &[("two_hundred_and_fifty_six", two_hundred_and_fifty_six)];

const PAIRS: usize = 128;
/// Of so many at once some are counted soon.
const AT_ONCE: usize = 16;

fn two_hundred_and_fifty_six() -> Result<()> {
    let (namespace, runtime) = (Namespace::new()?, Runtime::new()?);
    let mut links = Vec::new();
    for number in 0..PAIRS {
        let (near, far) = (format!("a{number}"), format!("b{number}"));
        namespace.add_veth_up(&near, &far)?;
        links.extend([near, far]);
    }
    let socket = runtime.socket_text();
    let arguments = ["run", "--workers", "--socket", &socket, "--format", "json", "a*", "b*"];
    let agent = netmon(&namespace, &arguments).args(["--max-workers", "256"]).start()?;
    // All of them within one patience would be a question of speed.
    for many in (AT_ONCE..=links.len()).step_by(AT_ONCE) {
        agent.wait_for_tick(&format!("{many} that are counted"), |tick| {
            tick.interfaces.iter().filter(|told| told.source == "ebpf").count() >= many
        })?;
    }
    for link in &links {
        agent.says_counted(link, "TCX in+out")?;
    }
    assert_eq!(runtime.processes()?.len(), links.len());
    for (number, link) in links.iter().enumerate().step_by(7) {
        let frame = frame::plain(frame::BROADCAST, 100 + number);
        namespace.send_frames(link, &frame, 10 + number as u64)?;
    }
    let witnesses: Vec<_> =
        links.iter().map(|link| namespace.sysfs_totals(link)).collect::<Result<_>>()?;
    // Samples may be late on a busy machine, so not just the next tick.
    let agrees = |tick: &Tick| {
        tick.interfaces.len() == links.len()
            && links.iter().zip(&witnesses).all(|(link, witness)| {
                tick.interface(link).is_ok_and(|told| {
                    told.source == "ebpf" && told.is("up") && told.totals() == witness.present()
                })
            })
    };
    agent.wait_for_tick("the kernel's totals of all", agrees)?;
    let workers = runtime.workers()?;
    ensure!(
        workers.len() == links.len() && workers.iter().all(|worker| worker.pid.is_some()),
        "{workers:?}"
    );
    runtime.end(agent)?;
    become_bare_all(&namespace, links.iter().map(String::as_str))
}
