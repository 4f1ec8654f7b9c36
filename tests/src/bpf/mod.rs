//! The system call bpf(2), as far as the tests need it: asking the kernel which programs and
//! links there are, and loading programs of a few instructions that stand for somebody else's.
//!
//! By hand and not by aya, so that the witness shares no code with what it bears witness of.
//! Layouts are those of `union bpf_attr` in `linux/bpf.h`; the kernel takes shorter ones.

use std::{
    ffi::CStr,
    fs, io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, Result};

mod mapped;

pub use mapped::MappedArray;

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_MAP_GET_FD_BY_ID: libc::c_int = 14;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_GET_FD_BY_ID: libc::c_int = 30;
const BPF_LINK_DETACH: libc::c_int = 34;
/// Before all others.
pub const BEFORE: u32 = 1 << 3;

/// Where a program is attached to a link: `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// `BPF_XDP`.
    Xdp = 37,
    /// `BPF_TCX_INGRESS`.
    TcxIngress = 46,
    /// `BPF_TCX_EGRESS`.
    TcxEgress = 47,
}

/// What a program is made for: `enum bpf_prog_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// `BPF_PROG_TYPE_SCHED_CLS`.
    SchedCls = 3,
    /// `BPF_PROG_TYPE_TRACEPOINT`.
    Tracepoint = 5,
    /// `BPF_PROG_TYPE_XDP`.
    Xdp = 6,
}

/// Something of eBPF in the kernel, by an id that is not given again (the kernel counts on).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A program.
    Program(u32),
    /// A map.
    Map(u32),
    /// A link: what holds a program attached.
    Link(u32),
}

impl Object {
    /// Whether the kernel still has it.
    ///
    /// # Errors
    /// When the kernel does not say: mostly for want of root.
    pub fn exists(self) -> Result<bool> {
        let (command, id) = match self {
            Self::Program(id) => (BPF_PROG_GET_FD_BY_ID, id),
            Self::Map(id) => (BPF_MAP_GET_FD_BY_ID, id),
            Self::Link(id) => (BPF_LINK_GET_FD_BY_ID, id),
        };
        match new_fd(command, &[id, 0, 0]) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            // A link on the way out has an id, and no program any more that one could get.
            Err(error) => Err(error).with_context(|| format!("asking for {self:?}")),
        }
    }
}

/// All that a process holds open of eBPF, each once.
///
/// # Errors
/// When there is no such process, or it is another user's.
pub fn held_by(pid: u32) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed while we look.
        let info = fs::read_to_string(entry?.path()).unwrap_or_default();
        objects.extend(info.lines().filter_map(object));
    }
    objects.sort();
    objects.dedup();
    Ok(objects)
}

/// The map that a process holds open and that has this name.
///
/// # Errors
/// When it holds none, or the kernel does not say.
pub fn map_named(pid: u32, name: &str) -> Result<u32> {
    for object in held_by(pid)? {
        if let Object::Map(id) = object
            && map_name(id)? == name.as_bytes()
        {
            return Ok(id);
        }
    }
    anyhow::bail!("{pid} holds no map {name}")
}

/// The names of the programs that a process holds open, as far as the kernel keeps them (fifteen
/// bytes), in order.
///
/// # Errors
/// When there is no such process, or the kernel does not say.
pub fn program_names(pid: u32) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for object in held_by(pid)? {
        if let Object::Program(id) = object {
            names.push(String::from_utf8(program_name(id)?)?);
        }
    }
    names.sort();
    Ok(names)
}

fn map_name(id: u32) -> Result<Vec<u8>> {
    /// Where the name begins in `struct bpf_map_info`.
    const NAME: usize = 24;
    let map = new_fd(BPF_MAP_GET_FD_BY_ID, &[id, 0, 0])?;
    name_in_info::<{ NAME + NAME_LENGTH }>(&map, NAME).with_context(|| format!("map {id}"))
}

