//! Who sees what of traffic that is known: a process sends, another receives, by one kind of
//! system call after the other.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, AgentCommand};
use netmon_tests::netns::Namespace;
use netmon_tests::peer::Peer;

use super::by_calls::ByCalls;
use super::monitors::{MONITORS, Monitor};
use crate::measure::Measure;
use crate::samples::{Row, Table};

/// The other process of the tests, which cargo has built beside this one.
const PEER: &str = "netmon-peer";
/// What each transfer moves.
const BYTES: u64 = 1_000_000;
/// Other monitors look once a second, and at processes that are there then.
const LINGER: Duration = Duration::from_millis(2_500);
/// About how long it takes.
pub(super) const SECONDS: u64 = 60;

/// How one sends and the other receives.
const WAYS: [(&str, &str); 9] = [
    ("send", "recv"),
    ("write", "read"),
    ("writev", "readv"),
    ("sendmsg", "recvmsg"),
    ("sendmmsg", "recv"),
    ("sendfile", "recv"),
    ("splice", "recv"),
    ("io_uring_send", "io_uring_recv"),
    ("io_uring_write", "io_uring_read"),
];

const SENDER: [u8; 4] = [10, 5, 0, 1];
const RECEIVER: [u8; 4] = [10, 5, 0, 2];

pub(crate) fn measure(measure: &Measure) -> Result<Table> {
    measure.progress.say("traffic: who sees what");
    let (sender, receiver) = (Namespace::new()?, Namespace::new()?);
    sender.add_veth_to("from", &receiver, "to")?;
    sender.add_address("from", SENDER.into(), 24)?;
    receiver.add_address("to", RECEIVER.into(), 24)?;
    let ends = Ends { sender, receiver, peer: std::env::current_exe()?.with_file_name(PEER) };
    ensure!(ends.peer.exists(), "{} is not built", ends.peer.display());
    let netmon = AgentCommand::new(&ends.sender, &measure.netmon)
        .args(["run", "--all", "--exclude", "lo", "--format", "json", "--interval", "100ms"])
        .args(["--traffic=processes", "--limit", "100000"])
        .start()?;
    netmon.says(&["from: ", "in+out"])?;
    let calls = ByCalls::start(&ends.sender)?;
    let monitors: Vec<(Monitor, Agent)> = MONITORS
        .iter()
        .filter(|monitor| monitor.is_installed() && !measure.smoke)
        .map(|monitor| Ok((*monitor, monitor.start(&ends.sender, "from")?)))
        .collect::<Result<_>>()?;
    let linger = if monitors.is_empty() { Duration::ZERO } else { LINGER };
    let mut rows = Vec::new();
    for ways in WAYS {
        rows.push(ends.transfer(ways, &netmon, &calls, linger)?);
    }
    let all = (2 * BYTES * WAYS.len() as u64) as f64;
    for (monitor, agent) in monitors {
        let sent = (monitor.sent)(&agent.stdout()?.all(), PEER) / all;
        rows.push(Row::new(format!("{}, of all that was sent", monitor.name), "", &[sent]));
    }
    let missing = MONITORS.iter().filter(|it| !it.is_installed()).map(|it| it.name);
    let missing = missing.collect::<Vec<_>>().join(", ");
    let missing = if missing.is_empty() { missing } else { format!("; not installed: {missing}") };
    Ok(Table {
        name: "traffic, seen".to_owned(),
        about: format!(
            "netmon's part of {BYTES} bytes that one process sends and another receives by TCP \
             (both ends' mean), by these system calls; other monitors count headers, too{missing}"
        ),
        rows,
    })
}

struct Ends {
    sender: Namespace,
    receiver: Namespace,
    peer: PathBuf,
}

impl Ends {
    /// One process sends, another receives; both are still there when they are looked for.
    fn transfer(
        &self,
        (send, receive): (&str, &str),
        netmon: &Agent,
        calls: &ByCalls,
        linger: Duration,
    ) -> Result<Row> {
        let mut by_calls = 0;
        let mut by_netmon = 0;
        // A witness counts one process at a time, so it is done twice.
        for sends in [true, false] {
            let (mut sender, mut receiver) = self.start(send, receive)?;
            calls.watch(if sends { sender.pid() } else { receiver.pid() });
            sender.go()?;
            sender.says("done")?;
            receiver.says("done")?;
            by_calls += calls.bytes();
            let pids = (sender.pid(), receiver.pid());
            by_netmon += told(netmon, pids, sends)?;
            thread::sleep(linger);
        }
        ensure!(by_netmon == 2 * BYTES, "{send}, {receive}: netmon has seen {by_netmon} bytes");
        let part = |bytes: u64| bytes as f64 / (2 * BYTES) as f64;
        let row = Row::new(format!("{send}, {receive}"), "", &[part(by_netmon)]);
        let how = "by the tracepoints of sendto and recvfrom";
        Ok(row.compared(how, &[part(by_calls)], None))
    }

    fn start(&self, send: &str, receive: &str) -> Result<(Peer, Peer)> {
        let program = self.peer.to_str().context("the path is not UTF-8")?;
        let bytes = BYTES.to_string();
        let [a, b, c, d] = RECEIVER;
        let at = format!("{a}.{b}.{c}.{d}:0");
        let receive = ["receive", "tcp", &at, receive, &bytes];
        let mut receiver = Peer::start(&self.receiver, program, &receive)?;
        let to = format!("{a}.{b}.{c}.{d}:{}", receiver.tells("port")?);
        let mut sender = Peer::start(&self.sender, program, &["send", "tcp", &to, send, &bytes])?;
        sender.says("ready")?;
        Ok((sender, receiver))
    }
}

/// What netmon says that the sender has sent, or the receiver received, when it knows of both.
fn told(netmon: &Agent, (sender, receiver): (u32, u32), sends: bool) -> Result<u64> {
    let mut bytes = 0;
    netmon.later_tick(2)?;
    let tick = netmon.fresh_tick()?;
    for process in tick.traffic.iter().flat_map(|traffic| traffic.processes.iter().flatten()) {
        match process.pid {
            pid if pid == sender && sends => bytes += process.tx.tcp.bytes,
            pid if pid == receiver && !sends => bytes += process.rx.tcp.bytes,
            _ => {}
        }
    }
    Ok(bytes)
}
