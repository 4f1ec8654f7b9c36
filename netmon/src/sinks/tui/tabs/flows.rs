//! Flows: what goes where, forwarded traffic included.

use super::{RowId, Tab, Tell, Width, column};
use crate::model::traffic::facts::Part;
use crate::model::traffic::names::End;
use crate::model::traffic::protocol::Protocol;
use crate::model::traffic::view::FlowView;
use crate::sinks::tui::cell::Cell;
use crate::sinks::tui::data::Data;
use crate::sinks::tui::theme::Tone;

pub(super) const TAB: Tab = Tab {
    title: "Flows",
    short: "Flows",
    rows: "flows",
    part: Some(Part::Flows),
    columns: &[
        column("IF", 0, Width::Between(5, 15), |d, i| Cell::Text(&of(d, i).interface)),
        column("DIR", 1, Width::Exactly(3), |d, i| Cell::Text(of(d, i).key.direction.name())),
        column("PROTO", 0, Width::Between(5, 6), protocol),
        column("SOURCE", 0, Width::Between(16, 47), |d, i| end(of(d, i), End::Source)),
        column("DESTINATION", 0, Width::Between(16, 47), |d, i| end(of(d, i), End::Destination)),
        column("RATE", 0, Width::Rate, |d, i| Cell::rate(of(d, i).speed().now)),
        column("AVG", 3, Width::Rate, |d, i| Cell::rate(of(d, i).speed().average)),
        column("PEAK", 5, Width::Rate, |d, i| Cell::rate(of(d, i).speed().peak)),
        column("PKT/S", 4, Width::Count, |d, i| {
            of(d, i).packets_per_s().map_or(Cell::Absent, Cell::PerSecond)
        }),
        column("BYTES", 2, Width::Amount, |d, i| Cell::Bytes(of(d, i).wire.bytes)),
        column("PKTS", 7, Width::Count, |d, i| Cell::Count(of(d, i).wire.packets)),
        column("AGE", 5, Width::Digits(6), |d, i| Cell::Ago(of(d, i).first.get())),
        column("IDLE", 6, Width::Digits(6), |d, i| Cell::Ago(of(d, i).last.get())),
        column("VLAN", 9, Width::Digits(4), |d, i| {
            of(d, i).key.vlan.map_or(Cell::Absent, |vlan| Cell::Number(vlan.into()))
        }),
        column("FLAGS", 8, Width::Exactly(8), flags),
        column("PROCESS", 1, Width::Between(7, 20), |d, i| {
            Cell::text(of(d, i).process.as_ref().map(|process| &*process.name))
        }),
    ],
    sort: 5,
    count: |data| data.flows().len(),
    id: |data, row| RowId::Flow { id: of(data, row).id, life: of(data, row).life },
    tone: |data, row| if of(data, row).alert { Tone::Warning } else { Tone::Plain },
    detail,
};

fn of(data: &Data, row: usize) -> &FlowView {
    &data.flows()[row]
}

fn protocol(data: &Data, row: usize) -> Cell<'_> {
    Cell::Short(data.names.protocol(of(data, row).key.protocol))
}

fn end(flow: &FlowView, end: End) -> Cell<'_> {
    let port = flow.key.port(end);
    flow.key.address(end).map_or(Cell::Absent, |address| Cell::Address(address, port))
}

fn flags(data: &Data, row: usize) -> Cell<'_> {
    let flow = of(data, row);
    if flow.key.protocol == Protocol::Ip(6) { Cell::Flags(flow.tcp_flags) } else { Cell::Absent }
}

fn detail(data: &Data, row: usize, tell: &mut Tell<'_>) {
    let flow = of(data, row);
    tell("", Cell::Text(&flow.interface));
    tell("", Cell::Text(flow.key.direction.name()));
    tell("", protocol(data, row));
    for (name, end) in [("from", End::Source), ("to", End::Destination)] {
        let endpoint = data.names.endpoint(&flow.key, end);
        tell(name, endpoint.as_deref().map_or(Cell::Absent, Cell::Text));
    }
    if let Some((kind, code)) = flow.key.icmp() {
        tell("type", Cell::Number(kind.into()));
        tell("code", Cell::Number(code.into()));
    }
    if let Some(vlan) = flow.key.vlan {
        tell("VLAN", Cell::Number(vlan.into()));
    }
    if let Some(process) = &flow.process {
        tell("process", Cell::Text(&process.name));
        tell("pid", Cell::Number(process.pid.into()));
    }
    tell("packets", Cell::Count(flow.wire.packets));
    tell("peak", Cell::rate(flow.speed().peak));
    tell("age", Cell::Ago(flow.first.get()));
    tell("idle", Cell::Ago(flow.last.get()));
    if flow.key.protocol == Protocol::Ip(6) {
        tell("flags", Cell::Flags(flow.tcp_flags));
    }
    if flow.estimate {
        tell("", Cell::Text("scaled from a sample"));
    }
}
