//! The tick's clock: a periodic timerfd (timerfd_create(2)) of the kernel. tokio's own interval
//! costs two more wake-ups and a write to itself for every tick (seen by strace), and is only
//! exact to a millisecond. Ticks that were missed, as in a suspended machine, are left out.

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

/// The clock.
pub(crate) struct Ticker(AsyncFd<OwnedFd>);

impl Ticker {
    /// A clock whose first tick is now. Needs a tokio runtime.
    pub(crate) fn start(interval: Duration) -> io::Result<Self> {
        // Zero would mean "never".
        Self::from(Duration::from_nanos(1), interval, TimerSetTimeFlags::empty())
    }

    /// A clock that ticks so long after the multiples of `interval` on the kernel's monotonic
    /// clock: processes that do so tick at the same instants, and need not tell one another.
    pub(crate) fn in_step(interval: Duration, after: Duration) -> io::Result<Self> {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let first = next_multiple(now.saturating_sub(after), interval) + after;
        Self::from(first, interval, TimerSetTimeFlags::TFD_TIMER_ABSTIME)
    }

    fn from(first: Duration, interval: Duration, flags: TimerSetTimeFlags) -> io::Result<Self> {
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

/// The first multiple of `interval` after `now`.
fn next_multiple(now: Duration, interval: Duration) -> Duration {
    let interval = interval.as_nanos().max(1);
    Duration::from_nanos(((now.as_nanos() / interval + 1) * interval) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_multiple_is_later() {
        let ms = Duration::from_millis;
        let cases = [(0, 100), (1, 100), (99, 100), (100, 200), (12_345, 12_400)];
        for (now, next) in cases {
            assert_eq!(next_multiple(ms(now), ms(100)), ms(next));
        }
    }

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
