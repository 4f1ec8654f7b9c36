//! One process that does it all: what `netmon run` and `netmon top` have in common.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::Failure;
use super::signals::{self, Signals};
use crate::agent::{
    Agent, Counting, End, Inbox, Limits, Report, Room, Sink, Upward, beside, own_sysfs,
};
use crate::config::{Settings, TrafficSettings};
use crate::model::link::Link;
use crate::model::select::Literal;
use crate::model::traffic::facts::{Missing, Part};
use crate::model::traffic::options::flows_within;
use crate::privileges;
use crate::sinks::messages::Messages;
use crate::sinks::output::{Ended, Output};
use crate::sources::cgroup;
use crate::sources::ebpf::object::ProgramLog;
use crate::sources::netlink::links::{Links, News};

/// How long the end waits for stdout to take the last report.
const LAST_REPORT: Duration = Duration::from_secs(2);

/// What is there before anything is counted.
pub(super) struct Start {
    pub(super) settings: Settings,
    pub(super) links: (Links, News),
    pub(super) existing: Vec<Link>,
    pub(super) signals: Signals,
    pub(super) messages: Messages,
    pub(super) limits: Limits,
    pub(super) log: ProgramLog,
}

impl Start {
    /// Counts, and shows it by the sink that `sink` gives once it is known what can be counted.
    ///
    /// # Errors
    /// When it cannot start, or ends for another reason than that it was to.
    pub(super) fn watch(
        self,
        runtime: &Runtime,
        sink: impl FnOnce(&Inbox, &Counting) -> Result<Sink, Failure>,
    ) -> Result<ExitCode, Failure> {
        let Self { mut settings, links, existing, mut signals, messages, limits, log } = self;
        fit_the_flow_table(&mut settings.traffic, &messages);
        tell_of_idle_rules(&settings, &existing, &messages);
        let entered = runtime.enter();
        let inbox = Inbox::default();
        inbox.stop_at(async move { signals.first().await });
        let sysfs = runtime.block_on(own_sysfs(&links.0)).map_err(Failure::other)?;
        let room = Room::of(existing.len());
        let counting = Counting::start(&settings, room, log, sysfs, &inbox, || {
            privileges::drop_all_but(&privileges::WHILE_RUNNING);
        })
        .map_err(Failure::other)?;
        let sink = sink(&inbox, &counting)?;
        tell_what_is_missing(&counting, &messages, matches!(sink, Sink::Live(_)));
        let sinks = (messages, Upward::Report(Box::new(Report::new(sink))));
        let agent = Agent::new(settings, links, &existing, counting, inbox, sinks);
        drop((entered, existing));
        let (end, upward, messages) =
            beside(runtime, || agent.run(limits, signals::restore)).map_err(Failure::other)?;
        match upward {
            Upward::Report(report) => finish(report.into_sink(), end, &messages),
            Upward::Superior(_) => ended(end),
        }
    }
}

/// Who limits the memory would otherwise have netmon killed when somebody outside fills the table.
fn fit_the_flow_table(settings: &mut TrafficSettings, messages: &Messages) {
    if !settings.wants(Part::Flows) || !settings.keep_flows {
        return;
    }
    let Some(limit) = cgroup::memory_limit(Path::new("/proc")) else { return };
    let wanted = settings.flow_capacity;
    settings.flow_capacity = flows_within(limit, wanted);
    if settings.flow_capacity < wanted {
        messages.warn(&format!(
            "room for {} flows instead of {wanted}, because the control group's memory is limited \
             to {} MiB; a higher limit helps",
            settings.flow_capacity,
            limit >> 20
        ));
    }
}

/// The live view itself says what it lacks.
fn tell_what_is_missing(counting: &Counting, messages: &Messages, live: bool) {
    if let Some(why) = counting.unavailable() {
        messages.warn(&format!("counting without eBPF: {why}"));
    }
    for Missing { part, why } in counting.missing() {
        let told = *part == Part::Flows && counting.unavailable().is_some();
        if !told && !live {
            messages.warn(&format!("no {}: {why}", part.name()));
        }
    }
    if counting.sysfs_is_foreign() {
        messages.warn(
            "/sys/class/net shows another network namespace: netlink tells the state of links; \
             `ip netns exec` enters a namespace with a sysfs of its own",
        );
    }
}

/// What the settings mean where these interfaces exist, and what the user should know of that.
pub(super) fn tell_of_the_selection(
    settings: &Settings,
    existing: &[Link],
    messages: &Messages,
) -> Settings {
    for name in settings.selection.names_like_patterns(existing) {
        messages.say(&format!(
            "'{name}' is the interface of that name; others that are like it are not meant"
        ));
    }
    let mut here = settings.resolved(existing, Literal::First);
    let selection = &mut here.selection;
    for doubled in selection.deduplicate() {
        messages.say(&format!("'{doubled}' was named more than once; it is watched once"));
    }
    for idle in selection.excluded.iter().filter(|s| !existing.iter().any(|l| s.matches(l))) {
        messages.say(&format!("--exclude '{idle}' matches nothing now"));
    }
    for missing in selection.missing(existing) {
        messages.say(&format!("waiting for '{missing}'"));
    }
    here
}

/// Says which rules of the configuration file are about no interface, where there are no other
/// namespaces that they could be about.
fn tell_of_idle_rules(here: &Settings, existing: &[Link], messages: &Messages) {
    for idle in here.idle_rules(existing) {
        messages.say(&format!("[[interface]] match = '{idle}' matches nothing now"));
    }
}

/// How much the programs in the kernel are to say.
pub(super) const fn program_log(quiet: bool, verbose: u8) -> ProgramLog {
    match (quiet, verbose) {
        (true, _) => ProgramLog::Off,
        (false, 0) => ProgramLog::Warnings,
        (false, _) => ProgramLog::Debug,
    }
}

/// Ends what has shown the report, and says what the end means: waits a little for stdout to take
/// the last one.
pub(super) fn finish(sink: Sink, end: End, messages: &Messages) -> Result<ExitCode, Failure> {
    let patience = match (&sink, &end) {
        // So many tables were asked for, be they read page by page. Nothing else waits any more,
        // and a signal ends this.
        (Sink::Table { .. }, End::Limit) => None,
        _ => Some(LAST_REPORT),
    };
    let Some(output) = sink.into_output() else {
        return ended(end);
    };
    let Ended { skipped, complete: _, error } = Output::finish(output, patience);
    if skipped > 0 {
        messages.warn(&format!("{skipped} reports were not written: stdout was blocked"));
    }
    match (error, end) {
        // The end came before it was told.
        (Some(error), End::Limit) => ended(End::Output(error)),
        (_, end) => ended(end),
    }
}

/// What an end means to whoever started netmon.
fn ended(end: End) -> Result<ExitCode, Failure> {
    match end {
        End::Limit | End::Stopped(_) | End::Gone | End::Ordered(_) => Ok(ExitCode::SUCCESS),
        End::Wrong(why) => Err(Failure::Use(anyhow::anyhow!(why))),
        End::Alone(why) => Err(Failure::Other(anyhow::anyhow!(why))),
        End::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        End::Output(error) => {
            Err(Failure::Other(anyhow::Error::new(error).context("cannot write the report")))
        }
        End::Clock(error) => {
            Err(Failure::Other(anyhow::Error::new(error).context("cannot use a timer")))
        }
        End::NoNews => Err(Failure::Other(anyhow::anyhow!("the netlink connection has ended"))),
    }
}
