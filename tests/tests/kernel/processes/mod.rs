//! Traffic by process: what netmon's tracepoints say of processes whose traffic is known to the
//! byte. The tracer sees the whole machine; a test looks at the processes that it has started.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use anyhow::{Context, Result, ensure};
use netmon::{
    model::traffic::facts::{KernelTime, Missing, Part, ProcessFacts, SocketTraffic, TrafficFacts},
    sources::trace::{TraceOptions, Tracer},
};
use netmon_tests::{kernel::SOCKET_LENGTHS, netns::Namespace, peer};

use crate::Test;

pub(crate) mod identity;
pub(crate) mod owners;
pub(crate) mod sharing;
pub(crate) mod ways;

/// The program of the peers, which cargo has built with these tests.
pub(crate) const PEER: &str = env!("CARGO_BIN_EXE_netmon-peer");

pub(crate) const TESTS: &[Test] = &[("what_cannot_be_had_is_said", what_cannot_be_had_is_said)];

/// Before Linux 6.3 programs stand at the ends of functions, and so does always what sees `splice`.
/// A call that is under way while anybody attaches one there, or takes one away, is counted by
/// nobody: so such tests are alone.
static TURNS: RwLock<()> = RwLock::new(());

/// Held while a tracer is there.
pub(crate) enum Turn {
    Shared(#[expect(dead_code, reason = "held")] RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>),
}

impl Turn {
    pub(crate) fn wait(is_alone: bool) -> Self {
        match is_alone || !SOCKET_LENGTHS.is_here() {
            true => Self::Alone(TURNS.write().unwrap_or_else(PoisonError::into_inner)),
            false => Self::Shared(TURNS.read().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

/// A tracer, and everything that it has said so far.
pub(crate) struct Watch {
    pub(crate) tracer: Tracer,
    /// Given up last.
    _turn: Turn,
    facts: TrafficFacts,
    /// By `id` and `life`.
    seen: BTreeMap<(u32, u32), ProcessFacts>,
}

impl Watch {
    pub(crate) fn start() -> Result<Self> {
        Self::with(&TraceOptions { drops: false, ..TraceOptions::default() })
    }

    pub(crate) fn with(options: &TraceOptions) -> Result<Self> {
        Self::in_turn(Turn::wait(false), || Ok(Tracer::start(options)))
    }

    /// With no other tracer.
    pub(crate) fn alone() -> Result<Self> {
        let options = TraceOptions { drops: false, ..TraceOptions::default() };
        Self::in_turn(Turn::wait(true), || Ok(Tracer::start(&options)))
    }

    /// A tracer that looks at the sockets of a namespace.
    pub(crate) fn at_home(namespace: &Namespace) -> Result<Self> {
        let options = TraceOptions { drops: false, ..TraceOptions::default() };
        Self::in_turn(Turn::wait(false), || namespace.run(move || Ok(Tracer::start(&options))))
    }

    fn in_turn(turn: Turn, start: impl FnOnce() -> Result<(Tracer, Vec<Missing>)>) -> Result<Self> {
        let (tracer, missing) = start()?;
        ensure!(missing.is_empty(), "{missing:?}");
        let (facts, seen) = (TrafficFacts::default(), BTreeMap::new());
        Ok(Self { tracer, _turn: turn, facts, seen })
    }

    /// A tick.
    pub(crate) fn look(&mut self) -> Result<&TrafficFacts> {
        self.tracer.read(KernelTime::default(), &mut self.facts);
        let processes = self.facts.processes.as_ref().context("no processes")?;
        for process in &processes.processes {
            self.seen.insert((process.id, process.life), process.clone());
        }
        Ok(&self.facts)
    }

    /// What was last said of a process id, after another tick.
    pub(crate) fn of(&mut self, pid: u64) -> Result<Option<ProcessFacts>> {
        self.look()?;
        let found = self.seen.values().filter(|process| u64::from(process.pid) == pid);
        // On a busy machine a process id comes again; ours is then the last.
        let last = found.clone().max_by_key(|process| process.started);
        let same = found.filter(|process| Some(process.started) == last.map(|last| last.started));
        ensure!(same.count() < 2, "one process {pid} twice: {:?}", self.seen);
        Ok(last.cloned())
    }

    /// How often a slot was used again, at most.
    pub(crate) fn highest_life(&self) -> u32 {
        self.seen.keys().map(|(_, life)| *life).max().unwrap_or(0)
    }

    /// The same, which must be there.
    pub(crate) fn process(&mut self, pid: impl Into<u64>) -> Result<ProcessFacts> {
        let pid = pid.into();
        self.of(pid)?.with_context(|| format!("nothing is said of {pid}"))
    }
}

/// A namespace whose `lo` has 127.0.0.1 and ::1.
pub(crate) fn loopback() -> Result<Namespace> {
    let namespace = Namespace::new()?;
    peer::enable_loopback(&namespace)?;
    Ok(namespace)
}

pub(crate) fn sent(bytes: u64, messages: u64) -> SocketTraffic {
    SocketTraffic { tx_bytes: bytes, tx_messages: messages, ..SocketTraffic::default() }
}

pub(crate) fn received(bytes: u64, messages: u64) -> SocketTraffic {
    SocketTraffic { rx_bytes: bytes, rx_messages: messages, ..SocketTraffic::default() }
}

/// Everything is there on the kernels that the tests are run on. Without the kernel's types
/// nothing is, and that is said.
fn what_cannot_be_had_is_said() -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.hide("/sys/kernel/btf")?;
    let options = TraceOptions::default();
    let (mut tracer, missing) = namespace.run(move || Ok(Tracer::start(&options)))?;
    let parts: Vec<Part> = missing.iter().map(|it| it.part).collect();
    assert_eq!(parts, [Part::Processes, Part::Drops]);
    let words = "needs the kernel's type information (/sys/kernel/btf/vmlinux";
    assert!(missing.iter().all(|it| it.why.starts_with(words)), "{missing:?}");
    let mut facts = TrafficFacts::default();
    tracer.read(KernelTime::default(), &mut facts);
    assert!(facts.processes.is_none() && facts.drops.is_none(), "nothing is not known");
    namespace.unhide("/sys/kernel/btf")
}
