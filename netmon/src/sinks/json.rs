//! JSON: one object a tick, one tick a line. Field names are stable; `null` is "not known".

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::model::accounting::Traffic;
use crate::model::event::Event;
use crate::model::link::IfIndex;
use crate::model::snapshot::Source;
use crate::model::view::{DirectionView, Drift, InterfaceView, View};
use crate::sinks::traffic::json as traffic;

#[derive(Serialize)]
struct Tick<'a> {
    time_ms: u64,
    tick: u64,
    elapsed_s: Option<f64>,
    read_us: f64,
    #[serde(serialize_with = "due")]
    interfaces: &'a [InterfaceView],
    events: &'a [Event],
    /// Not there without traffic, rather than `null`: most runs have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<traffic::Traffic<'a>>,
}

#[derive(Serialize)]
struct Interface<'a> {
    interface: &'a str,
    ifindex: Option<IfIndex>,
    admin_state: Option<&'static str>,
    state: Option<&'static str>,
    state_reason: &'static str,
    source: Source,
    hook: &'a str,
    up_count: Option<u64>,
    down_count: Option<u64>,
    rx: Direction<'a>,
    tx: Direction<'a>,
}

#[derive(Serialize)]
struct Direction<'a> {
    bytes: Option<u64>,
    packets: Option<u64>,
    dropped: Option<u64>,
    errors: Option<u64>,
    bytes_per_s: Option<f64>,
    packets_per_s: Option<f64>,
    skb: &'a Option<Traffic>,
    wire: &'a Option<Traffic>,
    kernel: &'a Option<Traffic>,
    drift: &'a Option<Drift>,
}

/// Adds one line.
pub fn write(view: &View, buffer: &mut Vec<u8>) {
    write_with(view, None, buffer);
}

/// Adds one line, with an object `traffic` where there is some.
pub fn write_with(view: &View, traffic: Option<traffic::Traffic<'_>>, buffer: &mut Vec<u8>) {
    let tick = Tick {
        time_ms: milliseconds(view.time),
        tick: view.tick,
        elapsed_s: view.elapsed.map(|elapsed| elapsed.as_secs_f64()),
        read_us: view.reading.as_secs_f64() * 1e6,
        interfaces: &view.interfaces,
        events: &view.events,
        traffic,
    };
    let start = buffer.len();
    if let Err(error) = serde_json::to_writer(&mut *buffer, &tick) {
        // Writing into memory fails only for values that this structure does not have.
        tracing::error!("no JSON for tick {}: {error}", view.tick);
        buffer.truncate(start);
        return;
    }
    buffer.push(b'\n');
}

/// Milliseconds since 1970 (0 before).
pub(super) fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The word for `IFF_UP`.
pub(super) const fn admin_state(admin_up: Option<bool>) -> Option<&'static str> {
    match admin_up {
        Some(true) => Some("up"),
        Some(false) => Some("down"),
        None => None,
    }
}

fn due<S: serde::Serializer>(views: &[InterfaceView], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(views.iter().filter(|view| view.due).map(interface))
}

fn interface(view: &InterfaceView) -> Interface<'_> {
    Interface {
        interface: &view.name,
        ifindex: view.ifindex,
        admin_state: admin_state(view.admin_up),
        state: view.state,
        state_reason: view.state_reason,
        source: view.source,
        hook: &view.hook,
        up_count: view.up_count,
        down_count: view.down_count,
        rx: direction(&view.rx),
        tx: direction(&view.tx),
    }
}

fn direction(view: &DirectionView) -> Direction<'_> {
    let DirectionView { bytes, packets, dropped, errors, rate, skb, wire, kernel, drift } = view;
    Direction {
        bytes: *bytes,
        packets: *packets,
        dropped: *dropped,
        errors: *errors,
        bytes_per_s: rate.map(|rate| rate.bytes),
        packets_per_s: rate.map(|rate| rate.packets),
        skb,
        wire,
        kernel,
        drift,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::samples;

    #[test]
    fn json_is_exactly_this() {
        let mut buffer = Vec::new();
        write(&samples::view(), &mut buffer);
        assert_eq!(buffer.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        let written: serde_json::Value = serde_json::from_slice(&buffer).unwrap();
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("golden/tick.json")).unwrap();
        assert_eq!(written, golden);
    }

    #[test]
    fn traffic_is_one_field_more() {
        let view = crate::model::traffic::view::TrafficView::default();
        let (selection, names) = Default::default();
        let traffic = traffic::Traffic::all(&view, &selection, &names);
        let mut buffer = Vec::new();
        write_with(&samples::view(), Some(traffic), &mut buffer);
        let mut written: serde_json::Value = serde_json::from_slice(&buffer).unwrap();
        let traffic = written.as_object_mut().unwrap().remove("traffic").unwrap();
        assert_eq!(traffic["alerts"]["flows"], 0);
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("golden/tick.json")).unwrap();
        assert_eq!(written, golden, "the rest is the same");
    }
}
