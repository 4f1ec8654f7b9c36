//! `netmon interface-monitor`: one interface's process. Started by the network monitor it is the
//! interface monitor; started by hand it waits for a network monitor, and starts one when there
//! is one, again and again; or, with `--print`, it reports for itself.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;
use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use tokio::runtime::Runtime;

use super::Failure;
use super::args::InterfaceMonitorArgs;
use super::run::{self, Sharing};
use super::signals::Signals;
use crate::agent::{Agent, Counting, Inbox, Limits, Room, Superior, Upward, beside, own_sysfs};
use crate::config::{Settings, TrafficSettings, WorkerLimits};
use crate::model::event::{Event, EventKind};
use crate::model::link::Link;
use crate::model::options::Format;
use crate::model::select::{self, Literal, SelectError, Selection, Selector};
use crate::privileges;
use crate::sinks::messages::{Lines, Messages, Verbosity};
use crate::sources::ebpf::object::{ProgramLog, SLOTS_FOR_ONE};
use crate::sources::netlink::links::{Links, News};
use crate::workers::interface_monitor::{NoOrders, Session, report_for_duty};
use crate::workers::peer::{self, ConnectError};
use crate::workers::socket;

/// It counts one.
const ROOM: Room = Room { slots: SLOTS_FOR_ONE, interfaces: 1 };
/// Between attempts to find a network monitor.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// How long the end waits for it.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Who has run for so long was no failed attempt.
const STABLE: Duration = Duration::from_secs(10);

pub(super) fn run(
    args: &InterfaceMonitorArgs,
    quiet: bool,
    verbose: u8,
    lines: Lines,
) -> Result<ExitCode, Failure> {
    if args.print {
        return run::run_with(&args.as_run(), quiet, verbose, lines, Sharing::of(args)?);
    }
    let path = match &args.socket {
        Some(path) => path.clone(),
        None => socket::default_path().map_err(Failure::usage)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    if args.launched {
        // It was started as /proc/self/exe, which is what it would be called.
        if let Err(error) = set_name(c"netmon-worker") {
            tracing::debug!("no name: {error}");
        }
        if let Some(parent) = args.child_of
            && !ends_with(parent)
        {
            return Ok(ExitCode::SUCCESS);
        }
        return launched(&runtime, &path, args, verbose, lines);
    }
    // It attaches nothing itself, and hands this on to those that do.
    if let Err(error) = privileges::hand_on(&privileges::FOR_WORKERS) {
        tracing::warn!("privileges that are not needed are kept: {error}");
    }
    let messages = Messages::new(verbosity(quiet), lines);
    runtime.block_on(by_hand(&path, &args.interface, verbose, &messages))
}

const fn verbosity(quiet: bool) -> Verbosity {
    if quiet { Verbosity::Quiet } else { Verbosity::Normal }
}

/// Waits for a network monitor, and has a process of its own be its interface monitor: what that
/// gives up after its start is needed for the next.
async fn by_hand(
    path: &Path,
    interface: &str,
    verbose: u8,
    messages: &Messages,
) -> Result<ExitCode, Failure> {
    find(&list().await?.2, interface)?;
    let mut signals = Signals::new().map_err(Failure::other)?;
    let (mut delay, mut said) = (FIRST_DELAY, None);
    loop {
        let wanting = match peer::connect(path) {
            Err(ConnectError::NoMonitor { .. }) => {
                Some(format!("waiting for a network monitor at {}", path.display()))
            }
            // That may end, too.
            Err(error) => Some(format!("{error}; waiting for that to change")),
            // The interface may come back.
            Ok(_) => find(&list().await?.2, interface).err().map(|failure| match failure {
                Failure::Use(error) | Failure::Other(error) => format!("{error}; waiting for it"),
            }),
        };
        if wanting.is_some() && wanting != said {
            messages.say(wanting.as_deref().unwrap_or_default());
        }
        let began = std::time::Instant::now();
        if wanting.is_none()
            && let Some(name) = have_one(path, interface, verbose, &mut signals).await?
        {
            messages.say(&format!("{name}: ending"));
            return Ok(ExitCode::SUCCESS);
        }
        said = wanting;
        if began.elapsed() >= STABLE {
            delay = FIRST_DELAY;
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            name = signals.first() => {
                messages.say(&format!("{name}: ending"));
                return Ok(ExitCode::SUCCESS);
            }
        }
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}

/// Has an interface monitor until it ends, or a signal comes, whose name is given.
async fn have_one(
    path: &Path,
    interface: &str,
    verbose: u8,
    signals: &mut Signals,
) -> Result<Option<&'static str>, Failure> {
    let mut child = start_child(path, interface, verbose)?;
    let id = Pid::from_raw(child.id().cast_signed());
    let mut ended = tokio::task::spawn_blocking(move || child.wait());
    let name = tokio::select! {
        _ = &mut ended => return Ok(None),
        name = signals.first() => name,
    };
    // It may have ended by itself; one that is stopped has to go on for it.
    for signal in [Signal::SIGTERM, Signal::SIGCONT] {
        let _ = kill(id, signal);
    }
    if tokio::time::timeout(LAST_WORDS, &mut ended).await.is_err() {
        let _ = kill(id, Signal::SIGKILL);
        let _ = ended.await;
    }
    Ok(Some(name))
}

fn start_child(path: &Path, interface: &str, verbose: u8) -> Result<std::process::Child, Failure> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("netmon").args(["interface-monitor", "--launched", "--socket"]).arg(path);
    command.args((0..verbose).map(|_| "-v"));
    command.args(["--child-of", &std::process::id().to_string(), "--", interface]);
    // A signal of the terminal reaches us; the child is told by us.
    command.process_group(0);
    command.spawn().context("cannot start the interface monitor").map_err(Failure::Other)
}

