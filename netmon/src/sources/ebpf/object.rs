//! Loads the object that is embedded in this binary.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::{ProgramError, ProgramFd, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use netmon_common::{self as common, SlotEntries};

use super::bpf_link::Direction;
use super::counters::CounterReader;
use super::cpus;
use super::errors::EbpfUnavailable;
use super::flows::layout::Layout;
use super::flows::{self, FlowReader};
use super::slots::{SlotMaps, SlotTable};
use crate::model::traffic::options::FlowOptions;

/// The object that `cargo xtask build-ebpf` built; build.rs says which file.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/netmon.bpf.o"));
/// The one that also tells flows apart; it has programs of the same names.
static TRAFFIC_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/traffic.bpf.o"));

/// Why there is no XDP program when flows are told apart.
const NO_XDP: &str = "not XDP: flows are told apart at the TC hook";

/// What the programs that tell flows apart need.
const FOR_FLOWS: &str = "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";

/// The kernel's own limit is far higher; this is 128 MiB of counters a CPU.
const MOST_SLOTS: u32 = 1 << 21;

/// The slots to make room for when `interfaces` are known at the start: twice as many, since
/// interfaces come while netmon runs, and never fewer than the default.
#[must_use]
pub const fn slots_for(interfaces: usize) -> u32 {
    let wanted = interfaces.saturating_mul(2).next_power_of_two();
    if wanted > MOST_SLOTS as usize {
        MOST_SLOTS
    } else if wanted < common::SLOTS_PER_CPU_DEFAULT as usize {
        common::SLOTS_PER_CPU_DEFAULT
    } else {
        wanted as u32
    }
}

/// The slots to make room for when there is one interface: a page of counters a CPU, for they are
/// mapped and so count as the process's memory.
pub const SLOTS_FOR_ONE: u32 = 64;

/// How chatty the programs are: they have no instruction for messages above the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ProgramLog {
    /// Nothing.
    Off = 0,
    /// A packet of an interface without a slot.
    Warnings = 2,
    /// Also super-packets with headers that are not understood.
    Debug = 4,
}

/// What is in the kernel now. Dropping all of it takes it out.
pub struct Loaded {
    /// Reads the counters.
    pub counters: CounterReader,
    /// Reads flows and what else is told of traffic, if that was asked for.
    pub flows: Option<FlowReader>,
    /// Gives slots to interfaces.
    pub slots: SlotTable<SlotMaps>,
    /// The programs, loaded and not attached.
    pub programs: Programs,
    /// The programs' messages; `None` when they have none to give.
    pub logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

/// The programs, which the descriptors hold.
pub struct Programs {
    ingress: OwnedFd,
    egress: OwnedFd,
    /// For frames in one buffer.
    xdp: Option<OwnedFd>,
    /// For frames in several buffers.
    xdp_frags: Option<OwnedFd>,
    /// Why there is no XDP program, if it was asked for.
    pub no_xdp: Option<String>,
    /// Held so that tools see by its name whose programs these are.
    _counters: Map,
}

impl Programs {
    /// The TC program of a direction.
    pub(super) fn classifier(&self, direction: Direction) -> BorrowedFd<'_> {
        match direction {
            Direction::Ingress => self.ingress.as_fd(),
            Direction::Egress => self.egress.as_fd(),
        }
    }

    /// The XDP program for frames in one buffer, or in several.
    pub(super) fn xdp(&self, frags: bool) -> Option<BorrowedFd<'_>> {
        let program = if frags { &self.xdp_frags } else { &self.xdp };
        program.as_ref().map(AsFd::as_fd)
    }
}

fn load_classifier(ebpf: &mut Ebpf, name: &str) -> Result<OwnedFd, ProgramError> {
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    let program: &mut SchedClassifier = program.try_into()?;
    program.load()?;
    held(program.fd()?)
}

fn load_xdp(ebpf: &mut Ebpf, name: &str) -> Result<OwnedFd, ProgramError> {
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    let program: &mut Xdp = program.try_into()?;
    program.load()?;
    held(program.fd()?)
}

/// Holds a program beyond aya's object, which is large.
fn held(program: &ProgramFd) -> Result<OwnedFd, ProgramError> {
    program.as_fd().try_clone_to_owned().map_err(ProgramError::IOError)
}

/// The XDP programs, or why there are none.
fn load_both_xdp(ebpf: &mut Ebpf) -> (Option<OwnedFd>, Option<OwnedFd>, Option<String>) {
    let one = match load_xdp(ebpf, common::XDP_PROGRAM) {
        Ok(one) => one,
        Err(error) => {
            let error = EbpfUnavailable::new("cannot load the XDP program", &error);
            return (None, None, Some(error.to_string()));
        }
    };
    let several = load_xdp(ebpf, common::XDP_FRAGS_PROGRAM)
        .inspect_err(|error| tracing::debug!("no XDP for frames in several buffers: {error}"));
    (Some(one), several.ok(), None)
}

