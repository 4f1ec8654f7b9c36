//! What a packet costs where flows are told apart too: rows for [`crate::packet`].

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader};
use netmon_common::traffic::{
    BURST_SHIFT, BURST_SLOTS, BURSTS, FLOW_CPUS, FLOW_SAMPLE, FLOWS, TOTALS,
};
use netmon_common::{COUNTERS, EGRESS_PROGRAM, INGRESS_PROGRAM, SLOT_BLOCK, SLOTS_PER_CPU_DEFAULT};
use netmon_tests::bpf::{Kind, load_constant, possible_cpus};
use netmon_tests::slots::only_slot;

use crate::packet::{Costs, EMPTY, LOOPBACK, SLOT, TC_ACT_UNSPEC};
use crate::samples::Row;
use crate::test_run::{Input, nanoseconds};

/// The object with the programs that tell flows apart.
pub(crate) const OBJECT: &str = "traffic.bpf.o";

/// Buckets of a ring, as on a kernel with 250 ticks a second: two to this.
const SHIFT: u32 = 9;
/// Room for every new flow of a long measurement.
const CAPACITY: u32 = 1 << 20;
/// New flows a round, each by a call of its own.
const NEW: u32 = 5_000;

fn load(object: &Path, capacity: u32, sample: u32) -> Result<Ebpf> {
    let cpus = possible_cpus()?;
    let slots = SLOT_BLOCK * cpus;
    let mut ebpf = EbpfLoader::new()
        .override_global(BURST_SLOTS, &slots, true)
        .override_global(BURST_SHIFT, &SHIFT, true)
        .override_global(FLOW_SAMPLE, &sample, true)
        .map_max_entries(COUNTERS, SLOTS_PER_CPU_DEFAULT * cpus)
        .map_max_entries(FLOWS, capacity)
        .map_max_entries(TOTALS, slots)
        .map_max_entries(BURSTS, (slots * 2) << SHIFT)
        .map_max_entries(FLOW_CPUS, cpus)
        .load_file(object)
        .with_context(|| format!("loading {}", object.display()))?;
    only_slot(&mut ebpf, LOOPBACK, SLOT)?;
    for name in [INGRESS_PROGRAM, EGRESS_PROGRAM] {
        let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let program: &mut SchedClassifier = program.try_into()?;
        program.load().with_context(|| format!("loading {name}"))?;
    }
    Ok(ebpf)
}

/// On the CPU and with the priority that the caller has chosen.
pub(crate) fn rows(object: &Path, rounds: usize, calls: usize) -> Result<Vec<Row>> {
    let empty = load_constant(Kind::SchedCls, EMPTY, TC_ACT_UNSPEC)?;
    let (datagram, gso) = (Input::datagram(0), Input::super_packet());
    let (all, sampled) = (load(object, CAPACITY, 1)?, load(object, CAPACITY, 100)?);
    let full = load(object, 1, 1)?;
    let mut rows = Vec::new();
    for (name, ebpf, program, input) in [
        ("ingress, by flow", &all, INGRESS_PROGRAM, &datagram),
        ("egress, by flow", &all, EGRESS_PROGRAM, &datagram),
        ("ingress, by flow, super-packet", &all, INGRESS_PROGRAM, &gso),
        ("ingress, by flow, 1 in 100", &sampled, INGRESS_PROGRAM, &datagram),
    ] {
        let program = ebpf.program(program).with_context(|| format!("no program {program}"))?;
        let program = program.fd()?.as_fd();
        let mut costs = Costs::default();
        for _ in 0..rounds {
            costs.add(program, empty.as_fd(), input, calls)?;
        }
        rows.push(costs.row(name, None));
    }
    let program = |ebpf: &Ebpf| -> Result<_> {
        let program = ebpf.program(INGRESS_PROGRAM).context("no program")?;
        Ok(program.fd()?.try_clone()?)
    };
    let (all, full) = (program(&all)?, program(&full)?);
    rows.push(once_each("ingress, by flow, a new one", &all, &empty, rounds)?);
    rows.push(once_each("ingress, by flow, no room for it", &full, &empty, rounds)?);
    Ok(rows)
}

/// Every packet is of another flow, so each is run by a call of its own, and so for the empty
/// program.
fn once_each(name: &str, program: &impl AsFd, empty: &impl AsFd, rounds: usize) -> Result<Row> {
    let mut costs = Costs::default();
    for round in 0..u32::try_from(rounds)? {
        let (mut time, mut time_of_empty) = (0.0, 0.0);
        for number in 0..NEW {
            let input = Input::datagram(1 + round * NEW + number);
            time_of_empty += nanoseconds(empty.as_fd(), &input, 1)?;
            time += nanoseconds(program.as_fd(), &input, 1)?;
        }
        costs.ours.push(time / f64::from(NEW));
        costs.of_empty.push(time_of_empty / f64::from(NEW));
    }
    Ok(costs.row(name, None))
}
