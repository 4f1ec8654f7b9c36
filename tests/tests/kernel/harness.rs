//! The harness itself: that its namespaces are apart and go, and that its traffic has the packets
//! and bytes that the tests of netmon take for known, by the kernel's own counters.

use std::{
    fs,
    net::Ipv4Addr,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

use anyhow::{Result, ensure};
use netmon_tests::{
    agent::AgentCommand,
    bpf::Object,
    ethtool::Offload,
    foreign::{self, Way, XdpMode},
    frame, inet,
    kernel::TCX,
    netns::Namespace,
    privileges::{Capability, Privileges},
    report::Totals,
    scratch::Scratch,
    tuntap::Layer,
    wait,
};

use crate::{
    Test,
    common::{FAR, NEAR, NETMON, netmon, pair, veth},
    prompt::HOW_MANY,
};

pub(crate) const TESTS: &[Test] = &[
    ("a_namespace_is_apart_and_goes", a_namespace_is_apart_and_goes),
    ("a_panic_inside_is_passed_on_and_leaves_nothing", a_panic_inside_is_passed_on),
    ("processes_end_with_the_namespace", processes_end_with_the_namespace),
    ("veth_carries_the_frames_that_were_sent", veth_carries_the_frames),
    ("a_veth_joins_two_namespaces", a_veth_joins_two_namespaces),
    ("lo_carries_datagrams_twice", lo_carries_datagrams_twice),
    ("tap_and_tun_receive_and_send", tap_and_tun_receive_and_send),
    ("bridge_and_macvlan_receive_and_send", bridge_and_macvlan_receive_and_send),
    ("segments_go_as_one", segments_go_as_one),
    ("tcp_goes_as_super_packets", tcp_goes_as_super_packets),
    ("foreign_programs_are_listed_and_go", foreign_programs_are_listed_and_go),
    ("links_can_be_changed", links_can_be_changed),
    ("privileges_are_taken", privileges_are_taken),
];

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn a_namespace_is_apart_and_goes() -> Result<()> {
    let namespace = Namespace::new()?;
    let path = Path::new("/run/netns").join(namespace.name());
    assert!(namespace.name().starts_with("nmt-"));
    assert!(path.exists());
    assert_eq!(namespace.sysfs_links()?, ["lo"], "a fresh sysfs shows only its own links");
    namespace.add_veth("nt0", "peer")?;
    assert_eq!(namespace.sysfs_links()?, ["lo", "nt0", "peer"]);
    assert!(!Path::new("/sys/class/net/nt0").exists(), "the host's sysfs does not show it");
    drop(namespace);
    assert!(!path.exists());
    Ok(())
}

fn a_panic_inside_is_passed_on() -> Result<()> {
    let namespace = Namespace::new()?;
    let path = Path::new("/run/netns").join(namespace.name());
    let panic = panic::catch_unwind(AssertUnwindSafe(move || {
        namespace.run(|| -> Result<()> { panic::resume_unwind(Box::new("inside")) })
    }));
    assert_eq!(panic.err().and_then(|panic| panic.downcast_ref().copied()), Some("inside"));
    assert!(!path.exists());
    Ok(())
}

fn processes_end_with_the_namespace() -> Result<()> {
    let namespace = Namespace::new()?;
    let mut endless = netmon(&namespace, &["run", "lo", "--source", "sysfs"]).start()?;
    assert!(endless.is_running()?);
    drop(namespace);
    assert_eq!(endless.finish()?.code, None, "ended by a signal");
    Ok(())
}

fn veth_carries_the_frames() -> Result<()> {
    let namespace = veth()?;
    namespace.send_frames("nt0", &frame::plain(frame::BROADCAST, 60), 100)?;
    namespace.send_frames("nt0", &frame::tagged(frame::BROADCAST, 5, 1000), 10)?;
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 1514), 7)?;
    let expected = Totals {
        rx_bytes: 7 * 1514,
        rx_packets: 7,
        // No protocol takes them.
        rx_dropped: 7,
        tx_bytes: 100 * 60 + 10 * 1000,
        tx_packets: 110,
        ..Totals::default()
    };
    wait_for_totals(&namespace, "nt0", expected)
}

fn a_veth_joins_two_namespaces() -> Result<()> {
    let (here, there) = (Namespace::new()?, Namespace::new()?);
    here.add_veth_to("nt0", &there, "nt0")?;
    here.send_frames("nt0", &frame::plain(frame::BROADCAST, 60), 3)?;
    wait::until_true("three frames there", || Ok(there.sysfs_totals("nt0")?.rx_packets == 3))
}

