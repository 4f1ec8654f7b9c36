//! Tables for scripts: their formats, their ends, and that each has everything from its first row
//! on.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, pipe},
};

use anyhow::{Context, Result, ensure};
use netmon_tests::{
    agent::Finished, netns::Namespace, privileges::Privileges, scratch::Scratch,
    terminal::Terminal, traffic_json::Page,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{end_quietly, in_turn, peers, report, send, top, traffic, until};
use crate::{
    Test,
    common::{NETMON, interrupt, is_bare, netmon, pair, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("every_table_in_every_format", || in_turn(every_table_in_every_format)),
    ("a_page_has_the_objects_of_the_report", || in_turn(a_page_has_the_objects_of_the_report)),
    ("a_terminal_obeys_no_name", || in_turn(a_terminal_obeys_no_name)),
    ("texts_are_set_apart", || in_turn(texts_are_set_apart)),
    ("csv_has_one_header", || in_turn(csv_has_one_header)),
    ("no_rows_are_a_table_too", || in_turn(no_rows_are_a_table_too)),
    ("the_only_table_is_of_all_interfaces", || in_turn(the_only_table_is_of_all_interfaces)),
    ("signals_end_it_quietly", || in_turn(signals_end_it_quietly)),
    ("a_closed_stdout_ends_it_quietly", || in_turn(a_closed_stdout_ends_it_quietly)),
    ("the_last_table_that_cannot_be_written", || in_turn(the_last_table_that_cannot_be_written)),
    ("a_file_chooses_interfaces_and_parts", || in_turn(a_file_chooses_interfaces_and_parts)),
    ("the_report_has_the_parts_that_are_asked_for", || in_turn(the_report_has_parts)),
];

/// What `--by` takes, and what JSON calls it.
const TABLES: [(&str, &str); 6] = [
    ("process", "processes"),
    ("flow", "flows"),
    ("protocol", "protocols"),
    ("size", "sizes"),
    ("drop", "drops"),
    ("interface", "interfaces"),
];

/// One table, which must come without a word.
fn once(namespace: &Namespace, arguments: &[&str]) -> Result<Finished> {
    let finished = top(namespace, &["--once", "--interval", "100ms"]).args(arguments).finish()?;
    ensure!((finished.code, finished.stderr.as_str()) == (Some(0), ""), "{finished:?}");
    Ok(finished)
}

fn every_table_in_every_format() -> Result<()> {
    let namespace = veth()?;
    for (by, name) in TABLES {
        let text = once(&namespace, &["--by", by])?.stdout;
        let lines: Vec<&str> = text.lines().collect();
        ensure!(lines.len() >= 2 && lines[0].starts_with("  "), "{text:?}");
        let last = lines.last().copied().unwrap_or_default();
        ensure!(last.ends_with("ok") || last.contains(" above "), "{text:?}");

        let csv = once(&namespace, &["--by", by, "--format", "csv"])?.stdout;
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        ensure!(reader.headers()?.iter().next() == Some("time_ms"), "{csv:?}");
        // As many fields as the header has, or it is an error.
        reader.records().collect::<Result<Vec<_>, _>>()?;

        let json = once(&namespace, &["--by", by, "--format", "json"])?.stdout;
        assert_eq!(json.lines().count(), 1, "{json:?}");
        Page::parse(json.trim_end())?;
        let value: Value = serde_json::from_str(&json)?;
        ensure!(value["traffic"][name].is_array(), "no {name} in {json}");
        let others = TABLES.iter().filter(|(_, other)| *other != name);
        for (_, other) in others {
            ensure!(value["traffic"].get(other).is_none(), "{other} in {json}");
        }
    }
    Ok(())
}

/// The names of the fields of a table's first row, and of what is in them.
fn fields(rows: &Value) -> BTreeSet<String> {
    fn add(value: &Value, path: &str, names: &mut BTreeSet<String>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            add(value, &path, names);
            names.insert(path);
        }
    }
    let mut names = BTreeSet::new();
    add(&rows[0], "", &mut names);
    names
}

fn a_page_has_the_objects_of_the_report() -> Result<()> {
    let (here, there) = pair()?;
    let agent = report(&here, &["--traffic"])?;
    until(&agent, "a first tick", |_| Some(()))?;
    let (mut sender, mut receiver, _) = peers((&here, &there), "tcp", 40_000)?;
    send(&mut sender, &mut receiver)?;
    here.udp(crate::common::NEAR)?.send_to(&[0; 10], (crate::common::NEAR, 9))?;
    let has_all = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        let has = |name: &str| value["traffic"][name][0].is_object();
        TABLES.iter().all(|(_, name)| *name == "drops" || has(name)).then_some(value)
    };
    let tick = agent.stdout()?.wait_for("every table", |lines| has_all(lines.last()?))?;
    for (by, name) in TABLES.iter().filter(|(_, name)| *name != "drops") {
        // A process is told of for as long as it lives, a flow if it goes on.
        let command = top(&here, &["--interval", "100ms", "--format", "json", "--by", by]);
        let table = command.start()?;
        let (mut from, mut to, _) = peers((&here, &there), "tcp", 40_000)?;
        until(&table, "a first table", |_| Some(()))?;
        send(&mut from, &mut to)?;
        let page = table.stdout()?.wait_for("a row", |lines| {
            let value: Value = serde_json::from_str(lines.last()?).ok()?;
            value["traffic"][*name][0].is_object().then_some(value)
        })?;
        assert_eq!(fields(&page["traffic"][*name]), fields(&tick["traffic"][*name]), "{name}");
        let tables: Vec<_> = TABLES.iter().map(|(_, name)| *name).collect();
        for (beside, _) in page["traffic"].as_object().into_iter().flatten() {
            let known = tick["traffic"].get(beside).is_some();
            ensure!(known && (beside == name || !tables.contains(&beside.as_str())), "{beside}");
        }
        end_quietly(table)?;
    }
    interrupt(agent).map(drop)
}

