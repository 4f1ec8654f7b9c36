//! `netmon workers`: how the interface monitors of the running network monitor are.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use caps::CapSet;
use serde::Serialize;

use super::Failure;
use super::args::WorkersArgs;
use crate::model::options::CompareFormat;
use crate::sources::process;
use crate::workers::inquiry;
use crate::workers::protocol::WorkerStatus;
use crate::workers::socket;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A worker and what /proc says of its process. `None`: it is not running, or not ours to see.
#[derive(Serialize)]
struct Worker {
    #[serde(flatten)]
    status: WorkerStatus,
    cpu_ms: Option<u64>,
    pss_kib: Option<u64>,
    capabilities: Option<Vec<String>>,
}

pub(super) fn workers(args: &WorkersArgs) -> Result<ExitCode, Failure> {
    let path = match &args.socket {
        Some(path) => path.clone(),
        None => socket::default_path().map_err(Failure::usage)?,
    };
    let workers = inquiry::ask(&path, PATIENCE).map_err(Failure::other)?;
    let workers: Vec<Worker> = workers.into_iter().map(look_up).collect();
    let text = match args.format {
        CompareFormat::Text => table(&workers),
        CompareFormat::Json => {
            serde_json::to_string(&workers).map(|json| json + "\n").map_err(Failure::other)?
        }
    };
    let written = std::io::stdout().write_all(text.as_bytes());
    written.context("cannot write the list").map_err(Failure::Other)?;
    Ok(ExitCode::SUCCESS)
}

fn look_up(status: WorkerStatus) -> Worker {
    let of = |pid: u32| {
        let cpu = process::cpu_time(pid).ok().map(|time| time.as_millis() as u64);
        let held = caps::read(Some(pid.cast_signed()), CapSet::Permitted).ok();
        let names = held.map(|held| {
            let mut names: Vec<String> = held.iter().map(ToString::to_string).collect();
            names.sort();
            names
        });
        (cpu, process::proportional_memory(pid).ok(), names)
    };
    let (cpu_ms, pss_kib, capabilities) = status.pid.map(of).unwrap_or_default();
    Worker { status, cpu_ms, pss_kib, capabilities }
}

fn table(workers: &[Worker]) -> String {
    let head =
        ["INTERFACE", "PID", "STATE", "RESTARTS", "LAST MESSAGE", "CPU", "PSS", "PRIVILEGES"];
    let rows: Vec<[String; 8]> = workers.iter().map(row).collect();
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

fn row(worker: &Worker) -> [String; 8] {
    let Worker { status, cpu_ms, pss_kib, capabilities } = worker;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let pid = status
        .pid
        .map(|pid| if status.launched { pid.to_string() } else { format!("{pid} (by hand)") });
    let last = status.last_message.as_ref().zip(status.last_message_ms);
    let last = last.map(|(name, ms)| format!("{name}, {:.1} s ago", ms as f64 / 1000.0));
    let privileges = capabilities.as_ref().map(|names| match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(" "),
    });
    [
        status.interface.clone(),
        or_dash(pid),
        status.state.clone(),
        status.restarts.to_string(),
        or_dash(last),
        or_dash(cpu_ms.map(|ms| format!("{:.2} s", ms as f64 / 1000.0))),
        or_dash(pss_kib.map(|kib| format!("{kib} KiB"))),
        or_dash(privileges),
    ]
}
