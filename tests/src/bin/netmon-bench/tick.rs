//! What a tick costs: CPU time of all threads and processes of a program, printing included.
//!
//! All contenders run at once in the same namespace, and all but one are stopped: so each gets
//! its turn every few seconds, and nothing has to be started anew for it.

use std::time::Duration;

use anyhow::Result;

use crate::contenders::{self, Contender, Kind};
use crate::interfaces::Interfaces;
use crate::measure::Measure;
use crate::samples::{Bound, Row, Table, paired, slope};
use crate::tools::{self, TOOLS};

/// Between two ticks: netmon's default, and what other programs take, too.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// The bounds hold for so many interfaces.
const JUDGED: usize = 64;
/// How much netmon may take of what its system calls alone take. Medians of 1.34 to 1.64 times
/// were seen, on a machine that others used, too;
const OWN: Bound = Bound::AtMost(1.75);
/// and how much more a process that reads eleven files of each interface has to take,
const READER: Bound = Bound::AtLeast(25.0);
/// and how much more when there is such a process for each interface. Where not even netmon's
/// system calls alone are that much below it, no program can be that asks the kernel the same.
const READER_EACH: Bound = Bound::AtLeast(60.0);
/// Every other program has to take more than netmon.
const TOOL: Bound = Bound::AtLeast(1.0);
/// The greatest cost of a further interface, in microseconds.
const SLOPE: Bound = Bound::AtMost(2.0);
/// A single interface's part must not be greater for the most interfaces than for [`JUDGED`].
const GROWTH: Bound = Bound::AtMost(1.0);

/// What the rounds gave for each number of interfaces.
#[derive(Default)]
pub(crate) struct Ticks {
    /// Interfaces, and the microseconds of each round.
    netmon: Vec<(usize, Vec<f64>)>,
    floor: Vec<(usize, Vec<f64>)>,
    sysfs: Vec<(usize, Vec<f64>)>,
    reader: Vec<(usize, Vec<f64>)>,
}

impl Ticks {
    /// One table: what a tick of these interfaces costs.
    pub(crate) fn measure(&mut self, measure: &Measure, interfaces: &Interfaces) -> Result<Table> {
        let count = interfaces.count;
        let say = |what: String| measure.progress.say(&format!("tick, {count} interfaces: {what}"));
        say("starting the programs".to_owned());
        let mut contenders =
            contenders::start_all(&measure.netmon, interfaces, measure.others(count))?;
        for round in 1..=measure.rounds {
            say(format!("round {round} of {}", measure.rounds));
            // The end of a shell lets what is stopped go on.
            contenders.iter().try_for_each(Contender::pause)?;
            for contender in &mut contenders {
                contender.round(&interfaces.namespace, measure.ticks)?;
            }
        }
        for (kind, kept) in [
            (Kind::Netmon, &mut self.netmon),
            (Kind::Floor, &mut self.floor),
            (Kind::NetmonSysfs, &mut self.sysfs),
            (Kind::Reader, &mut self.reader),
        ] {
            let found = contenders.iter().filter(|contender| contender.kind == kind);
            kept.extend(found.map(|found| (count, found.microseconds.clone())));
        }
        Ok(Table {
            name: format!("tick, {count} interfaces"),
            about: about(measure),
            rows: rows(&contenders, count),
        })
    }

    /// How the cost grows with the interfaces.
    pub(crate) fn growth(&self) -> Table {
        let mut rows = Vec::new();
        for (name, ticks, bound) in [
            ("netmon", &self.netmon, Some(SLOPE)),
            ("netmon's system calls alone", &self.floor, None),
            ("netmon --source sysfs", &self.sysfs, None),
            ("reader of eleven sysfs files, one process", &self.reader, None),
        ] {
            let samples = slopes(ticks);
            let row = Row::new(format!("{name}: a further interface"), "µs", &samples);
            rows.push(match bound {
                Some(bound) => row.bounded(&samples, bound),
                None => row,
            });
        }
        rows.extend(growth(&self.netmon));
        let about = "least squares over all numbers of interfaces, of each round".to_owned();
        Table { name: "tick, growth".to_owned(), about, rows }
    }
}

fn about(measure: &Measure) -> String {
    let missing: Vec<_> = TOOLS
        .iter()
        .filter(|tool| tools::find(tool.program).is_none())
        .map(|tool| tool.name)
        .collect();
    let missing = match missing.as_slice() {
        [] => String::new(),
        some => format!("; not installed: {}", some.join(", ")),
    };
    format!(
        "CPU time of all threads and processes for a tick, output to /dev/null, medians of {} \
         rounds of {} ticks, one a second{missing}",
        measure.rounds, measure.ticks
    )
}

