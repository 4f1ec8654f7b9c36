//! What a router forwards without netmon and with it, in small packets and as bulk TCP.

pub(crate) mod bulk;
mod flood;
mod router;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use netmon_tests::agent::{Agent, AgentCommand};
use netmon_tests::bpf::{Hook, Kind, attach, load_constant};
use netmon_tests::packet::cpus;

use self::bulk::Bulk;
use self::flood::Flood;
use self::router::Router;
use crate::measure::Measure;
use crate::samples::{Bound, Row, Summary, Table, paired};

/// More TCP connections would measure the scheduler.
const CONNECTIONS: u8 = 8;
/// A round of each kind of traffic.
const TIME: Duration = Duration::from_millis(400);
/// A loss of so much is one, however great the spread.
const NOISE: f64 = 0.05;
const TC_ACT_UNSPEC: i32 = -1;

/// What is attached to the router's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Nothing,
    NothingAgain,
    Sysfs,
    Empty,
    Tcx,
    Xdp,
}

const CONTENDERS: [(Contender, &str); 6] = [
    (Contender::Nothing, "nothing"),
    (Contender::Sysfs, "netmon --source sysfs"),
    (Contender::Empty, "empty TCX programs"),
    (Contender::Tcx, "netmon (TCX)"),
    (Contender::NothingAgain, "nothing, again"),
    (Contender::Xdp, "netmon --hook xdp (XDP on receive)"),
];

/// Keeps it attached.
enum Attached {
    Nothing,
    Netmon(Agent),
    Programs(Vec<OwnedFd>),
}

/// So many times as many rounds as elsewhere. They are many and short: what disturbs them is
/// shorter than they are, or hits many.
const ROUNDS: usize = 4;

/// About how long that takes.
pub(crate) fn seconds(ports: usize, rounds: u64) -> u64 {
    let switching = ports as u64 / 4;
    ROUNDS as u64 * rounds * (switching + 7)
}

pub(crate) fn measure(measure: &Measure, ports: usize) -> Result<[Table; 2]> {
    let say = |what: &str| measure.progress.say(&format!("forward, {ports} ports: {what}"));
    say("making the router");
    let router = Router::with_ports(ports)?;
    let cpu = cpus()?.pop().context("no CPU to run on")?;
    let flood = Flood::new(&router, cpu)?;
    let targets = (0..router.ways.min(CONNECTIONS)).map(router::target);
    let bulk = Bulk::new(&router.sender, &router.receiver, targets, cpu)?;
    let mut packets = vec![Vec::new(); CONTENDERS.len()];
    let mut bits = vec![Vec::new(); CONTENDERS.len()];
    let rounds = if measure.smoke { 1 } else { ROUNDS * measure.rounds };
    for round in 1..=rounds {
        say(&format!("round {round} of {rounds}"));
        for (at, (contender, _)) in CONTENDERS.iter().enumerate() {
            let attached = contender.attach(&router, &measure.netmon)?;
            packets[at].push(flood.round(&router, TIME)? / 1e3);
            bits[at].push(bulk.round(TIME)?);
            attached.detach()?;
        }
    }
    let about = format!("medians of {rounds} rounds of {} ms", TIME.as_millis());
    Ok([
        Table {
            name: format!("forward, {ports} ports, small packets"),
            about: format!("64 bytes, {about}"),
            rows: packet_rows(&packets),
        },
        Table { name: format!("forward, {ports} ports, bulk TCP"), about, rows: bulk_rows(&bits) },
    ])
}

fn ratio(one: f64, other: f64) -> f64 {
    one / other
}

