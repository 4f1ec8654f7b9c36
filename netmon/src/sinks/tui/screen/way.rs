//! Where Enter leads from a row.

use super::state::{Scope, Way};
use crate::model::link::IfIndex;
use crate::sinks::tui::data::Data;
use crate::sinks::tui::tabs::{RowId, TabName};

/// From an interface to its flows, from a flow to its process, from a process to its flows, and
/// from what happened at an interface to that interface.
pub(super) fn way(data: &Data, name: TabName, row: Option<u32>) -> Way {
    let Some(row) = row else { return Way::Nowhere("there is no row") };
    let row = row as usize;
    match name {
        TabName::Interfaces => {
            let view = &data.shown.interfaces[row];
            match view.ifindex {
                Some(ifindex) => Way::Flows(Scope::Interface(ifindex, view.name.clone())),
                None => Way::Nowhere("the interface does not exist"),
            }
        }
        TabName::Processes => {
            let process = &data.processes()[row];
            let name = process.name.clone();
            Way::Flows(Scope::Process { id: process.id, pid: process.pid, name })
        }
        TabName::Flows => match &data.flows()[row].process {
            Some(process) => {
                let name = process.name.clone();
                Way::Flows(Scope::Process { id: process.id, pid: process.pid, name })
            }
            None => Way::Nowhere("no process here has this flow's socket"),
        },
        TabName::Protocols => {
            let place = data.classes[row].interface;
            let traffic = place.and_then(|place| data.interface_traffic().get(place));
            to_interface(data, traffic.map(|traffic| traffic.ifindex))
        }
        TabName::Drops => to_interface(data, data.drops()[row].ifindex),
        TabName::Events => {
            let interface = data.event(row).event.interface.as_deref();
            let view = data.shown.interfaces.iter().find(|view| Some(&*view.name) == interface);
            view.map_or(NONE, |view| Way::Interface(RowId::Interface(view.key)))
        }
    }
}

const NONE: Way = Way::Nowhere("it belongs to no interface that is shown");

fn to_interface(data: &Data, ifindex: Option<IfIndex>) -> Way {
    let view = ifindex.and_then(|ifindex| data.interface(ifindex));
    view.map_or(NONE, |view| Way::Interface(RowId::Interface(view.key)))
}
