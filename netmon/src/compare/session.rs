//! A comparison from start to end: both modes are started, the first tick at which everything
//! is attached and the last one are compared, then follows a closer look at what they cost.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rtnetlink::Handle;

use super::cost;
use super::mode::{Mode, ModeError, REST, Used};
use super::outcome::{Costs, ModeCost, Outcome, Setting, VERSION};
use super::tick::Tick;
use super::window::{Surroundings, Window};
use crate::model::snapshot::{ATTACHING, Source};
use crate::sources::netlink::links::{Links, LinksError};
use crate::sources::netlink::queues::{self, Queue};

/// From a tick to the look at the queueing disciplines, at most in quiet times.
const LATE: Duration = Duration::from_millis(20);
/// The closer look lasts a fifth of the comparison, but this many ticks at least and at most.
const LOOK_TICKS: (u64, u64) = (3, 50);

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The netmon that runs both modes.
    pub program: PathBuf,
    /// What follows `netmon run`: the interfaces, among others.
    pub arguments: Vec<String>,
    /// The hook, for the result.
    pub hook: String,
    /// Between ticks.
    pub interval: Duration,
    /// From the first tick to the last.
    pub duration: Duration,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// One of the modes.
    #[error(transparent)]
    Mode(#[from] ModeError),
    /// The interfaces.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// A signal came before there were two ticks.
    #[error("{0}: ended before anything was compared")]
    TooEarly(&'static str),
}

/// How far it is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The programs are being attached.
    Attaching,
    /// The comparison has begun.
    Comparing,
    /// The closer look has begun, and takes so many ticks.
    Looking(u64),
    /// The programs are being detached.
    Ending,
}

/// Runs it. `stopped` ends it before its time: what there is then is compared.
///
/// # Errors
/// When a mode cannot be started or ends of itself, and when it was stopped too early.
pub async fn run(
    plan: &Plan,
    links: &Links,
    stopped: impl Future<Output = &'static str>,
    mut say: impl FnMut(Progress),
) -> Result<Outcome, SessionError> {
    let start = |source| Mode::start(&plan.program, source, &plan.arguments, plan.interval);
    let (mut ebpf, mut sysfs) = (start(Source::Ebpf)?, start(Source::Sysfs)?);
    say(Progress::Attaching);
    let stopped = std::pin::pin!(stopped);
    let result = compare(plan, links, [&mut ebpf, &mut sysfs], stopped, &mut say).await;
    say(Progress::Ending);
    // Both are asked first, so that they end side by side.
    ebpf.ask_to_end();
    sysfs.ask_to_end();
    drop((ebpf, sysfs));
    result
}

async fn compare(
    plan: &Plan,
    links: &Links,
    [ebpf, sysfs]: [&mut Mode; 2],
    mut stopped: impl Future<Output = &'static str> + Unpin,
    say: &mut impl FnMut(Progress),
) -> Result<Outcome, SessionError> {
    let started = SystemTime::now();
    let (first, before) = tokio::select! {
        begun = begin(ebpf, sysfs) => begun?,
        name = &mut stopped => return Err(SessionError::TooEarly(name)),
    };
    let sysfs_is_ours = first.1;
    let mut window = Window::new(first.0);
    let around = Around::look(links).await?;
    say(Progress::Comparing);
    let stop = follow(ebpf, sysfs, &mut window, plan, &mut stopped).await?;
    if let Some(name) = stop.filter(|_| window.ticks() == 0) {
        return Err(SessionError::TooEarly(name));
    }
    let around = around.joined(Around::look(links).await?);
    let after = match stop {
        None => {
            let theirs = sysfs.at_rest().await?.1;
            tokio::time::sleep(REST).await;
            [ebpf.used_by_now()?, theirs]
        }
        Some(_) => [ebpf.used_by_now()?, sysfs.used_by_now()?],
    };
    let untouched = [0, 1].map(|mode| cost::of_mode(before[mode], after[mode], plan.interval));
    let mut cost = match stop {
        Some(name) => without_look(untouched, name),
        None => {
            let ticks = (window.ticks() / 5).clamp(LOOK_TICKS.0, LOOK_TICKS.1);
            let began = || say(Progress::Looking(ticks));
            tokio::select! {
                cost = cost::look([ebpf, sysfs], untouched, ticks, began) => cost?,
                name = &mut stopped => without_look(untouched, name),
            }
        }
    };
    if !sysfs_is_ours {
        let why = "sysfs shows another network namespace, so its mode has read netlink instead";
        cost.missing.push(format!("what sysfs costs: {why}"));
    }
    let setting = setting(plan, started, &window);
    Ok(Outcome { version: VERSION, setting, interfaces: window.compare(&around), cost })
}