fn lo_carries_datagrams_twice() -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.set_up("lo")?;
    let (from, to) = (namespace.udp(LOCAL)?, namespace.udp(LOCAL)?);
    inet::send_datagrams(&from, &to, 100, 50)?;
    let totals = namespace.sysfs_totals("lo")?;
    assert_eq!((totals.tx_packets, totals.rx_packets), (50, 50));
    assert_eq!(totals.tx_bytes, totals.rx_bytes);
    // lo counts without the link's header.
    assert_eq!(totals.tx_bytes, 50 * (100 + inet::UDP_HEADERS - frame::HEADER) as u64);
    Ok(())
}

fn tap_and_tun_receive_and_send() -> Result<()> {
    let namespace = Namespace::new()?;
    let mut tap = namespace.add_tuntap("tap0", Layer::Ethernet)?;
    for _ in 0..20 {
        tap.send(&frame::plain(frame::BROADCAST, 200))?;
    }
    for _ in 0..10 {
        namespace.send_frames("tap0", &frame::plain(frame::BROADCAST, 300), 1)?;
        assert_eq!(tap.receive()?.len(), 300);
    }
    let totals = namespace.sysfs_totals("tap0")?;
    assert_eq!((totals.rx_packets, totals.tx_packets, totals.tx_bytes), (20, 10, 3000));

    let mut tun = namespace.add_tuntap("tun0", Layer::Ip)?;
    tun.send(&frame::ipv4(100))?;
    namespace.send_frames("tun0", &frame::ipv4(120), 1)?;
    assert_eq!(tun.receive()?.len(), 120);
    let totals = namespace.sysfs_totals("tun0")?;
    assert_eq!((totals.rx_packets, totals.rx_bytes), (1, 100));
    assert_eq!((totals.tx_packets, totals.tx_bytes), (1, 120));
    Ok(())
}

fn bridge_and_macvlan_receive_and_send() -> Result<()> {
    let namespace = veth()?;
    namespace.add_bridge("br0", &["nt0"])?;
    namespace.send_frames("peer", &frame::plain(frame::BROADCAST, 100), 5)?;
    namespace.send_frames("br0", &frame::plain(frame::BROADCAST, 100), 6)?;
    wait::until_true("the bridge's packets", || {
        let totals = namespace.sysfs_totals("br0")?;
        Ok((totals.rx_packets, totals.tx_packets) == (5, 6))
    })?;

    let namespace = veth()?;
    namespace.add_macvlan("mv0", "nt0")?;
    let to = namespace.mac("mv0")?;
    namespace.send_frames("peer", &frame::plain(to, 100), 5)?;
    namespace.send_frames("mv0", &frame::plain(frame::SENDER, 100), 6)?;
    wait::until_true("the macvlan's packets", || {
        let totals = namespace.sysfs_totals("mv0")?;
        Ok((totals.rx_packets, totals.tx_packets) == (5, 6))
    })
}

fn segments_go_as_one() -> Result<()> {
    let (here, there) = pair()?;
    let (from, to) = (here.udp(NEAR)?, there.udp(FAR)?);
    inet::send_segmented(&from, &to, 1000, 10_500)?;
    let totals = here.sysfs_totals("nt0")?;
    let bytes = (10_500 + inet::UDP_HEADERS) as u64;
    assert_eq!((totals.tx_packets, totals.tx_bytes), (1, bytes));
    Ok(())
}

fn tcp_goes_as_super_packets() -> Result<()> {
    const BYTES: u64 = 20 << 20;
    let (here, there) = pair()?;
    here.tcp_bulk(&there, FAR, BYTES)?;
    let joined = here.sysfs_totals("nt0")?;
    assert!(joined.tx_packets < BYTES / 1500, "{joined:?}");
    here.set_offload("nt0", Offload::Tso, false)?;
    here.tcp_bulk(&there, FAR, BYTES)?;
    let cut = here.sysfs_totals("nt0")?;
    assert!(cut.tx_packets - joined.tx_packets > BYTES / 1500, "{joined:?} {cut:?}");
    there.set_offload("nt0", Offload::Gro, true)
}

