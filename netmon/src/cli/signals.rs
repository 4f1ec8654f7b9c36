//! Ctrl-C, SIGTERM and a closed terminal. The first ends in order; after it the default is
//! restored, so that a second one ends at once.

use nix::sys::signal::{SigHandler, Signal, signal};
use tokio::signal::unix::{self, SignalKind};

/// The signals that end netmon.
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
}

impl Signals {
    /// Takes the signals over. Needs a tokio runtime.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hang_up: unix::signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the first one and gives its name.
    pub(super) async fn first(&mut self) -> &'static str {
        let name = tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        };
        for which in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: the default action runs no code of ours.
            if let Err(error) = unsafe { signal(which, SigHandler::SigDfl) } {
                tracing::debug!("{which} cannot be set back: {error}");
            }
        }
        name
    }
}
