//! What a tick costs at least: netmon's system calls, and nothing else. This process waits for an
//! instant, has the kernel dump its counters, reads a mapped array with as many values as netmon
//! reads, and writes a report that it never makes: it decodes, computes and formats nothing. What
//! netmon takes beyond it is netmon's own; what this takes, no program saves that asks the kernel
//! the same questions.
//!
//! By hand and not by netmon's own code, so that netmon cannot raise its own floor.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use netmon_tests::bpf::{MappedArray, possible_cpus};
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// The numbers that are counted of an interface on one CPU.
const COUNTERS: u32 = 8;
/// An interface's part of the report, in bytes.
const BLOCK: usize = 150;
/// linux/rtnetlink.h.
const RTM_GETSTATS: u16 = 94;
const RTM_NEWSTATS: u16 = 92;
/// `struct nlmsghdr` and `struct if_stats_msg`.
const REQUEST: usize = 16 + 12;
/// As much as the kernel puts into a datagram of a dump.
const DATAGRAM: usize = 32 << 10;

#[derive(Args)]
pub(crate) struct Floor {
    /// Between two reports.
    #[arg(long, value_name = "MILLISECONDS")]
    interval: u64,
    /// How many interfaces there are, `lo` not among them.
    #[arg(long)]
    interfaces: u32,
}

impl Floor {
    /// Until it is killed.
    pub(crate) fn run(&self) -> Result<()> {
        let mut clock = Clock::start(Duration::from_millis(self.interval))?;
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let mut received = Vec::with_capacity(DATAGRAM);
        // One slot more is for packets of nobody's.
        let values = (self.interfaces + 1) * possible_cpus()?;
        let counters = MappedArray::new(values, COUNTERS)?;
        let report = vec![b'x'; self.interfaces as usize * BLOCK];
        loop {
            clock.wait()?;
            let links = dump(&socket, &mut received)?;
            let counted = counters.read();
            write(&report)?;
            ensure!(links > self.interfaces, "a dump of {links} links, `lo` among them");
            ensure!(counted == 0, "nobody has counted {counted}");
        }
    }
}

/// Instants of the monotonic clock, an interval apart.
struct Clock {
    next: Duration,
    interval: Duration,
}

impl Clock {
    fn start(interval: Duration) -> Result<Self> {
        Ok(Self { next: monotonic()? + interval, interval })
    }

    fn wait(&mut self) -> Result<()> {
        let flags = ClockNanosleepFlags::TIMER_ABSTIME;
        let next = TimeSpec::from_duration(self.next);
        // It is interrupted when the process goes on after it was stopped.
        while clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &next) == Err(Errno::EINTR) {}
        let now = monotonic()?;
        // Those that were missed while it was stopped are left out.
        while self.next <= now {
            self.next += self.interval;
        }
        Ok(())
    }
}

fn monotonic() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

/// Has the kernel tell its counters of all links. Returns how many there are: what marks the end
/// is found only by going from message to message.
fn dump(socket: &Socket, received: &mut Vec<u8>) -> Result<u32> {
    const LINK_64: u32 = 1;
    let mut request = [0; REQUEST];
    request[..4].copy_from_slice(&(REQUEST as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETSTATS.to_ne_bytes());
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    request[24..].copy_from_slice(&LINK_64.to_ne_bytes());
    socket.send(&request, 0)?;
    let mut links = 0;
    loop {
        received.clear();
        socket.recv(received, 0)?;
        let mut rest = received.as_slice();
        while let [l0, l1, l2, l3, k0, k1, ..] = *rest {
            match u16::from_ne_bytes([k0, k1]) {
                RTM_NEWSTATS => links += 1,
                kind if i32::from(kind) == libc::NLMSG_DONE => return Ok(links),
                kind => anyhow::bail!("message {kind} in answer to RTM_GETSTATS"),
            }
            let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
            rest = rest.get(length.next_multiple_of(4)..).context("a message cut short")?;
        }
    }
}

/// To standard output, if that takes it at once.
fn write(report: &[u8]) -> Result<()> {
    let piece = libc::iovec { iov_base: report.as_ptr().cast_mut().cast(), iov_len: report.len() };
    // SAFETY: one piece, which the kernel only reads; −1 stands for the file's own position.
    let written =
        unsafe { libc::pwritev2(libc::STDOUT_FILENO, &raw const piece, 1, -1, libc::RWF_NOWAIT) };
    let written = usize::try_from(written).map_err(|_| io::Error::last_os_error())?;
    ensure!(written == report.len(), "{written} bytes were written");
    Ok(())
}