/// Loads maps and programs; nothing is attached. The XDP programs only when they are wanted: a
/// kernel that cannot have them can still have the others. With `flows` programs that also tell
/// these apart, at the TC hook only.
///
/// # Errors
/// Says what was refused, and for missing privileges what helps.
pub fn load(
    slots: u32,
    log: ProgramLog,
    xdp: bool,
    flows: Option<&FlowOptions>,
) -> Result<Loaded, EbpfUnavailable> {
    let level = log as u8;
    let cpus = cpus::possible()
        .map_err(|error| EbpfUnavailable::new("cannot tell how many CPUs there are", &error))?;
    let layout = flows.map(|flows| flow_layout(flows, slots, cpus)).transpose()?;
    let mut loader = EbpfLoader::new();
    loader
        .override_global(aya_log::LEVEL, &level, false)
        .map_max_entries(common::COUNTERS, slots.saturating_mul(cpus))
        .map_max_entries(common::FAR_SLOTS, slots)
        .map_max_entries(common::THREADS, 1);
    if let Some(layout) = &layout {
        layout.set(&mut loader);
    }
    let mut ebpf = loader
        .load(if flows.is_some() { TRAFFIC_OBJECT } else { OBJECT })
        .map_err(|error| EbpfUnavailable::new("cannot create the eBPF maps", &error))?;
    let logger = match log {
        ProgramLog::Off => None,
        _ => EbpfLogger::init(&mut ebpf)
            .inspect_err(|error| tracing::debug!("no messages of the programs: {error}"))
            .ok(),
    };
    let mut load_tc =
        |name| load_classifier(&mut ebpf, name).map_err(|error| refused(&error, flows.is_some()));
    let (ingress, egress) = (load_tc(common::INGRESS_PROGRAM)?, load_tc(common::EGRESS_PROGRAM)?);
    let (xdp, xdp_frags, no_xdp) = match flows {
        Some(_) => (None, None, Some(NO_XDP.to_owned())),
        None if xdp => load_both_xdp(&mut ebpf),
        None => (None, None, None),
    };
    // Only now: a program is loaded with the descriptors of its maps.
    let (counters, counters_map) = counters(&mut ebpf, slots, cpus)?;
    let slots = SlotTable::new(slot_maps(&mut ebpf)?, slots, cpus);
    let flows = match flows.zip(layout) {
        Some((options, layout)) => Some(FlowReader::new(&mut ebpf, options, layout)?),
        None => None,
    };
    let programs = Programs { ingress, egress, xdp, xdp_frags, no_xdp, _counters: counters_map };
    Ok(Loaded { counters, flows, slots, programs, logger })
}

/// Programs that look into packets at places that they compute need one privilege more.
fn refused(error: &ProgramError, flows: bool) -> EbpfUnavailable {
    const OPERATION: &str = "cannot load the eBPF programs";
    match flows {
        true => EbpfUnavailable::needing(FOR_FLOWS, OPERATION, error),
        false => EbpfUnavailable::new(OPERATION, error),
    }
}

fn flow_layout(options: &FlowOptions, slots: u32, cpus: u32) -> Result<Layout, EbpfUnavailable> {
    let tick = flows::tick()
        .map_err(|error| EbpfUnavailable::new("cannot learn the kernel's tick", &error))?;
    Ok(Layout::of(options, slots, cpus, tick))
}

/// The object with the smallest maps there can be, for those of its programs that do not count.
/// Nothing is loaded yet.
///
/// # Errors
/// Says what was refused.
pub(super) fn load_small() -> Result<Ebpf, EbpfUnavailable> {
    let level = ProgramLog::Off as u8;
    EbpfLoader::new()
        .override_global(aya_log::LEVEL, &level, false)
        .map_max_entries(common::COUNTERS, 1)
        .map_max_entries(common::FAR_SLOTS, 1)
        .load(OBJECT)
        .map_err(|error| EbpfUnavailable::new("cannot create the eBPF maps", &error))
}

/// Takes a map out of the object.
///
/// # Errors
/// When it has none of that name.
pub(super) fn take_map(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, EbpfUnavailable> {
    ebpf.take_map(name).ok_or_else(|| EbpfUnavailable::Kernel {
        operation: "cannot use the embedded eBPF object",
        error: format!("it has no map {name}"),
    })
}

fn counters(
    ebpf: &mut Ebpf,
    slots: u32,
    cpus: u32,
) -> Result<(CounterReader, Map), EbpfUnavailable> {
    let map = take_map(ebpf, common::COUNTERS)?;
    let Map::Array(array) = &map else {
        return Err(EbpfUnavailable::Kernel {
            operation: "cannot use the embedded eBPF object",
            error: format!("it has no array {}", common::COUNTERS),
        });
    };
    let reader = CounterReader::new(array.fd(), slots, cpus)
        .map_err(|error| EbpfUnavailable::new("cannot map the counters", &error))?;
    Ok((reader, map))
}

fn slot_maps(ebpf: &mut Ebpf) -> Result<SlotMaps, EbpfUnavailable> {
    let (direct, far) = (take_map(ebpf, common::SLOTS)?, take_map(ebpf, common::FAR_SLOTS)?);
    let wrong = |error| EbpfUnavailable::new("cannot use the embedded eBPF object", &error);
    let direct: Array<MapData, SlotEntries> = direct.try_into().map_err(wrong)?;
    let far: HashMap<MapData, u32, u32> = far.try_into().map_err(wrong)?;
    Ok(SlotMaps::new(direct, far))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_grows_with_the_interfaces() {
        let cases = [(0, 1_024), (512, 1_024), (513, 2_048), (10_000, 32_768)];
        for (interfaces, slots) in cases {
            assert_eq!(slots_for(interfaces), slots);
        }
        assert_eq!(slots_for(usize::MAX / 4), MOST_SLOTS);
    }
}