fn foreign_programs_are_listed_and_go() -> Result<()> {
    let namespace = veth()?;
    let tcx = TCX.is_here().then(|| namespace.foreign_tcx("nt0", Way::Ingress, foreign::TC_NEXT));
    let tcx = tcx.transpose()?;
    let xdp = namespace.foreign_xdp("nt0", XdpMode::Native, foreign::XDP_PASS)?;
    namespace.add_clsact("nt0")?;
    let filter = namespace.foreign_clsact("nt0", Way::Egress, foreign::TC_PASS)?;
    let attached = namespace.attached("nt0")?;
    let by_tcx: Vec<_> = tcx.iter().map(|foreign| foreign.program).collect();
    assert_eq!((&attached.tcx_ingress, &attached.xdp), (&by_tcx, &vec![xdp.program]));
    assert_eq!((&attached.tcx_egress, &attached.qdiscs), (&vec![], &vec!["clsact".to_owned()]));
    let [listed] = attached.filters_egress.as_slice() else { panic!("{attached:?}") };
    assert_eq!((listed.program, listed.name.as_str()), (Some(filter.program), "not_netmons"));
    let programs = [by_tcx, vec![xdp.program]].concat();
    assert_eq!(attached.programs(), [programs.as_slice(), &[filter.program]].concat());

    drop((tcx, xdp));
    for program in programs {
        wait::until_true("the program to go", || Ok(!Object::Program(program).exists()?))?;
    }
    assert!(Object::Program(filter.program).exists()?);
    Ok(())
}

fn links_can_be_changed() -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.add_veth_with_index("nt0", 70_000, "peer")?;
    assert_eq!(namespace.ifindex("nt0")?, 70_000);
    assert_eq!(namespace.sysfs_state("nt0")?.state, "down");
    namespace.set_up("peer")?;
    namespace.set_up("nt0")?;
    namespace.wait_for_state("nt0", "up")?;
    assert_eq!(namespace.sysfs_state("nt0")?.up_count, 1);
    namespace.rename("nt0", "new0")?;
    namespace.add_altname("new0", "a-name-that-is-longer-than-fifteen")?;
    assert_eq!(namespace.ifindex("new0")?, 70_000);
    namespace.set_mac("new0", [2, 0, 0, 0, 0, 9])?;
    assert_eq!(namespace.mac("new0")?, [2, 0, 0, 0, 0, 9]);
    namespace.set_mtu("new0", 9000)?;
    namespace.set_down("new0")?;
    assert_eq!(namespace.sysfs_state("new0")?.state, "down");
    namespace.delete("new0")?;
    assert_eq!(namespace.sysfs_links()?, ["lo"]);

    let hidden = "/sys/class/net/lo/statistics";
    namespace.hide(hidden)?;
    assert!(namespace.sysfs_totals("lo").is_err());
    assert!(fs::exists("/sys/class/net/lo/statistics/rx_bytes")?, "the host's is untouched");
    namespace.unhide(hidden)?;
    assert_eq!(namespace.sysfs_totals("lo")?, Totals::default());
    Ok(())
}

fn privileges_are_taken() -> Result<()> {
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let program = scratch.copy_program(Path::new(NETMON))?;
    // While it asks which interfaces it is to watch, it has given up nothing yet.
    let status = |privileges| -> Result<String> {
        let command = AgentCommand::new(&namespace, &program).args(["run"]).open_input();
        let agent = command.privileges(privileges).start()?;
        agent.stderr()?.wait_for_text(HOW_MANY)?;
        Ok(fs::read_to_string(format!("/proc/{}/status", agent.pid()))?)
    };
    let effective = |status: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let full = effective(&status(Privileges::Full)?).unwrap_or(0);
    assert_ne!(full & (1 << 12), 0);
    assert_eq!(effective(&status(Privileges::NoCapability)?), Some(0));
    let without = status(Privileges::Without(&[Capability::NET_ADMIN]))?;
    assert_eq!(effective(&without), Some(full & !(1 << 12)));
    let nobody = status(Privileges::Nobody)?;
    assert_eq!(effective(&nobody), Some(0));
    ensure!(nobody.contains("Uid:\t65534\t65534"), "{nobody}");
    Ok(())
}

fn wait_for_totals(namespace: &Namespace, link: &str, expected: Totals) -> Result<()> {
    wait::until_true(format!("{expected:?} of {link}"), || {
        Ok(namespace.sysfs_totals(link)? == expected)
    })
}
