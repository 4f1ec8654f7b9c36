//! Loads the object of the tracepoints, and says what of it cannot be had.

use std::os::unix::fs::MetadataExt as _;

use aya::maps::{Map, MapData};
use aya::programs::{BtfTracePoint, FExit, ProgramError};
use aya::util::KernelVersion;
use aya::{Btf, Ebpf, EbpfLoader, Endianness};
use netmon_common::trace::{self as common, Offsets, TraceSettings};

use super::btf::Types;
use super::drops::{self, DropTable};
use super::owners::Owners;
use super::processes::ProcessTable;
use super::{TraceOptions, offsets};
use crate::model::traffic::facts::{Missing, Part};
use crate::sources::ebpf::errors::{EbpfUnavailable, one_line};

pub(super) use crate::sources::ebpf::errors::one_line as one_line_of;

/// The object that `cargo xtask build-ebpf` built; build.rs says which file.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/trace.bpf.o"));

/// The kernel's types.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// What is in the kernel now, and what is not.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) ebpf: Option<Ebpf>,
    pub(super) processes: Option<ProcessTable>,
    pub(super) owners: Option<Owners>,
    pub(super) drops: Option<DropTable>,
    pub(super) missing: Vec<Missing>,
}

/// Loads what is wanted.
pub(super) fn load(options: &TraceOptions) -> Loaded {
    let wanted = [(options.processes, Part::Processes), (options.drops, Part::Drops)];
    let wanted: Vec<Part> = wanted.iter().filter(|(it, _)| *it).map(|(_, part)| *part).collect();
    if wanted.is_empty() {
        return Loaded::default();
    }
    load_parts(options, &wanted).unwrap_or_else(|why| Loaded {
        missing: wanted.iter().map(|part| Missing { part: *part, why: why.clone() }).collect(),
        ..Loaded::default()
    })
}

/// Everything that all parts need; if that fails, none can be had.
fn load_parts(options: &TraceOptions, wanted: &[Part]) -> Result<Loaded, String> {
    let data = std::fs::read(BTF).map_err(|error| {
        format!("needs the kernel's type information ({BTF}, CONFIG_DEBUG_INFO_BTF): {error}")
    })?;
    let types = Types::parse(&data).map_err(|error| error.to_string())?;
    let mut loaded = Loaded::default();
    let mut possible = Vec::new();
    let mut found = Offsets::default();
    for part in wanted {
        match look(*part, &types, &mut found) {
            Ok(()) => possible.push(*part),
            Err(why) => loaded.missing.push(Missing { part: *part, why }),
        }
    }
    if possible.is_empty() {
        return Ok(loaded);
    }
    let settings = settings(&types)?;
    let slots = if possible.contains(&Part::Processes) { slots(options) } else { 1 };
    let mut ebpf = create(options, &possible, &found, &settings, slots)?;
    let btf = Btf::parse(&data, Endianness::default()).map_err(|error| one_line(&error))?;
    for part in possible {
        let taken = match part {
            Part::Processes => take_processes(&mut ebpf, &btf, &types, options, &settings).map(
                |(processes, owners)| {
                    loaded.processes = Some(processes);
                    loaded.owners = Some(owners);
                },
            ),
            Part::Drops => {
                let room = (settings.cpus, options.drop_capacity.max(1));
                take_drops(&mut ebpf, &btf, &types, room).map(|drops| loaded.drops = Some(drops))
            }
            Part::Flows => Ok(()),
        };
        if let Err(why) = taken {
            loaded.missing.push(Missing { part, why });
        }
    }
    loaded.ebpf = Some(ebpf);
    Ok(loaded)
}

/// As many as there are to be processes, and slot 0.
fn slots(options: &TraceOptions) -> u32 {
    options.process_capacity.clamp(1, common::MOST_PROCESSES - 1) + 1
}

/// Whether the kernel has what a part needs.
fn look(part: Part, types: &Types<'_>, found: &mut Offsets) -> Result<(), String> {
    let needs = |version: &str, what: &str| {
        let here = KernelVersion::current().map(|it| {
            let code = it.code();
            format!("; this is {}.{}", code >> 16, code >> 8 & 0xff)
        });
        format!("needs Linux {version} ({what}){}", here.unwrap_or_default())
    };
    match part {
        Part::Processes => offsets::for_processes(types, found).map_err(|error| error.to_string()),
        Part::Drops => {
            if types.tracepoint_arguments(common::DROP_PROGRAM.1).is_none_or(|count| count < 3) {
                return Err(needs("5.17", "reasons in the tracepoint kfree_skb"));
            }
            offsets::for_drops(types, found).map_err(|error| error.to_string())
        }
        Part::Flows => Ok(()),
    }
}

fn settings(types: &Types<'_>) -> Result<TraceSettings, String> {
    let inode = |kind: &str| {
        let path = format!("/proc/thread-self/ns/{kind}");
        let found = std::fs::metadata(&path).map_err(|error| format!("{path}: {error}"))?;
        // The kernel gives them 32 bits.
        Ok::<u32, String>(found.ino() as u32)
    };
    let arguments = types.tracepoint_arguments(common::DROP_PROGRAM.1).unwrap_or(0);
    let cpus = aya::util::nr_cpus().map_err(|(file, error)| format!("{file}: {error}"))?;
    Ok(TraceSettings {
        net_namespace: inode("net")?,
        pid_namespace: inode("pid")?,
        consumed: drops::consumed(types),
        drop_tells_socket: u32::from(arguments > 3),
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
    })
}

