//! The live view of the real thing on a terminal. How it draws is tested with made-up traffic, as
//! are panics and Ctrl-Z.

use anyhow::{Result, ensure};
use netmon_tests::{
    inet,
    netns::Namespace,
    privileges::Privileges,
    terminal::{Modes, Terminal},
};
use nix::sys::signal::Signal;

use super::in_turn;
use crate::{
    Test,
    common::{FAR, NEAR, NETMON, is_bare, pair, veth},
    processes::PEER,
};

pub(crate) const TESTS: &[Test] = &[
    ("it_shows_what_is_there_and_q_ends_it", || in_turn(it_shows_what_is_there)),
    ("ctrl_c_ends_it", || in_turn(|| ends_by(|terminal| terminal.type_in("\x03")))),
    ("sigterm_ends_it", || in_turn(|| ends_by(|terminal| terminal.signal(Signal::SIGTERM)))),
    ("a_hang_up_ends_it", || in_turn(a_hang_up_ends_it)),
    ("no_size_of_the_terminal_ends_it", || in_turn(no_size_of_the_terminal_ends_it)),
    ("without_privileges_it_says_what_it_lacks", || in_turn(without_privileges)),
];

/// What can only be seen when it is drawn.
const DRAWN: &str = "q quit";

const SIZE: (u16, u16) = (140, 30);

/// The live view, drawn.
fn start(namespace: &Namespace, privileges: Privileges) -> Result<Terminal> {
    let arguments = ["top", "--interval", "100ms"];
    let start = move || Terminal::start_with(NETMON, &arguments, SIZE, privileges);
    let mut terminal = namespace.run(start)?;
    terminal.until_has(DRAWN)?;
    Ok(terminal)
}

/// The modes of a terminal that nobody has changed: all begin with the same.
fn untouched() -> Result<Modes> {
    Terminal::start(PEER, &["unix", "1"], SIZE)?.modes()
}

/// Well, and the terminal is as if nothing had been.
fn ends(terminal: &mut Terminal) -> Result<()> {
    let status = terminal.until_end()?;
    ensure!(status.success(), "{status}");
    let (after, before) = (terminal.modes()?, untouched()?);
    ensure!(after == before, "{after:?}\ninstead of\n{before:?}");
    Ok(())
}

fn it_shows_what_is_there() -> Result<()> {
    let (here, there) = pair()?;
    let mut terminal = start(&here, Privileges::Full)?;
    terminal.until("its interfaces", |it| it.contains("nt0") && it.contains("lo"))?;
    let (from, to) = (here.udp(NEAR)?, there.udp(FAR)?);
    inet::send_datagrams(&from, &to, 100, 20)?;
    terminal.type_in("3")?;
    let port = format!("{FAR}:{}", to.local_addr()?.port());
    terminal.until_has(&port)?;
    terminal.type_in("/port:1\r")?;
    terminal.until("no such flow", |screen| !screen.contains(&port))?;
    terminal.type_in("q")?;
    ends(&mut terminal)?;
    is_bare(&here, "nt0")
}

fn ends_by(way: impl FnOnce(&mut Terminal) -> Result<()>) -> Result<()> {
    let namespace = veth()?;
    let mut terminal = start(&namespace, Privileges::Full)?;
    let within = terminal.modes()?;
    ensure!(within != untouched()?, "raw mode, the other screen: {within:?}");
    way(&mut terminal)?;
    ends(&mut terminal)?;
    is_bare(&namespace, "nt0")
}

/// The terminal's end must end it, not turn it in a loop. (That SIGHUP may be ignored is tested
/// with the live view alone.)
fn a_hang_up_ends_it() -> Result<()> {
    let namespace = veth()?;
    let mut terminal = start(&namespace, Privileges::Full)?;
    terminal.close();
    terminal.until_end()?;
    is_bare(&namespace, "nt0")
}

/// A size is whatever somebody has set, also one that no memory is enough for.
fn no_size_of_the_terminal_ends_it() -> Result<()> {
    let namespace = veth()?;
    for claimed in [(u16::MAX, u16::MAX), (1, 1), (u16::MAX, 1), (1, u16::MAX), (0, 0)] {
        let start = move || Terminal::start_claiming(NETMON, &["top"], SIZE, claimed);
        let mut terminal = namespace.run(start)?;
        terminal.until("anything", |screen| !screen.trim().is_empty())?;
        terminal.type_in("q")?;
        ends(&mut terminal)?;
    }
    is_bare(&namespace, "nt0")
}

/// The interfaces are those of sysfs; what cannot be had is said where it would be.
fn without_privileges() -> Result<()> {
    let namespace = veth()?;
    let mut terminal = start(&namespace, Privileges::NoCapability)?;
    terminal.until("its interfaces", |it| it.contains("nt0") && it.contains("sysfs"))?;
    for tab in ["2", "3", "4", "5"] {
        terminal.type_in(tab)?;
        terminal.until(tab, |it| it.contains(&format!("[{tab} ")) && it.contains("CAP_BPF"))?;
    }
    terminal.type_in("q")?;
    ends(&mut terminal)
}
