//! Malformed, truncated and hostile packets, through the programs in the kernel: they tell each as
//! the same parser does in user space, and count all. By `BPF_PROG_TEST_RUN`, which can say of any
//! packet that it is a super-packet; and over a real link, where a VLAN tag is taken out, and a
//! header of IP may be cut.

use std::collections::{BTreeMap, HashMap as Table};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap, MapData};
use aya::programs::{SchedClassifier, TcAttachType, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader, Pod};
use netmon_common::traffic::{
    BURST_SHIFT, BURST_SLOTS, BURSTS, DirectionTotals, FLOW_CPUS, FLOWS, FlowKey, FlowValue,
    SlotTotals, TOTALS,
};
use netmon_common::{
    COUNTERS, EGRESS_PROGRAM, INGRESS_PROGRAM, NO_LINK_HEADER, SLOT_BLOCK, SLOTS_PER_CPU_DEFAULT,
};
use netmon_tests::bpf::possible_cpus;
use netmon_tests::flow_key::{Parsed, parsed};
use netmon_tests::frame::HEADER;
use netmon_tests::fuzz::mutate::{Random, mutated};
use netmon_tests::fuzz::{self, segments};
use netmon_tests::kernel::TCX;
use netmon_tests::netns::Namespace;
use netmon_tests::slots::only_slot;
use netmon_tests::wait;

use super::exact;
use crate::Test;
use crate::common::veth;

pub(crate) const TESTS: &[Test] = &[
    ("the_kernel_reads_as_user_space_does", as_user_space_does),
    ("so_it_does_over_a_link", over_a_link),
];

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../netmon-ebpf/prebuilt/traffic.bpf.o"
));

/// Changed seeds besides the seeds themselves.
const CHANGED: usize = 3000;
/// `lo`, whose packets test runs are.
const LOOPBACK: u32 = 1;
const SLOT: u32 = 3;
const SHIFT: u32 = 4;
/// What a test run takes at least (something behind an Ethernet header) and at most (a page).
const LENGTHS: std::ops::Range<usize> = 15..3000;
/// What goes over a link.
const LONGEST: usize = 1500;
const TAG: u16 = 0x6123;

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

fn load(flows: u32) -> Result<Ebpf> {
    let cpus = possible_cpus()?;
    let slots = SLOT_BLOCK * cpus;
    let mut ebpf = EbpfLoader::new()
        .override_global(BURST_SLOTS, &slots, true)
        .override_global(BURST_SHIFT, &SHIFT, true)
        .map_max_entries(COUNTERS, SLOTS_PER_CPU_DEFAULT * cpus)
        .map_max_entries(FLOWS, flows)
        .map_max_entries(TOTALS, slots)
        .map_max_entries(BURSTS, (slots * 2) << SHIFT)
        .map_max_entries(FLOW_CPUS, cpus)
        .load(OBJECT)?;
    for name in [INGRESS_PROGRAM, EGRESS_PROGRAM] {
        program(&mut ebpf, name)?.load()?;
    }
    Ok(ebpf)
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    Ok(ebpf.program_mut(name).context("no program")?.try_into()?)
}

/// What is kept of the fuzzing, in the program itself: the virtual machine has no other files.
macro_rules! kept {
    ($($name:literal,)*) => {
        &[$(include_bytes!(concat!("../../../fuzz/corpus/flow_key/", $name)).as_slice()),*]
    };
}

static KEPT: &[&[u8]] = kept![
    "arp",
    "cut-ethernet",
    "cut-ipv4",
    "cut-tcp",
    "esp",
    "extension-longer-than-packet",
    "extensions",
    "first-fragment",
    "fragment6",
    "gre",
    "icmp",
    "icmp6",
    "later-fragment",
    "llc",
    "options",
    "qinq",
    "sctp",
    "seven-extensions",
    "short-header-length",
    "tcp",
    "tcp-tag-taken-out",
    "three-tags",
    "tun-neither",
    "tun4",
    "tun6",
    "udp",
    "udp6",
    "vlan",
    "wrong-version",
];

