//! Small datagrams and bulk TCP from one namespace into another, through both ends' sockets, with
//! netmon in the receiver's.
//!
//! Every packet passes one hook of netmon's, and both tracepoints of the sockets: that of sending
//! and that of receiving. On a machine with only one of the ends it would be half of those.

use std::io::IoSlice;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netmon_tests::agent::Agent;
use netmon_tests::netns::Namespace;
use netmon_tests::packet::{cpus, go_first, stay_on};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg};

use super::monitors::{MONITORS, Monitor};
use super::run;
use crate::forward::bulk::Bulk;
use crate::measure::Measure;
use crate::samples::{Bound, Row, Summary, Table, paired};

/// With Ethernet, IPv4 and UDP headers and the checksum 64 bytes.
const PAYLOAD: usize = 64 - 4 - 14 - 20 - 8;
/// Datagrams that are sent before they are received.
const BATCH: usize = 64;
/// A round of one contender.
const TIME: Duration = Duration::from_millis(300);
/// So many times as many rounds as elsewhere, and short ones: see `forward`.
const ROUNDS: usize = 4;
/// For each of the rounds that were asked for.
pub(super) const SECONDS: u64 = 30;
/// A loss of so much is one, however great the spread: see `forward`.
const NOISE: f64 = 0.05;
/// The median of as many rounds still differs by so much between two runs of the same.
const LEAST_NOISE: f64 = 0.02;

const SENDER: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 1);
const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 2);

/// What is there besides the traffic.
#[derive(Clone, Copy)]
enum What {
    Nothing,
    /// With these arguments.
    Netmon(&'static [&'static str]),
    Other(Monitor),
}

/// And how much of the packets may be lost by it.
#[derive(Clone, Copy)]
struct Contender {
    name: &'static str,
    what: What,
    /// Of the packets of nothing.
    packets: Option<Bound>,
    /// Whether bulk TCP must not lose anything that can be measured.
    judged: bool,
}

const fn contender(name: &'static str, what: What) -> Contender {
    Contender { name, what, packets: None, judged: false }
}

const fn judged(
    name: &'static str,
    arguments: &'static [&'static str],
    packets: Option<Bound>,
) -> Contender {
    Contender { name, what: What::Netmon(arguments), packets, judged: true }
}

/// The first one is what all are compared to, the second one that, too.
const AGAIN: usize = 1;
const CONTENDERS: [Contender; 7] = [
    contender("nothing", What::Nothing),
    contender("nothing, again", What::Nothing),
    contender("netmon", What::Netmon(&[])),
    judged("netmon --traffic=processes", &["--traffic=processes"], Some(Bound::AtLeast(0.90))),
    judged("netmon --traffic=flows", &["--traffic=flows"], Some(Bound::AtLeast(0.85))),
    judged("netmon --traffic=drops", &["--traffic=drops"], None),
    contender("netmon --traffic", What::Netmon(&["--traffic"])),
];

/// These, and the other monitors that are installed; a smoke test does without.
fn contenders(measure: &Measure) -> Vec<Contender> {
    let others = MONITORS.iter().filter(|other| other.is_installed() && !measure.smoke);
    let others = others.map(|other| contender(other.name, What::Other(*other)));
    CONTENDERS.iter().copied().chain(others).collect()
}

pub(crate) fn measure(measure: &Measure) -> Result<[Table; 2]> {
    let (sender, receiver) = (Namespace::new()?, Namespace::new()?);
    sender.add_veth_to("from", &receiver, "to")?;
    sender.add_address("from", SENDER, 24)?;
    receiver.add_address("to", RECEIVER, 24)?;
    let cpu = cpus()?.pop().context("no CPU to run on")?;
    let ends = Ends::new(&sender, &receiver)?;
    let bulk = Bulk::new(&sender, &receiver, [RECEIVER], cpu)?;
    let contenders = contenders(measure);
    let mut packets = vec![Vec::new(); contenders.len()];
    let mut bits = vec![Vec::new(); contenders.len()];
    let rounds = if measure.smoke { 1 } else { ROUNDS * measure.rounds };
    for round in 1..=rounds {
        measure.progress.say(&format!("traffic: round {round} of {rounds}"));
        // In turns, so that what goes before nothing is not always the same.
        for turn in 0..contenders.len() {
            let at = (turn + round) % contenders.len();
            let started = contenders[at].start(&receiver, &measure.netmon)?;
            packets[at].push(ends.round(cpu)? / 1e3);
            bits[at].push(bulk.round(TIME)?);
            started.map(Agent::kill).transpose()?;
        }
    }
    let about = format!("medians of {rounds} rounds of {} ms", TIME.as_millis());
    Ok([
        Table {
            name: "traffic, small datagrams".to_owned(),
            about: format!("64 bytes of UDP, through both sockets, on one CPU, {about}"),
            rows: packet_rows(&contenders, &packets),
        },
        Table {
            name: "traffic, bulk TCP".to_owned(),
            about: format!("one connection, both ends on one CPU, {about}"),
            rows: bulk_rows(&contenders, &bits),
        },
    ])
}

