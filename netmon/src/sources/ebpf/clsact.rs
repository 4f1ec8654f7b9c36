//! The way before TCX: a clsact qdisc with bpf filters, over rtnetlink (tc-bpf(8)).
//!
//! Filters outlive their process. So each of ours carries in its handle the process id that put
//! it there, and whether a netmon made the qdisc; a filter with our program's name whose
//! process is gone is removed at the next start, and the qdisc with it when a netmon made it and
//! nobody else uses it. A living netmon's filters are left alone; the last one that ends takes
//! the qdisc with it.

use std::os::fd::{AsRawFd, BorrowedFd};

use futures_util::{StreamExt, TryStreamExt};
use netmon_common::{EGRESS_PROGRAM, INGRESS_PROGRAM};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};
use rtnetlink::{Error, Handle};
use tokio::runtime::Runtime;

use super::bpf_link::Direction;
use crate::model::link::IfIndex;
use crate::sources::netlink::ethtool::name_of;

/// Process ids are below 2^22 (linux/threads.h, `PID_MAX_LIMIT`).
const PROCESS_MASK: u32 = (1 << 22) - 1;
/// In a filter's handle: a netmon has made the clsact qdisc.
const MADE_QDISC: u32 = 1 << 30;
/// From this priority on the kernel chooses one for a filter that asks for none: the next one
/// before those that are there (net/sched/cls_api.c, `tcf_auto_prio`).
const AUTOMATIC: u16 = 0x8000;
/// `TCA_BPF_FLAG_ACT_DIRECT`: the program's result is the verdict.
const DIRECT: u32 = 1;
/// linux/if_ether.h
const ETH_P_ALL: u16 = 3;
const CLSACT: &str = "clsact";
const BOTH: [TcHandle; 2] = [
    TcHandle { major: 0xffff, minor: TcHandle::MIN_INGRESS },
    TcHandle { major: 0xffff, minor: TcHandle::MIN_EGRESS },
];

/// A connection for filters and qdiscs.
pub struct Clsact {
    runtime: Runtime,
    handle: Handle,
}

/// Why an interface has no clsact qdisc.
#[derive(Debug, thiserror::Error)]
pub enum NoClsact {
    /// What the kernel answers.
    #[error(transparent)]
    Refused(#[from] Error),
    /// Its place is taken. (A filter for egress could be added there, and would run at ingress.)
    #[error(
        "its place is taken by an ingress qdisc, which knows no egress; delete that \
         (tc qdisc del dev {0} ingress) or use another hook"
    )]
    Ingress(String),
}

/// A filter, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    parent: TcHandle,
    handle: u32,
    info: u32,
    program: Option<String>,
    /// As tc(8) calls it: `bpf`, `u32` …
    kind: String,
}

impl Filter {
    fn read(message: &TcMessage) -> Option<Self> {
        let header = &message.header;
        let handle = u32::from(header.handle);
        let program = message.attributes.iter().find_map(|attribute| match attribute {
            TcAttribute::Options(options) => options.iter().find_map(|option| match option {
                TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name.clone()),
                _ => None,
            }),
            _ => None,
        });
        let kind = message.attributes.iter().find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.clone()),
            _ => None,
        });
        let (parent, info, kind) = (header.parent, header.info, kind.unwrap_or_default());
        // The kernel also lists the chain's head, with handle 0, for each priority.
        (handle != 0).then_some(Self { parent, handle, info, program, kind })
    }

    fn is_ours(&self) -> bool {
        let ours = [INGRESS_PROGRAM, EGRESS_PROGRAM];
        self.program.as_deref().is_some_and(|program| ours.contains(&program))
    }

    fn is_this_process(&self) -> bool {
        self.is_ours() && self.handle & PROCESS_MASK == std::process::id() & PROCESS_MASK
    }

    /// From 1, the first, to 65,535.
    const fn priority(&self) -> u16 {
        (self.info >> 16) as u16
    }

    fn made_qdisc(&self) -> bool {
        self.handle & MADE_QDISC != 0
    }

    /// Of ours, and its process is not among the living.
    fn is_stale(&self, alive: impl Fn(u32) -> bool) -> bool {
        self.is_ours() && !alive(self.handle & PROCESS_MASK)
    }
}

