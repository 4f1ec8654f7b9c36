//! A thread that attaches and detaches, so that the tick does not wait for the kernel (about
//! 12 ms an attachment on Linux 6.18: it waits for running programs to end, under the lock of
//! rtnetlink). What it did comes back as an [`Outcome`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use caps::Capability;

use super::attach::{self, Attachment};
use super::clsact::Clsact;
use super::object::Programs;
use super::slots::{SlotMaps, SlotTable};
use crate::memory;
use crate::model::link::IfIndex;
use crate::model::options::Hook;
use crate::privileges;

/// What to do.
#[derive(Debug)]
enum Command {
    Attach { ifindex: IfIndex, hook: Hook, link_header: bool },
    Detach { ifindex: IfIndex },
    Sweep,
    Settle,
}

/// What was done.
#[derive(Debug)]
pub enum Outcome {
    /// The programs count.
    Attached {
        /// The interface.
        ifindex: IfIndex,
        /// Where its counters are.
        slot: u32,
        /// What counts it, in words.
        hook: String,
        /// See [`Attachment::is_native_xdp`].
        native_xdp: bool,
    },
    /// They cannot.
    Refused {
        /// The interface.
        ifindex: IfIndex,
        /// Why, in words.
        reason: String,
    },
    /// What is only needed to attach was given up, as asked for.
    Settled,
    /// Filters of dead processes were removed.
    Swept {
        /// The interface.
        ifindex: IfIndex,
        /// How many.
        filters: usize,
    },
}

/// The thread's handle. Dropping it detaches everything and waits for that.
pub struct Attacher {
    commands: Option<mpsc::Sender<Command>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Attacher {
    /// Starts the thread, which takes over the programs, and calls `tell` with what it did.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        programs: Programs,
        slots: SlotTable<SlotMaps>,
        tell: impl Fn(Outcome) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (commands, received) = mpsc::channel();
        let ending = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            programs: Some(programs),
            slots,
            clsact: None,
            attached: HashMap::new(),
            tell,
            ending: Arc::clone(&ending),
        };
        let thread = thread::Builder::new()
            .name("netmon-attach".to_owned())
            .spawn(move || worker.run(&received))?;
        Ok(Self { commands: Some(commands), ending, thread: Some(thread) })
    }

    /// Asks for an interface to be counted.
    pub fn attach(&self, ifindex: IfIndex, hook: Hook, link_header: bool) {
        self.send(Command::Attach { ifindex, hook, link_header });
    }

    /// Ends the counting of an interface, which may be gone already.
    pub fn detach(&self, ifindex: IfIndex) {
        self.send(Command::Detach { ifindex });
    }

    /// Asks for what a dead netmon has left to be removed.
    pub fn sweep(&self) {
        self.send(Command::Sweep);
    }

    /// Nothing will be attached any more: what is only needed for that is given up, memory and
    /// privileges. That it was comes back as [`Outcome::Settled`].
    pub fn settle(&self) {
        self.send(Command::Settle);
    }

    fn send(&self, command: Command) {
        if let Some(commands) = &self.commands
            && commands.send(command).is_err()
        {
            tracing::error!("the attaching thread has ended");
        }
    }
}

impl Drop for Attacher {
    fn drop(&mut self) {
        // What still waits to be attached is not any more.
        self.ending.store(true, Ordering::Relaxed);
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the attaching thread has panicked");
        }
    }
}

struct Worker<T> {
    /// `None`: nothing will be attached any more.
    programs: Option<Programs>,
    slots: SlotTable<SlotMaps>,
    clsact: Option<Clsact>,
    attached: HashMap<IfIndex, Attachment>,
    tell: T,
    ending: Arc<AtomicBool>,
}

impl<T: Fn(Outcome)> Worker<T> {
    fn run(mut self, commands: &mpsc::Receiver<Command>) {
        while let Ok(command) = commands.recv() {
            if self.ending.load(Ordering::Relaxed) {
                break;
            }
            match command {
                Command::Attach { ifindex, hook, link_header } => {
                    let outcome = self.attach(ifindex, hook, link_header);
                    (self.tell)(outcome);
                }
                Command::Detach { ifindex } => self.detach(ifindex),
                Command::Sweep => self.sweep(),
                Command::Settle => {
                    self.settle();
                    (self.tell)(Outcome::Settled);
                }
            }
        }
        let Self { clsact, attached, .. } = &mut self;
        for (_, attachment) in attached.drain() {
            attachment.detach(clsact);
        }
    }

    fn attach(&mut self, ifindex: IfIndex, hook: Hook, link_header: bool) -> Outcome {
        self.detach(ifindex);
        let Some(programs) = &mut self.programs else {
            let reason = "the programs have been given up".to_owned();
            return Outcome::Refused { ifindex, reason };
        };
        let slot = match self.slots.give(ifindex, link_header) {
            Ok(slot) => slot,
            Err(error) => {
                return Outcome::Refused { ifindex, reason: error.to_string() };
            }
        };
        match attach::attach(programs, &mut self.clsact, ifindex, hook) {
            Ok(attachment) => {
                let hook = attachment.to_string();
                let native_xdp = attachment.is_native_xdp();
                self.attached.insert(ifindex, attachment);
                Outcome::Attached { ifindex, slot, hook, native_xdp }
            }
            Err(reason) => {
                self.slots.take_back(ifindex);
                Outcome::Refused { ifindex, reason }
            }
        }
    }

    fn detach(&mut self, ifindex: IfIndex) {
        if let Some(attachment) = self.attached.remove(&ifindex) {
            attachment.detach(&mut self.clsact);
        }
        self.slots.take_back(ifindex);
    }

    fn settle(&mut self) {
        self.programs = None;
        // A filter is not held by a link that goes with the process: it has to be removed.
        let undo = self.attached.values().any(Attachment::is_clsact);
        let keep: &[_] = if undo { &[Capability::CAP_NET_ADMIN] } else { &[] };
        privileges::drop_all_but(keep);
        memory::give_back();
    }

    fn sweep(&mut self) {
        match Clsact::new() {
            Ok(mut clsact) => {
                for (ifindex, filters) in clsact.sweep() {
                    (self.tell)(Outcome::Swept { ifindex, filters });
                }
                self.clsact = Some(clsact);
            }
            Err(error) => tracing::debug!("no look at old filters: {error}"),
        }
    }
}
