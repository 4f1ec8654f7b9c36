//! The tick's clock: a periodic timerfd (timerfd_create(2)) of the kernel. tokio's own interval
//! costs two more wake-ups and a write to itself for every tick (seen by strace), and is only
//! exact to a millisecond. Ticks that were missed, as in a suspended machine, are left out.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::read;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The clock.
pub(super) struct Ticker(AsyncFd<OwnedFd>);

impl Ticker {
    /// A clock whose first tick is now. Needs a tokio runtime.
    pub(super) fn start(interval: Duration) -> io::Result<Self> {
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        // Zero would mean "never".
        let now = TimeSpec::from_duration(Duration::from_nanos(1));
        let expiration = Expiration::IntervalDelayed(now, TimeSpec::from_duration(interval));
        timer.set(expiration, TimerSetTimeFlags::empty())?;
        let timer = OwnedFd::from(timer);
        // SAFETY: the timer owns its descriptor, always gives the same one, and closes it only
        // when it is dropped, which AsyncFd does after it has deregistered it.
        Ok(Self(unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?))
    }

    /// Waits for the next tick. Cancelling it loses nothing.
    pub(super) async fn tick(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            match read(self.0.get_ref(), &mut [0; size_of::<u64>()]) {
                Ok(_) => {
                    ready.clear_ready();
                    return Ok(());
                }
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tick_is_now_and_more_follow() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let slow = Ticker::start(Duration::from_secs(3600)).unwrap();
            slow.tick().await.unwrap();
            let fast = Ticker::start(Duration::from_millis(1)).unwrap();
            for _ in 0..3 {
                fast.tick().await.unwrap();
            }
        });
    }
}