/// An interface's name may hold what a terminal obeys. Files and pipes get it as it is.
fn a_terminal_obeys_no_name() -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.add_veth_up("nt\u{1b}[2J", "peer")?;
    let arguments = ["top", "--once", "--interval", "100ms", "--by", "interface"];
    for format in ["csv", "json"] {
        let arguments = [&arguments[..], &["--format", format]].concat();
        let on_pipe = netmon(&namespace, &arguments).finish()?.stdout;
        let name = if format == "csv" { "nt\u{1b}[2J" } else { r"nt\u001b[2J" };
        ensure!(on_pipe.contains(name), "{on_pipe:?}");
        let start = move || Terminal::start_with(NETMON, &arguments, (140, 30), Privileges::Full);
        let mut terminal = namespace.run(start)?;
        terminal.until_has(if format == "csv" { r"nt\u{1b}[2J" } else { name })?;
        ensure!(terminal.until_end()?.success());
    }
    Ok(())
}

fn texts_are_set_apart() -> Result<()> {
    let arguments = ["--by", "interface", "--count", "3", "--interval", "100ms", "lo"];
    let finished = top(&veth()?, &arguments).finish()?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let tables: Vec<&str> = finished.stdout.split("\n\n").collect();
    assert_eq!(tables.len(), 3, "{finished:?}");
    for table in tables {
        let lines: Vec<&str> = table.trim_end().lines().collect();
        let [header, lo, note] = &lines[..] else { panic!("{table:?}") };
        ensure!(header.starts_with("  INTERFACE ") && lo.starts_with("  lo "), "{table:?}");
        ensure!(note.starts_with("bursts of ") && note.ends_with("; ok"), "{table:?}");
    }
    Ok(())
}

fn csv_has_one_header() -> Result<()> {
    let arguments = ["--by", "interface", "--count", "3", "--interval", "100ms", "--format", "csv"];
    let finished = top(&veth()?, &arguments).args(["lo", "nt0"]).finish()?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let mut reader = csv::Reader::from_reader(finished.stdout.as_bytes());
    let names: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    assert_eq!(names[..3], ["time_ms", "interface", "ifindex"]);
    let rows = reader.records().collect::<Result<Vec<_>, _>>()?;
    let mut interfaces: Vec<&str> = rows.iter().filter_map(|row| row.get(1)).collect();
    interfaces.sort_unstable();
    assert_eq!(interfaces, ["lo", "lo", "lo", "nt0", "nt0", "nt0"]);
    Ok(())
}

fn no_rows_are_a_table_too() -> Result<()> {
    let namespace = veth()?;
    let json = once(&namespace, &["--by", "interface", "--limit", "0", "--format", "json"])?.stdout;
    assert_eq!(Page::parse(json.trim_end())?.traffic.interfaces.map(|rows| rows.len()), Some(0));
    let json = once(&namespace, &["--by", "interface", "--limit", "1", "--format", "json"])?.stdout;
    assert_eq!(Page::parse(json.trim_end())?.traffic.interfaces.map(|rows| rows.len()), Some(1));
    let csv = once(&namespace, &["--by", "flow", "--limit", "0", "--format", "csv"])?.stdout;
    assert_eq!(csv.lines().count(), 1, "{csv}");
    Ok(())
}

/// To attach to so many takes longer than a report waits for its first tick, and not so long that a
/// table gives up on a busy machine. A rate is known of what was attached before.
fn the_only_table_is_of_all_interfaces() -> Result<()> {
    const PAIRS: usize = 12;
    let namespace = Namespace::new()?;
    for number in 0..PAIRS {
        namespace.add_veth_up(&format!("a{number}"), &format!("b{number}"))?;
    }
    let arguments = ["--once", "--interval", "100ms", "--by", "interface", "--format", "json"];
    let finished = top(&namespace, &arguments).finish()?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    // That it takes its time is said, where it does.
    let said = |line: &str| line.starts_with("netmon: attaching to ");
    ensure!(finished.stderr.lines().all(said), "{finished:?}");
    let rows = traffic(finished.stdout.trim_end())?.interfaces.context("no interfaces")?;
    assert_eq!(rows.len(), 2 * PAIRS + 1);
    for row in &rows {
        ensure!(row.rx.bytes_per_s.is_some() && row.tx.bytes_per_s.is_some(), "{row:?}");
    }
    namespace.sysfs_links()?.iter().try_for_each(|link| is_bare(&namespace, link))
}

