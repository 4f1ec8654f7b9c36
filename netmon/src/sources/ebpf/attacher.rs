//! A thread that attaches and detaches, so that the tick does not wait for the kernel (about
//! 12 ms an attachment on Linux 6.18: it waits for running programs to end, under the lock of
//! rtnetlink). What it did comes back as an [`Outcome`].

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use caps::Capability;

use super::attach::{self, Attachment, Finding};
use super::clsact::Clsact;
use super::object::Programs;
use super::slots::{SlotMaps, SlotTable};
use crate::memory;
use crate::model::link::IfIndex;
use crate::model::options::Hook;
use crate::privileges;
use crate::sources::netlink::ethtool::name_of;

/// What to do.
#[derive(Debug)]
enum Command {
    Attach { ifindex: IfIndex, hook: Hook, link_header: bool },
    Detach { ifindex: IfIndex },
    Look { ifindex: IfIndex },
    Again { ifindex: IfIndex },
    Sweep,
    Settle,
    End,
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
    /// What became of an interface's programs, as asked for by [`Attacher::look`] or a [`Looker`].
    Looked {
        /// The interface.
        ifindex: IfIndex,
        /// What was found.
        finding: Finding,
        /// When the look began.
        began: Instant,
    },
    /// The programs of an interface were attached once more, in front of all others.
    Again {
        /// The interface.
        ifindex: IfIndex,
        /// What counts it, in words, and whether by a native XDP program; or why nothing does.
        result: Result<(String, bool), String>,
    },
    /// What is only needed at the start was given up, as asked for.
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
    /// Looks that are asked for and not done yet.
    looks: Looks,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

type Looks = Arc<Mutex<HashSet<IfIndex>>>;

/// A way to ask for looks from elsewhere. It does not keep the thread from ending.
#[derive(Clone)]
pub struct Looker {
    commands: mpsc::Sender<Command>,
    looks: Looks,
    ending: Arc<AtomicBool>,
}

impl Looker {
    /// Asks what has become of an interface's programs. `false`: the thread has ended.
    #[must_use]
    pub fn look(&self, ifindex: IfIndex) -> bool {
        if self.ending.load(Ordering::Relaxed) {
            return false;
        }
        let is_new = self.looks.lock().unwrap_or_else(PoisonError::into_inner).insert(ifindex);
        !is_new || self.commands.send(Command::Look { ifindex }).is_ok()
    }
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
        let looks = Looks::default();
        let worker = Worker {
            programs,
            slots,
            looks: Arc::clone(&looks),
            clsact: None,
            attached: HashMap::new(),
            tell,
            ending: Arc::clone(&ending),
        };
        let thread = thread::Builder::new()
            .name("netmon-attach".to_owned())
            .spawn(move || worker.run(&received))?;
        Ok(Self { commands: Some(commands), looks, ending, thread: Some(thread) })
    }

    /// Asks for an interface to be counted.
    pub fn attach(&self, ifindex: IfIndex, hook: Hook, link_header: bool) {
        self.send(Command::Attach { ifindex, hook, link_header });
    }

    /// Ends the counting of an interface, which may be gone already.
    pub fn detach(&self, ifindex: IfIndex) {
        self.send(Command::Detach { ifindex });
    }

    /// Asks what has become of an interface's programs; the answer is [`Outcome::Looked`], once for
    /// those who ask at the same time, and none where nothing is attached.
    pub fn look(&self, ifindex: IfIndex) {
        let _ = self.looker().is_none_or(|looker| looker.look(ifindex));
    }

    /// For others who ask for looks. `None`: it is about to end.
    #[must_use]
    pub fn looker(&self) -> Option<Looker> {
        let (looks, ending) = (Arc::clone(&self.looks), Arc::clone(&self.ending));
        Some(Looker { commands: self.commands.clone()?, looks, ending })
    }

    /// Asks for an interface's programs to be attached once more, in front of all others. It keeps
    /// its slot, and so what was counted.
    pub fn attach_again(&self, ifindex: IfIndex) {
        self.send(Command::Again { ifindex });
    }

