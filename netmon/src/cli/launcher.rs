//! `netmon launcher`: started by the network monitor, not by users. Before any thread is, for it
//! stays with one: see [`crate::workers::launcher`].

use std::io::Write;
use std::process::ExitCode;

use crate::workers::launcher::{Reach, serve};

pub(super) fn launcher(reach: Reach) -> ExitCode {
    // For ps(1): it was started as /proc/self/exe, which is not much of a name.
    let _ = nix::sys::prctl::set_name(c"netmon-launcher");
    match serve(reach) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody to tell when this fails.
            let _ = writeln!(std::io::stderr(), "netmon: the launcher: {error}");
            ExitCode::FAILURE
        }
    }
}
