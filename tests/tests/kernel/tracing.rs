//! What another process of the same user can do to a netmon that has its capabilities from its
//! file, as from setcap(8): nothing. Through a thread without capabilities it would get into the
//! memory of those that have some, and what is written there runs with them.

use std::{
    fs::{self, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use netmon_tests::{
    agent::{Agent, AgentCommand},
    kernel::said_here,
    netns::Namespace,
    privileges::{Capability, NOBODY, Privileges, as_nobody, give_capabilities},
    process,
    scratch::Scratch,
    wait,
    workers::Listing,
};
use nix::{errno::Errno, sys::signal::Signal};

use crate::{
    Test,
    common::{NETMON, interrupt, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("without_capabilities_it_is_open_to_its_user", without_capabilities_it_is_open),
    ("run_is_closed_to_its_user", run_is_closed),
    ("run_with_workers_is_closed_to_its_user", run_with_workers_is_closed),
    ("run_in_another_namespace_is_closed_to_its_user", run_in_another_namespace_is_closed),
    ("an_interface_monitor_by_hand_is_closed_to_its_user", by_hand_is_closed),
    ("top_is_closed_to_its_user", top_is_closed),
    ("compare_is_closed_to_its_user", compare_is_closed),
];

/// What README has setcap(8) give.
const GIVEN: u64 = Capability::NET_ADMIN.bit() | Capability::PERFMON.bit() | Capability::BPF.bit();

/// A netmon that any user may start, and that has capabilities then.
pub(crate) struct Installed {
    home: Scratch,
    pub(crate) program: PathBuf,
}

impl Installed {
    pub(crate) fn with(capabilities: u64) -> Result<Self> {
        let home = Scratch::new()?;
        let program = home.copy_program(Path::new(NETMON))?;
        give_capabilities(&program, capabilities)?;
        let run = home.path().join("run");
        fs::create_dir(&run)?;
        chown(&run, Some(NOBODY), Some(NOBODY))?;
        Ok(Self { home, program })
    }

    pub(crate) fn new() -> Result<Self> {
        Self::with(GIVEN)
    }

    /// In a directory of the user.
    pub(crate) fn socket(&self) -> String {
        self.home.path().join("run/netmon.sock").display().to_string()
    }

    /// It, started by the user `nobody` with arguments that are divided by spaces.
    pub(crate) fn start(&self, namespace: Option<&Namespace>, arguments: &str) -> Result<Agent> {
        let command = match namespace {
            Some(namespace) => AgentCommand::new(namespace, &self.program),
            None => AgentCommand::on_host(&self.program),
        };
        command.args(arguments.split(' ')).privileges(Privileges::Nobody).start()
    }

    /// Tries to get into every process of this netmon, again and again, from its start on until
    /// it is ready and so many run; and then into every thread of each.
    fn is_closed(&self, processes: usize, ready: impl Fn() -> Result<bool>) -> Result<()> {
        let pids = wait::until("all processes to be there and ready", || {
            let is_ready = ready()?;
            let pids = process::running(&self.program)?;
            pids.iter().try_for_each(|pid| tried(*pid).map(drop))?;
            Ok((is_ready && pids.len() == processes).then_some(pids))
        })?;
        for pid in pids {
            ensure!(tried(pid)? > 0, "{pid} has ended");
            let owner = fs::metadata(process::folder(pid).join("environ"))?.uid();
            ensure!(owner == 0, "{pid} is dumpable");
        }
        Ok(())
    }
}

/// Tries, as the user `nobody`, to write into the memory of each thread of a process, and to
/// trace it. Gives the number of threads that were there.
///
/// # Errors
/// When it succeeds.
fn tried(pid: u32) -> Result<usize> {
    let is_gone = |error: &std::io::Error| {
        error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
    };
    as_nobody(|| {
        let Ok(threads) = fs::read_dir(process::folder(pid).join("task")) else { return Ok(0) };
        let mut tried = 0;
        for thread in threads {
            // One that has ended meanwhile is closed for good.
            let Ok(thread) = thread else { continue };
            let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            let what = format!("thread {} of {pid}", name.trim());
            match OpenOptions::new().read(true).write(true).open(thread.path().join("mem")) {
                Ok(_) => bail!("the memory of {what} is open"),
                Err(error) if is_gone(&error) => continue,
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error).context(what),
            }
            let number: libc::pid_t = thread.file_name().to_string_lossy().parse()?;
            // SAFETY: nothing is read or written; it would end with this thread.
            let traced = unsafe { libc::ptrace(libc::PTRACE_SEIZE, number, 0, 0) };
            match Errno::result(traced) {
                Ok(_) => bail!("{what} can be traced"),
                Err(Errno::ESRCH) => continue,
                Err(Errno::EPERM) => tried += 1,
                Err(error) => return Err(error).context(what),
            }
        }
        Ok(tried)
    })
}

/// Whether it has said this yet.
fn said(agent: &Agent, parts: &[&str]) -> Result<bool> {
    Ok(agent.times_said(parts)? > 0)
}

/// Else the other tests would show nothing. This one may do nothing that its user may not.
fn without_capabilities_it_is_open() -> Result<()> {
    let (namespace, installed) = (veth()?, Installed::with(0)?);
    let agent = installed.start(Some(&namespace), "run --interval 100ms nt0")?;
    agent.says_counted("nt0", "sysfs (")?;
    let open = tried(agent.pid()).err().context("it is closed")?.to_string();
    ensure!(open.starts_with("the memory of thread ") && open.ends_with(" is open"), "{open}");
    interrupt(agent).map(drop)
}

fn run_is_closed() -> Result<()> {
    let (namespace, installed) = (veth()?, Installed::new()?);
    let agent = installed.start(Some(&namespace), "run --interval 100ms nt0 peer")?;
    installed.is_closed(1, || Ok(said(&agent, &["nt0: "])? && said(&agent, &["peer: "])?))?;
    agent.says_counted("nt0", "TCX in+out")?;
    interrupt(agent).map(drop)
}

fn run_with_workers_is_closed() -> Result<()> {
    let (namespace, installed) = (veth()?, Installed::new()?);
    let socket = installed.socket();
    let arguments = format!("run --interval 100ms --workers --socket {socket} nt0 peer");
    let agent = installed.start(Some(&namespace), &arguments)?;
    // Itself, what starts processes for it, and the two.
    installed.is_closed(4, || Ok(said(&agent, &["nt0: "])? && said(&agent, &["peer: "])?))?;
    agent.says_counted("nt0", "TCX in+out")?;
    // What cannot be seen of them is not shown, and no error.
    let list = format!("workers --format json --socket {socket}");
    let listed = installed.start(None, &list)?.finish()?;
    ensure!(listed.code == Some(0) && listed.stderr.is_empty(), "{listed:?}");
    let Listing { monitor, launcher, workers } = Listing::parse(&listed.stdout)?;
    // Whether its memory is told is the kernel's matter: newer ones let CAP_PERFMON see that.
    assert_eq!((monitor.uid, monitor.capabilities), (Some(NOBODY), Some(vec![])));
    ensure!(monitor.cpu_ms.is_some() && launcher.is_some() && workers.len() == 2, "{listed:?}");
    let listed = installed.start(None, &format!("workers --socket {socket}"))?.finish()?;
    ensure!(listed.stdout.lines().count() == 5, "{listed:?}");
    interrupt(agent).map(drop)
}

fn run_in_another_namespace_is_closed() -> Result<()> {
    let more = Capability::SYS_ADMIN.bit() | Capability::SYS_PTRACE.bit();
    let (namespace, installed) = (veth()?, Installed::with(GIVEN | more)?);
    let (socket, name) = (installed.socket(), namespace.name());
    let arguments = format!("run --interval 100ms --socket {socket} {name}/nt0");
    let agent = installed.start(None, &arguments)?;
    let counted = format!("{name}/nt0");
    installed.is_closed(3, || said(&agent, &[&format!("{counted}: ")]))?;
    agent.says_counted(&counted, "TCX in+out")?;
    interrupt(agent).map(drop)
}

fn by_hand_is_closed() -> Result<()> {
    let (namespace, installed) = (veth()?, Installed::new()?);
    let socket = installed.socket();
    let by_hand = format!("interface-monitor nt0 --socket {socket}");
    let by_hand = installed.start(Some(&namespace), &by_hand)?;
    by_hand.says(&["waiting for a network monitor"])?;
    let arguments = format!("run --interval 100ms --workers --socket {socket} nt0");
    let agent = installed.start(Some(&namespace), &arguments)?;
    let by = "which was started by hand";
    let counted = format!("nt0: {}", said_here("TCX in+out"));
    // Both, what starts processes for the one, and the other's child.
    installed.is_closed(4, || Ok(said(&agent, &[by])? && said(&agent, &[&counted])?))?;
    by_hand.signal(Signal::SIGTERM)?;
    by_hand.finish()?;
    interrupt(agent).map(drop)
}

fn top_is_closed() -> Result<()> {
    let (namespace, installed) = (veth()?, Installed::new()?);
    let arguments = "top nt0 --by flow --resolve --format json --interval 100ms";
    let agent = installed.start(Some(&namespace), arguments)?;
    // Threads for names, for stdout, for attaching: its first table has all of them.
    installed.is_closed(1, || Ok(agent.stdout()?.count() > 0))?;
    agent.signal(Signal::SIGINT)?;
    agent.finish().map(drop)
}

fn compare_is_closed() -> Result<()> {
    let (namespace, installed) = (veth()?, Installed::new()?);
    let arguments = "-v compare --interval 100ms --duration 1h nt0";
    let agent = installed.start(Some(&namespace), arguments)?;
    let ticks = || agent.times_said(&["of the eBPF mode, of "]);
    // Itself and both modes; it has something to compare by then.
    installed.is_closed(3, || Ok(ticks()? > 2))?;
    agent.signal(Signal::SIGINT)?;
    let finished = agent.finish()?;
    ensure!(finished.stdout.contains("CPU a tick"), "{finished:?}");
    Ok(())
}