/// From now on the end of this parent ends this process. `false`: it was over before. Asked for
/// here and not before exec(2), which forgets it where the program's file has capabilities
/// (PR_SET_PDEATHSIG(2const)).
fn ends_with(parent: u32) -> bool {
    if let Err(error) = set_pdeathsig(Signal::SIGTERM) {
        tracing::warn!("the end of process {parent} will not be noticed: {error}");
    }
    u32::try_from(getppid().as_raw()) == Ok(parent)
}

type Listed = (Links, News, Vec<Link>);

async fn list() -> Result<Listed, Failure> {
    let (links, news) = Links::connect().map_err(Failure::other)?;
    let existing = links.list().await.map_err(Failure::other)?;
    Ok((links, news, existing))
}

fn find<'a>(existing: &'a [Link], interface: &str) -> Result<&'a Link, Failure> {
    let selector = Selector::parse(interface).map_err(Failure::usage)?;
    let selector = selector.resolved(existing, Literal::First);
    if let Selector::Pattern(pattern) = &selector {
        return Err(Failure::Use(anyhow::anyhow!(
            "there is no interface '{pattern}', and one is wanted, not those that are like a \
             pattern: put a '\\' before each '*', '?' and '[' that stands for itself; there are: {}",
            select::names(existing).join(", ")
        )));
    }
    existing.iter().find(|link| selector.matches(link)).ok_or_else(|| {
        Failure::usage(SelectError::Unknown {
            unknown: vec![interface.to_owned()],
            existing: select::names(existing),
        })
    })
}

/// The interface monitor itself.
fn launched(
    runtime: &Runtime,
    path: &Path,
    args: &InterfaceMonitorArgs,
    verbose: u8,
    lines: Lines,
) -> Result<ExitCode, Failure> {
    let interface = &*args.interface;
    let entered = runtime.enter();
    let (links, news, existing) = runtime.block_on(list())?;
    let link = match args.ifindex {
        Some(ifindex) => existing.iter().find(|link| link.ifindex.0 == ifindex),
        None => Some(find(&existing, interface)?),
    };
    let Some(link) = link.cloned() else {
        return Err(Failure::Other(anyhow::anyhow!("the interface {interface} is gone")));
    };
    let session = match runtime.block_on(report_for_duty(path, &link)) {
        Ok(session) => session,
        Err(NoOrders::SentAway(why)) => {
            tracing::info!("{interface}: {why}");
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => return Err(Failure::other(error)),
    };
    let settings = settings(&session, &link);
    let inbox = Inbox::default();
    let mut signals = Signals::new().map_err(Failure::other)?;
    inbox.stop_at(async move { signals.first().await });
    let log = if verbose > 0 { ProgramLog::Warnings } else { ProgramLog::Off };
    let sysfs = runtime.block_on(own_sysfs(&links)).map_err(Failure::other)?;
    let (mut superior, farewell) = session.start(inbox.orders());
    let counting = Counting::start(&settings, ROOM, log, sysfs, &inbox, || {
        // What attaching needs is given up when it is done.
        privileges::drop_all_but(&privileges::WHILE_RUNNING);
    })
    .map_err(Failure::other)?;
    tell_what_is_missing(&counting, &mut *superior);
    let above = (Messages::new(Verbosity::Quiet, lines), Upward::Superior(superior));
    let agent = Agent::new(settings, (links, news), &existing, counting, inbox, above);
    drop((entered, existing));
    // A second signal does not end it: it has to detach, and who has started it has patience.
    let run = || agent.run(Limits::default(), || ());
    let (end, _, _messages) = beside(runtime, run).map_err(Failure::other)?;
    runtime.block_on(farewell.say());
    tracing::debug!("{interface}: {end:?}");
    Ok(ExitCode::SUCCESS)
}

fn tell_what_is_missing(counting: &Counting, superior: &mut dyn Superior) {
    if let Some(why) = counting.unavailable() {
        let message = format!("counting without eBPF: {why}");
        superior.event(&Event::own(EventKind::Warning, message));
    }
}

fn settings(session: &Session, link: &Link) -> Settings {
    let orders = session.orders();
    // Its name may change, and another may get it: that one is not for this process.
    let wanted = vec![Selector::Index(link.ifindex)];
    Settings {
        selection: Selection { wanted, excluded: Vec::new() },
        source: orders.source,
        hook: orders.hook,
        interval: Duration::from_nanos(orders.interval_ns),
        format: Format::default(),
        recover: orders.recovery,
        wait: false,
        workers: WorkerLimits::default(),
        interfaces: Vec::new(),
        traffic: TrafficSettings::default(),
    }
}