fn packet_rows(packets: &[Vec<f64>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for ((contender, name), samples) in CONTENDERS.iter().zip(packets) {
        let row = Row::new(*name, "kpps", samples);
        rows.push(match contender {
            Contender::Nothing => row,
            _ => row.compared("of nothing's", &paired(samples, &packets[0], ratio), None),
        });
    }
    let of = |wanted| {
        let at = CONTENDERS.iter().position(|(contender, _)| *contender == wanted);
        at.map(|at| packets[at].as_slice()).unwrap_or_default()
    };
    // A thousand packets a second are a packet in so many nanoseconds.
    let longer = |one: f64, other: f64| 1e6 / one - 1e6 / other;
    let (tcx, empty) = (of(Contender::Tcx), of(Contender::Empty));
    let cost = paired(tcx, &packets[0], longer);
    let hook = paired(empty, &packets[0], longer);
    rows.push(Row::new("netmon (TCX): a packet takes longer by", "ns", &cost).compared(
        "ns of them by the hooks, as with empty programs",
        &hook,
        None,
    ));
    rows
}

fn bulk_rows(bits: &[Vec<f64>]) -> Vec<Row> {
    let ratios: Vec<_> = bits.iter().map(|samples| paired(samples, &bits[0], ratio)).collect();
    let of = |wanted| {
        let at = CONTENDERS.iter().position(|(contender, _)| *contender == wanted);
        Summary::of(at.map(|at| ratios[at].as_slice()).unwrap_or_default())
    };
    let again = of(Contender::NothingAgain);
    // Nothing measurable: no less than nothing itself gives when it is measured again.
    let noise = again.spread.min(NOISE);
    let bound = Bound::AtLeast(again.median.min(1.0) - noise);
    let mut rows = Vec::new();
    for (((contender, name), samples), ratios) in CONTENDERS.iter().zip(bits).zip(&ratios) {
        let row = Row::new(*name, "Gbit/s", samples);
        rows.push(match contender {
            Contender::Nothing => row,
            Contender::Tcx => row.compared("of nothing's", ratios, Some(bound)),
            _ => row.compared("of nothing's", ratios, None),
        });
    }
    rows
}

impl Contender {
    fn attach(self, router: &Router, netmon: &Path) -> Result<Attached> {
        let netmon =
            |arguments: &[&str], by| run(router, netmon, arguments, by).map(Attached::Netmon);
        match self {
            Self::Nothing | Self::NothingAgain => Ok(Attached::Nothing),
            Self::Sysfs => netmon(&["--source", "sysfs"], ": sysfs"),
            Self::Tcx => netmon(&["--source", "ebpf"], ": TCX in+out"),
            Self::Xdp => netmon(&["--source", "ebpf", "--hook", "xdp"], ": XDP native in"),
            Self::Empty => {
                let ports = router.ports()?;
                router.router.run(move || empty(&ports)).map(Attached::Programs)
            }
        }
    }
}

/// netmon, when it has said of each port that this counts it.
fn run(router: &Router, netmon: &Path, arguments: &[&str], by: &str) -> Result<Agent> {
    let nowhere: OwnedFd = File::options().write(true).open("/dev/null")?.into();
    let agent = AgentCommand::new(&router.router, netmon)
        .args(["run", "--all", "--exclude", "lo"])
        .args(arguments)
        .output_to(nowhere)
        .start()?;
    let ports = usize::from(router.ways) * 2;
    agent.stderr()?.wait_for("what counts each port", |lines| {
        (lines.iter().filter(|line| line.contains(by)).count() >= ports).then_some(())
    })?;
    Ok(agent)
}

fn empty(ports: &[u32]) -> Result<Vec<OwnedFd>> {
    let program = load_constant(Kind::SchedCls, c"nmt_empty", TC_ACT_UNSPEC)?;
    let hooks = [Hook::TcxIngress, Hook::TcxEgress];
    let both = ports.iter().flat_map(|port| hooks.map(|hook| (*port, hook)));
    both.map(|(port, hook)| attach(&program, port, hook, 0)).collect()
}

impl Attached {
    fn detach(self) -> Result<()> {
        match self {
            Self::Nothing => {}
            Self::Netmon(agent) => drop(agent.kill()?),
            Self::Programs(links) => drop(links),
        }
        Ok(())
    }
}
