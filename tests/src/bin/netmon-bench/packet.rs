//! What a packet costs: each program of the object, against one that returns at once.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::Array;
use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use netmon_common::{
    COUNTERS, EGRESS_PROGRAM, INGRESS_PROGRAM, SLOTS, SLOTS_PER_CPU_DEFAULT, XDP_FRAGS_PROGRAM,
    XDP_PROGRAM,
};
use netmon_tests::bpf::{Kind, load_constant, possible_cpus};
use netmon_tests::netns::Namespace;
use netmon_tests::packet::{cpus, go_first, stay_on};

use crate::flow;
use crate::measure::Measure;
use crate::samples::{Bound, Row, Table, paired};
use crate::test_run::{Input, nanoseconds};

/// Runs in one call: a few milliseconds, short enough to be undisturbed now and then.
const REPEAT: u32 = 100_000;
/// Calls a round, of which the fastest counts: what is slower was disturbed.
const CALLS: usize = 50;
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
    let calls = if measure.smoke { 5 } else { CALLS };
    let flows = measure.objects.join(flow::OBJECT);
    let rows = Namespace::new()?.run(move || {
        let mut rows = rows(&object, rounds, calls)?;
        rows.extend(flow::rows(&flows, rounds, calls)?);
        Ok(rows)
    })?;
    let about = format!(
        "ns a packet, medians of {rounds} rounds, each the fastest of {calls} test runs of \
         {REPEAT} packets"
    );
    Ok(Table { name: "packet".to_owned(), about, rows })
}

fn rows(object: &Path, rounds: usize, calls: usize) -> Result<Vec<Row>> {
    let cpu = cpus()?.pop().context("no CPU to run on")?;
    stay_on(cpu)?;
    go_first()?;
    let mut ebpf = EbpfLoader::new()
        .map_max_entries(COUNTERS, SLOTS_PER_CPU_DEFAULT * possible_cpus()?)
        .load_file(object)
        .with_context(|| format!("loading {}", object.display()))?;
    let mut slots: Array<_, u32> = ebpf.map_mut(SLOTS).context("no map SLOTS")?.try_into()?;
    slots.set(LOOPBACK, SLOT, 0)?;
    load(&mut ebpf)?;

    let empty_tc = load_constant(Kind::SchedCls, EMPTY, TC_ACT_UNSPEC)?;
    let empty_xdp = load_constant(Kind::Xdp, EMPTY, XDP_PASS)?;
    let (tc, xdp) = (empty_tc.as_fd(), empty_xdp.as_fd());
    let (plain, gso) = (Input::plain(), Input::super_packet());
    let cases = [
        ("ingress", INGRESS_PROGRAM, tc, &plain, Some(BOUND)),
        ("egress", EGRESS_PROGRAM, tc, &plain, Some(BOUND)),
        ("xdp", XDP_PROGRAM, xdp, &plain, Some(BOUND)),
        // Its length takes a call, which alone costs more than the bound.
        ("xdp, several buffers", XDP_FRAGS_PROGRAM, xdp, &plain, None),
        ("ingress, super-packet", INGRESS_PROGRAM, tc, &gso, None),
        ("egress, super-packet", EGRESS_PROGRAM, tc, &gso, None),
    ];
    let mut rows = Vec::new();
    let mut before = counted(&ebpf)?;
    for (name, program_name, empty, input, bound) in cases {
        let program = ebpf.program(program_name);
        let program = program.with_context(|| format!("no program {program_name}"))?;
        let program = program.fd()?.as_fd();
        rows.push(row(name, program, empty, input, bound, (rounds, calls))?);
        let now = counted(&ebpf)?;
        ensure!(now != before, "{name}: {program_name} did not count");
        before = now;
    }
    Ok(rows)
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

fn load(ebpf: &mut Ebpf) -> Result<()> {
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
    Ok(())
}

pub(crate) fn row(
    name: &str,
    program: BorrowedFd<'_>,
    empty: BorrowedFd<'_>,
    input: &Input,
    bound: Option<Bound>,
    (rounds, calls): (usize, usize),
) -> Result<Row> {
    let (mut ours, mut of_empty) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (mut fastest, mut fastest_empty) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..calls {
            fastest_empty = fastest_empty.min(nanoseconds(empty, input, REPEAT)?);
            fastest = fastest.min(nanoseconds(program, input, REPEAT)?);
        }
        ours.push(fastest);
        of_empty.push(fastest_empty);
    }
    let over = paired(&ours, &of_empty, |ours, empty| ours - empty);
    Ok(Row::new(name, "ns", &ours).compared("ns over an empty program", &over, bound))
}
