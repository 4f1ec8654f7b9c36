//! Small packets: as many as one CPU sends and forwards.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netmon_tests::frame;
use netmon_tests::packet::{PacketSocket, go_first, stay_on};
use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg};

use super::router::{self, Router};

/// The frame without its checksum of four bytes, which is not seen by software.
const LENGTH: usize = 60;
/// Frames of one system call.
const BATCH: usize = 64;
/// Until the last of them have been forwarded.
const REST: Duration = Duration::from_millis(10);

/// The senders, one on each way.
pub(super) struct Flood {
    sockets: Vec<(PacketSocket, Vec<u8>)>,
    cpu: usize,
}

impl Flood {
    pub(super) fn new(router: &Router, cpu: usize) -> Result<Self> {
        let sockets = (0..router.ways).map(|way| {
            let mac = router.router.mac(&router::port_in(way))?;
            let packet =
                frame::ethernet_ipv4_between(mac, router::source(way), router::nobody(way), LENGTH);
            Ok((router.sender.packet_socket(&router::sender_link(way))?, packet))
        });
        Ok(Self { sockets: sockets.collect::<Result<_>>()?, cpu })
    }

    /// Sends for about so long; the packets a second that have come through.
    pub(super) fn round(&self, router: &Router, time: Duration) -> Result<f64> {
        let before = arrived(router)?;
        let sending = thread::scope(|scope| {
            let sender = scope.spawn(|| self.send(time));
            let Ok(result) = sender.join() else { bail!("the sender panicked") };
            result
        })?;
        thread::sleep(REST);
        Ok((arrived(router)? - before) as f64 / sending.as_secs_f64())
    }

    fn send(&self, time: Duration) -> Result<Duration> {
        stay_on(self.cpu)?;
        go_first()?;
        let begin = Instant::now();
        while begin.elapsed() < time {
            for (socket, packet) in &self.sockets {
                send_batch(socket.as_raw_fd(), packet)?;
            }
        }
        Ok(begin.elapsed())
    }
}

fn send_batch(socket: RawFd, packet: &[u8]) -> Result<()> {
    let slices = [[IoSlice::new(packet)]; BATCH];
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let results = sendmmsg(socket, &mut headers, &slices, [None; BATCH], [], MsgFlags::empty());
    results.context("sending frames").map(drop)
}

/// Packets that have come to the receiver.
fn arrived(router: &Router) -> Result<u64> {
    let links = (0..router.ways).map(router::receiver_link);
    links.map(|link| Ok(router.receiver.sysfs_totals(&link)?.rx_packets)).sum()
}
