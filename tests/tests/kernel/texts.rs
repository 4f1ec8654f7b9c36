//! Texts that others have given to interfaces: not UTF-8, or what a terminal would obey.

use std::{fs::File, io::Write};

use anyhow::Result;
use netmon_tests::{frame, kernel::XDP_FEATURES, lines::Lines, netns::Namespace, scratch::Scratch};
use nix::pty::openpty;

use crate::{
    Test,
    common::{agrees, interrupt, json, monitor, netmon, veth},
};

pub(super) const TESTS: &[Test] = &[
    ("an_alias_that_is_not_utf_8_hides_nothing", an_alias_that_is_not_utf_8_hides_nothing),
    ("a_name_that_is_not_utf_8_is_watched", a_name_that_is_not_utf_8_is_watched),
    ("names_reach_stderr_shown_and_not_obeyed", names_reach_stderr_shown_and_not_obeyed),
    ("names_reach_questions_and_findings_not_obeyed", names_in_questions_and_findings),
    ("news_that_nobody_reads_take_no_memory", news_that_nobody_reads_take_no_memory),
];

const IFLA_IFNAME: u16 = 3;
const IFLA_IFALIAS: u16 = 20;

fn an_alias_that_is_not_utf_8_hides_nothing() -> Result<()> {
    let namespace = veth()?;
    // Before: the harness's own rtnetlink does not read such an alias.
    let mut socket = namespace.packet_socket("nt0")?;
    namespace.set_text("nt0", IFLA_IFALIAS, b"Geb\xe4ude")?;
    let agent = json(&namespace, &["nt0"])?;
    agent.says_counted("nt0", "TCX in+out")?;
    socket.send_many(&frame::plain(frame::BROADCAST, 100), 12)?;
    assert_eq!(agrees(&agent, &namespace, "nt0")?.tx.packets, Some(12));
    let said = interrupt(agent)?.stderr;
    assert!(!said.contains("another network namespace"), "{said}");
    Ok(())
}

fn a_name_that_is_not_utf_8_is_watched() -> Result<()> {
    let namespace = veth()?;
    namespace.add_veth("zz", "other")?;
    namespace.set_text("zz", IFLA_IFNAME, b"z\xe4")?;
    for wanted in ["--all", "z?", "z\u{fffd}"] {
        let agent = json(&namespace, &[wanted])?;
        agent.says_counted("z\u{fffd}", "TCX in+out")?;
        agent.wait_for_tick("its state", |tick| {
            tick.interface("z\u{fffd}").is_ok_and(|told| told.is("down") || told.is("up"))
        })?;
        let said = interrupt(agent)?.stderr;
        assert_eq!(said.matches("is not UTF-8").count(), 1, "{said}");
        assert!(!said.contains("another network namespace"), "{said}");
    }
    Ok(())
}

fn names_reach_stderr_shown_and_not_obeyed() -> Result<()> {
    let namespace = Namespace::new()?;
    let name = "n\u{1b}[31m";
    namespace.add_veth_up(name, "peer")?;
    let agent = monitor(&namespace, &["--all"]).start()?;
    agent.says_counted("n\\u{1b}[31m", "TCX in+out")?;
    let said = interrupt(agent)?.stderr;
    assert!(!said.contains('\u{1b}'), "{said:?}");
    let wrong = netmon(&namespace, &["run", "no\u{1b}[31m"]).start()?.finish()?;
    assert!(
        wrong.stderr.contains("no\\u{1b}[31m") && !wrong.stderr.contains('\u{1b}'),
        "{wrong:?}"
    );
    let wrong = netmon(&namespace, &["run", "--format", "no\u{1b}[31m"]).start()?.finish()?;
    assert!(!wrong.stderr.contains('\u{1b}'), "{wrong:?}");
    Ok(())
}

fn names_in_questions_and_findings() -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.add_veth_up("n\u{1b}[31m", "peer")?;
    let terminal = openpty(None, None)?;
    let mut keyboard = File::from(terminal.master.try_clone()?);
    let _echo = Lines::collect(File::from(terminal.master))?;
    let agent = monitor(&namespace, &["--count", "1"]).input_from(terminal.slave).start()?;
    keyboard.write_all(b"1\nm\x1b[31m\npeer\n")?;
    let said = agent.finish()?.stderr;
    assert!(said.contains("There are: ") && said.contains("n\\u{1b}[31m"), "{said:?}");
    assert!(said.contains("'m\\u{1b}[31m'") && !said.contains('\u{1b}'), "{said:?}");
    let found = netmon(&namespace, &["doctor"]).start()?.finish()?.stdout;
    // Which drivers have native XDP the kernel does not tell before.
    let is_named = found.contains("n\\u{1b}[31m") || !XDP_FEATURES.is_here();
    assert!(is_named && !found.contains('\u{1b}'), "{found:?}");
    Ok(())
}

fn news_that_nobody_reads_take_no_memory() -> Result<()> {
    let (namespace, elsewhere, scratch) = (veth()?, veth()?, Scratch::new()?);
    // Names of namespaces are not seen in another one of the harness.
    let process = monitor(&elsewhere, &["lo", "--source", "sysfs"]).start()?;
    let wanted = format!("/proc/{}/ns/net/nt0", process.pid());
    let socket = scratch.path().join("run/s");
    let agent = json(&namespace, &["--socket", &socket.display().to_string(), &wanted])?;
    agent.says_counted(&wanted, "")?;
    agent.fresh_tick()?;
    let before = agent.resident_kib()?;
    for _ in 0..200 {
        namespace.set_down("nt0")?;
        namespace.set_up("nt0")?;
    }
    agent.fresh_tick()?;
    let after = agent.resident_kib()?;
    // 400 changes were 15 MB.
    assert!(after < before + 2_000, "{before} KiB, then {after} KiB");
    interrupt(agent).map(drop)
}