fn signals_end_it_quietly() -> Result<()> {
    let namespace = veth()?;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        for by in ["flow", "process"] {
            let agent = top(&namespace, &["--by", by, "--interval", "100ms"]).start()?;
            agent.stdout()?.wait_for("a table", |lines| (lines.len() > 2).then_some(()))?;
            agent.signal(signal)?;
            let finished = agent.finish()?;
            let end = (finished.code, finished.stderr.as_str());
            ensure!(end == (Some(0), ""), "{signal}: {finished:?}");
        }
    }
    is_bare(&namespace, "nt0")
}

fn a_closed_stdout_ends_it_quietly() -> Result<()> {
    let namespace = veth()?;
    for format in ["text", "json", "csv"] {
        let (reader, writer) = pipe()?;
        let arguments = ["--by", "interface", "--interval", "100ms", "--format", format];
        let agent = top(&namespace, &arguments).output_to(writer.into()).start()?;
        // As `head -1` does.
        let lines = BufReader::new(reader).lines().take(1).collect::<Result<Vec<_>, _>>()?;
        assert_eq!(lines.len(), 1);
        let finished = agent.finish()?;
        let end = (finished.code, finished.stderr.as_str());
        ensure!(end == (Some(0), ""), "{format}: {finished:?}");
        is_bare(&namespace, "nt0")?;
    }
    Ok(())
}

fn the_last_table_that_cannot_be_written() -> Result<()> {
    let namespace = veth()?;
    let full = || Ok::<_, std::io::Error>(File::options().write(true).open("/dev/full")?.into());
    let arguments = ["--once", "--interval", "100ms", "--by", "interface"];
    let table = top(&namespace, &arguments).output_to(full()?).finish()?;
    let run = crate::common::monitor(&namespace, &["nt0", "--count", "1"]);
    for finished in [table, run.output_to(full()?).finish()?] {
        assert_eq!(finished.code, Some(1), "{finished:?}");
        ensure!(finished.stderr.contains("No space left"), "{finished:?}");
    }
    is_bare(&namespace, "nt0")
}

/// Which tables there are is said by `--by`; a file leaves out only what can be done without.
fn a_file_chooses_interfaces_and_parts() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    let config = "interfaces = ['nt0', 'elsewhere/eth0']\nrecover = true\n\
                  [traffic]\nparts = ['drops']\nflow_capacity = 77\nalert_interface = '1kB'\n";
    let path = scratch.write("netmon.toml", config)?;
    let path = path.to_string_lossy();
    let page = |by: &str, more: &[&str]| {
        let flags = ["--config", &path, "--format", "json", "--by", by];
        let json = once(&namespace, &[&flags[..], more].concat())?.stdout;
        traffic(json.trim_end())
    };
    let rows = page("interface", &[])?.interfaces.context("no interfaces")?;
    assert_eq!(rows.iter().map(|row| row.interface.as_str()).collect::<Vec<_>>(), ["nt0"]);
    assert_eq!(page("flow", &[])?.flow_table.map(|table| table.capacity), Some(77));
    let capacity = page("flow", &["--flow-capacity", "78"])?.flow_table.map(|table| table.capacity);
    assert_eq!(capacity, Some(78), "flags win");
    let rows = page("interface", &["peer"])?.interfaces.context("no interfaces")?;
    assert_eq!(rows.iter().map(|row| row.interface.as_str()).collect::<Vec<_>>(), ["peer"]);
    // A viewer sets nothing up.
    namespace.set_down("nt0")?;
    page("interface", &[])?;
    ensure!(!namespace.is_up("nt0")?, "it was set up");
    Ok(())
}

fn the_report_has_parts() -> Result<()> {
    let namespace = veth()?;
    for (flag, parts) in [
        ("--traffic=flows", [true, false, false]),
        ("--traffic=processes,drops", [false, true, true]),
        ("--traffic", [true, true, true]),
    ] {
        let agent = report(&namespace, &[flag])?;
        let told = until(&agent, "a tick", |it| Some(it.clone()))?;
        assert!(told.missing.is_empty(), "{told:?}");
        let is = [told.flows.is_some(), told.processes.is_some(), told.drops.is_some()];
        assert_eq!(is, parts, "{flag}");
        assert_eq!(told.interfaces.is_some(), parts[0], "{flag}");
        interrupt(agent)?;
    }
    let agent = crate::common::json(&namespace, &["--all"])?;
    ensure!(agent.fresh_tick()?.traffic.is_none());
    interrupt(agent).map(drop)
}
