//! `netmon launcher`: started by the network monitor, not by users. Before any thread is, for it
//! stays with one: see [`crate::workers::launcher`].

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use super::args::{Cli, Command, InterfaceMonitorArgs};
use crate::model::human;
use crate::workers::launcher::{Reach, serve};

pub(super) fn launcher(reach: Reach) -> ExitCode {
    // For ps(1): it was started as /proc/self/exe, which is not much of a name.
    let _ = nix::sys::prctl::set_name(c"netmon-launcher");
    match serve(reach, starts_an_interface_monitor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody to tell when this fails.
            let message = format!("netmon: the launcher: {error}\n");
            let _ = std::io::stderr().write_all(human::on_terminal(&message).as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// Whether these are the arguments that a network monitor starts an interface monitor with.
fn starts_an_interface_monitor(arguments: &[OsString]) -> bool {
    let name: &OsStr = OsStr::new("netmon");
    let all = std::iter::once(name).chain(arguments.iter().map(OsString::as_os_str));
    let Ok(Cli { verbose: 0 | 1, quiet: false, command }) = Cli::try_parse_from(all) else {
        return false;
    };
    // What belongs to --print is of no matter without it.
    let Command::InterfaceMonitor(InterfaceMonitorArgs {
        launched: true,
        print: false,
        child_of: None,
        socket: Some(socket),
        ..
    }) = command
    else {
        return false;
    };
    socket.is_absolute()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_start(arguments: &str) -> bool {
        let arguments: Vec<OsString> = arguments.split(' ').map(OsString::from).collect();
        starts_an_interface_monitor(&arguments)
    }

    #[test]
    fn nothing_but_interface_monitors_is_started() {
        for worker in [
            "interface-monitor --launched --socket /run/netmon/netmon.sock -- eth0",
            "interface-monitor -v --launched --socket /run/netmon/netmon.sock -- eth0",
        ] {
            assert!(may_start(worker), "{worker}");
        }
        for other in [
            "",
            "run eth0",
            "run --workers --socket /s eth0",
            "launcher",
            "generate-man /tmp",
            "interface-monitor eth0",
            "interface-monitor --print eth0",
            "interface-monitor --socket /s -- eth0",
            "interface-monitor --launched --socket s -- eth0",
            "interface-monitor --launched -- eth0",
            "interface-monitor --launched --child-of 1 --socket /s -- eth0",
            "interface-monitor --launched --socket /s -- eth0 eth1",
            "interface-monitor -vv --launched --socket /s -- eth0",
            "interface-monitor -q --launched --socket /s -- eth0",
        ] {
            assert!(!may_start(other), "{other}");
        }
    }
}
