//! What a packet costs: each program of the object, against one that returns at once.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::Array;
use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use netmon_common::{
    COUNTERS, EGRESS_PROGRAM, INGRESS_PROGRAM, SLOTS_PER_CPU_DEFAULT, XDP_FRAGS_PROGRAM,
    XDP_PROGRAM,
};
use netmon_tests::bpf::{Kind, load_constant, possible_cpus};
use netmon_tests::netns::Namespace;
use netmon_tests::packet::{cpus, go_first, stay_on};
use netmon_tests::slots::only_slot;

use crate::flow;
use crate::measure::Measure;
use crate::samples::{Bound, Row, Table, paired};
use crate::test_run::{Input, nanoseconds};

/// Runs in one call: a few milliseconds, short enough to be undisturbed now and then.
const REPEAT: u32 = 100_000;
/// How often a round loads the programs.
const LOADS: usize = 5;
/// Calls each time, of which the fastest counts: what is slower was disturbed.
const CALLS: usize = 20;
/// The greatest cost over an empty program, in nanoseconds.
const BOUND: Bound = Bound::AtMost(3.0);
pub(crate) const EMPTY: &CStr = c"nmt_empty";
pub(crate) const TC_ACT_UNSPEC: i32 = -1;
const XDP_PASS: i32 = 2;
/// `lo`, whose packets the test runs are in a namespace of their own.
pub(crate) const LOOPBACK: u32 = 1;
/// The object with the programs that count.
const OBJECT: &str = "netmon.bpf.o";
/// Any but the one for interfaces that nobody has asked for.
pub(crate) const SLOT: u32 = 2;
/// The counters of a slot, as plain numbers, which aya takes as a map's value.
type Words = [u64; 8];

pub(crate) fn measure(measure: &Measure) -> Result<Table> {
    let (object, rounds) = (measure.objects.join(OBJECT), measure.rounds);
    let (loads, calls) = if measure.smoke { (1, 5) } else { (LOADS, CALLS) };
    let flows = measure.objects.join(flow::OBJECT);
    let rows = Namespace::new()?.run(move || {
        let mut rows = rows(&object, loads * rounds, calls)?;
        rows.extend(flow::rows(&flows, rounds, loads * calls)?);
        Ok(rows)
    })?;
    let about = format!(
        "ns a packet, medians of {rounds} rounds, each {loads} times loaded anew (by flow: once), \
         the fastest of {calls} (by flow: {}) test runs of {REPEAT} packets each time",
        loads * calls
    );
    Ok(Table { name: "packet".to_owned(), about, rows })
}

/// A program and a packet for it.
struct Case {
    name: &'static str,
    program: &'static str,
    kind: Kind,
    input: fn() -> Input,
    bound: Option<Bound>,
}

const CASES: [Case; 6] = {
    use Kind::{SchedCls, Xdp};
    const fn case(
        name: &'static str,
        (program, kind): (&'static str, Kind),
        input: fn() -> Input,
        bound: Option<Bound>,
    ) -> Case {
        Case { name, program, kind, input, bound }
    }
    let (ingress, egress) = ((INGRESS_PROGRAM, SchedCls), (EGRESS_PROGRAM, SchedCls));
    [
        case("ingress", ingress, Input::plain, Some(BOUND)),
        case("egress", egress, Input::plain, Some(BOUND)),
        case("xdp", (XDP_PROGRAM, Xdp), Input::plain, Some(BOUND)),
        // Its length takes a call, which alone costs more than the bound.
        case("xdp, several buffers", (XDP_FRAGS_PROGRAM, Xdp), Input::plain, None),
        case("ingress, super-packet", ingress, Input::super_packet, None),
        case("egress, super-packet", egress, Input::super_packet, None),
    ]
};

/// Loaded anew again and again: the kernel puts a program at a random place in its memory, and
/// that alone makes a nanosecond's difference, which is then the same in every run.
fn rows(object: &Path, loads: usize, calls: usize) -> Result<Vec<Row>> {
    let cpu = cpus()?.pop().context("no CPU to run on")?;
    stay_on(cpu)?;
    go_first()?;
    let mut costs = CASES.map(|case| (case, Costs::default()));
    for _ in 0..loads {
        let ebpf = load(object)?;
        let empty_tc = load_constant(Kind::SchedCls, EMPTY, TC_ACT_UNSPEC)?;
        let empty_xdp = load_constant(Kind::Xdp, EMPTY, XDP_PASS)?;
        let mut before = counted(&ebpf)?;
        for (Case { name, program, kind, input, .. }, costs) in &mut costs {
            let of = ebpf.program(program).with_context(|| format!("no program {program}"))?;
            let empty = if *kind == Kind::Xdp { &empty_xdp } else { &empty_tc };
            costs.add(of.fd()?.as_fd(), empty.as_fd(), &input(), calls)?;
            let now = counted(&ebpf)?;
            ensure!(now != before, "{name}: {program} did not count");
            before = now;
        }
    }
    Ok(costs.map(|(case, costs)| costs.row(case.name, case.bound)).into())
}

/// All that the programs have counted. One that finds no counters is fast, too.
fn counted(ebpf: &Ebpf) -> Result<u64> {
    let counters: Array<_, Words> = ebpf.map(COUNTERS).context("no map COUNTERS")?.try_into()?;
    let mut sum = 0_u64;
    for words in counters.iter() {
        sum = words?.into_iter().fold(sum, u64::wrapping_add);
    }
    Ok(sum)
}

fn load(object: &Path) -> Result<Ebpf> {
    let mut ebpf = EbpfLoader::new()
        .map_max_entries(COUNTERS, SLOTS_PER_CPU_DEFAULT * possible_cpus()?)
        .load_file(object)
        .with_context(|| format!("loading {}", object.display()))?;
    only_slot(&mut ebpf, LOOPBACK, SLOT)?;
    for name in [INGRESS_PROGRAM, EGRESS_PROGRAM] {
        let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let program: &mut SchedClassifier = program.try_into()?;
        program.load().with_context(|| format!("loading {name}"))?;
    }
    for name in [XDP_PROGRAM, XDP_FRAGS_PROGRAM] {
        let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let program: &mut Xdp = program.try_into()?;
        program.load().with_context(|| format!("loading {name}"))?;
    }
    Ok(ebpf)
}

/// What a packet costs, in nanoseconds, with a program and with an empty one.
#[derive(Default)]
pub(crate) struct Costs {
    pub(crate) ours: Vec<f64>,
    pub(crate) of_empty: Vec<f64>,
}

impl Costs {
    /// Measures both, alternately, and takes the fastest of so many calls.
    pub(crate) fn add(
        &mut self,
        program: BorrowedFd<'_>,
        empty: BorrowedFd<'_>,
        input: &Input,
        calls: usize,
    ) -> Result<()> {
        let (mut fastest, mut fastest_empty) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..calls {
            fastest_empty = fastest_empty.min(nanoseconds(empty, input, REPEAT)?);
            fastest = fastest.min(nanoseconds(program, input, REPEAT)?);
        }
        self.ours.push(fastest);
        self.of_empty.push(fastest_empty);
        Ok(())
    }

    pub(crate) fn row(&self, name: &str, bound: Option<Bound>) -> Row {
        let over = paired(&self.ours, &self.of_empty, |ours, empty| ours - empty);
        Row::new(name, "ns", &self.ours).compared("ns over an empty program", &over, bound)
    }
}
