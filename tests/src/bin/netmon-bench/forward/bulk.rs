//! Bulk TCP from one namespace to another: connections that stay, and pause between the rounds.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netmon_tests::netns::Namespace;
use netmon_tests::packet::{go_first, stay_on};

/// Until the connections have found their rate again.
const WARM_UP: Duration = Duration::from_millis(150);
const BLOCK: usize = 256 << 10;

/// The connections, each with a thread at either end.
pub(crate) struct Bulk {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    flows: Mutex<bool>,
    changed: Condvar,
    ended: AtomicBool,
    received: AtomicU64,
}

impl Bulk {
    /// Senders and receivers stay on one CPU: on two, the rate jumped between two values (12
    /// and 18 Gbit/s), whatever was attached.
    pub(crate) fn new(
        sender: &Namespace,
        receiver: &Namespace,
        targets: impl IntoIterator<Item = Ipv4Addr>,
        cpu: usize,
    ) -> Result<Self> {
        let bulk = Self { shared: Arc::default() };
        for target in targets {
            let listener = receiver.run(move || Ok(TcpListener::bind((target, 0))?))?;
            let target = listener.local_addr()?;
            let sending = sender.run(move || {
                TcpStream::connect(target).with_context(|| format!("connecting to {target}"))
            })?;
            let (receiving, _) = listener.accept()?;
            let shared = Arc::clone(&bulk.shared);
            thread::Builder::new().spawn(move || shared.send(sending, cpu))?;
            let shared = Arc::clone(&bulk.shared);
            thread::Builder::new().spawn(move || shared.receive(receiving, cpu))?;
        }
        Ok(bulk)
    }

    /// Gbit/s of a round.
    pub(crate) fn round(&self, time: Duration) -> Result<f64> {
        self.shared.flow(true);
        thread::sleep(WARM_UP);
        let received = || self.shared.received.load(Ordering::Relaxed);
        let (begin, before) = (Instant::now(), received());
        thread::sleep(time);
        let (bytes, time) = (received() - before, begin.elapsed());
        self.shared.flow(false);
        ensure!(!self.shared.ended.load(Ordering::Relaxed), "a connection has ended");
        Ok(bytes as f64 * 8.0 / time.as_secs_f64() / 1e9)
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.shared.flow(true);
    }
}

impl Shared {
    fn flow(&self, flows: bool) {
        *self.flows.lock().unwrap_or_else(PoisonError::into_inner) = flows;
        self.changed.notify_all();
    }

    /// Until the end, which a connection that fails brings about, too.
    fn send(&self, mut stream: TcpStream, cpu: usize) {
        let block = vec![0x5a; BLOCK];
        let mut work = || -> Result<()> {
            stay_on(cpu)?;
            go_first()?;
            while !self.ended.load(Ordering::Relaxed) {
                let flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
                drop(self.changed.wait_while(flows, |flows| !*flows));
                stream.write_all(&block)?;
            }
            Ok(())
        };
        let _ = work();
        self.ended.store(true, Ordering::Relaxed);
    }

    fn receive(&self, mut stream: TcpStream, cpu: usize) {
        let mut buffer = vec![0; BLOCK];
        let prepared = stay_on(cpu).and_then(|()| go_first());
        while prepared.is_ok() {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    self.received.fetch_add(count as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.ended.store(true, Ordering::Relaxed);
    }
}
