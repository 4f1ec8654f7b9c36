//! Ctrl-C and SIGTERM: what the benchmark has started and made goes with it.
//!
//! The namespaces' guards do not run when a signal ends the process, and a stopped process does
//! not see that its parent has gone. So a thread waits for the signal and does what has to be
//! done: the children end, the namespaces' names go, and the kernel takes the rest.

use std::{process, thread};

use anyhow::Result;
use netmon_tests::netns;
use nix::sys::signal::{SigHandler, Signal, raise, signal};
use tokio::signal::unix::{SignalKind, signal as signals};

use crate::processes;

/// From now on. Signals are caught, not blocked: what is blocked here would be so in the
/// processes that are started.
pub(crate) fn handle() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let mut interrupt = signals(SignalKind::interrupt())?;
    let mut terminate = signals(SignalKind::terminate())?;
    drop(entered);
    thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        end_by(runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => Signal::SIGINT,
                _ = terminate.recv() => Signal::SIGTERM,
            }
        }));
    })?;
    Ok(())
}

fn end_by(which: Signal) {
    eprintln!("bench: {which}: ending");
    processes::kill_below(process::id());
    netns::forget_ours();
    // SAFETY: the default action is no handler that could do anything wrong.
    let _ = unsafe { signal(which, SigHandler::SigDfl) };
    let _ = raise(which);
}
