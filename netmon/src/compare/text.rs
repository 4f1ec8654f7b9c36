//! A result as text.

use std::fmt::Write as _;

use super::change::{Change, Changes};
use super::outcome::{Compared, Costs, Difference, Direction, Outcome, Setting};
use crate::model::accounting::Traffic;
use crate::model::human::Printable;

/// Adds the result to `text`.
pub fn write(text: &mut String, outcome: &Outcome) {
    let Setting { kernel, cpus, interval_s, duration_s, ticks, .. } = &outcome.setting;
    line(
        text,
        format_args!(
            "{duration_s:.1} s of traffic in {ticks} ticks of {interval_s} s; Linux {kernel}, \
             {cpus} CPUs"
        ),
    );
    text.push('\n');
    line(text, format_args!("{:<36}{:>16}{:>20}", "traffic", "packets", "bytes"));
    for interface in &outcome.interfaces {
        write_interface(text, interface);
    }
    text.push('\n');
    write_cost(text, &outcome.cost);
    text.push('\n');
    verdict(text, outcome);
}

/// Adds what changed since an earlier result.
pub fn write_changes(text: &mut String, changes: &Changes) {
    let Changes { before: _, differs, figures } = changes;
    text.push('\n');
    line(text, format_args!("{:<36}{:>16}{:>16}{:>10}", "compared", "before", "now", "ratio"));
    for change in figures.iter().filter(|change| change.before != 0.0 || change.now != 0.0) {
        let Change { what, before, now } = change;
        let ratio = change.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
        let digits = if before.abs().max(now.abs()) < 100.0 { 2 } else { 0 };
        line(text, format_args!("  {what:<34}{before:>16.digits$}{now:>16.digits$}{ratio:>10}"));
    }
    for differs in differs {
        line(text, format_args!("  not the same: {differs}"));
    }
}

/// How a comparison went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Directions of interfaces that were compared.
    pub compared: usize,
    /// Of these, how many have a difference that nothing explains.
    pub unexplained: usize,
    /// Interfaces that were not compared.
    pub not_compared: usize,
}

/// How a comparison went.
#[must_use]
pub fn verdict_of(outcome: &Outcome) -> Verdict {
    let directions = || outcome.interfaces.iter().flat_map(Compared::directions);
    let unexplained = directions().filter(|(_, direction)| !direction.unexplained.is_zero());
    Verdict {
        compared: directions().count(),
        unexplained: unexplained.count(),
        not_compared: outcome.interfaces.iter().filter(|one| one.not_compared.is_some()).count(),
    }
}

/// Adds a line. What a terminal would obey, which a name of an interface and a file may have, is
/// shown.
fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing into memory does not fail.
    let _ = writeln!(text, "{}", Printable(&arguments.to_string()));
}

fn write_interface(text: &mut String, interface: &Compared) {
    let Compared { interface: name, hook, not_compared, .. } = interface;
    if let Some(why) = not_compared {
        return line(text, format_args!("{name} ({hook}): not compared: {why}"));
    }
    line(text, format_args!("{name} ({hook})"));
    for (name, direction) in interface.directions() {
        write_direction(text, name, direction);
    }
}

