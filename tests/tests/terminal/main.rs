//! The live view on a real terminal of the kernel's: what is seen, and that the terminal is put
//! back in order however the program ends. Needs no privileges.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use netmon_tests::{
    process,
    terminal::{Modes, Size, Terminal},
    wait,
};
use nix::sys::signal::Signal;

/// The program that shows the live view.
const DEMO: &str = env!("CARGO_BIN_EXE_netmon-view-demo");
/// What can only be seen when it is drawn.
const DRAWN: &str = "q quit";

/// The live view, and the modes that were there before it.
fn start(args: &[&str], size: Size) -> Result<(Terminal, Modes)> {
    // A shell that waits first: the modes before are asked for while nothing is changed yet.
    let script = "read go; exec \"$0\" \"$@\"";
    let args = [&["-c", script, DEMO][..], args].concat();
    let mut terminal = Terminal::start("/bin/sh", &args, size)?;
    let before = terminal.modes()?;
    terminal.type_in("\n")?;
    terminal.until_has(DRAWN)?;
    Ok((terminal, before))
}

/// Whether the terminal is as it was.
fn put_back(terminal: &mut Terminal, before: &Modes) -> Result<()> {
    let after = terminal.modes()?;
    ensure!(after == *before, "{after:?}\ninstead of\n{before:?}");
    Ok(())
}

#[test]
fn quitting_puts_the_terminal_back() -> Result<()> {
    for key in ["q", "\x03"] {
        let (mut terminal, before) = start(&[], (80, 24))?;
        let within = terminal.modes()?;
        assert_ne!(within, before, "it is in raw mode, on the other screen");
        terminal.type_in(key)?;
        let status = terminal.until_end()?;
        ensure!(status.success(), "{key:?}: {status}");
        put_back(&mut terminal, &before)?;
    }
    Ok(())
}

#[test]
fn a_termination_puts_it_back() -> Result<()> {
    let (mut terminal, before) = start(&[], (80, 24))?;
    terminal.signal(Signal::SIGTERM)?;
    ensure!(terminal.until_end()?.success());
    put_back(&mut terminal, &before)
}

#[test]
fn a_panic_puts_it_back_and_can_be_read() -> Result<()> {
    let (mut terminal, before) = start(&["--panic", "3", "--interval", "50"], (80, 24))?;
    let status = terminal.until_end()?;
    ensure!(status.code() == Some(101), "{status}");
    put_back(&mut terminal, &before)?;
    let screen = terminal.screen()?;
    ensure!(screen.contains("as asked for"), "{screen}");
    Ok(())
}

#[test]
fn keys_the_mouse_and_other_sizes() -> Result<()> {
    let (mut terminal, _) = start(&["--interval", "20"], (80, 24))?;
    terminal.until_has("[1 Interfaces]")?;
    terminal.type_in("2")?;
    terminal.until_has("[2 Processes]")?;
    // A key that comes in parts, and a click on a tab.
    terminal.type_in("\x1b[")?;
    terminal.type_in("Z")?;
    terminal.until_has("[1 Interfaces]")?;
    terminal.type_in("\x1b[<0;30;3M")?;
    terminal.until_has("[3 Flows]")?;
    terminal.type_in("/if:eth0\r")?;
    terminal.until_has("filter: if:eth0")?;
    terminal.resize((120, 40))?;
    // The alerts and the keys are in the last line.
    terminal.until("a frame of 40 lines", |screen| {
        screen.lines().nth(39).is_some_and(|line| line.ends_with(DRAWN))
    })?;
    terminal.resize((30, 5))?;
    terminal.until_has("too small")?;
    terminal.resize((80, 24))?;
    terminal.until_has("filter: if:eth0")?;
    // A lone Escape is a key, too.
    terminal.type_in("\x1b")?;
    terminal.until("no filter", |screen| !screen.contains("filter: if"))?;
    Ok(())
}