/// The first tick of ours at which nothing waits to be attached, and whether the other mode
/// reads sysfs; and what both have used up to a tick.
async fn begin(ebpf: &mut Mode, sysfs: &mut Mode) -> Result<((Tick, bool), [Used; 2]), ModeError> {
    while ebpf.tick().await?.interfaces.iter().any(|interface| interface.hook == ATTACHING) {}
    let (ours, theirs) = tokio::try_join!(ebpf.at_rest(), sysfs.at_rest())?;
    let is_sysfs = theirs.0.interfaces.iter().all(|one| one.source == Source::Sysfs);
    // Ours may have gone on while the other was waited for; what it costs is taken from here.
    Ok(((ours.0, is_sysfs), [ours.1, theirs.1]))
}

/// Takes in ticks of both until it is time, or it is told to stop.
async fn follow(
    ebpf: &mut Mode,
    sysfs: &mut Mode,
    window: &mut Window,
    plan: &Plan,
    stopped: &mut (impl Future<Output = &'static str> + Unpin),
) -> Result<Option<&'static str>, ModeError> {
    // The tick that is nearest to the end is the last one.
    let enough = plan.duration.saturating_sub(plan.interval / 2).as_secs_f64();
    loop {
        tokio::select! {
            tick = ebpf.tick() => {
                let tick = tick?;
                tracing::debug!("tick {} of the eBPF mode, of {} ms", tick.tick, tick.time_ms);
                window.add(tick);
            }
            tick = sysfs.tick() => drop(tick?),
            name = &mut *stopped => return Ok(Some(name)),
        }
        if window.seconds() >= enough {
            return Ok(None);
        }
    }
}

fn without_look([ebpf, sysfs]: [ModeCost; 2], why: &str) -> Costs {
    let missing = vec![format!("system calls and nanoseconds a packet: ended by {why}")];
    Costs { ebpf, sysfs, missing, ..Costs::default() }
}

/// What is around the interfaces at a moment.
struct Around {
    queues: HashMap<u32, Queue>,
    xdp: HashMap<u32, bool>,
    /// How long it took to know, with what may have passed since the tick.
    late: Duration,
}

impl Around {
    async fn look(links: &Links) -> Result<Self, LinksError> {
        let began = Instant::now();
        let queues = match links.handle() {
            Some(handle) => queues(&handle).await,
            None => HashMap::new(),
        };
        let late = began.elapsed() + LATE;
        let links = links.list().await?;
        let xdp = links.into_iter().map(|link| (link.ifindex.0, link.xdp)).collect();
        Ok(Self { queues, xdp, late })
    }

    fn joined(self, after: Self) -> HashMap<u32, Surroundings> {
        let late_s = (self.late + after.late).as_secs_f64();
        let surroundings = after.xdp.keys().map(|ifindex| {
            let queue = |around: &Self| around.queues.get(ifindex).copied().unwrap_or_default();
            let xdp = |around: &Self| around.xdp.get(ifindex).copied().unwrap_or_default();
            let queue = [queue(&self), queue(&after)];
            (*ifindex, Surroundings { queue, xdp: xdp(&self) || xdp(&after), late_s })
        });
        surroundings.collect()
    }
}

/// Without them drops stay unexplained, which is said; so a refusal is no error.
async fn queues(handle: &Handle) -> HashMap<u32, Queue> {
    match queues::queues(handle).await {
        Ok(queues) => queues.into_iter().map(|(ifindex, queue)| (ifindex.0, queue)).collect(),
        Err(error) => {
            tracing::warn!("drops of queueing disciplines are not known: {error}");
            HashMap::new()
        }
    }
}

fn setting(plan: &Plan, started: SystemTime, window: &Window) -> Setting {
    let since_1970 = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let kernel = nix::sys::utsname::uname();
    Setting {
        time_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        netmon: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel.map_or_else(
            |_| "unknown".to_owned(),
            |name| name.release().to_string_lossy().into_owned(),
        ),
        cpus: std::thread::available_parallelism().map_or(0, usize::from),
        hook: plan.hook.clone(),
        interval_s: plan.interval.as_secs_f64(),
        duration_s: window.seconds(),
        ticks: window.ticks(),
    }
}