impl Clsact {
    /// Connects in the current network namespace.
    ///
    /// # Errors
    /// Those of the sockets.
    pub fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let (connection, handle, _) = rtnetlink::new_connection()?;
        drop(entered);
        runtime.spawn(connection);
        Ok(Self { runtime, handle })
    }

    /// The handle of this process's filters.
    pub(super) fn filter_handle(made_qdisc: bool) -> u32 {
        let process = std::process::id() & PROCESS_MASK;
        if made_qdisc { process | MADE_QDISC } else { process }
    }

    /// Makes sure that the interface has a clsact qdisc. `true`: a netmon made it, this one now
    /// or another one before.
    ///
    /// # Errors
    /// See [`NoClsact`].
    pub fn ensure(&mut self, ifindex: IfIndex) -> Result<bool, NoClsact> {
        let handle = self.handle.clone();
        let mut message = qdisc(ifindex);
        message.attributes.push(TcAttribute::Kind(CLSACT.to_owned()));
        let message = RouteNetlinkMessage::NewQueueDiscipline(message);
        match self.runtime.block_on(request(&handle, message, NLM_F_CREATE | NLM_F_EXCL)) {
            Ok(()) => Ok(true),
            Err(Error::NetlinkError(answer)) if answer.raw_code() == -libc::EEXIST => {
                if !self.runtime.block_on(with_clsact(&handle)).contains(&ifindex) {
                    return Err(NoClsact::Ingress(
                        name_of(ifindex).unwrap_or_default().to_string_lossy().into_owned(),
                    ));
                }
                let present = self.runtime.block_on(filters(&handle, ifindex))?;
                Ok(present.iter().any(|filter| filter.is_ours() && filter.made_qdisc()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Adds a filter of ours, in front of those that are there as far as priorities allow: what
    /// ends a packet's way hides it from those behind.
    ///
    /// # Errors
    /// What the kernel answers.
    pub(super) fn add(
        &mut self,
        ifindex: IfIndex,
        direction: Direction,
        (program, name): (BorrowedFd<'_>, &str),
        made_qdisc: bool,
    ) -> Result<(), Error> {
        let (handle, parent) = (self.handle.clone(), parent(direction));
        self.runtime.block_on(async {
            let present = filters(&handle, ifindex).await?;
            let first = present.iter().filter(|it| it.parent == parent).map(Filter::priority).min();
            let filter = |priority: u16| {
                let mut message = TcMessage::with_index(index(ifindex));
                message.header.parent = parent;
                message.header.handle = TcHandle::from(Self::filter_handle(made_qdisc));
                message.header.info = (u32::from(priority) << 16) | u32::from(ETH_P_ALL.to_be());
                message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
                message.attributes.push(TcAttribute::Options(vec![
                    TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned())),
                    TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())),
                    TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::from_bits_retain(DIRECT))),
                ]));
                RouteNetlinkMessage::NewTrafficFilter(message)
            };
            let flags = NLM_F_CREATE | NLM_F_EXCL;
            match request(&handle, filter(priority_before(first)), flags).await {
                // Of one priority all filters are of one kind.
                Err(Error::NetlinkError(_)) if first.is_some_and(|first| first <= AUTOMATIC) => {
                    request(&handle, filter(0), flags).await
                }
                result => result,
            }
        })
    }

    /// Removes the filters of this process, and says how many there were.
    pub(super) fn remove_ours(&mut self, ifindex: IfIndex) -> usize {
        let handle = self.handle.clone();
        self.runtime.block_on(async {
            let present = match filters(&handle, ifindex).await {
                Ok(present) => present,
                Err(error) => {
                    tracing::debug!("the filters of {ifindex} cannot be listed: {error}");
                    return 0;
                }
            };
            let ours: Vec<_> = present.into_iter().filter(Filter::is_this_process).collect();
            for filter in &ours {
                remove_filter(&handle, ifindex, filter).await;
            }
            ours.len()
        })
    }

    /// What stands in front of this process's filter: `None`, it is not there any more;
    /// `Some(None)`, nothing does, but for filters of other netmons, which let every packet go on.
    ///
    /// # Errors
    /// What the kernel answers.
    pub(super) fn before_ours(
        &mut self,
        ifindex: IfIndex,
        direction: Direction,
    ) -> Result<Option<Option<String>>, Error> {
        let (handle, parent) = (self.handle.clone(), parent(direction));
        let present = self.runtime.block_on(filters(&handle, ifindex))?;
        let mut front = None;
        // The kernel lists them in the order in which they run.
        for filter in present.into_iter().filter(|filter| filter.parent == parent) {
            if filter.is_this_process() {
                return Ok(Some(front));
            }
            if !filter.is_ours() {
                front.get_or_insert(filter.program.unwrap_or(filter.kind));
            }
        }
        Ok(None)
    }

    /// Removes the qdisc when no filter is left in it. Where that cannot be known it stays.
    pub fn remove_if_empty(&mut self, ifindex: IfIndex) {
        let handle = self.handle.clone();
        self.runtime.block_on(async {
            match filters(&handle, ifindex).await {
                Ok(left) if left.is_empty() => remove_qdisc(&handle, ifindex).await,
                Ok(_) => {}
                Err(error) => tracing::debug!("the filters of {ifindex} cannot be listed: {error}"),
            }
        });
    }

    /// Removes what dead processes of ours have left on any interface; says how many filters
    /// where.
    pub fn sweep(&mut self) -> Vec<(IfIndex, usize)> {
        let handle = self.handle.clone();
        self.runtime.block_on(async {
            let mut swept = Vec::new();
            for ifindex in with_clsact(&handle).await {
                match sweep(&handle, ifindex).await {
                    Ok(0) => {}
                    Ok(filters) => swept.push((ifindex, filters)),
                    Err(error) => {
                        tracing::debug!("the filters of {ifindex} cannot be listed: {error}");
                    }
                }
            }
            swept
        })
    }
}

