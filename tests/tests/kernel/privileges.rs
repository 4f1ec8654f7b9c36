//! Without the privileges for eBPF: the report comes from sysfs, and says why.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::AgentCommand,
    frame,
    netns::Namespace,
    privileges::{Capability, Privileges},
    scratch::Scratch,
};

use crate::{
    Test,
    common::{NETMON, agrees, interrupt, is_bare, json, monitor, netmon, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("root_without_capabilities_falls_back", || falls_back(Privileges::NoCapability)),
    ("without_cap_net_admin_it_falls_back", || falls_back(WITHOUT_NET_ADMIN)),
    ("without_cap_bpf_it_falls_back", || {
        falls_back(Privileges::Without(&[Capability::BPF, Capability::SYS_ADMIN]))
    }),
    ("nobody_gets_a_report", nobody_gets_a_report),
    ("cap_sys_admin_is_not_needed", cap_sys_admin_is_not_needed),
    ("source_ebpf_does_not_fall_back", source_ebpf_does_not_fall_back),
    ("what_is_not_needed_is_given_up", what_is_not_needed_is_given_up),
    ("doctor_finds_ebpf_for_root", doctor_finds_ebpf_for_root),
    ("doctor_tells_what_is_missing", doctor_tells_what_is_missing),
];

/// For eBPF, CAP_SYS_ADMIN stands for CAP_BPF and CAP_NET_ADMIN too.
const WITHOUT_NET_ADMIN: Privileges =
    Privileges::Without(&[Capability::NET_ADMIN, Capability::SYS_ADMIN]);

fn falls_back(privileges: Privileges) -> Result<()> {
    let namespace = veth()?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 100), 10)?;
    let command = monitor(&namespace, &["nt0", "--format", "json"]);
    let agent = command.privileges(privileges).start()?;
    agent.says_counted("nt0", "sysfs (")?;
    // Why, and what to do: a line that names what is missing.
    agent.says(&["CAP_"])?;
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 100), 20)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    assert_eq!((told.source.as_str(), told.rx.packets), ("sysfs", Some(20)));
    is_bare(&namespace, "nt0")?;
    interrupt(agent).map(drop)
}

fn nobody_gets_a_report() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let program = scratch.copy_program(Path::new(NETMON))?;
    let arguments = ["run", "--interval", "100ms", "--all", "--format", "json"];
    let command = AgentCommand::new(&namespace, program).args(arguments);
    let agent = command.privileges(Privileges::Nobody).start()?;
    agent.says_counted("nt0", "sysfs (")?;
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 100), 20)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    assert_eq!((told.source.as_str(), told.rx.packets), ("sysfs", Some(20)));
    assert_eq!(agent.fresh_tick()?.names(), ["lo", "nt0", "peer"]);
    interrupt(agent).map(drop)
}

fn cap_sys_admin_is_not_needed() -> Result<()> {
    let namespace = veth()?;
    let command = monitor(&namespace, &["nt0", "--source", "ebpf", "--format", "json"]);
    let agent = command.privileges(Privileges::Without(&[Capability::SYS_ADMIN])).start()?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 100), 20)?;
    assert_eq!(agrees(&agent, &namespace, "nt0")?.source, "ebpf");
    interrupt(agent).map(drop)
}

fn source_ebpf_does_not_fall_back() -> Result<()> {
    let namespace = veth()?;
    for privileges in [Privileges::NoCapability, WITHOUT_NET_ADMIN] {
        let command = monitor(&namespace, &["nt0", "--source", "ebpf", "--count", "1"]);
        let finished = command.privileges(privileges).finish()?;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
        assert!(finished.stderr.contains("CAP_"), "{finished:?}");
    }
    is_bare(&namespace, "nt0")
}

fn what_is_not_needed_is_given_up() -> Result<()> {
    /// `CAP_NET_ADMIN`, `CAP_PERFMON` and `CAP_BPF`.
    const NEEDED: u64 = 1 << 12 | 1 << 38 | 1 << 39;
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    agent.fresh_tick()?;
    let mut threads = 0;
    for thread in std::fs::read_dir(format!("/proc/{}/task", agent.pid()))? {
        let status = std::fs::read_to_string(thread?.path().join("status"))?;
        for set in ["CapEff:", "CapPrm:"] {
            let line = status.lines().find_map(|line| line.strip_prefix(set)).context(set)?;
            let capabilities = u64::from_str_radix(line.trim(), 16)?;
            assert_eq!(capabilities & !NEEDED, 0, "{set} {capabilities:x} in {status}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        threads += 1;
    }
    assert!(threads > 1, "the threads beside the first one");
    interrupt(agent).map(drop)
}

fn doctor_finds_ebpf_for_root() -> Result<()> {
    let namespace = veth()?;
    let finished = netmon(&namespace, &["doctor"]).finish()?;
    ensure!(finished.code == Some(0), "{finished:?}");
    for part in ["BTF", "TCX", "XDP", "nt0"] {
        assert!(finished.stdout.contains(part), "no {part} in {finished:?}");
    }
    is_bare(&namespace, "nt0")
}

fn doctor_tells_what_is_missing() -> Result<()> {
    let namespace: Namespace = veth()?;
    let privileges = [
        (Privileges::NoCapability, &["CAP_BPF", "CAP_NET_ADMIN"][..]),
        (WITHOUT_NET_ADMIN, &["CAP_NET_ADMIN"]),
    ];
    for (privileges, missing) in privileges {
        let finished = netmon(&namespace, &["doctor"]).privileges(privileges).finish()?;
        ensure!(finished.code == Some(1), "{finished:?}");
        for name in missing {
            assert!(finished.stdout.contains(name), "no {name} in {finished:?}");
        }
        assert!(finished.stdout.contains("sudo"), "what to do: {finished:?}");
    }
    Ok(())
}
