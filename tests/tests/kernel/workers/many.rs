//! Many workers.

use anyhow::{Result, ensure};
use netmon_tests::{frame, netns::Namespace};

use super::{Runtime, agrees};
use crate::{Test, common::is_bare};

pub(crate) const TESTS: &[Test] = &[("sixty_four", sixty_four)];

fn sixty_four() -> Result<()> {
    let (namespace, runtime) = (Namespace::new()?, Runtime::new()?);
    let mut links = Vec::new();
    for number in 0..32 {
        let (near, far) = (format!("a{number}"), format!("b{number}"));
        namespace.add_veth_up(&near, &far)?;
        links.extend([near, far]);
    }
    let agent = runtime.json(&namespace, &["a*", "b*"])?;
    agent.wait_for_tick("all of them known", |tick| {
        tick.interfaces.len() == 64 && tick.interfaces.iter().all(|told| told.is("up"))
    })?;
    for link in &links {
        agent.says_counted(link, "TCX in+out")?;
    }
    assert_eq!(runtime.processes()?.len(), 64);
    for (number, link) in links.iter().enumerate().step_by(7) {
        let frame = frame::plain(frame::BROADCAST, 100 + number);
        namespace.send_frames(link, &frame, 10 + number as u64)?;
    }
    for link in &links {
        assert_eq!(agrees(&agent, link, &namespace, link)?.source, "ebpf", "{link}");
    }
    let workers = runtime.workers()?;
    ensure!(
        workers.len() == 64 && workers.iter().all(|worker| worker.restarts == 0),
        "{workers:?}"
    );
    runtime.end(agent)?;
    links.iter().try_for_each(|link| is_bare(&namespace, link))
}