/// The interfaces that have a clsact qdisc.
async fn with_clsact(handle: &Handle) -> Vec<IfIndex> {
    let mut found = Vec::new();
    let mut answers = std::pin::pin!(handle.qdisc().get().execute());
    while let Ok(Some(message)) = answers.try_next().await {
        let clsact = |attribute: &TcAttribute| matches!(attribute, TcAttribute::Kind(kind) if kind == CLSACT);
        if message.attributes.iter().any(clsact) {
            found.push(IfIndex(message.header.index.cast_unsigned()));
        }
    }
    found
}

async fn sweep(handle: &Handle, ifindex: IfIndex) -> Result<usize, Error> {
    let (stale, kept): (Vec<_>, Vec<_>) =
        filters(handle, ifindex).await?.into_iter().partition(|filter| filter.is_stale(is_alive));
    for filter in &stale {
        remove_filter(handle, ifindex, filter).await;
    }
    if kept.is_empty() && stale.iter().any(Filter::made_qdisc) {
        remove_qdisc(handle, ifindex).await;
    }
    Ok(stale.len())
}

/// Whether a process may still own its filters. One that has another's old number counts as
/// alive: then a filter is cleaned up late, which is better than a living one's too early.
fn is_alive(process: u32) -> bool {
    let exists = match kill(Pid::from_raw(process.cast_signed()), None) {
        Ok(()) => true,
        Err(error) => error != Errno::ESRCH,
    };
    exists && !is_zombie(process)
}