fn rows(contenders: &[Contender], interfaces: usize) -> Vec<Row> {
    let of = |kind| {
        let found = contenders.iter().find(|contender| contender.kind == kind);
        found.map(|contender| contender.microseconds.as_slice()).unwrap_or_default()
    };
    let against =
        Against { netmon: of(Kind::Netmon), floor: of(Kind::Floor), judged: interfaces == JUDGED };
    let row = |one: &Contender| against.row(one.kind, &one.name, &one.microseconds);
    contenders.iter().map(row).collect()
}

/// What the contenders are compared to, and whether that is judged.
struct Against<'a> {
    netmon: &'a [f64],
    floor: &'a [f64],
    judged: bool,
}

impl Against<'_> {
    fn row(&self, kind: Kind, name: &str, samples: &[f64]) -> Row {
        let times = |other| paired(samples, other, |one, other| one / other);
        let row = Row::new(name, "µs", samples);
        let to_netmon = |row: Row, bound: Option<Bound>| {
            row.compared("times netmon", &times(self.netmon), bound.filter(|_| self.judged))
        };
        match kind {
            Kind::Netmon => {
                let bound = self.judged.then_some(OWN);
                row.compared("times its system calls alone", &times(self.floor), bound)
            }
            Kind::Floor => row,
            Kind::NetmonSysfs | Kind::NetmonWorkers => to_netmon(row, None),
            Kind::Reader => to_netmon(row, Some(READER)),
            Kind::ReaderEach => {
                // A round in which netmon itself took less shows that the floor is not one.
                let best = paired(self.floor, self.netmon, f64::min);
                to_netmon(row, Some(READER_EACH)).at_best(&times(&best))
            }
            Kind::Tool => to_netmon(row, Some(TOOL)),
        }
    }
}

/// The slope of each round.
fn slopes(ticks: &[(usize, Vec<f64>)]) -> Vec<f64> {
    let rounds = ticks.iter().map(|(_, samples)| samples.len()).min().unwrap_or(0);
    (0..rounds)
        .map(|round| {
            let points: Vec<_> =
                ticks.iter().map(|(count, samples)| (*count as f64, samples[round])).collect();
            slope(&points)
        })
        .collect()
}

/// A single interface's part of a tick of the most, over that of [`JUDGED`].
fn growth(ticks: &[(usize, Vec<f64>)]) -> Option<Row> {
    let (most, of_most) = ticks.last()?;
    let (_, of_judged) = ticks.iter().find(|(count, _)| *count == JUDGED)?;
    let part =
        |of_most: f64, of_judged: f64| (of_most / *most as f64) / (of_judged / JUDGED as f64);
    let samples = paired(of_most, of_judged, part);
    let name = format!("netmon: each of {most} over each of {JUDGED}");
    (*most > JUDGED).then(|| Row::new(name, "times", &samples).bounded(&samples, GROWTH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Verdict;

    #[test]
    fn only_what_netmon_can_reach_is_asked_of_it() {
        let verdict = |kind, netmon, floor, samples| {
            let against = Against { netmon: &[netmon], floor: &[floor], judged: true };
            against.row(kind, "", &[samples]).compared.and_then(|compared| compared.verdict)
        };
        let each = |netmon, floor| verdict(Kind::ReaderEach, netmon, floor, 6000.0);
        assert_eq!(each(100.0, 80.0), Some(Verdict::Holds));
        assert_eq!(each(101.0, 100.0), Some(Verdict::Exceeded));
        assert_eq!(each(110.0, 101.0), Some(Verdict::NotReachable));
        assert_eq!(each(101.0, 110.0), Some(Verdict::NotReachable), "what netmon takes");
        // It is then the system calls alone that netmon has to keep to.
        assert_eq!(verdict(Kind::Netmon, 150.0, 100.0, 150.0), Some(Verdict::Holds));
        assert_eq!(verdict(Kind::Netmon, 180.0, 100.0, 180.0), Some(Verdict::Exceeded));
        assert_eq!(verdict(Kind::Tool, 110.0, 120.0, 100.0), Some(Verdict::Exceeded));
    }

    #[test]
    fn growth_is_that_of_a_single_interface() {
        let ticks = [(64, vec![640.0, 640.0]), (128, vec![640.0, 1280.0])];
        let row = growth(&ticks);
        assert_eq!(row.map(|row| row.value.median), Some(0.75));
        assert_eq!(slopes(&ticks), [0.0, 10.0]);
        assert!(growth(&ticks[..1]).is_none());
    }
}
