//! `netmon workers`: how the interface monitors of the running network monitor are.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::Failure;
use super::args::WorkersArgs;
use crate::model::human::Printable;
use crate::model::options::CompareFormat;
use crate::sources::process;
use crate::sources::trace::users::Users;
use crate::workers::inquiry;
use crate::workers::protocol::{Processes, WorkerStatus};
use crate::workers::socket;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What /proc says of a process. `None`: it is not running, or not ours to see.
#[derive(Default, Serialize)]
struct Usage {
    /// Its user id.
    uid: Option<u32>,
    cpu_ms: Option<u64>,
    pss_kib: Option<u64>,
    /// What any of its threads may do.
    capabilities: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Worker {
    #[serde(flatten)]
    status: WorkerStatus,
    #[serde(flatten)]
    usage: Usage,
}

/// The network monitor, or what starts processes for it.
#[derive(Serialize)]
struct Central {
    pid: u32,
    #[serde(flatten)]
    usage: Usage,
}

/// All that there is to show.
#[derive(Serialize)]
struct Everything {
    monitor: Central,
    launcher: Option<Central>,
    workers: Vec<Worker>,
}

pub(super) fn workers(args: &WorkersArgs) -> Result<ExitCode, Failure> {
    let path = match &args.socket {
        Some(path) => path.clone(),
        None => socket::default_path().map_err(Failure::usage)?,
    };
    let (Processes { monitor, launcher }, workers) =
        inquiry::ask(&path, PATIENCE).map_err(Failure::other)?;
    let central = |pid| Central { pid, usage: Usage::of(pid) };
    let worker = |status: WorkerStatus| {
        let usage = status.pid.map(Usage::of).unwrap_or_default();
        Worker { status, usage }
    };
    let everything = Everything {
        monitor: central(monitor),
        launcher: launcher.map(central),
        workers: workers.into_iter().map(worker).collect(),
    };
    let text = match args.format {
        CompareFormat::Text => table(&everything),
        CompareFormat::Json => {
            serde_json::to_string(&everything).map(|json| json + "\n").map_err(Failure::other)?
        }
    };
    let written = std::io::stdout().write_all(text.as_bytes());
    written.context("cannot write the list").map_err(Failure::Other)?;
    Ok(ExitCode::SUCCESS)
}

impl Usage {
    fn of(pid: u32) -> Self {
        let names = process::capabilities(pid).ok().map(|held| {
            let mut names: Vec<String> = held.iter().map(ToString::to_string).collect();
            names.sort();
            names
        });
        Self {
            uid: process::user(pid).ok(),
            cpu_ms: process::cpu_time(pid).ok().map(|time| time.as_millis() as u64),
            pss_kib: process::proportional_memory(pid).ok(),
            capabilities: names,
        }
    }

    fn cells(&self, users: &mut Users) -> [String; 4] {
        let Self { uid, cpu_ms, pss_kib, capabilities } = self;
        let user =
            uid.map(|uid| users.name(uid).map_or_else(|| uid.to_string(), |it| it.to_string()));
        let privileges = capabilities.as_ref().map(|names| match names.as_slice() {
            [] => "none".to_owned(),
            names => names.join(" "),
        });
        [
            or_dash(cpu_ms.map(|ms| format!("{:.2} s", ms as f64 / 1000.0))),
            or_dash(pss_kib.map(|kib| format!("{kib} KiB"))),
            or_dash(user),
            or_dash(privileges),
        ]
    }
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// What a terminal would obey is shown instead.
fn printable(text: &str) -> String {
    Printable(text).to_string()
}

const COLUMNS: usize = 10;

fn table(everything: &Everything) -> String {
    let Everything { monitor, launcher, workers } = everything;
    let head = [
        "INTERFACE",
        "NAMESPACE",
        "PID",
        "STATE",
        "RESTARTS",
        "LAST MESSAGE",
        "CPU",
        "PSS",
        "USER",
        "PRIVILEGES",
    ];
    let mut users = Users::new("/etc/passwd");
    let central = [("(monitor)", Some(monitor)), ("(launcher)", launcher.as_ref())];
    let central = central.into_iter().filter_map(|(name, it)| Some((name, it?)));
    let mut rows: Vec<[String; COLUMNS]> =
        central.map(|(name, it)| central_row(name, it, &mut users)).collect();
    rows.extend(workers.iter().map(|worker| row(worker, &mut users)));
    let mut widths = head.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head.map(str::to_owned)).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing into memory does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn central_row(name: &str, central: &Central, users: &mut Users) -> [String; COLUMNS] {
    let [cpu, pss, user, privileges] = central.usage.cells(users);
    let dash = || or_dash(None);
    let pid = central.pid.to_string();
    [name.to_owned(), dash(), pid, "running".to_owned(), dash(), dash(), cpu, pss, user, privileges]
}

fn row(worker: &Worker, users: &mut Users) -> [String; COLUMNS] {
    let Worker { status, usage } = worker;
    let pid = status
        .pid
        .map(|pid| if status.launched { pid.to_string() } else { format!("{pid} (by hand)") });
    let last = status.last_message.as_ref().zip(status.last_message_ms);
    let last =
        last.map(|(name, ms)| format!("{}, {:.1} s ago", Printable(name), ms as f64 / 1000.0));
    let [cpu, pss, user, privileges] = usage.cells(users);
    [
        printable(&status.interface),
        or_dash(status.namespace.as_deref().map(printable)),
        or_dash(pid),
        printable(&status.state),
        status.restarts.to_string(),
        or_dash(last),
        cpu,
        pss,
        user,
        privileges,
    ]
}