/// Killed, and not yet waited for by its parent (proc(5): the state follows the name).
fn is_zombie(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

/// All filters of both directions; none where there is no clsact qdisc.
async fn filters(handle: &Handle, ifindex: IfIndex) -> Result<Vec<Filter>, Error> {
    let mut found = Vec::new();
    for parent in BOTH {
        let request = handle.traffic_filter(index(ifindex)).get();
        let request = if parent == BOTH[0] { request.ingress() } else { request.egress() };
        let mut answers = std::pin::pin!(request.execute());
        while let Some(message) = answers.try_next().await? {
            found.extend(Filter::read(&message).map(|filter| Filter { parent, ..filter }));
        }
    }
    Ok(found)
}

async fn remove_filter(handle: &Handle, ifindex: IfIndex, filter: &Filter) {
    let mut message = TcMessage::with_index(index(ifindex));
    message.header.parent = filter.parent;
    message.header.handle = TcHandle::from(filter.handle);
    message.header.info = filter.info;
    message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
    let message = RouteNetlinkMessage::DelTrafficFilter(message);
    if let Err(error) = request(handle, message, 0).await {
        tracing::debug!("cannot remove a stale filter: {error}");
    }
}

async fn remove_qdisc(handle: &Handle, ifindex: IfIndex) {
    let message = RouteNetlinkMessage::DelQueueDiscipline(qdisc(ifindex));
    if let Err(error) = request(handle, message, 0).await {
        tracing::debug!("cannot remove the clsact qdisc: {error}");
    }
}

/// The priority for a filter that is to run before others of which this is the first. Of one
/// priority the kernel runs the newest bpf filter first. 0: the kernel chooses.
const fn priority_before(first: Option<u16>) -> u16 {
    match first {
        Some(1) => 1,
        Some(first) if first <= AUTOMATIC => first - 1,
        _ => 0,
    }
}

const fn parent(direction: Direction) -> TcHandle {
    match direction {
        Direction::Ingress => BOTH[0],
        Direction::Egress => BOTH[1],
    }
}

/// The one place that a clsact qdisc can have.
fn qdisc(ifindex: IfIndex) -> TcMessage {
    let mut message = TcMessage::with_index(index(ifindex));
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: 0xffff, minor: 0 };
    message
}

async fn request(handle: &Handle, message: RouteNetlinkMessage, flags: u16) -> Result<(), Error> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut answers = handle.clone().request(message)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(Error::NetlinkError(error));
        }
    }
    Ok(())
}

const fn index(ifindex: IfIndex) -> i32 {
    ifindex.0.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(program: Option<&str>, handle: u32) -> Filter {
        let program = program.map(str::to_owned);
        Filter { parent: BOTH[0], handle, info: 0, program, kind: "bpf".to_owned() }
    }

    #[test]
    fn only_filters_of_dead_processes_of_ours_are_stale() {
        let alive = |process: u32| process == 77;
        let cases = [
            (filter(Some(INGRESS_PROGRAM), 78), true),
            (filter(Some(EGRESS_PROGRAM), 78 | MADE_QDISC), true),
            (filter(Some(EGRESS_PROGRAM), 77 | MADE_QDISC), false),
            (filter(Some("somebody_else"), 78), false),
            (filter(None, 78), false),
        ];
        for (filter, stale) in cases {
            assert_eq!(filter.is_stale(alive), stale, "{filter:?}");
        }
    }

    #[test]
    fn a_filter_goes_before_those_that_are_there() {
        let cases = [(None, 0), (Some(1), 1), (Some(2), 1), (Some(0x8000), 0x7fff)];
        for (first, priority) in cases {
            assert_eq!(priority_before(first), priority, "{first:?}");
        }
        assert_eq!(priority_before(Some(0xc000)), 0, "the kernel goes before its own choices");
    }

    #[test]
    fn a_filter_says_whose_it_is() {
        let handle = Clsact::filter_handle(true);
        assert_eq!(handle & PROCESS_MASK, std::process::id());
        assert_ne!(handle & MADE_QDISC, 0);
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(PROCESS_MASK), "above what the kernel gives out by default");
    }
}