/// Known packets with and without their link header, those that are kept of the fuzzing, and changes
/// of all.
fn packets() -> Result<Vec<(bool, Vec<u8>)>> {
    let frames = exact::kinds().into_iter().map(|kind| kind.frame);
    let mut seeds: Vec<Vec<u8>> = frames
        .flat_map(|frame| {
            let mut bare = frame[HEADER..].to_vec();
            bare.resize(bare.len().max(LENGTHS.start), 0);
            [[vec![1], frame].concat(), [vec![0], bare].concat()]
        })
        .collect();
    if fuzz::corpus().is_dir() {
        let there = fuzz::seeds("flow_key")?.into_iter().map(|(_, seed)| seed);
        ensure!(there.eq(KEPT.iter().copied()), "others are kept than are listed here");
    }
    // Their tag (two bytes) is put in where there is a link to take it out.
    seeds.extend(KEPT.iter().filter_map(|input| match input {
        [what, _, _, packet @ ..] => Some([&[what & 1], packet].concat()),
        _ => None,
    }));
    let mut random = Random::new(0x666c_6f77);
    let changed = std::iter::repeat_with(|| mutated(&seeds, &mut random)).take(CHANGED);
    let changed = changed.collect::<Vec<_>>();
    let all = seeds.iter().chain(&changed).filter_map(|input| match input.as_slice() {
        [what, packet @ ..] if LENGTHS.contains(&packet.len()) => {
            Some((what & 1 == 1, packet.to_vec()))
        }
        _ => None,
    });
    Ok(all.collect())
}

/// Whether a test run takes it. What seems to be IP and is too short for its header is refused
/// (Linux 6.18), so that goes over the link.
fn is_taken(packet: &[u8]) -> bool {
    let least = match packet.get(12..14) {
        Some([0x08, 0x00]) => 14 + 20,
        Some([0x86, 0xdd]) => 14 + 40,
        _ => LENGTHS.start,
    };
    packet.len() >= least
}

fn as_user_space_does() -> Result<()> {
    let packets = packets()?.into_iter().filter(|(_, packet)| is_taken(packet));
    let packets: Vec<_> = packets.collect();
    ensure!(packets.len() > CHANGED / 2, "only {} of {CHANGED} can be run", packets.len());
    Namespace::new()?.run(move || {
        for is_egress in [false, true] {
            run(&packets, is_egress)?;
        }
        Ok(())
    })
}

/// What a super-packet is said to be, in `struct __sk_buff` (linux/bpf.h).
#[derive(Clone, Copy, Debug, Default)]
struct Gso {
    /// Payload of a segment; 0: it is none.
    size: u32,
    /// What the kernel has computed, where it has.
    segments: u32,
    wire_len: u32,
}

impl Gso {
    /// None for the first packets, then anything.
    fn any(random: &mut Random, packet: &[u8]) -> Self {
        const SIZES: [u32; 8] = [0, 1, 7, 100, 536, 1448, 0xffff, u32::MAX];
        let size = SIZES[random.below(SIZES.len())] & 0xffff;
        if random.below(2) == 0 {
            return Self { size, ..Self::default() };
        }
        let wire_len = (packet.len() + 1 + random.below(60_000)) as u32;
        Self { size, segments: random.below(60) as u32, wire_len }
    }

    fn context(self) -> [u8; 192] {
        const WIRE_LEN: usize = 160;
        const SEGMENTS: usize = 164;
        const SIZE: usize = 176;
        let mut context = [0; 192];
        let numbers = [(WIRE_LEN, self.wire_len), (SEGMENTS, self.segments), (SIZE, self.size)];
        for (at, number) in numbers {
            context[at..at + 4].copy_from_slice(&number.to_ne_bytes());
        }
        context
    }

