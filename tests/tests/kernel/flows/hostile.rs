//! Malformed, truncated and hostile packets, through the program in the kernel
//! (`BPF_PROG_TEST_RUN`): it tells each as the same parser does in user space, and counts all.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap, MapData};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader, Pod};
use netmon_common::traffic::{
    BURST_SHIFT, BURST_SLOTS, BURSTS, FLOW_CPUS, FLOWS, FlowKey, FlowValue, SlotTotals, TOTALS,
    TOTALS_SLOTS,
};
use netmon_common::{COUNTERS, INGRESS_PROGRAM, NO_LINK_HEADER, SLOTS, SLOTS_PER_CPU_DEFAULT};
use netmon_tests::bpf::possible_cpus;
use netmon_tests::flow_key::parsed;
use netmon_tests::frame::HEADER;
use netmon_tests::fuzz::mutate::{Random, mutated};
use netmon_tests::netns::Namespace;

use super::exact;
use crate::Test;

pub(crate) const TESTS: &[Test] = &[("the_kernel_reads_as_user_space_does", as_user_space_does)];

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../netmon-ebpf/prebuilt/traffic.bpf.o"
));

/// Changed seeds besides the seeds themselves.
const CHANGED: usize = 3000;
/// `lo`, whose packets test runs are.
const LOOPBACK: u32 = 1;
const SLOT: u32 = 3;
const SLOTS_HERE: u32 = 4;
const SHIFT: u32 = 4;
/// What a test run takes at least (something behind an Ethernet header) and at most (a page).
const LENGTHS: std::ops::Range<usize> = 15..3000;

/// As it lies in the map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain<T>(T);

// SAFETY: plain data without holes and pointers, as netmon-common promises by bytemuck.
unsafe impl Pod for Plain<FlowKey> {}
// SAFETY: as above.
unsafe impl Pod for Plain<FlowValue> {}
// SAFETY: as above.
unsafe impl Pod for Plain<SlotTotals> {}

type FlowMap<'a> = HashMap<&'a mut MapData, Plain<FlowKey>, Plain<FlowValue>>;

fn load() -> Result<Ebpf> {
    let cpus = possible_cpus()?;
    let mut ebpf = EbpfLoader::new()
        .override_global(TOTALS_SLOTS, &SLOTS_HERE, true)
        .override_global(BURST_SLOTS, &SLOTS_HERE, true)
        .override_global(BURST_SHIFT, &SHIFT, true)
        .map_max_entries(COUNTERS, SLOTS_PER_CPU_DEFAULT * cpus)
        .map_max_entries(FLOWS, 16)
        .map_max_entries(TOTALS, SLOTS_HERE * cpus)
        .map_max_entries(BURSTS, (SLOTS_HERE * cpus * 2) << SHIFT)
        .map_max_entries(FLOW_CPUS, cpus)
        .load(OBJECT)?;
    let program: &mut SchedClassifier =
        ebpf.program_mut(INGRESS_PROGRAM).context("no program")?.try_into()?;
    program.load()?;
    Ok(ebpf)
}

/// Whether a test run takes it. What seems to be IP and is too short for its header is refused
/// (Linux 6.18), so that is sent in `exact`.
fn is_taken(packet: &[u8]) -> bool {
    let least = match packet.get(12..14) {
        Some([0x08, 0x00]) => 14 + 20,
        Some([0x86, 0xdd]) => 14 + 40,
        _ => LENGTHS.start,
    };
    (least..LENGTHS.end).contains(&packet.len())
}

/// Known packets with and without their link header, and changes of them.
fn packets() -> Vec<(bool, Vec<u8>)> {
    let frames = exact::kinds().into_iter().map(|kind| kind.frame);
    let seeds = frames.flat_map(|frame| {
        let mut bare = frame[HEADER..].to_vec();
        bare.resize(bare.len().max(LENGTHS.start), 0);
        [[vec![1], frame].concat(), [vec![0], bare].concat()]
    });
    let seeds = seeds.collect::<Vec<_>>();
    let mut random = Random::new(0x666c_6f77);
    let changed = std::iter::repeat_with(|| mutated(&seeds, &mut random)).take(CHANGED);
    let changed = changed.collect::<Vec<_>>();
    let all = seeds.iter().chain(&changed).filter_map(|input| match input.as_slice() {
        [what, packet @ ..] if is_taken(packet) => Some((what & 1 == 1, packet.to_vec())),
        _ => None,
    });
    all.collect()
}

fn as_user_space_does() -> Result<()> {
    let packets = packets();
    ensure!(packets.len() > CHANGED / 2, "only {} of {CHANGED} can be run", packets.len());
    Namespace::new()?.run(move || run(&packets))
}

fn run(packets: &[(bool, Vec<u8>)]) -> Result<()> {
    let mut ebpf = load()?;
    let (mut classes, mut bytes) = (BTreeMap::<usize, u64>::new(), 0);
    for (link_header, packet) in packets {
        let entry = SLOT | if *link_header { 0 } else { NO_LINK_HEADER };
        let mut slots: Array<_, u32> = ebpf.map_mut(SLOTS).context(SLOTS)?.try_into()?;
        slots.set(LOOPBACK, entry, 0)?;
        let program: &SchedClassifier =
            ebpf.program(INGRESS_PROGRAM).context("no program")?.try_into()?;
        let options = TestRunOptions { data_in: Some(packet), ..TestRunOptions::default() };
        let result = program.test_run(options);
        let result = result.with_context(|| packet.escape_ascii().to_string())?;
        let verdict = result.return_value.cast_signed();
        ensure!(verdict == -1, "{verdict} for {}", packet.escape_ascii());

        let (expected, _) = parsed(packet, None, *link_header);
        let mut flows: FlowMap<'_> = ebpf.map_mut(FLOWS).context(FLOWS)?.try_into()?;
        let found = flows.iter().collect::<Result<Vec<_>, _>>()?;
        let [(Plain(key), Plain(value))] = found.as_slice() else {
            anyhow::bail!("{} flows for {}", found.len(), packet.escape_ascii());
        };
        let told = FlowKey { ifindex: LOOPBACK, ..expected.key };
        assert_eq!(*key, told, "{link_header} {}", packet.escape_ascii());
        assert_eq!((value.packets, value.bytes), (1, packet.len() as u64));
        assert_eq!(value.tcp_flags, u64::from(expected.tcp_flags), "{}", packet.escape_ascii());
        flows.remove(&Plain(*key))?;
        *classes.entry(expected.class as usize).or_default() += 1;
        bytes += packet.len() as u64;
    }
    check_totals(&ebpf, &classes, bytes)
}

fn check_totals(ebpf: &Ebpf, classes: &BTreeMap<usize, u64>, bytes: u64) -> Result<()> {
    let totals: Array<_, Plain<SlotTotals>> = ebpf.map(TOTALS).context(TOTALS)?.try_into()?;
    let (mut found, mut sum) = (BTreeMap::<usize, u64>::new(), 0);
    for at in (SLOT..totals.len()).step_by(SLOTS_HERE as usize) {
        let Plain(totals) = totals.get(&at, 0)?;
        for (class, pair) in totals.rx.protocols.iter().enumerate().filter(|(_, p)| p.packets > 0) {
            *found.entry(class).or_default() += pair.packets;
            sum += pair.bytes;
        }
        assert_eq!(totals.tx, netmon_common::traffic::DirectionTotals::default());
    }
    assert_eq!((&found, sum), (classes, bytes));
    Ok(())
}
