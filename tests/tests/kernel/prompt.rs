//! The questions that are asked when no interface is named, as the classic tool does.

use std::{fs::File, io::Write};

use anyhow::{Result, ensure};
use netmon_tests::{lines::Lines, netns::Namespace, report::names, wait};
use nix::pty::openpty;

use crate::{
    Test,
    common::{interrupt, is_bare, monitor, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("answers_from_a_pipe", answers_from_a_pipe),
    ("answers_one_by_one", answers_one_by_one),
    ("interfaces_may_come_while_it_asks", interfaces_may_come_while_it_asks),
    ("a_wrong_answer_from_a_pipe_is_an_error", a_wrong_answer_is_an_error),
    ("a_wrong_answer_at_a_terminal_is_asked_again", a_wrong_answer_is_asked_again),
];

pub(crate) const HOW_MANY: &str = "Please enter the number of interfaces to monitor: ";

fn answers_from_a_pipe() -> Result<()> {
    let namespace = veth()?;
    let finished = monitor(&namespace, &["--count", "1"]).input("2\nnt0\nlo\n").finish()?;
    ensure!(finished.code == Some(0), "{finished:?}");
    assert_eq!(names(&finished.blocks()?), ["nt0", "lo"]);
    for prompt in [HOW_MANY, "Interface number 1: ", "Interface number 2: "] {
        assert_eq!(finished.stderr.matches(prompt).count(), 1, "{prompt:?} in {finished:?}");
    }
    assert!(!finished.stderr.contains("Interface number 3"), "{finished:?}");
    // The last line's end may be missing, and spaces do no harm.
    let finished = monitor(&namespace, &["--count", "1"]).input(" 1 \n nt0 ").finish()?;
    assert_eq!(names(&finished.blocks()?), ["nt0"]);
    Ok(())
}

fn answers_one_by_one() -> Result<()> {
    let namespace = veth()?;
    let mut agent = monitor(&namespace, &[]).open_input().start()?;
    agent.stderr()?.wait_for_text(HOW_MANY)?;
    agent.type_in("1\n")?;
    agent.stderr()?.wait_for_text("Interface number 1: ")?;
    assert_eq!(agent.stdout()?.text(), "");
    agent.type_in("nt0\n")?;
    agent.wait_for_block(0, "the report", |block| block.interface == "nt0")?;
    interrupt(agent).map(drop)
}

/// What was listed before the question is not what sysfs shows after it, which is no reason to
/// take sysfs for another namespace's.
fn interfaces_may_come_while_it_asks() -> Result<()> {
    let namespace = veth()?;
    let mut agent = monitor(&namespace, &["--source", "sysfs"]).open_input().start()?;
    agent.stderr()?.wait_for_text(HOW_MANY)?;
    namespace.add_veth("late0", "late1")?;
    agent.type_in("1\nnt0\n")?;
    let block = agent.wait_for_block(0, "the report", |block| block.interface == "nt0")?;
    assert_eq!(block.totals, namespace.sysfs_totals("nt0")?.present());
    let finished = interrupt(agent)?;
    assert!(!finished.stderr.contains("another network namespace"), "{finished:?}");
    Ok(())
}

fn a_wrong_answer_is_an_error() -> Result<()> {
    let namespace = veth()?;
    let wrong = [
        "",
        "\n",
        "x\n",
        "0\n",
        "-1\n",
        "1.5\n",
        "99999999999999999999\n", // the number
        "1\n",
        "1\n\n",
        "2\nnt0\n",
        "1\neht0\n",
        "1\nnt0/x\n",
        "1\na-name-that-is-too-long\n",
    ];
    for input in wrong {
        let finished = monitor(&namespace, &["--count", "1"]).input(input).finish()?;
        assert_eq!(
            (finished.code, finished.stdout.as_str()),
            (Some(2), ""),
            "{input:?} {finished:?}"
        );
        let said = finished.stderr.replace(HOW_MANY, "").replace("Interface number 1: ", "");
        assert!(!said.trim().is_empty(), "{input:?} needs a reason: {finished:?}");
    }
    is_bare(&namespace, "nt0")
}

fn a_wrong_answer_is_asked_again() -> Result<()> {
    let namespace: Namespace = veth()?;
    let terminal = openpty(None, None)?;
    let mut keyboard = File::from(terminal.master.try_clone()?);
    // What the terminal echoes has to be taken, or it stops taking keys.
    let _echo = Lines::collect(File::from(terminal.master))?;
    let agent = monitor(&namespace, &["--count", "1"]).input_from(terminal.slave).start()?;
    let asked = |prompt: &str, times: usize| {
        wait::until_true(format!("{prompt:?} {times} times"), || {
            Ok(agent.stderr()?.text().matches(prompt).count() == times)
        })
    };
    asked(HOW_MANY, 1)?;
    keyboard.write_all(b"many\n")?;
    asked(HOW_MANY, 2)?;
    keyboard.write_all(b"1\n")?;
    asked("Interface number 1: ", 1)?;
    keyboard.write_all(b"tn0\n")?;
    asked("Interface number 1: ", 2)?;
    assert!(agent.stderr()?.text().contains("nt0"), "the nearest name helps");
    keyboard.write_all(b"nt0\n")?;
    let finished = agent.finish()?;
    assert_eq!((finished.code, names(&finished.blocks()?)), (Some(0), vec!["nt0"]));
    Ok(())
}