    /// Packets and bytes beyond the packet itself.
    fn added(self, packet: &[u8], link_header: bool, is_egress: bool) -> (u32, u32) {
        if self.size == 0 {
            return (0, 0);
        }
        let told = (is_egress && self.segments > 0)
            .then(|| (self.segments - 1, self.wire_len - packet.len() as u32));
        segments::added(packet, self.size, link_header, told)
    }
}

fn run(packets: &[(bool, Vec<u8>)], is_egress: bool) -> Result<()> {
    let mut ebpf = load(16)?;
    let mut random = Random::new(0x6773_6f21);
    let (mut classes, mut bytes) = (BTreeMap::<usize, u64>::new(), 0);
    for (link_header, packet) in packets {
        let entry = SLOT | if *link_header { 0 } else { NO_LINK_HEADER };
        only_slot(&mut ebpf, LOOPBACK, entry)?;
        let gso = Gso::any(&mut random, packet);
        let what = || format!("{gso:?} {link_header} {}", packet.escape_ascii());
        let name = if is_egress { EGRESS_PROGRAM } else { INGRESS_PROGRAM };
        let context = gso.context();
        let options = TestRunOptions {
            data_in: Some(packet),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let result = program(&mut ebpf, name)?.test_run(options).with_context(what)?;
        let verdict = result.return_value.cast_signed();
        ensure!(verdict == -1, "{verdict} for {}", what());

        let (expected, _) = parsed(packet, None, *link_header);
        let mut flows: FlowMap<'_> = ebpf.map_mut(FLOWS).context(FLOWS)?.try_into()?;
        let found = flows.iter().collect::<Result<Vec<_>, _>>()?;
        let [(Plain(key), Plain(value))] = found.as_slice() else {
            anyhow::bail!("{} flows for {}", found.len(), what());
        };
        let told = FlowKey { ifindex: LOOPBACK, direction: is_egress.into(), ..expected.key };
        assert_eq!(*key, told, "{}", what());
        assert_eq!((value.packets, value.bytes), (1, packet.len() as u64), "{}", what());
        let added = gso.added(packet, *link_header, is_egress);
        let (more, more_bytes) = (u64::from(added.0), u64::from(added.1));
        assert_eq!((value.extra_packets, value.extra_bytes), (more, more_bytes), "{}", what());
        assert_eq!(value.tcp_flags, u64::from(expected.tcp_flags), "{}", what());
        flows.remove(&Plain(*key))?;
        *classes.entry(expected.class as usize).or_default() += 1 + more;
        bytes += packet.len() as u64 + more_bytes;
    }
    check_totals(&ebpf, &classes, bytes, is_egress)
}

fn check_totals(
    ebpf: &Ebpf,
    classes: &BTreeMap<usize, u64>,
    bytes: u64,
    is_egress: bool,
) -> Result<()> {
    let totals: Array<_, Plain<SlotTotals>> = ebpf.map(TOTALS).context(TOTALS)?.try_into()?;
    let (mut found, mut sum) = (BTreeMap::<usize, u64>::new(), 0);
    for at in (SLOT..totals.len()).step_by(SLOT_BLOCK as usize) {
        let Plain(SlotTotals { rx, tx }) = totals.get(&at, 0)?;
        let (ours, other) = if is_egress { (tx, rx) } else { (rx, tx) };
        for (class, pair) in ours.protocols.iter().enumerate().filter(|(_, p)| p.packets > 0) {
            *found.entry(class).or_default() += pair.packets;
            sum += pair.bytes;
        }
        assert_eq!(other, DirectionTotals::default());
    }
    assert_eq!((&found, sum), (classes, bytes));
    Ok(())
}

/// What the kernel makes of a frame that it receives: it takes the outer tag out. One that is too
/// short to have what the tag stands before is dropped (`skb_vlan_untag`).
fn untagged(frame: &[u8]) -> Option<(Option<u16>, Vec<u8>)> {
    match frame.get(12..14) {
        Some([0x81, 0x00] | [0x88, 0xa8]) => {
            let behind = frame.get(14..20)?;
            let tag = u16::from_be_bytes([behind[0], behind[1]]);
            Some((Some(tag), [&frame[..12], &frame[16..]].concat()))
        }
        _ => Some((None, frame.to_vec())),
    }
}

/// All frames, and all of them with a tag more, out of a link and into it.
fn over_a_link() -> Result<()> {
    let frames = packets()?.into_iter().filter(|(link_header, _)| *link_header);
    let frames = frames.map(|(_, mut frame)| {
        frame.truncate(LONGEST);
        frame
    });
    let frames = frames.flat_map(|frame| {
        let tag = [0x8100, TAG].map(u16::to_be_bytes).concat();
        let tagged = [&frame[..12], &tag, &frame[12..]].concat();
        [frame, tagged]
    });
    let frames: Vec<Vec<u8>> = frames.collect();
    let cut = |frame: &&Vec<u8>| !is_taken(frame);
    ensure!(frames.iter().filter(cut).count() > 20, "no cut headers of IP");

    let namespace = veth()?;
    let mut ebpf = attached(&namespace, frames.len())?;
    let (mut out, mut into) = (namespace.packet_socket("nt0")?, namespace.packet_socket("peer")?);
    let ifindex = namespace.ifindex("nt0")?;
    let mut expected = Table::new();
    let mut add = |frame: &[u8], tag: Option<u16>, direction: u8| {
        let (Parsed { key, tcp_flags, .. }, _) = parsed(frame, tag, true);
        let key = FlowKey { ifindex, direction, ..key };
        let tag = if tag.is_some() { 4 } else { 0 };
        let sum: &mut [u64; 4] = expected.entry(key).or_default();
        let [packets, bytes, extra, flags] = sum;
        (*packets, *bytes) = (*packets + 1, *bytes + frame.len() as u64);
        (*extra, *flags) = (*extra + tag, *flags | u64::from(tcp_flags));
    };
    for frame in &frames {
        out.send(frame)?;
        add(frame, None, 1);
        into.send(frame)?;
        if let Some((tag, frame)) = untagged(frame) {
            add(&frame, tag, 0);
        }
    }
    let all = |flows: &Table<_, [u64; 4]>| flows.values().map(|it| it[0]).sum::<u64>();
    let found = wait::until("all packets", || {
        let found = table(&mut ebpf)?;
        Ok((all(&found) >= all(&expected)).then_some(found))
    })?;
    for (key, value) in &expected {
        assert_eq!(found.get(key), Some(value), "{key:?}");
    }
    assert_eq!(found.len(), expected.len(), "others were told of, too");
    Ok(())
}

/// The programs at `nt0`, with room for as many flows in each direction.
fn attached(namespace: &Namespace, flows: usize) -> Result<Ebpf> {
    if !TCX.is_here() {
        namespace.add_clsact("nt0")?;
    }
    let (ifindex, room) = (namespace.ifindex("nt0")?, u32::try_from(2 * flows)?);
    namespace.run(move || {
        let mut ebpf = load(room)?;
        only_slot(&mut ebpf, ifindex, SLOT)?;
        program(&mut ebpf, INGRESS_PROGRAM)?.attach("nt0", TcAttachType::Ingress)?;
        program(&mut ebpf, EGRESS_PROGRAM)?.attach("nt0", TcAttachType::Egress)?;
        Ok(ebpf)
    })
}

/// Packets, bytes, bytes that a cable would carry more, and flags of each flow.
fn table(ebpf: &mut Ebpf) -> Result<Table<FlowKey, [u64; 4]>> {
    let flows: FlowMap<'_> = ebpf.map_mut(FLOWS).context(FLOWS)?.try_into()?;
    let flows = flows.iter().map(|entry| {
        let (Plain(key), Plain(value)) = entry?;
        let FlowValue { packets, bytes, extra_bytes, tcp_flags, .. } = value;
        Ok((key, [packets, bytes, extra_bytes, tcp_flags]))
    });
    flows.collect()
}
