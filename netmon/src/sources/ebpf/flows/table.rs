//! The kernel's hash of flows, by the raw bpf(2), since aya 0.14 reads one entry a call:
//! `BPF_MAP_LOOKUP_BATCH` (hashes since Linux 5.6), and `BPF_MAP_LOOKUP_AND_DELETE_ELEM` (hashes
//! since Linux 5.14; before, looking up and deleting are two calls).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netmon_common::traffic::{FlowKey, FlowValue};

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: libc::c_long = 21;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// Flows a system call: few calls, and what they give stays in the caches and takes little memory.
pub(super) const BATCH: usize = 1024;

/// The arguments of commands for one element in `union bpf_attr`.
#[repr(C)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The arguments of `BPF_MAP_LOOKUP_BATCH` in `union bpf_attr`.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The table, and room for a part of it.
pub(super) struct FlowTable {
    map: OwnedFd,
    keys: Vec<FlowKey>,
    values: Vec<FlowValue>,
    two_calls: bool,
}

impl FlowTable {
    /// Takes the descriptor of a hash of [`FlowKey`] and [`FlowValue`].
    pub(super) fn new(map: OwnedFd) -> Self {
        let (keys, values) = (vec![FlowKey::default(); BATCH], vec![FlowValue::default(); BATCH]);
        Self { map, keys, values, two_calls: false }
    }

    /// Gives every flow that there is to `take`, a part after the other. One that comes or goes
    /// meanwhile may be missed; one that stays is given once.
    ///
    /// # Errors
    /// Those of bpf(2).
    pub(super) fn read(
        &mut self,
        mut take: impl FnMut(&[FlowKey], &[FlowValue]),
    ) -> io::Result<()> {
        // The kernel's position in the table, a number of 32 bits.
        let mut position = [0_u32; 2];
        let mut is_first = true;
        loop {
            let (from, to) = position.split_at_mut(1);
            let mut batch = Batch {
                in_batch: if is_first { 0 } else { from.as_ptr() as u64 },
                out_batch: to.as_mut_ptr() as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: self.keys.len() as u32,
                map_fd: self.map.as_raw_fd().cast_unsigned(),
                elem_flags: 0,
                flags: 0,
            };
            let result = bpf(BPF_MAP_LOOKUP_BATCH, &mut batch);
            let errno = result.as_ref().err().and_then(io::Error::raw_os_error);
            match errno {
                // The end of the table.
                None | Some(libc::ENOENT) => {}
                // No room for all that has one hash, of which part cannot be had.
                Some(libc::ENOSPC) if batch.count == 0 => {
                    self.keys.resize(self.keys.len() * 2, FlowKey::default());
                    self.values.resize(self.keys.len(), FlowValue::default());
                    continue;
                }
                Some(libc::ENOSPC) => {}
                Some(_) => return result,
            }
            let count = batch.count as usize;
            take(&self.keys[..count], &self.values[..count]);
            if errno == Some(libc::ENOENT) {
                return Ok(());
            }
            position[0] = position[1];
            is_first = false;
        }
    }

    /// Takes a flow out, and gives what it had carried. `None`: it was not there.
    ///
    /// # Errors
    /// Those of bpf(2).
    pub(super) fn remove(&mut self, key: &FlowKey) -> io::Result<Option<FlowValue>> {
        let mut value = FlowValue::default();
        let mut element = Element {
            map_fd: self.map.as_raw_fd().cast_unsigned(),
            padding: 0,
            key: std::ptr::from_ref(key) as u64,
            value: (&raw mut value) as u64,
            flags: 0,
        };
        let result = match self.two_calls {
            false => bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &mut element),
            true => bpf(BPF_MAP_LOOKUP_ELEM, &mut element).and_then(|()| {
                element.value = 0;
                bpf(BPF_MAP_DELETE_ELEM, &mut element)
            }),
        };
        match result {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) if !self.two_calls && is_unsupported(&error) => {
                self.two_calls = true;
                self.remove(key)
            }
            Err(error) => Err(error),
        }
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    /// Not in uapi, but what the kernel returns (include/linux/errno.h).
    const ENOTSUPP: i32 = 524;
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP))
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<()> {
    // SAFETY: the attributes are laid out as bpf(2) wants them for the command; the pointers in
    // them are to memory that the caller owns and that holds what the map's sizes call for. The
    // kernel writes the count back into them.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
