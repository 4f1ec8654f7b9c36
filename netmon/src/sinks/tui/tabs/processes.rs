//! Processes: who sends and receives.

use super::{RowId, Tab, Tell, Width, column};
use crate::model::traffic::facts::{Part, SocketTraffic};
use crate::model::traffic::view::ProcessView;
use crate::sinks::tui::cell::Cell;
use crate::sinks::tui::data::{Data, plus};
use crate::sinks::tui::theme::Tone;

pub(super) const TAB: Tab = Tab {
    title: "Processes",
    short: "Proc",
    rows: "processes",
    part: Some(Part::Processes),
    columns: &[
        column("PROCESS", 0, Width::Between(8, 20), |d, i| Cell::Text(&of(d, i).name)),
        column("PID", 0, Width::Digits(7), |d, i| Cell::Number(of(d, i).pid.into())),
        column("USER", 2, Width::Between(6, 12), user),
        column("RX", 0, Width::Rate, |d, i| Cell::rate(of(d, i).rx.now)),
        column("TX", 0, Width::Rate, |d, i| Cell::rate(of(d, i).tx.now)),
        column("AVG", 1, Width::Rate, |d, i| {
            Cell::rate(plus(of(d, i).rx.average, of(d, i).tx.average))
        }),
        column("RXPEAK", 6, Width::Rate, |d, i| Cell::rate(of(d, i).rx.peak)),
        column("TXPEAK", 6, Width::Rate, |d, i| Cell::rate(of(d, i).tx.peak)),
        column("RXTOTAL", 1, Width::Amount, |d, i| Cell::Bytes(sum(d, i, |s| s.rx_bytes))),
        column("TXTOTAL", 1, Width::Amount, |d, i| Cell::Bytes(sum(d, i, |s| s.tx_bytes))),
        column("TCP", 7, Width::Amount, |d, i| Cell::Bytes(carried(&of(d, i).tcp))),
        column("UDP", 7, Width::Amount, |d, i| Cell::Bytes(carried(&of(d, i).udp))),
        column("MSGS", 8, Width::Count, |d, i| {
            Cell::Count(sum(d, i, |s| s.rx_messages.saturating_add(s.tx_messages)))
        }),
        column("UNIT", 3, Width::Between(12, 24), |d, i| Cell::text(of(d, i).cgroup.as_deref())),
        column("LAST 3 MIN", 4, Width::Picture(12, 30), |_, _| Cell::Spark),
        column("COMMAND", 5, Width::Between(20, 120), |d, i| {
            Cell::text(of(d, i).command.as_deref())
        }),
    ],
    sort: 5,
    count: |data| data.processes().len(),
    id: |data, row| RowId::of_process(of(data, row)),
    tone: |data, row| match of(data, row) {
        process if process.alert => Tone::Warning,
        process if !process.alive => Tone::Faint,
        _ => Tone::Plain,
    },
    detail,
};

fn of(data: &Data, row: usize) -> &ProcessView {
    &data.processes()[row]
}

fn user(data: &Data, row: usize) -> Cell<'_> {
    let process = of(data, row);
    process.user.as_deref().map_or(Cell::Number(process.uid.into()), Cell::Text)
}

fn sum(data: &Data, row: usize, of_sockets: fn(&SocketTraffic) -> u64) -> u64 {
    let process = of(data, row);
    of_sockets(&process.tcp).saturating_add(of_sockets(&process.udp))
}

const fn carried(sockets: &SocketTraffic) -> u64 {
    sockets.rx_bytes.saturating_add(sockets.tx_bytes)
}

fn detail(data: &Data, row: usize, tell: &mut Tell<'_>) {
    let process = of(data, row);
    tell("", Cell::Text(&process.name));
    tell("pid", Cell::Number(process.pid.into()));
    tell("", Cell::Text(if process.alive { "running" } else { "ended" }));
    if process.kernel_thread {
        tell("", Cell::Text("kernel thread"));
    }
    tell("user", user(data, row));
    tell("unit", Cell::text(process.cgroup.as_deref()));
    for (name, sockets) in [("tcp", &process.tcp), ("udp", &process.udp)] {
        if sockets.rx_messages > 0 || sockets.tx_messages > 0 {
            tell(&format!("{name} rx"), Cell::Bytes(sockets.rx_bytes));
            tell(&format!("{name} tx"), Cell::Bytes(sockets.tx_bytes));
            tell("messages", Cell::Count(sockets.rx_messages.saturating_add(sockets.tx_messages)));
        }
    }
    tell("command", Cell::text(process.command.as_deref()));
}
