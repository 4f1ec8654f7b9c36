//! A tick and the live view with ten thousand flows and a thousand processes, all of them active.

use std::fs::{self, File};
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use netmon_tests::agent::{Agent, AgentCommand};
use netmon_tests::frame;
use netmon_tests::netns::Namespace;
use netmon_tests::packet::PacketSocket;
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::unistd::write;

use super::{nowhere, run};
use crate::measure::Measure;
use crate::processes::{self, cpu_time};
use crate::samples::{Bound, Row, Table};

/// How many of each.
const FLOWS: u16 = 10_000;
const PROCESSES: u16 = 1_000;
/// In a smoke test.
const FEW: u16 = 20;
/// Between two ticks, and between two packets of a flow or a process.
const INTERVAL: Duration = Duration::from_secs(1);
/// Samples, each of one interval.
const SAMPLES: u32 = 8;
/// Between two keys that are typed into the live view: it draws as often.
const FRAME: Duration = Duration::from_millis(100);
/// About how long it takes.
pub(super) const SECONDS: u64 = 60;

/// CPU time of a tick, in microseconds.
const TICK: Bound = Bound::AtMost(10_000.0);
/// CPU time of the live view, in percent of a CPU.
const VIEW: Bound = Bound::AtMost(3.0);
/// The name of the thread that draws.
const VIEW_THREAD: &str = "netmon-live";

const SENDER: Ipv4Addr = Ipv4Addr::new(10, 4, 0, 1);
const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 4, 0, 2);
/// Where nobody listens, and what is sent there is not answered.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 4, 0, 3);
const NOBODYS_MAC: frame::Mac = [0x02, 0x4e, 0x4d, 0, 0, 3];

/// A process that sends a datagram a second, until it is killed.
#[derive(Args)]
pub(crate) struct Talker;

impl Talker {
    pub(crate) fn run(&self) -> Result<()> {
        let socket = std::net::UdpSocket::bind((SENDER, 0))?;
        socket.connect((NOBODY, 9))?;
        loop {
            socket.send(b"netmon")?;
            thread::sleep(INTERVAL);
        }
    }
}

pub(crate) fn measure(measure: &Measure) -> Result<Table> {
    let say = |what: &str| measure.progress.say(&format!("traffic: {what}"));
    let (flows, talkers) = if measure.smoke { (FEW, FEW) } else { (FLOWS, PROCESSES) };
    let (sender, receiver) = (Namespace::new()?, Namespace::new()?);
    sender.add_veth_to("from", &receiver, "to")?;
    sender.add_address("from", SENDER, 24)?;
    sender.add_neighbour("from", NOBODY, NOBODYS_MAC)?;
    receiver.add_address("to", RECEIVER, 24)?;
    // Before the processes, which then are new to it.
    let plain = run(&receiver, &measure.netmon, &[])?;
    let traffic = run(&receiver, &measure.netmon, &["--traffic"])?;
    let view = View::start(&receiver, &measure.netmon)?;
    say("starting processes");
    let ours = std::env::current_exe()?;
    let start = |_| {
        let talker = AgentCommand::new(&sender, &ours).args(["talker"]);
        talker.output_to(nowhere()?).errors_to(nowhere()?).start()
    };
    let _talkers = (0..talkers).map(start).collect::<Result<Vec<_>>>()?;
    let socket = sender.packet_socket("from")?;
    let samples = if measure.smoke { 2 } else { SAMPLES };
    let mut found = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let ended = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let sending = scope.spawn(|| send_flows(socket, flows, &ended));
        say("measuring");
        // The first samples are of what is new to netmon.
        let result = (0..samples + 2).try_for_each(|at| {
            let before = times(&plain, &traffic, &view)?;
            view.type_for(INTERVAL)?;
            let after = times(&plain, &traffic, &view)?;
            for (found, (before, after)) in found.iter_mut().zip(before.iter().zip(after)) {
                if at >= 2 {
                    found.push((after - *before).as_secs_f64() * 1e6);
                }
            }
            Ok(())
        });
        ended.store(true, Ordering::Relaxed);
        match sending.join() {
            Ok(sent) => result.and(sent),
            Err(_) => bail!("the sender panicked"),
        }
    })?;
    let memory = [&plain, &traffic].map(|agent| agent.resident_kib().map(|kib| kib as f64));
    let [plain_kib, traffic_kib] = memory;
    rows(&found, &[plain_kib?], &[traffic_kib?]).map(|rows| Table {
        name: "traffic, many".to_owned(),
        about: format!(
            "{flows} flows and {talkers} processes, each with a packet a second; medians of \
             {samples} ticks"
        ),
        rows,
    })
}