impl Contender {
    fn start(&self, receiver: &Namespace, netmon: &Path) -> Result<Option<Agent>> {
        match self.what {
            What::Nothing => Ok(None),
            What::Netmon(arguments) => run(receiver, netmon, arguments).map(Some),
            What::Other(monitor) => monitor.start(receiver, "to").map(Some),
        }
    }
}

/// Of what nothing lets through.
fn shares(samples: &[f64], nothing: &[f64]) -> Vec<f64> {
    paired(samples, nothing, |one, nothing| one / nothing)
}

fn packet_rows(contenders: &[Contender], packets: &[Vec<f64>]) -> Vec<Row> {
    let rows = contenders.iter().zip(packets).enumerate();
    rows.map(|(at, (contender, samples))| {
        let row = Row::new(contender.name, "kpps", samples);
        match at {
            0 => row,
            _ => row.compared("of nothing's", &shares(samples, &packets[0]), contender.packets),
        }
    })
    .collect()
}

fn bulk_rows(contenders: &[Contender], bits: &[Vec<f64>]) -> Vec<Row> {
    let again = Summary::of(&shares(&bits[AGAIN], &bits[0]));
    let rows = contenders.iter().zip(bits).enumerate();
    rows.map(|(at, (contender, samples))| {
        let row = Row::new(contender.name, "Gbit/s", samples);
        let shares = shares(samples, &bits[0]);
        // Nothing measurable: no less than nothing itself gives when it is measured again.
        let noise = again.spread.clamp(LEAST_NOISE, NOISE);
        let bound = Bound::AtLeast(again.median.min(1.0) - noise);
        match at {
            0 => row,
            _ => row.compared("of nothing's", &shares, contender.judged.then_some(bound)),
        }
    })
    .collect()
}

/// Both sockets, used by one thread: so nobody waits for anybody.
struct Ends {
    from: UdpSocket,
    to: UdpSocket,
}

impl Ends {
    fn new(sender: &Namespace, receiver: &Namespace) -> Result<Self> {
        let (from, to) = (sender.udp(SENDER)?, receiver.udp(RECEIVER)?);
        from.connect(to.local_addr()?)?;
        to.set_nonblocking(true)?;
        Ok(Self { from, to })
    }

    /// Datagrams a second that have come.
    fn round(&self, cpu: usize) -> Result<f64> {
        thread::scope(|scope| {
            let work = scope.spawn(|| self.work(cpu));
            let Ok(result) = work.join() else { bail!("the sender panicked") };
            result
        })
    }

    fn work(&self, cpu: usize) -> Result<f64> {
        stay_on(cpu)?;
        go_first()?;
        let (mut sent, mut received) = (0_u64, 0_u64);
        let begin = Instant::now();
        while begin.elapsed() < TIME {
            send_batch(&self.from)?;
            sent += BATCH as u64;
            received += self.receive_all()?;
        }
        let elapsed = begin.elapsed();
        received += self.receive_all()?;
        ensure!(received == sent, "{received} of {sent} datagrams have come");
        Ok(received as f64 / elapsed.as_secs_f64())
    }

    fn receive_all(&self) -> Result<u64> {
        let mut buffer = [0; PAYLOAD];
        let mut received = 0;
        loop {
            match self.to.recv(&mut buffer) {
                Ok(length) => ensure!(length == PAYLOAD, "{length} bytes in a datagram"),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Ok(received);
                }
                Err(error) => return Err(error).context("receiving"),
            }
            received += 1;
        }
    }
}

fn send_batch(socket: &UdpSocket) -> Result<()> {
    let payload = [0x5a; PAYLOAD];
    let slices = [[IoSlice::new(&payload)]; BATCH];
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let flags = MsgFlags::empty();
    match sendmmsg(socket.as_raw_fd(), &mut headers, &slices, [None; BATCH], [], flags) {
        Ok(results) => ensure!(results.count() == BATCH, "not all datagrams were sent"),
        Err(Errno::EINTR) => bail!("interrupted"),
        Err(error) => return Err(error).context("sending datagrams"),
    }
    Ok(())
}
