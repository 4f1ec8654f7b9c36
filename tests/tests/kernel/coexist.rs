//! Others on the same interface: a second netmon, and programs that are not netmon's. All count,
//! all stay.

use std::path::Path;

use anyhow::{Context, Result};
use netmon_tests::{
    agent::AgentCommand,
    foreign::{self, Way, XdpMode},
    frame,
    json::{Direction, Pair},
    netns::Namespace,
    scratch::Scratch,
};

use crate::{
    Test,
    common::{NETMON, agrees, interrupt, is_bare, json, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("two_netmons_by_tcx", || two_netmons("tc", "tc")),
    ("two_netmons_by_clsact", || two_netmons("clsact", "clsact")),
    ("two_netmons_by_tcx_and_clsact", || two_netmons("tc", "clsact")),
    ("a_netmon_of_another_name_keeps_its_filters", another_name_keeps_its_filters),
    ("two_netmons_want_xdp", two_netmons_want_xdp),
    ("tcx_programs_that_go_on", || beside_tcx(foreign::TC_NEXT)),
    ("tcx_programs_that_pass", || beside_tcx(foreign::TC_PASS)),
    ("clsact_filters_beside_clsact", || beside_clsact("clsact")),
    ("clsact_filters_beside_tcx", || beside_clsact("tc")),
    ("an_empty_clsact_of_anothers_stays", an_empty_clsact_stays),
    ("native_xdp_is_left_alone", || beside_xdp(XdpMode::Native)),
    ("generic_xdp_is_left_alone", || beside_xdp(XdpMode::Generic)),
    ("native_xdp_does_not_disturb_tcx", native_xdp_does_not_disturb_tcx),
    ("an_ingress_qdisc_comes_beside_tcx", an_ingress_qdisc_comes_beside_tcx),
    ("an_ingress_qdisc_leaves_no_place_for_clsact", no_place_for_clsact),
    ("an_ingress_qdisc_is_refused_beside_clsact", an_ingress_qdisc_is_refused_beside_clsact),
    ("the_peers_mtu_can_be_raised_beside_native_xdp", the_peers_mtu_can_be_raised),
];

/// Sends known traffic both ways: 100 frames of 60 bytes in, 200 of 70 out.
fn traffic(namespace: &Namespace) -> Result<()> {
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 60), 100)?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 70), 200)
}

/// The counts since the start are those of `rounds` of [`traffic`].
fn counted(rx: &Direction, tx: &Direction, rounds: u64) {
    assert_eq!(rx.skb, Some(Pair { packets: rounds * 100, bytes: rounds * 6000 }));
    assert_eq!(tx.skb, Some(Pair { packets: rounds * 200, bytes: rounds * 14_000 }));
}

/// The second one looks for filters of dead netmons when it starts.
fn another_name_keeps_its_filters() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let program = scratch.copy_program(Path::new(NETMON))?;
    let arguments = ["run", "--interval", "100ms", "--format", "json", "nt0", "--hook", "clsact"];
    let first = AgentCommand::new(&namespace, program).args(arguments).start()?;
    first.says_counted("nt0", "clsact in+out")?;
    let second = json(&namespace, &["nt0"])?;
    second.says_counted("nt0", "")?;
    traffic(&namespace)?;
    let told = agrees(&first, &namespace, "nt0")?;
    counted(&told.rx, &told.tx, 1);
    interrupt(second)?;
    interrupt(first)?;
    is_bare(&namespace, "nt0")
}

fn two_netmons(first_hook: &str, second_hook: &str) -> Result<()> {
    let namespace = veth()?;
    let first = json(&namespace, &["nt0", "--hook", first_hook])?;
    first.says_counted("nt0", "")?;
    traffic(&namespace)?;
    agrees(&first, &namespace, "nt0")?;
    let second = json(&namespace, &["nt0", "--hook", second_hook])?;
    second.says_counted("nt0", "")?;
    agrees(&second, &namespace, "nt0")?;
    traffic(&namespace)?;
    let (of_first, of_second) =
        (agrees(&first, &namespace, "nt0")?, agrees(&second, &namespace, "nt0")?);
    counted(&of_first.rx, &of_first.tx, 2);
    counted(&of_second.rx, &of_second.tx, 1);
    assert_eq!(of_first.totals(), of_second.totals());
    // The one that stays is not disturbed by the other's end.
    interrupt(first)?;
    traffic(&namespace)?;
    let told = agrees(&second, &namespace, "nt0")?;
    counted(&told.rx, &told.tx, 2);
    interrupt(second)?;
    is_bare(&namespace, "nt0")
}

fn two_netmons_want_xdp() -> Result<()> {
    let namespace = veth()?;
    let first = json(&namespace, &["nt0", "--hook", "xdp"])?;
    first.says_counted("nt0", "XDP native in, TCX out")?;
    let second = json(&namespace, &["nt0", "--hook", "xdp"])?;
    let line = second.says_counted("nt0", "TCX in+out")?;
    assert!(line.contains("XDP"), "and why it is not by XDP: {line}");
    traffic(&namespace)?;
    for agent in [first, second] {
        let told = agrees(&agent, &namespace, "nt0")?;
        counted(&told.rx, &told.tx, 1);
        interrupt(agent)?;
    }
    is_bare(&namespace, "nt0")
}

