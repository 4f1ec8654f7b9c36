//! Without the privileges for eBPF: the report comes from sysfs, and says why.

use std::path::Path;

use anyhow::{Result, ensure};
use netmon_tests::{
    agent::AgentCommand,
    frame,
    kernel::{TCX, XDP_FEATURES, said_here},
    netns::Namespace,
    privileges::{Capability, Privileges, held},
    scratch::Scratch,
    wait::until,
};

use nix::sys::signal::Signal;

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
    ("who_looks_up_names_has_no_privileges", who_looks_up_names_has_no_privileges),
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
        let [_, permitted, effective, _] = held(&thread?.path())?;
        for capabilities in [permitted, effective] {
            assert_eq!(capabilities & !NEEDED, 0, "{capabilities:x}");
        }
        threads += 1;
    }
    assert!(threads > 1, "the threads beside the first one");
    interrupt(agent).map(drop)
}

/// They read what strangers' name servers say.
fn who_looks_up_names_has_no_privileges() -> Result<()> {
    let namespace = veth()?;
    let arguments = ["top", "nt0", "--by", "flow", "--resolve", "--format", "json"];
    let agent = netmon(&namespace, &arguments).start()?;
    until("threads for names without privileges", || {
        let (mut found, mut counts) = (0, false);
        for thread in std::fs::read_dir(format!("/proc/{}/task", agent.pid()))? {
            let thread = thread?.path();
            match std::fs::read_to_string(thread.join("comm"))?.trim() {
                // They are there before they begin, with all that the first one has.
                "netmon-names" => {
                    found += usize::from(held(&thread).is_ok_and(|held| held == [0; 4]));
                }
                // By then a signal ends it in order.
                "netmon-attach" => counts = true,
                _ => {}
            }
        }
        Ok((counts && found > 1).then_some(()))
    })?;
    agent.signal(Signal::SIGINT)?;
    let finished = agent.finish()?;
    ensure!(finished.code == Some(0), "{finished:?}");
    Ok(())
}

fn doctor_finds_ebpf_for_root() -> Result<()> {
    let namespace = veth()?;
    let finished = netmon(&namespace, &["doctor"]).finish()?;
    ensure!(finished.code == Some(0), "{finished:?}");
    let hook = format!("yes  hook           {} (tried on lo)\n", said_here("TCX in+out"));
    for part in ["yes  kernel         Linux ", "yes  BTF ", &hook, "\nNative XDP "] {
        assert!(finished.stdout.contains(part), "no {part:?} in {finished:?}");
    }
    let native = finished.stdout.contains("\n  nt0              yes\n");
    assert_eq!(native, XDP_FEATURES.is_here(), "{finished:?}");
    let says_what_is_new = finished.stdout.contains("(clsact; TCX came with 6.6)");
    assert_eq!(says_what_is_new, !TCX.is_here(), "{finished:?}");
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
        assert!(finished.stdout.contains("--cap-add"), "what to do: {finished:?}");
    }
    Ok(())
}
