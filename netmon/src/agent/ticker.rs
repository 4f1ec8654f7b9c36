//! A clock for a tokio task, which the network monitor's is: a periodic timerfd
//! (timerfd_create(2)) of the kernel. tokio's own interval costs two more wake-ups and a write to
//! itself for every tick (seen by strace), and is only exact to a millisecond. Ticks that were
//! missed, as in a suspended machine, are left out.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{
    ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags,
};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::read;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::clock::until_multiple;

/// The clock.
pub(crate) struct Ticker(AsyncFd<OwnedFd>);

impl Ticker {
    /// A clock that ticks so long after the multiples of `interval` on the kernel's monotonic
    /// clock, as the agents do ([`Clock::in_step`](super::clock)). Needs a tokio runtime.
    pub(crate) fn in_step(interval: Duration, after: Duration) -> io::Result<Self> {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let first = now + until_multiple(now.saturating_sub(after), interval);
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME;
        let timer = TimerFd::new(
            TimerClock::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        let [first, interval] = [first, interval].map(TimeSpec::from_duration);
        timer.set(Expiration::IntervalDelayed(first, interval), flags)?;
        let timer = OwnedFd::from(timer);
        // SAFETY: the timer owns its descriptor, always gives the same one, and closes it only
        // when it is dropped, which AsyncFd does after it has deregistered it.
        Ok(Self(unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?))
    }

    /// Waits for the next tick. Cancelling it loses nothing. For one task at a time: so tokio
    /// keeps no list of those that wait, which each tick would enter and leave.
    pub(crate) async fn tick(&self) -> io::Result<()> {
        poll_fn(|context| {
            loop {
                let mut ready = ready!(self.0.poll_read_ready(context))?;
                match read(self.0.get_ref(), &mut [0; size_of::<u64>()]) {
                    Ok(_) => {
                        ready.clear_ready();
                        return Poll::Ready(Ok(()));
                    }
                    Err(Errno::EAGAIN) => ready.clear_ready(),
                    Err(Errno::EINTR) => {}
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_come_at_the_multiples_and_so_long_after() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let (interval, after) = (Duration::from_millis(40), Duration::from_millis(20));
            let now = || Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
            let before = now();
            let clock = Ticker::in_step(interval, after).unwrap();
            let first = before + until_multiple(before.saturating_sub(after), interval);
            for tick in 0..3 {
                clock.tick().await.unwrap();
                assert!(now() >= first + interval * tick, "tick {tick} was early");
            }
        });
    }
}
