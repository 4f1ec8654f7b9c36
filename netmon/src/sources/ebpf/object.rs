//! Loads the object that is embedded in this binary.

use std::os::fd::OwnedFd;

use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::{ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use netmon_common as common;

use super::counters::CounterReader;
use super::errors::EbpfUnavailable;
use super::slots::{SlotMaps, SlotTable};

/// The object that `cargo xtask build-ebpf` built; build.rs says which file.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/netmon.bpf.o"));

/// The kernel's own limit is far higher; this is 128 MiB of counters a CPU.
const MOST_SLOTS: u32 = 1 << 21;

/// The slots to make room for when `interfaces` are known at the start: twice as many, since
/// interfaces come while netmon runs, and never fewer than the default.
#[must_use]
pub const fn slots_for(interfaces: usize) -> u32 {
    let wanted = interfaces.saturating_mul(2).next_power_of_two();
    if wanted > MOST_SLOTS as usize {
        MOST_SLOTS
    } else if wanted < common::COUNTERS_DEFAULT as usize {
        common::COUNTERS_DEFAULT
    } else {
        wanted as u32
    }
}

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
    /// Gives slots to interfaces.
    pub slots: SlotTable<SlotMaps>,
    /// The programs, loaded and not attached.
    pub programs: Programs,
    /// The programs' messages; `None` when they have none to give.
    pub logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

/// The programs.
pub struct Programs {
    ebpf: Ebpf,
    /// Why there is no XDP program, if it was asked for.
    pub no_xdp: Option<String>,
}

impl Programs {
    /// The TC program of a direction.
    pub(super) fn classifier(&mut self, name: &str) -> Result<&mut SchedClassifier, ProgramError> {
        let program = self.ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
        program.try_into()
    }

    /// An XDP program.
    pub(super) fn xdp(&mut self, name: &str) -> Result<&mut Xdp, ProgramError> {
        let program = self.ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
        program.try_into()
    }

    fn load_xdp(&mut self) {
        let load = |programs: &mut Self, name| programs.xdp(name).and_then(Xdp::load);
        if let Err(error) = load(self, common::XDP_PROGRAM) {
            let error = EbpfUnavailable::new("cannot load the XDP program", &error);
            self.no_xdp = Some(error.to_string());
        } else if let Err(error) = load(self, common::XDP_FRAGS_PROGRAM) {
            tracing::debug!("no XDP for frames in several buffers: {error}");
        }
    }
}

/// Loads maps and programs; nothing is attached. The XDP programs only when they are wanted: a
/// kernel that cannot have them can still have the others.
///
/// # Errors
/// Says what was refused, and for missing privileges what helps.
pub fn load(slots: u32, log: ProgramLog, xdp: bool) -> Result<Loaded, EbpfUnavailable> {
    let level = log as u8;
    let mut ebpf = EbpfLoader::new()
        .override_global(aya_log::LEVEL, &level, false)
        .map_max_entries(common::COUNTERS, slots)
        .map_max_entries(common::FAR_SLOTS, slots)
        .load(OBJECT)
        .map_err(|error| EbpfUnavailable::new("cannot create the eBPF maps", &error))?;
    let logger = match log {
        ProgramLog::Off => None,
        _ => EbpfLogger::init(&mut ebpf)
            .inspect_err(|error| tracing::debug!("no messages of the programs: {error}"))
            .ok(),
    };
    let mut programs = Programs { ebpf, no_xdp: None };
    for name in [common::INGRESS_PROGRAM, common::EGRESS_PROGRAM] {
        programs
            .classifier(name)
            .and_then(SchedClassifier::load)
            .map_err(|error| EbpfUnavailable::new("cannot load the eBPF programs", &error))?;
    }
    if xdp {
        programs.load_xdp();
    }
    // Only now: a program is loaded with the descriptors of its maps.
    let counters = CounterReader::new(map_data(&mut programs.ebpf, common::COUNTERS)?, slots)
        .map_err(|error| EbpfUnavailable::new("cannot use the counters' map", &error))?;
    let slot_maps = slot_maps(&mut programs.ebpf)?;
    Ok(Loaded { counters, slots: SlotTable::new(slot_maps, slots), programs, logger })
}

fn map_data(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, EbpfUnavailable> {
    let missing = || EbpfUnavailable::Kernel {
        operation: "cannot use the embedded eBPF object",
        error: format!("it has no map {name} of the expected type"),
    };
    let Some(Map::PerCpuArray(data)) = ebpf.take_map(name) else {
        return Err(missing());
    };
    let fd = std::os::fd::AsFd::as_fd(data.fd());
    fd.try_clone_to_owned().map_err(|error| EbpfUnavailable::new("cannot duplicate a map", &error))
}

fn slot_maps(ebpf: &mut Ebpf) -> Result<SlotMaps, EbpfUnavailable> {
    let mut take = |name: &'static str| {
        ebpf.take_map(name).ok_or_else(|| EbpfUnavailable::Kernel {
            operation: "cannot use the embedded eBPF object",
            error: format!("it has no map {name}"),
        })
    };
    let (direct, far) = (take(common::SLOTS)?, take(common::FAR_SLOTS)?);
    let wrong = |error| EbpfUnavailable::new("cannot use the embedded eBPF object", &error);
    let direct: Array<MapData, u32> = direct.try_into().map_err(wrong)?;
    let far: HashMap<MapData, u32, u32> = far.try_into().map_err(wrong)?;
    Ok(SlotMaps { direct, far })
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
