//! What a packet costs: each program of the object, against one that returns at once.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::maps::Array;
use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use netmon_common::{EGRESS_PROGRAM, INGRESS_PROGRAM, SLOTS, XDP_FRAGS_PROGRAM, XDP_PROGRAM};
use netmon_tests::bpf::{Kind, load_constant};
use netmon_tests::netns::Namespace;
use netmon_tests::packet::{cpus, stay_on};

use crate::Table;
use crate::samples::{Compared, Row, Summary};
use crate::test_run::{Input, nanoseconds};

/// Runs in one call: a few milliseconds, short enough to be undisturbed now and then.
const REPEAT: u32 = 100_000;
/// Calls a round, of which the fastest counts: what is slower was disturbed.
const CALLS: usize = 50;
/// The greatest cost over an empty program, in nanoseconds.
const BOUND: f64 = 3.0;
const EMPTY: &CStr = c"nmt_empty";
const TC_ACT_UNSPEC: i32 = -1;
const XDP_PASS: i32 = 2;
/// `lo`, whose packets the test runs are in a namespace of their own.
const LOOPBACK: u32 = 1;
/// Any but the one for interfaces that nobody has asked for.
const SLOT: u32 = 1;

pub(crate) fn measure(object: &Path, rounds: usize) -> Result<Table> {
    let object = object.to_owned();
    let rows = Namespace::new()?.run(move || rows(&object, rounds))?;
    let about = format!(
        "ns a packet, medians of {rounds} rounds, each the fastest of {CALLS} test runs of \
         {REPEAT} packets"
    );
    Ok(Table { name: "packet", about, rows })
}

fn rows(object: &PathBuf, rounds: usize) -> Result<Vec<Row>> {
    let cpu = cpus()?.pop().context("no CPU to run on")?;
    stay_on(cpu)?;
    let mut ebpf = EbpfLoader::new()
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
    for (name, program, empty, input, bound) in cases {
        let program = ebpf.program(program).with_context(|| format!("no program {program}"))?;
        let program = program.fd()?.as_fd();
        rows.push(row(name, program, empty, input, bound, rounds)?);
    }
    Ok(rows)
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

fn row(
    name: &str,
    program: BorrowedFd<'_>,
    empty: BorrowedFd<'_>,
    input: &Input,
    bound: Option<f64>,
    rounds: usize,
) -> Result<Row> {
    let (mut whole, mut over) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (mut of_ours, mut of_empty) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..CALLS {
            of_empty = of_empty.min(nanoseconds(empty, input, REPEAT)?);
            of_ours = of_ours.min(nanoseconds(program, input, REPEAT)?);
        }
        whole.push(of_ours);
        over.push(of_ours - of_empty);
    }
    Ok(Row {
        name: name.to_owned(),
        unit: "ns",
        value: Summary::of(whole),
        compared: Some(Compared {
            how: "ns over an empty program",
            value: Summary::of(over),
            bound,
        }),
    })
}
