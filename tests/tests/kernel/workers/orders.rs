//! An interface monitor and what it is ordered: by a network monitor that is none, here.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    thread,
};

use anyhow::{Context, Result, ensure};
use netmon_tests::{agent::Agent, netns::Namespace, scratch::Scratch};
use nix::sys::signal::Signal;

use crate::{
    Test,
    common::{is_bare, netmon, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("an_interval_that_cannot_be_is_refused", an_interval_that_cannot_be_is_refused),
    ("sigterm_ends_one_who_waits_for_orders", sigterm_ends_one_who_waits),
    ("sigterm_ends_one_who_is_ordered_without_end", sigterm_ends_one_who_is_ordered_without_end),
];

/// Where an interface monitor of `nt0` connects to.
struct Monitor {
    namespace: Namespace,
    scratch: Scratch,
    listener: UnixListener,
}

impl Monitor {
    fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let listener = UnixListener::bind(scratch.path().join("socket"))?;
        Ok(Self { namespace: veth()?, scratch, listener })
    }

    /// One that has come forward, and what it said is read.
    fn worker(&self) -> Result<(Agent, UnixStream)> {
        let socket = self.scratch.path().join("socket").display().to_string();
        let arguments = ["interface-monitor", "--launched", "--socket", &socket, "--", "nt0"];
        let worker = netmon(&self.namespace, &arguments).start()?;
        let (mut stream, _) = self.listener.accept()?;
        let ready = next(&mut stream)?;
        ensure!(ready.starts_with("{\"Ready\":"), "{ready}");
        Ok((worker, stream))
    }
}

/// The next line.
fn next(stream: &mut UnixStream) -> Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.extend(byte);
    }
    Ok(String::from_utf8(line)?)
}

fn orders(interval_ns: u64) -> String {
    format!(
        r#"{{"Monitor":{{"version":1,"interval_ns":{interval_ns},"source":"auto","hook":"auto","recovery":true,"log":false}}}}"#
    ) + "\n"
}

fn an_interval_that_cannot_be_is_refused() -> Result<()> {
    let monitor = Monitor::new()?;
    for interval in [0, 1, 99_999_999, 3_600_000_000_001, u64::MAX] {
        let (worker, mut stream) = monitor.worker()?;
        stream.write_all(orders(interval).as_bytes())?;
        let finished = worker.finish()?;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let why = format!(
            "netmon: the network monitor has not said what to do: the message \"Monitor\" is not as \
             it should be: an interval of {interval} ns: the interval must be from 100ms to 1h\n"
        );
        assert_eq!(finished.stderr, why);
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        assert_eq!(said, "", "it has begun");
    }
    is_bare(&monitor.namespace, "nt0")
}

fn sigterm_ends_one_who_waits() -> Result<()> {
    let monitor = Monitor::new()?;
    let (worker, _stream) = monitor.worker()?;
    worker.signal(Signal::SIGTERM)?;
    let finished = worker.finish()?;
    ensure!(finished.stderr.is_empty(), "{finished:?}");
    Ok(())
}

fn sigterm_ends_one_who_is_ordered_without_end() -> Result<()> {
    let monitor = Monitor::new()?;
    let (worker, mut stream) = monitor.worker()?;
    stream.write_all(orders(100_000_000).as_bytes())?;
    let mut heard = BufReader::new(stream.try_clone()?).lines();
    let mut next = || heard.next().context("it has ended")?.map_err(anyhow::Error::from);
    while !next()?.starts_with("{\"Monitoring\":") {}
    let orders = "{\"Set Link Up\":{}}\n".repeat(1_000);
    let order = thread::spawn(move || while stream.write_all(orders.as_bytes()).is_ok() {});
    // It does what it is ordered,
    while !next()?.starts_with("{\"Link Set\":") {}
    let before = worker.resident_kib()?;
    for _ in 0..100 {
        while !next()?.starts_with("{\"Link Set\":") {}
    }
    // and once, however often that is.
    let grown = worker.resident_kib()?.saturating_sub(before);
    ensure!(grown < 4096, "{grown} KiB more");
    worker.signal(Signal::SIGTERM)?;
    // All that it still says is heard, up to the end of the connection.
    let last = heard.map_while(Result::ok).last().context("it has said nothing more")?;
    ensure!(last.starts_with("{\"Done\":"), "{last}");
    let finished = worker.finish()?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    order.join().map_err(|_| anyhow::anyhow!("a panic"))?;
    is_bare(&monitor.namespace, "nt0")
}
