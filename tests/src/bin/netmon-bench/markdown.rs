//! BENCHMARKS.md: the figures with the machine and the command that made them, and how to read
//! them. Nobody edits it by hand.

use std::fmt::Write;

use crate::machine::Machine;
use crate::measure::Results;
use crate::samples::{Row, Table};

/// What stands before the figures.
const READING: &str = "\
Written by `cargo xtask bench --save`; run it (as root) to have the same figures of your machine.

How to read it: everything is measured in one run, each contender alternately with the one that \
it is compared to, and shown as the median of the rounds ± their spread (half the distance \
between the quartiles). Comparisons are made round by round, so that what disturbs a round \
disturbs both; times on their own are this machine's, ratios carry over. A bound that is exceeded \
makes the command fail; one that is not reachable does not: what the figure would be at best was \
measured in the same run, and misses it, too.";

/// The name that a part's tables begin with, its heading, and what it measures.
const PARTS: [(&str, &str, &str); 7] = [
    (
        "packet",
        "A packet in the kernel",
        "Each program is run on one packet over and over (`BPF_PROG_TEST_RUN`), and so is one \
         that returns at once. Both are loaded anew again and again: where in its memory the kernel \
         puts a program makes up to a nanosecond's difference. The program for frames in several \
         buffers has to call a helper for the length; it is attached only where a driver refuses \
         the other one.",
    ),
    (
        "tick",
        "A tick",
        "CPU time of everything that a program does for one report, its threads and child \
         processes and the writing of the report included, in user space and in the kernel. \
         Nothing flows through the interfaces (veth pairs). “netmon's system calls alone” is the \
         floor: a process that makes the same system calls (it waits for a timer, has the kernel \
         dump its counters, reads a mapped array, writes a report of the same length) and does \
         nothing else, so it knows no interface's name or number. netmon is \
         compared to it, and everything else to netmon. Where not even this floor is so much \
         cheaper than a process for each interface as netmon has to be, that bound is not \
         reachable: it is the kernel's time that is in the way. The readers do what the classic \
         design does: open, read and close eleven files of sysfs for each interface. The other \
         programs are those that were installed; each reports every interface, ifstat two \
         numbers of it. All run at once, and all but one are stopped (SIGSTOP).",
    ),
    (
        "start",
        "Start, end and memory",
        "Attaching and detaching takes the kernel some 12 ms for each program; until all are \
         attached, the report shows the kernel's own counters.",
    ),
    (
        "workers",
        "A process for each interface",
        "`netmon run --workers`: the network monitor, the launcher and all interface monitors, \
         against the classic design: a process for each interface that opens, reads and closes \
         its eleven files and prints under a file's lock. Memory is proportional (PSS): what \
         processes share counts in parts.",
    ),
    (
        "forward",
        "What a router forwards",
        "Three namespaces in a row, joined by veth pairs; packets go through the middle one, \
         whose ports are watched. The small packets come from a packet socket (AF_PACKET, \
         sendmmsg) on one CPU, which does all that is done with them; bulk TCP (a connection for \
         each pair of ports, up to eight) has its senders and receivers on one CPU, too. Both go \
         before all other threads of the machine (SCHED_FIFO). “Empty TCX programs” do nothing and are \
         attached where netmon's are: they tell what the hook costs. “Nothing, again” tells what \
         the noise is.",
    ),
    (
        "traffic",
        "Who and what",
        "Two namespaces joined by a veth pair, netmon in the receiver's, with `--traffic` or parts \
         of it. The datagrams are sent and received by one thread, so nobody waits for anybody; \
         each passes one hook of netmon's and two tracepoints, that of sending and that of \
         receiving, which on other machines than this are on two. Other monitors, as far as they are \
         installed, run in the same namespace. “Many” has all flows and \
         processes active in each second; the live view draws ten frames a second, because a key \
         is typed for each.",
    ),
    ("soak", "A long run", "Memory must not grow, and a tick wakes the process once."),
];

pub(crate) fn document(results: &Results) -> String {
    let Results { machine, date, commit, command, tables } = results;
    let mut text = format!("# Benchmarks\n\n{READING}\n\n");
    let _ = write!(
        text,
        "- Machine: {}\n- Date: {date}\n- Commit: {commit}\n- Command: `{command}`\n",
        describe(machine)
    );
    for (name, heading, about) in PARTS {
        let mut tables = tables.iter().filter(|table| table.name.starts_with(name)).peekable();
        if tables.peek().is_some() {
            let _ = write!(text, "\n## {heading}\n\n{about}\n");
        }
        tables.for_each(|table| add(&mut text, table));
    }
    text
}

fn describe(machine: &Machine) -> String {
    let Machine { kernel, architecture, cpu, cpus, memory_gib, virtual_machine } = machine;
    let kind = if *virtual_machine { "a virtual machine" } else { "no virtual machine" };
    format!("{kernel} ({architecture}), {cpus} CPUs ({cpu}), {memory_gib:.0} GiB, {kind}")
}

fn add(text: &mut String, table: &Table) {
    let Table { name, about, rows } = table;
    let _ = write!(text, "\n**{name}**: {about}.\n\n");
    text.push_str("| | measured | compared | bound | |\n|---|---:|---|---|---|\n");
    for Row { name, unit, value, compared } in rows {
        let (mut figure, mut bound, mut verdict) = (String::new(), String::new(), String::new());
        if let Some(compared) = compared {
            figure = format!("{} {}", compared.value, compared.how);
            bound = compared.bound.map(|bound| bound.to_string()).unwrap_or_default();
            verdict = compared.verdict();
        }
        let _ = writeln!(text, "| {name} | {value} {unit} | {figure} | {bound} | {verdict} |");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Bound;

    #[test]
    fn a_table_has_each_figure_with_its_bound_and_verdict() {
        let row = Row::new("one", "ns", &[2.0]).compared("ns over", &[4.0], None);
        let bound = Some(Bound::AtLeast(9.0));
        let beyond = Row::new("four", "µs", &[5.0]).compared("times", &[6.0], bound);
        let over = Row::new("two", "s", &[5.0]).bounded(&[5.0], Bound::AtMost(3.0));
        let table = Table {
            name: "packet".to_owned(),
            about: "about".to_owned(),
            rows: vec![row, over, Row::new("three", "", &[1.0]), beyond.at_best(&[8.0])],
        };
        let mut text = String::new();
        add(&mut text, &table);
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert_eq!(
            lines,
            [
                "| one | 2.00 ±0.000 ns | 4.00 ±0.000 ns over |  |  |",
                "| two | 5.00 ±0.000 s | 5.00 ±0.000 s | at most 3.00 | EXCEEDED |",
                "| three | 1.00 ±0.000  |  |  |  |",
                "| four | 5.00 ±0.000 µs | 6.00 ±0.000 times | at least 9.00 | \
                 not reachable: at best 8.00 ±0.000 |",
            ]
        );
    }
}