/// In a shell with job control, as a user has it.
#[test]
fn stopped_and_continued() -> Result<()> {
    for key in ["\x1a", ""] {
        let mut terminal = Terminal::start("/bin/sh", &["-i"], (80, 24))?;
        terminal.until_has("$")?;
        let before = terminal.modes()?;
        terminal.type_in(&format!("{DEMO} --interval 50\n"))?;
        terminal.until_has(DRAWN)?;
        let within = terminal.modes()?;
        if key.is_empty() {
            let children = process::children(terminal.pid())?;
            let demo = *children.first().context("the shell has a child")?;
            process::signal(demo, Signal::SIGTSTP)?;
        } else {
            terminal.type_in(key)?;
        }
        terminal.until("the shell to say so", |screen| screen.contains("Stopped"))?;
        put_back(&mut terminal, &before)?;
        terminal.type_in("fg\n")?;
        terminal.until_has(DRAWN)?;
        ensure!(terminal.modes()? == within);
        terminal.type_in("2")?;
        terminal.until_has("[2 Processes]")?;
        terminal.type_in("q")?;
        terminal.until("the shell's own screen", |screen| screen.trim_end().ends_with('$'))?;
        put_back(&mut terminal, &before)?;
    }
    Ok(())
}

/// With SIGHUP ignored, as by nohup(1): the terminal's end must end it, not turn it in a loop.
#[test]
fn a_terminal_that_is_gone_ends_it() -> Result<()> {
    // There is one tick in ten minutes, so it is not by writing that the end is seen. Who is in
    // the terminal's session gets a SIGCONT with the SIGHUP; who is in another one gets nothing.
    for leads_session in [true, false] {
        let script = "trap '' HUP; exec \"$0\" --interval 600000";
        let (args, size) = (["-c", script, DEMO], (80, 24));
        let mut terminal = if leads_session {
            Terminal::start("/bin/sh", &args, size)?
        } else {
            Terminal::start_apart("/bin/sh", &args, size)?
        };
        // The only tick's frame.
        terminal.until_has("br-lan")?;
        terminal.close();
        let status = terminal.until_end()?;
        ensure!(status.code() == Some(1), "{status}");
    }
    Ok(())
}

/// So many looks without any CPU time, of 10 ms each, are no chance: there is a tick every 20 ms.
const STUCK: usize = 100;

/// The folder of a process's thread of this name.
fn thread(pid: u32, name: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(process::folder(pid).join("task"))? {
        let folder = entry?.path();
        if fs::read_to_string(folder.join("comm"))?.trim_end() == name {
            return Ok(folder);
        }
    }
    bail!("no thread {name}")
}

/// Nobody reads what it writes, as when a line hangs: it ends all the same.
#[test]
fn a_terminal_that_takes_nothing_does_not_hold_it() -> Result<()> {
    let (mut terminal, before) = start(&["--interval", "20"], (200, 60))?;
    // Every tick wakes the thread that draws, unless it is in a write that does not end.
    let live = thread(terminal.pid(), "netmon-live")?;
    let mut seen = Vec::new();
    wait::until_true("the view to be stuck", || {
        seen.push(fs::read_to_string(live.join("schedstat"))?);
        Ok(seen.len() > STUCK
            && seen.iter().rev().take(STUCK).all(|time| *time == seen[seen.len() - 1]))
    })?;
    terminal.signal(Signal::SIGTERM)?;
    terminal.until_end_unread()?;
    let after = terminal.modes()?;
    ensure!(after.same_termios(&before), "{after:?}");
    Ok(())
}

#[test]
fn without_a_terminal_it_says_what_else_there_is() -> Result<()> {
    let output = Command::new(DEMO).stdin(Stdio::null()).output()?;
    ensure!(!output.status.success());
    let errors = String::from_utf8(output.stderr)?;
    ensure!(errors.contains("--once"), "{errors}");
    ensure!(output.stdout.is_empty());
    Ok(())
}

#[test]
fn a_dumb_terminal_is_refused() -> Result<()> {
    let script = "TERM=dumb exec \"$0\"";
    let mut terminal = Terminal::start("/bin/sh", &["-c", script, DEMO], (80, 24))?;
    ensure!(!terminal.until_end()?.success());
    let screen = terminal.screen()?;
    ensure!(screen.contains("TERM=dumb"), "{screen}");
    Ok(())
}

#[test]
fn one_colour_and_ascii_when_asked_for() -> Result<()> {
    let script = "NO_COLOR=1 LC_ALL=C exec \"$0\"";
    let mut terminal = Terminal::start("/bin/sh", &["-c", script, DEMO], (80, 24))?;
    let screen = terminal.until_has(DRAWN)?;
    ensure!(screen.is_ascii(), "{screen}");
    ensure!(!terminal.has_colors(), "colours");
    terminal.type_in("q")?;
    terminal.until_end()?;
    Ok(())
}