fn write_direction(text: &mut String, name: &str, direction: &Direction) {
    let Direction { skb, wire, report: _, kernel, difference, reasons, .. } = direction;
    let Direction { unexplained, dropped, errors, packets_per_s, bytes_per_s, .. } = direction;
    let nothing = Traffic::default();
    if [skb, kernel].into_iter().all(|traffic| *traffic == nothing) {
        return line(text, format_args!("  {name:<4}nothing passed"));
    }
    let mut row = |name: &str, what: &str, Traffic { packets, bytes }: Traffic| {
        line(text, format_args!("  {name:<4}{what:<30}{packets:>16}{bytes:>20}"));
    };
    row(name, "eBPF, skb", *skb);
    row("", "eBPF, wire", *wire);
    row("", "kernel", *kernel);
    line(
        text,
        format_args!("      {:<30}{packets_per_s:>16.0}{bytes_per_s:>20.0}", "skb a second"),
    );
    if let (Some(dropped), Some(errors)) = (dropped, errors)
        && (*dropped > 0 || *errors > 0)
    {
        line(text, format_args!("      dropped {dropped}, errors {errors} (kernel)"));
    }
    let mut signed = |what: &str, Difference { packets, bytes }: Difference, why: &str| {
        line(text, format_args!("      {what:<30}{packets:>+16}{bytes:>+20}{why}"));
    };
    if difference.is_zero() && reasons.is_empty() {
        return line(text, format_args!("      {:<30}{:>16}{:>20}", "skb - kernel", 0, 0));
    }
    signed("skb - kernel", *difference, "");
    for part in reasons {
        signed("  of these", part.amount, &format!("  {}", part.rule.describe()));
    }
    if !unexplained.is_zero() {
        signed("  UNEXPLAINED", *unexplained, "");
    }
}

fn write_cost(text: &mut String, costs: &Costs) {
    let Costs { ebpf, sysfs, programs, measuring_ns, missing } = costs;
    line(text, format_args!("{:<36}{:>16}{:>20}{:>14}", "cost", "eBPF", "sysfs", "sysfs/eBPF"));
    let mut row = |what: &str, ebpf: Option<f64>, sysfs: Option<f64>, digits: usize| {
        let (Some(ebpf), Some(sysfs)) = (ebpf, sysfs) else { return };
        let ratio = if ebpf > 0.0 { format!("{:.1}", sysfs / ebpf) } else { "-".to_owned() };
        line(text, format_args!("  {what:<34}{ebpf:>16.digits$}{sysfs:>20.digits$}{ratio:>14}"));
    };
    row("CPU a tick, µs", Some(ebpf.cpu_us), Some(sysfs.cpu_us), 0);
    row("  in user space", ebpf.user_us, sysfs.user_us, 0);
    row("  in the kernel", ebpf.kernel_us, sysfs.kernel_us, 0);
    row("system calls a tick", ebpf.system_calls, sysfs.system_calls, 1);
    row("ticks, % of a CPU", Some(ebpf.cpu_percent), Some(sysfs.cpu_percent), 4);
    for program in programs {
        let what = format!("{}, % of a CPU", program.program);
        let (percent, ns) = (program.cpu_percent, program.ns);
        line(text, format_args!("  {what:<34}{percent:>16.4}  at {ns:.1} ns a packet"));
    }
    if !programs.is_empty() {
        let all = ebpf.cpu_percent + programs.iter().map(|one| one.cpu_percent).sum::<f64>();
        let ratio = sysfs.cpu_percent / all;
        line(
            text,
            format_args!(
                "  {:<34}{all:>16.4}{:>20.4}{ratio:>14.1}",
                "altogether, % of a CPU", sysfs.cpu_percent
            ),
        );
    }
    if let Some(ns) = measuring_ns.filter(|_| !programs.is_empty()) {
        line(
            text,
            format_args!("  (run-time statistics, which themselves take {ns:.0} ns, taken off)"),
        );
    } else if measuring_ns.is_some() {
        line(
            text,
            format_args!("  (too few packets in the closer look to say what the programs cost)"),
        );
    }
    for missing in missing {
        line(text, format_args!("  not measured: {missing}"));
    }
}

fn verdict(text: &mut String, outcome: &Outcome) {
    let Verdict { compared, unexplained, not_compared } = verdict_of(outcome);
    match unexplained {
        _ if compared == 0 => line(text, format_args!("Nothing could be compared.")),
        0 => line(text, format_args!("Every difference is explained.")),
        count => line(
            text,
            format_args!(
                "UNEXPLAINED differences: {count} of {compared}. Not known here: packets that \
                 pass none of the hooks (AF_XDP, PACKET_QDISC_BYPASS), those that a TCX program \
                 drops or that wait in a tap, and drivers that renew their counters only every \
                 second or so."
            ),
        ),
    }
    if not_compared > 0 {
        let all = outcome.interfaces.len();
        line(text, format_args!("{not_compared} of {all} interfaces could not be compared."));
    }
}

