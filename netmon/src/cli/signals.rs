//! Ctrl-C, SIGTERM and a closed terminal. The first ends in order; after it the default is
//! restored, so that a second one ends at once.

use nix::sys::signal::{SigHandler, Signal, signal};
use tokio::signal::unix::{self, SignalKind};

/// The signals that end netmon. One that was ignored when netmon was started (nohup(1), a job in
/// the background of a script) stays ignored.
pub(super) struct Signals {
    interrupt: Option<unix::Signal>,
    terminate: Option<unix::Signal>,
    hang_up: Option<unix::Signal>,
}

impl Signals {
    /// Takes the signals over. Needs a tokio runtime.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: take(Signal::SIGINT, SignalKind::interrupt())?,
            terminate: take(Signal::SIGTERM, SignalKind::terminate())?,
            hang_up: take(Signal::SIGHUP, SignalKind::hangup())?,
        })
    }

    /// Waits for the first one and gives its name.
    pub(super) async fn first(&mut self) -> &'static str {
        tokio::select! {
            () = comes(&mut self.interrupt) => "SIGINT",
            () = comes(&mut self.terminate) => "SIGTERM",
            () = comes(&mut self.hang_up) => "SIGHUP",
        }
    }
}

fn take(which: Signal, kind: SignalKind) -> std::io::Result<Option<unix::Signal>> {
    if is_ignored(which) { Ok(None) } else { unix::signal(kind).map(Some) }
}

async fn comes(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

fn is_ignored(which: Signal) -> bool {
    // SAFETY: all zeroes is a valid sigaction, and the call only fills it in.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(which as libc::c_int, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// From now on a signal ends netmon at once.
pub(super) fn restore() {
    for which in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        if is_ignored(which) {
            continue;
        }
        // SAFETY: the default action runs no code of ours.
        if let Err(error) = unsafe { signal(which, SigHandler::SigDfl) } {
            tracing::debug!("{which} cannot be set back: {error}");
        }
    }
}