    /// Asks for what a dead netmon has left to be removed.
    pub fn sweep(&self) {
        self.send(Command::Sweep);
    }

    /// The start is over: the thread gives up the memory that it needed and all privileges but
    /// CAP_NET_ADMIN, by which it looks after what is attached. That it has comes back as
    /// [`Outcome::Settled`].
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
        // A [`Looker`] may hold the channel open.
        self.send(Command::End);
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the attaching thread has panicked");
        }
    }
}

struct Worker<T> {
    programs: Programs,
    slots: SlotTable<SlotMaps>,
    looks: Looks,
    clsact: Option<Clsact>,
    /// Where each is asked to be counted, and what is attached; `None` after it could not be
    /// attached again.
    attached: HashMap<IfIndex, (Hook, Option<Attachment>)>,
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
                Command::End => break,
                Command::Attach { ifindex, hook, link_header } => {
                    let outcome = self.attach(ifindex, hook, link_header);
                    (self.tell)(outcome);
                }
                Command::Detach { ifindex } => self.detach(ifindex),
                Command::Look { ifindex } => {
                    if let Some(outcome) = self.look(ifindex) {
                        (self.tell)(outcome);
                    }
                }
                Command::Again { ifindex } => {
                    if let Some(outcome) = self.attach_again(ifindex) {
                        (self.tell)(outcome);
                    }
                }
                Command::Sweep => self.sweep(),
                Command::Settle => {
                    self.settle();
                    (self.tell)(Outcome::Settled);
                }
            }
        }
        let Self { clsact, attached, .. } = &mut self;
        for (_, (_, attachment)) in attached.drain() {
            attachment.into_iter().for_each(|attachment| attachment.detach(clsact));
        }
    }

    fn attach(&mut self, ifindex: IfIndex, hook: Hook, link_header: bool) -> Outcome {
        self.detach(ifindex);
        let slot = match self.slots.give(ifindex, link_header) {
            Ok(slot) => slot,
            Err(error) => {
                return Outcome::Refused { ifindex, reason: error.to_string() };
            }
        };
        match attach::attach(&self.programs, &mut self.clsact, ifindex, hook) {
            Ok(attachment) => {
                let (text, native_xdp) = (attachment.to_string(), attachment.is_native_xdp());
                self.attached.insert(ifindex, (hook, Some(attachment)));
                Outcome::Attached { ifindex, slot, hook: text, native_xdp }
            }
            Err(reason) => {
                self.slots.take_back(ifindex);
                Outcome::Refused { ifindex, reason }
            }
        }
    }

    fn detach(&mut self, ifindex: IfIndex) {
        if let Some((_, Some(attachment))) = self.attached.remove(&ifindex) {
            attachment.detach(&mut self.clsact);
        }
        self.slots.take_back(ifindex);
    }

    fn look(&mut self, ifindex: IfIndex) -> Option<Outcome> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).remove(&ifindex);
        let (_, attachment) = self.attached.get(&ifindex)?;
        // Of a device that is gone all is detached, which is no news.
        name_of(ifindex).ok()?;
        let began = Instant::now();
        match attachment.as_ref()?.look(&mut self.clsact) {
            Ok(finding) => Some(Outcome::Looked { ifindex, finding, began }),
            Err(error) => {
                tracing::debug!("ifindex {ifindex}: what is attached cannot be known: {error}");
                None
            }
        }
    }

    fn attach_again(&mut self, ifindex: IfIndex) -> Option<Outcome> {
        let Self { programs, clsact, attached, .. } = self;
        let (hook, attachment) = attached.get_mut(&ifindex)?;
        if let Some(before) = attachment.take() {
            // Before the new ones are there, or a packet between would be counted twice.
            before.detach(clsact);
        }
        let result = attach::attach(programs, clsact, ifindex, *hook).map(|again| {
            let again = attachment.insert(again);
            (again.to_string(), again.is_native_xdp())
        });
        Some(Outcome::Again { ifindex, result })
    }

    fn settle(&mut self) {
        privileges::drop_all_but(&[Capability::CAP_NET_ADMIN]);
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
