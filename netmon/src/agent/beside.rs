//! Two threads: the agent's, which does nothing but tick and act on what comes in between, and one
//! for the runtime, on which everything else waits.

use std::{io, thread};

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Works on this thread while another one drives the runtime.
///
/// # Errors
/// When there can be no other thread.
pub fn beside<T>(runtime: &Runtime, work: impl FnOnce() -> T) -> io::Result<T> {
    let (working, ended) = oneshot::channel::<()>();
    thread::scope(|scope| {
        thread::Builder::new().name("netmon-events".to_owned()).spawn_scoped(scope, || {
            // It is never sent anything: it is closed when the work is done, or panics.
            let _ = runtime.block_on(ended);
        })?;
        let result = work();
        drop(working);
        Ok(result)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_go_on_beside_the_work() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let done = beside(&runtime, || {
            let (sender, receiver) = std::sync::mpsc::channel();
            runtime.spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                sender.send(thread::current().name().map(str::to_owned))
            });
            receiver.recv_timeout(std::time::Duration::from_secs(60)).unwrap()
        });
        assert_eq!(done.unwrap().as_deref(), Some("netmon-events"));
        assert_eq!(runtime.block_on(async { 1 }), 1, "it is free again");
    }

    #[test]
    fn a_panic_ends_both() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let work = std::panic::AssertUnwindSafe(|| beside(&runtime, || panic!("as it is to")));
        assert!(std::panic::catch_unwind(work).is_err());
    }
}