/// A result to test with.
#[cfg(test)]
pub(super) mod samples {
    use super::*;
    use crate::compare::explain::Reason;
    use crate::compare::outcome::{ModeCost, Part, ProgramCost, VERSION};
    use crate::model::snapshot::Source;

    fn direction(packets: u64) -> Direction {
        let all = Traffic { packets, bytes: packets * 1_000 };
        Direction {
            skb: all,
            wire: all,
            report: all,
            kernel: all,
            dropped: Some(packets / 1_000_000),
            queue_dropped: Some(0),
            errors: Some(0),
            packets_per_s: packets as f64 / 10.0,
            bytes_per_s: packets as f64 * 100.0,
            ..Direction::default()
        }
    }

    fn interface(name: &str, rx: Direction, tx: Direction) -> Compared {
        Compared {
            interface: name.to_owned(),
            source: Source::Ebpf,
            hook: "TCX in+out".to_owned(),
            not_compared: None,
            rx: Some(rx),
            tx: Some(tx),
        }
    }

    pub(in crate::compare) fn outcome() -> Outcome {
        let dropped = Difference { packets: 40, bytes: 40_000 };
        let header = Difference { packets: 0, bytes: 14_000 };
        let lan_rx = Direction {
            difference: header,
            reasons: vec![Part { rule: Reason::NoEthernetHeader, amount: header }],
            ..direction(1_000)
        };
        let lan_tx = Direction { difference: dropped, unexplained: dropped, ..direction(500) };
        let lost = Compared {
            not_compared: Some("eBPF does not count it".to_owned()),
            source: Source::Sysfs,
            hook: "sysfs (it was removed)".to_owned(),
            rx: None,
            tx: None,
            ..interface("wg0", direction(0), direction(0))
        };
        Outcome {
            version: VERSION,
            setting: Setting {
                time_ms: 1_700_000_000_000,
                netmon: "0.1.0".to_owned(),
                kernel: "6.18.0".to_owned(),
                cpus: 2,
                hook: "auto".to_owned(),
                interval_s: 1.0,
                duration_s: 10.0,
                ticks: 10,
            },
            interfaces: vec![
                interface("wan0", direction(1_234_567), direction(0)),
                interface("lan0", lan_rx, lan_tx),
                lost,
            ],
            cost: Costs {
                ebpf: ModeCost {
                    cpu_us: 230.4,
                    user_us: Some(60.4),
                    kernel_us: Some(170.0),
                    system_calls: Some(6.0),
                    cpu_percent: 0.02304,
                },
                sysfs: ModeCost {
                    cpu_us: 1_612.8,
                    user_us: Some(300.0),
                    kernel_us: Some(1_312.8),
                    system_calls: Some(709.0),
                    cpu_percent: 0.16128,
                },
                programs: vec![ProgramCost {
                    program: "netmon_ingress".to_owned(),
                    packets: 370_000,
                    ns: 3.24,
                    cpu_percent: 0.04,
                }],
                measuring_ns: Some(34.6),
                missing: vec!["the weather: it was not asked for".to_owned()],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::change;

    #[test]
    fn the_text_is_exactly_this() {
        let outcome = samples::outcome();
        let mut text = String::new();
        write(&mut text, &outcome);
        let mut now = outcome.clone();
        now.cost.ebpf.cpu_us = 200.0;
        now.setting.kernel = "6.19.0".to_owned();
        write_changes(&mut text, &change::changes(&outcome, &now));
        assert_eq!(text, include_str!("golden/compare.txt"));
    }

    #[test]
    fn one_direction_is_unexplained() {
        let expected = Verdict { compared: 4, unexplained: 1, not_compared: 1 };
        assert_eq!(verdict_of(&samples::outcome()), expected);
    }

    #[test]
    fn control_characters_are_not_obeyed() {
        let mut text = String::new();
        line(&mut text, format_args!("a\u{1b}[2Jb\nc"));
        assert_eq!(text, "a\\u{1b}[2Jb\\nc\n");
    }
}