fn beside_tcx(verdict: i32) -> Result<()> {
    let namespace = veth()?;
    let ingress = namespace.foreign_tcx("nt0", Way::Ingress, verdict)?;
    let egress = namespace.foreign_tcx("nt0", Way::Egress, verdict)?;
    let before = namespace.attached("nt0")?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    traffic(&namespace)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    counted(&told.rx, &told.tx, 1);
    let attached = namespace.attached("nt0")?;
    assert!(attached.tcx_ingress.contains(&ingress.program), "{attached:?}");
    assert!(attached.tcx_egress.contains(&egress.program), "{attached:?}");
    interrupt(agent)?;
    assert_eq!(namespace.attached("nt0")?, before, "as it was");
    Ok(())
}

fn beside_clsact(hook: &str) -> Result<()> {
    let namespace = veth()?;
    namespace.add_clsact("nt0")?;
    for way in [Way::Ingress, Way::Egress] {
        // It ends the row of filters: whoever wants to see a packet has to stand before it.
        namespace.foreign_clsact("nt0", way, foreign::TC_PASS)?;
    }
    let before = namespace.attached("nt0")?;
    let agent = json(&namespace, &["nt0", "--hook", hook])?;
    agent.says_counted("nt0", "")?;
    traffic(&namespace)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    counted(&told.rx, &told.tx, 1);
    let attached = namespace.attached("nt0")?;
    for (attached, before) in [
        (&attached.filters_ingress, &before.filters_ingress),
        (&attached.filters_egress, &before.filters_egress),
    ] {
        assert!(before.iter().all(|filter| attached.contains(filter)), "{attached:?}");
    }
    interrupt(agent)?;
    assert_eq!(namespace.attached("nt0")?, before, "as it was, the qdisc too");
    Ok(())
}

fn an_empty_clsact_stays() -> Result<()> {
    let namespace = veth()?;
    namespace.add_clsact("nt0")?;
    let before = namespace.attached("nt0")?;
    let agent = json(&namespace, &["nt0", "--hook", "clsact"])?;
    agent.says_counted("nt0", "clsact in+out")?;
    interrupt(agent)?;
    assert_eq!(namespace.attached("nt0")?, before, "who made it may want it");
    Ok(())
}

fn beside_xdp(mode: XdpMode) -> Result<()> {
    let namespace = veth()?;
    let other = namespace.foreign_xdp("nt0", mode, foreign::XDP_PASS)?;
    for (hook, line) in [("xdp", "TCX in+out"), ("xdp-generic", "TCX in+out")] {
        let agent = json(&namespace, &["nt0", "--hook", hook])?;
        let line = agent.says_counted("nt0", line)?;
        assert!(line.contains("XDP"), "and why it is not by XDP: {line}");
        traffic(&namespace)?;
        let told = agrees(&agent, &namespace, "nt0")?;
        counted(&told.rx, &told.tx, 1);
        assert_eq!(namespace.attached("nt0")?.xdp, [other.program], "left alone");
        interrupt(agent)?;
        assert_eq!(namespace.attached("nt0")?.programs(), [other.program]);
    }
    Ok(())
}

fn native_xdp_does_not_disturb_tcx() -> Result<()> {
    let namespace = veth()?;
    let other = namespace.foreign_xdp("nt0", XdpMode::Native, foreign::XDP_PASS)?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    traffic(&namespace)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    counted(&told.rx, &told.tx, 1);
    assert_eq!(namespace.attached("nt0")?.xdp, [other.program]);
    interrupt(agent).map(drop)
}

fn an_ingress_qdisc_comes_beside_tcx() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    namespace.add_ingress("nt0")?;
    traffic(&namespace)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    counted(&told.rx, &told.tx, 1);
    interrupt(agent).map(drop)
}

/// As README says: the two kinds exclude each other, and clsact is what netmon needs there.
/// The kernel takes a filter for egress there, too, and runs it at ingress.
fn no_place_for_clsact() -> Result<()> {
    let namespace = veth()?;
    namespace.add_ingress("nt0")?;
    let before = namespace.attached("nt0")?;
    let agent = json(&namespace, &["nt0", "--hook", "clsact"])?;
    let line = agent.says_counted("nt0", "sysfs (clsact: ")?;
    assert!(line.contains("ingress qdisc"), "{line}");
    traffic(&namespace)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    assert_eq!((told.rx.packets, told.tx.packets), (Some(100), Some(200)));
    interrupt(agent)?;
    assert_eq!(namespace.attached("nt0")?, before, "as it was");
    Ok(())
}

fn an_ingress_qdisc_is_refused_beside_clsact() -> Result<()> {
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0", "--hook", "clsact"])?;
    agent.says_counted("nt0", "clsact in+out")?;
    let refused = namespace.add_ingress("nt0").err().context("the kernel has taken it")?;
    assert!(format!("{refused:#}").contains("File exists"), "{refused:#}");
    interrupt(agent)?;
    namespace.add_ingress("nt0")
}

/// The other end may be another administrator's, who is not to be held up.
fn the_peers_mtu_can_be_raised() -> Result<()> {
    const JUMBO: u32 = 9_000;
    let namespace = veth()?;
    let agent = json(&namespace, &["nt0", "--hook", "xdp"])?;
    agent.says_counted("nt0", "XDP native in, TCX out")?;
    for link in ["peer", "nt0"] {
        namespace.set_mtu(link, JUMBO)?;
    }
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, JUMBO as usize), 10)?;
    let told = agrees(&agent, &namespace, "nt0")?;
    assert_eq!(told.rx.skb, Some(Pair { packets: 10, bytes: 10 * u64::from(JUMBO) }));
    interrupt(agent)?;
    is_bare(&namespace, "nt0")
}