fn rows(found: &[Vec<f64>; 4], plain_kib: &[f64], traffic_kib: &[f64]) -> Result<Vec<Row>> {
    let [plain, traffic, top, view] = found;
    let percent: Vec<f64> =
        view.iter().map(|time| time / INTERVAL.as_micros() as f64 * 100.0).collect();
    ensure!(view.iter().all(|time| *time > 0.0), "the live view has drawn nothing");
    Ok(vec![
        Row::new("netmon, a tick", "µs", plain),
        Row::new("netmon --traffic, a tick", "µs", traffic).bounded(traffic, TICK),
        Row::new("netmon top, a second with 10 frames", "µs", top),
        Row::new("its thread that draws", "µs", view).compared("% of a CPU", &percent, Some(VIEW)),
        Row::new("netmon, resident memory", "KiB", plain_kib),
        Row::new("netmon --traffic, resident memory", "KiB", traffic_kib),
    ])
}

fn times(plain: &Agent, traffic: &Agent, view: &View) -> Result<[Duration; 4]> {
    let top = view.agent.pid();
    Ok([cpu_time(plain.pid())?, cpu_time(traffic.pid())?, cpu_time(top)?, drawing(top)?])
}

/// What the thread that draws has used so far.
fn drawing(pid: u32) -> Result<Duration> {
    for task in processes::tasks(pid)? {
        let name = fs::read_to_string(format!("/proc/{pid}/task/{task}/comm"))?;
        if name.trim_end() == VIEW_THREAD {
            return processes::thread_time(pid, task);
        }
    }
    bail!("process {pid} has no thread {VIEW_THREAD}")
}

/// A packet of each flow once in an interval.
fn send_flows(mut socket: PacketSocket, flows: u16, ended: &AtomicBool) -> Result<()> {
    const PROTOCOL: usize = frame::HEADER + 9;
    const UDP: u8 = 17;
    const SOURCE_PORT: usize = frame::HEADER + 20;
    let mut packet =
        frame::ethernet_ipv4_between(NOBODYS_MAC, Ipv4Addr::new(10, 4, 0, 9), NOBODY, 60);
    packet[PROTOCOL] = UDP;
    while !ended.load(Ordering::Relaxed) {
        let begin = Instant::now();
        for flow in 0..flows {
            let port = (flow + 1024).to_be_bytes();
            packet[SOURCE_PORT..SOURCE_PORT + 2].copy_from_slice(&port);
            socket.send(&packet)?;
        }
        thread::sleep(INTERVAL.saturating_sub(begin.elapsed()));
    }
    Ok(())
}

/// `netmon top` in a terminal of its own, whose output nobody looks at.
struct View {
    agent: Agent,
    terminal: OwnedFd,
}

impl View {
    fn start(namespace: &Namespace, netmon: &std::path::Path) -> Result<Self> {
        let size = Winsize { ws_row: 50, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None)?;
        // Whatever the terminal of who measures is, if there is one.
        let agent = AgentCommand::new(namespace, "env")
            .args(["TERM=xterm", &netmon.to_string_lossy(), "top", "--source", "ebpf"])
            .input_from(slave.try_clone()?)
            .output_to(slave)
            .start()?;
        let mut output = File::from(master.try_clone()?);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            // Until the terminal's other end is closed.
            while output.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        // The flows: the longest list.
        let view = Self { agent, terminal: master };
        netmon_tests::wait::until_true("the live view", || {
            Ok(drawing(view.agent.pid()).is_ok_and(|time| time > Duration::ZERO))
        })?;
        view.type_in(b"3")?;
        Ok(view)
    }

    /// Moves the selection up and down, a key a frame.
    fn type_for(&self, time: Duration) -> Result<()> {
        let begin = Instant::now();
        let mut down = true;
        while begin.elapsed() < time {
            self.type_in(if down { b"j" } else { b"k" })?;
            down = !down;
            thread::sleep(FRAME.min(time.saturating_sub(begin.elapsed())));
        }
        Ok(())
    }

    fn type_in(&self, keys: &[u8]) -> Result<()> {
        let written = write(&self.terminal, keys).context("typing into the live view")?;
        ensure!(written == keys.len(), "the live view takes no keys");
        Ok(())
    }
}