fn program_name(id: u32) -> Result<Vec<u8>> {
    /// Where the name begins in `struct bpf_prog_info`.
    const NAME: usize = 64;
    let program = new_fd(BPF_PROG_GET_FD_BY_ID, &[id, 0, 0])?;
    name_in_info::<{ NAME + NAME_LENGTH }>(&program, NAME).with_context(|| format!("program {id}"))
}

/// `BPF_OBJ_NAME_LEN`.
const NAME_LENGTH: usize = 16;

/// What the kernel says of something in so many bytes, from the place of its name on.
fn name_in_info<const LENGTH: usize>(of: &OwnedFd, name: usize) -> Result<Vec<u8>> {
    #[repr(C)]
    struct GetInfo {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut info = [0_u8; LENGTH];
    let mut get = GetInfo {
        fd: of.as_raw_fd().cast_unsigned(),
        length: u32::try_from(info.len())?,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: the layout is that of the attribute's part for this command; `info` outlives the
    // call and has the length that is told.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &raw mut get) }?;
    Ok(info[name..].iter().copied().take_while(|byte| *byte != 0).collect())
}

/// One entry of an array whose values have `size` bytes.
///
/// # Errors
/// When there is no such map or entry.
pub fn value(map: u32, key: u32, size: usize) -> Result<Vec<u8>> {
    #[repr(C)]
    struct Lookup {
        map: u64,
        key: u64,
        value: u64,
        flags: u64,
    }
    let map = new_fd(BPF_MAP_GET_FD_BY_ID, &[map, 0, 0])?;
    let mut value = vec![0_u8; size.next_multiple_of(8)];
    let mut lookup = Lookup {
        map: u64::try_from(map.as_raw_fd())?,
        key: (&raw const key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the layout is that of the attribute's part for this command (little endian); key
    // and value outlive the call and have the sizes of the map's.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &raw mut lookup) }.context("looking up a value")?;
    Ok(value)
}

/// One more than the highest number that a CPU can have here.
///
/// # Errors
/// When sysfs does not say.
pub fn possible_cpus() -> Result<u32> {
    let ranges = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = ranges.trim_end().rsplit([',', '-']).next().unwrap_or_default();
    Ok(last.parse::<u32>().with_context(|| ranges.clone())? + 1)
}

/// Parses a line of `/proc/<pid>/fdinfo/<fd>`.
fn object(line: &str) -> Option<Object> {
    let (key, value) = line.split_once(':')?;
    let id = value.trim().parse().ok()?;
    match key {
        "prog_id" => Some(Object::Program(id)),
        "map_id" => Some(Object::Map(id)),
        "link_id" => Some(Object::Link(id)),
        _ => None,
    }
}

/// The ids of the programs that are attached to a link of the calling thread's namespace by
/// TCX, in the order in which they run.
///
/// # Errors
/// When there is no such link, or for want of root.
pub fn attached(ifindex: u32, hook: Hook) -> Result<Vec<u32>> {
    #[repr(C)]
    struct Query {
        ifindex: u32,
        hook: u32,
        query_flags: u32,
        attach_flags: u32,
        program_ids: u64,
        count: u32,
        padding: u32,
        others: [u64; 4],
    }
    let mut ids = [0_u32; 64];
    let mut query = Query {
        ifindex,
        hook: hook as u32,
        query_flags: 0,
        attach_flags: 0,
        program_ids: ids.as_mut_ptr() as u64,
        count: 64,
        padding: 0,
        others: [0; 4],
    };
    // SAFETY: the layout is that of the attribute's part for this command; `ids` outlives the
    // call and holds the `count` numbers that the kernel may write.
    let answer = unsafe { bpf(BPF_PROG_QUERY, &raw mut query) };
    match answer {
        // Nothing has ever been attached.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
        other => other.with_context(|| format!("asking what is attached to {ifindex}"))?,
    };
    Ok(ids[..query.count as usize].to_vec())
}

/// A program that returns the same verdict for every packet.
///
/// # Errors
/// When the kernel refuses it.
pub fn load_constant(kind: Kind, name: &CStr, verdict: i32) -> Result<OwnedFd> {
    // r0 = verdict; exit.
    load(kind, name, &[0xb7 | (u64::from(verdict.cast_unsigned()) << 32), 0x95])
}

/// A program of these instructions.
///
/// # Errors
/// When the kernel refuses it.
pub fn load(kind: Kind, name: &CStr, instructions: &[u64]) -> Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        kind: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
    }
    let license = c"GPL";
    let mut load = Load {
        kind: kind as u32,
        instruction_count: u32::try_from(instructions.len())?,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: [0; 16],
    };
    // The kernel wants the terminating zero within the sixteen bytes.
    let length = name.count_bytes().min(15);
    load.name[..length].copy_from_slice(&name.to_bytes()[..length]);
    // SAFETY: the layout is that of the attribute's part for this command; instructions and
    // license outlive the call.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &raw mut load) }.context("loading a program")?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a program to a link of the calling thread's namespace, for as long as the
/// descriptor given back is open.
///
/// # Errors
/// When the kernel refuses: another program is there (XDP), or the driver cannot.
pub fn attach(program: impl AsFd, ifindex: u32, hook: Hook, flags: u32) -> Result<OwnedFd> {
    let program = program.as_fd().as_raw_fd().cast_unsigned();
    new_fd(BPF_LINK_CREATE, &[program, ifindex, hook as u32, flags, 0, 0, 0, 0])
        .with_context(|| format!("attaching to {ifindex} by {hook:?}"))
}

/// Detaches what a link holds attached, as `bpftool link detach` does: the link itself stays with
/// whoever has it open.
///
/// # Errors
/// When there is no such link, or the kernel refuses.
pub fn detach(link: u32) -> Result<()> {
    let link = new_fd(BPF_LINK_GET_FD_BY_ID, &[link, 0, 0])?;
    let mut numbers = [link.as_raw_fd().cast_unsigned()];
    // SAFETY: the attribute's part for this command is that one number.
    unsafe { bpf(BPF_LINK_DETACH, &raw mut numbers) }.context("detaching a link")?;
    Ok(())
}

/// The id of a program of ours.
///
/// # Errors
/// When the descriptor is not a program's.
pub fn program_id(program: impl AsFd) -> Result<u32> {
    let fd = program.as_fd().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    let ids = info.lines().filter_map(object);
    let mut ids = ids.filter_map(|object| match object {
        Object::Program(id) => Some(id),
        Object::Map(_) | Object::Link(_) => None,
    });
    ids.next().context("not a program")
}

/// A command whose attribute is a row of 32-bit numbers, and which gives a descriptor.
fn new_fd<const N: usize>(command: libc::c_int, numbers: &[u32; N]) -> io::Result<OwnedFd> {
    let mut numbers = *numbers;
    // SAFETY: the attribute's part for these commands is such a row, without pointers.
    let fd = unsafe { bpf(command, &raw mut numbers) }?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// bpf(2).
///
/// # Safety
/// `attribute` has to be laid out as this command's part of `union bpf_attr`, and the pointers
/// in it have to be good for what the kernel reads and writes through them.
unsafe fn bpf<T>(command: libc::c_int, attribute: *mut T) -> io::Result<RawFd> {
    // SAFETY: the caller's; the size is that of what is pointed to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute, size_of::<T>()) };
    match RawFd::try_from(result) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fdinfo_lines_name_objects() {
        assert_eq!(object("prog_id:\t17"), Some(Object::Program(17)));
        assert_eq!(object("map_id:\t1"), Some(Object::Map(1)));
        assert_eq!(object("link_id:\t9"), Some(Object::Link(9)));
        for line in ["flags:\t02000002", "prog_tag:\tabc", "prog_id:", ""] {
            assert_eq!(object(line), None, "{line}");
        }
    }
}
