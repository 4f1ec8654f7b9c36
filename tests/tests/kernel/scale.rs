//! Sixty-four interfaces, and many ticks.

use anyhow::Result;
use netmon_tests::{bpf::Object, frame, kernel::said_here, netns::Namespace};

use crate::{
    Test,
    common::{agrees, interrupt, is_bare, json, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("sixty_four_interfaces_by_tcx", || sixty_four_interfaces("tc")),
    ("sixty_four_interfaces_by_clsact", || sixty_four_interfaces("clsact")),
    ("memory_does_not_grow_with_ticks", memory_does_not_grow_with_ticks),
    ("memory_does_not_grow_with_returns", memory_does_not_grow_with_returns),
];

fn sixty_four_interfaces(hook: &str) -> Result<()> {
    let namespace = Namespace::new()?;
    let mut links = Vec::new();
    for number in 0..32 {
        let (near, far) = (format!("a{number}"), format!("b{number}"));
        namespace.add_veth_up(&near, &far)?;
        links.extend([near, far]);
    }
    let agent = json(&namespace, &["a*", "b*", "--hook", hook])?;
    let first = agent.wait_for_tick("a first tick", |_| true)?;
    assert_eq!(first.interfaces.len(), 64, "all of them, from the first tick on");
    for link in &links {
        agent.says_counted(link, "")?;
    }
    for (number, link) in links.iter().enumerate().step_by(7) {
        let frame = frame::plain(frame::BROADCAST, 100 + number);
        namespace.send_frames(link, &frame, 10 + number as u64)?;
    }
    for link in &links {
        assert_eq!(agrees(&agent, &namespace, link)?.source, "ebpf", "{link}");
    }
    let maps = |object: &Object| matches!(object, Object::Map(_));
    assert!(agent.bpf_objects()?.iter().filter(|object| maps(object)).count() < 16, "not per link");
    interrupt(agent)?;
    links.iter().try_for_each(|link| is_bare(&namespace, link))
}

fn memory_does_not_grow_with_ticks() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["--all"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    agent.later_tick(20)?;
    let before = agent.resident_kib()?;
    agent.later_tick(60)?;
    let grown = agent.resident_kib()?.saturating_sub(before);
    assert!(grown < 256, "{grown} KiB more after sixty ticks");
    interrupt(agent).map(drop)
}

fn memory_does_not_grow_with_returns() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    let mut resident = Vec::new();
    let mut objects = Vec::new();
    for _ in 0..12 {
        let seen = agent.stdout()?.count();
        namespace.delete("nt0")?;
        agent.wait_for_tick_from(seen, "absent", |tick| {
            tick.interface("nt0").is_ok_and(|told| told.is("absent"))
        })?;
        let counted = said_here("nt0: TCX in+out");
        let said = agent.times_said(&[&counted])?;
        namespace.add_veth_up("nt0", "peer")?;
        agent.stderr()?.wait_for("attached again", |lines| {
            (lines.iter().filter(|line| line.starts_with(&counted)).count() > said).then_some(())
        })?;
        resident.push(agent.resident_kib()?);
        objects.push(agent.bpf_objects()?.len());
    }
    assert!(resident[11].saturating_sub(resident[2]) < 256, "{resident:?} KiB");
    assert_eq!(objects[11], objects[2], "{objects:?} programs, maps and links");
    interrupt(agent).map(drop)
}