fn create(
    options: &TraceOptions,
    parts: &[Part],
    offsets: &Offsets,
    settings: &TraceSettings,
    slots: u32,
) -> Result<Ebpf, String> {
    let room = |part, wanted: u32| if parts.contains(&part) { wanted.max(1) } else { 1 };
    let counters = slots.checked_mul(settings.cpus).ok_or("too many processes for so many CPUs")?;
    EbpfLoader::new()
        .override_global(common::OFFSETS, bytemuck::bytes_of(offsets), true)
        .override_global(common::TRACE_SETTINGS, bytemuck::bytes_of(settings), true)
        .map_max_entries(common::PROCESSES, slots)
        .map_max_entries(common::PROCESS_INFO, slots)
        .map_max_entries(common::PROCESS_COUNTERS, counters)
        .map_max_entries(common::FREE_PROCESSES, slots)
        .map_max_entries(common::OWNERS, room(Part::Processes, options.owner_capacity))
        .map_max_entries(common::DROPS, room(Part::Drops, options.drop_capacity))
        .load(OBJECT)
        .map_err(|error| refused("cannot create the eBPF maps", &error))
}

/// By tracepoints, or where the kernel has none by programs at the ends of its functions.
fn take_processes(
    ebpf: &mut Ebpf,
    btf: &Btf,
    types: &Types<'_>,
    options: &TraceOptions,
    settings: &TraceSettings,
) -> Result<(ProcessTable, Owners), String> {
    let by_tracepoint =
        common::SOCKET_TRACEPOINTS.iter().all(|(_, it)| types.tracepoint_arguments(it).is_some());
    if by_tracepoint {
        for (name, tracepoint) in common::SOCKET_TRACEPOINTS {
            load_program(ebpf, name, tracepoint, btf)?;
        }
    } else {
        let why = |error: String| {
            format!(
                "needs Linux 6.3 (the tracepoints sock_send_length and sock_recv_length), or \
                 programs at the kernel's functions, which this kernel refuses: {error}"
            )
        };
        for (name, function) in common::SOCKET_FUNCTIONS {
            load_at_function(ebpf, name, function, btf).map_err(why)?;
        }
    }
    let (exit, exits) = common::EXIT_PROGRAM;
    load_program(ebpf, exit, exits, btf)?;
    let mut beside = Vec::new();
    for (name, function) in common::SPLICE_FUNCTIONS {
        match load_at_function(ebpf, name, function, btf) {
            Ok(()) => beside.push((name, function)),
            Err(error) => tracing::debug!("what goes through {function} is not counted: {error}"),
        }
    }
    // Only now: a program is loaded with the descriptors of its maps.
    let owners = Owners::new(take_map(ebpf, common::OWNERS)?, settings.net_namespace)?;
    let room = (slots(options), settings.cpus);
    let mut processes = ProcessTable::new(ebpf, room, options.settling)?;
    attach(ebpf, exit)?;
    if by_tracepoint {
        common::SOCKET_TRACEPOINTS.iter().try_for_each(|(name, _)| attach(ebpf, name))?;
    } else {
        common::SOCKET_FUNCTIONS.iter().try_for_each(|(name, _)| attach_at_end(ebpf, name))?;
    }
    for (name, function) in beside {
        match attach_at_end(ebpf, name) {
            Ok(()) => processes.sees(function),
            Err(error) => tracing::debug!("what goes through {function} is not counted: {error}"),
        }
    }
    Ok((processes, owners))
}

fn take_drops(
    ebpf: &mut Ebpf,
    btf: &Btf,
    types: &Types<'_>,
    (cpus, capacity): (u32, u32),
) -> Result<DropTable, String> {
    let (name, tracepoint) = common::DROP_PROGRAM;
    load_program(ebpf, name, tracepoint, btf)?;
    let drops = DropTable::new(take_map(ebpf, common::DROPS)?, types, cpus, capacity)?;
    attach(ebpf, name)?;
    Ok(drops)
}

fn load_program(ebpf: &mut Ebpf, name: &str, tracepoint: &str, btf: &Btf) -> Result<(), String> {
    let loaded = program(ebpf, name).and_then(|program| program.load(tracepoint, btf));
    loaded.map_err(|error| {
        tracing::debug!("{name}: {error}");
        refused("cannot load the eBPF programs", &error)
    })
}

fn attach(ebpf: &mut Ebpf, name: &str) -> Result<(), String> {
    let attached = program(ebpf, name).and_then(|program| program.attach().map(drop));
    attached.map_err(|error| refused("cannot attach the eBPF programs", &error))
}

fn load_at_function(ebpf: &mut Ebpf, name: &str, function: &str, btf: &Btf) -> Result<(), String> {
    let loaded = fexit(ebpf, name).and_then(|program| program.load(function, btf));
    loaded.map_err(|error| refused("cannot load the eBPF programs", &error))
}

fn attach_at_end(ebpf: &mut Ebpf, name: &str) -> Result<(), String> {
    let attached = fexit(ebpf, name).and_then(|program| program.attach().map(drop));
    attached.map_err(|error| refused("cannot attach the eBPF programs", &error))
}

fn fexit<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut FExit, ProgramError> {
    ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut BtfTracePoint, ProgramError> {
    ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}

/// Takes a map out of the object.
pub(super) fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<Map, String> {
    ebpf.take_map(name).ok_or_else(|| format!("the embedded eBPF object has no map {name}"))
}

/// The data of an array.
pub(super) fn take_array(ebpf: &mut Ebpf, name: &str) -> Result<MapData, String> {
    match take_map(ebpf, name)? {
        Map::Array(data) => Ok(data),
        _ => Err(format!("in the embedded eBPF object {name} is no array")),
    }
}

fn refused(operation: &'static str, error: &(dyn std::error::Error + 'static)) -> String {
    EbpfUnavailable::needing("CAP_BPF and CAP_PERFMON", operation, error).to_string()
}
