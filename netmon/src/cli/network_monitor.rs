//! `netmon run --workers`: what it takes to start a network monitor.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tokio::runtime::Runtime;

use super::Failure;
use super::alone::finish;
use super::signals::{self, Signals};
use crate::agent::{Limits, LineFormat, Report, Sink};
use crate::config::Settings;
use crate::model::link::Link;
use crate::model::traffic::names::Names;
use crate::model::traffic::selection::Selection;
use crate::privileges;
use crate::sinks::messages::Messages;
use crate::sinks::output::Output;
use crate::sources::netlink::links::{Links, News};
use crate::workers::launcher::{self, Launcher, Reach};
use crate::workers::namespace::{self, Where};
use crate::workers::network_monitor::{Elsewhere, NetworkMonitor, Parts};
use crate::workers::socket;

/// What was asked for.
pub(super) struct Asked {
    pub(super) settings: Settings,
    pub(super) elsewhere: Elsewhere,
    pub(super) elsewhere_excluded: Elsewhere,
    pub(super) socket: Option<PathBuf>,
    pub(super) limits: Limits,
    pub(super) log: bool,
}

/// Starts it and waits for its end.
pub(super) fn start(
    asked: Asked,
    runtime: &Runtime,
    (links, news): (Links, News),
    existing: &[Link],
    mut signals: Signals,
    (messages, output): (Messages, Output),
) -> Result<ExitCode, Failure> {
    if !asked.settings.wait {
        check(&asked.elsewhere)?;
    }
    let entered = runtime.enter();
    let path = match asked.socket {
        Some(path) => path,
        None => socket::default_path().map_err(Failure::usage)?,
    };
    let socket = socket::bind(&path).map_err(Failure::other)?;
    let inode = namespace::own().context("no /proc").map_err(Failure::Other)?;
    let launcher = Launcher::start(Reach::of(asked.elsewhere.is_empty()))
        .context("cannot start the process that starts interface monitors")
        .map_err(Failure::Other)?;
    privileges::drop_all_but(&[]);
    let own = !asked.settings.selection.wanted.is_empty();
    let format = LineFormat::of(asked.settings.format, Selection::default(), Names::default());
    let mut monitor = NetworkMonitor::new(Parts {
        settings: asked.settings,
        own: inode,
        elsewhere: asked.elsewhere,
        elsewhere_excluded: asked.elsewhere_excluded,
        socket,
        launcher,
        messages,
        report: Report::new(Sink::lines(output, format)),
        log: asked.log,
    })
    .map_err(Failure::other)?;
    monitor.stop_at(async move { signals.first().await });
    match own {
        true => monitor.watch_own((links, news), existing),
        // Nobody would read what is subscribed to.
        false => drop((links, news)),
    }
    drop(entered);
    let (end, report, messages) = runtime.block_on(monitor.run(asked.limits, signals::restore));
    finish(report.into_sink(), end, &messages)
}

/// Namespaces that were asked for have to be there, and to be some.
fn check(elsewhere: &Elsewhere) -> Result<(), Failure> {
    let wrong = |error: String| {
        let hint = "use --wait to wait for namespaces that come later";
        Failure::Use(anyhow::anyhow!("{error}\n{hint}"))
    };
    for (place, _) in elsewhere {
        let found = namespace::resolve(place).map_err(|error| wrong(error.to_string()))?;
        if !matches!(place, Where::Pattern(_)) {
            found.iter().try_for_each(|(_, path)| launcher::check(path)).map_err(wrong)?;
        }
    }
    Ok(())
}
