//! An array that programs and this process share.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    ptr,
};

use anyhow::{Context, Result};

use super::new_fd;

const BPF_MAP_CREATE: libc::c_int = 0;

/// An array of one's own that is mapped into this process for good.
#[derive(Debug)]
pub struct MappedArray {
    map: OwnedFd,
    memory: *mut u64,
    numbers: usize,
}

impl MappedArray {
    /// So many entries; each has a value of so many 64-bit numbers.
    ///
    /// # Errors
    /// When the kernel refuses it: before Linux 5.5 it cannot do this.
    pub fn new(entries: u32, numbers: u32) -> Result<Self> {
        const ARRAY: u32 = 2;
        const KEY_SIZE: u32 = 4;
        const MAPPABLE: u32 = 1 << 10;
        let map = new_fd(BPF_MAP_CREATE, &[ARRAY, KEY_SIZE, numbers * 8, entries, MAPPABLE])
            .context("making an array")?;
        let (both, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let (numbers, fd) = (entries as usize * numbers as usize, map.as_raw_fd());
        // SAFETY: a mapping of its own, at an address that the kernel chooses.
        let memory = unsafe { libc::mmap(ptr::null_mut(), numbers * 8, both, shared, fd, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("mapping an array");
        }
        Ok(Self { map, memory: memory.cast(), numbers })
    }

    /// For programs that are to use it.
    #[must_use]
    pub fn map(&self) -> RawFd {
        self.map.as_raw_fd()
    }

    /// Sets the number at this place.
    ///
    /// # Panics
    /// When there is no such place.
    pub fn set(&self, at: usize, number: u64) {
        assert!(at < self.numbers, "no number {at}");
        // SAFETY: within the mapping, which nobody unmaps.
        unsafe { self.memory.add(at).write_volatile(number) }
    }

    /// The number at this place.
    ///
    /// # Panics
    /// When there is no such place.
    #[must_use]
    pub fn get(&self, at: usize) -> u64 {
        assert!(at < self.numbers, "no number {at}");
        // SAFETY: within the mapping, which nobody unmaps.
        unsafe { self.memory.add(at).read_volatile() }
    }

    /// Reads all of it, and gives the sum of its numbers.
    #[must_use]
    pub fn read(&self) -> u64 {
        (0..self.numbers).map(|at| self.get(at)).fold(0, u64::wrapping_add)
    }
}
