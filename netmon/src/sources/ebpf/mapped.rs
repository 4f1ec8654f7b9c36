//! Reads an array of the kernel programs' without a system call: the map's memory (made with
//! `BPF_F_MMAPABLE`; bpf(2), Linux 5.5) is mapped into this process (mmap(2)), read-only unless asked for otherwise. The
//! kernel maps all pages at once, so reading never faults; and a mapping holds the map, so its
//! descriptor may be closed. Reading needs no capability.
//!
//! The programs write while we read. Each 64-bit number is read whole and as it is now; two
//! numbers of one value may be a packet apart.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};

use bytemuck::Pod;

/// What a value is read in.
type Word = u64;

/// An array of values of 64-bit numbers, mapped until it is dropped.
#[derive(Debug)]
pub struct MappedArray<T> {
    memory: NonNull<Word>,
    length: u32,
    values: PhantomData<T>,
}

// SAFETY: the mapping belongs to the process and not to a thread, and can only be read.
unsafe impl<T: Pod> Send for MappedArray<T> {}
// SAFETY: as above.
unsafe impl<T: Pod> Sync for MappedArray<T> {}

impl<T> MappedArray<T> {
    const WORDS: usize = {
        // The kernel places values at multiples of eight bytes.
        assert!(align_of::<T>() == align_of::<Word>() && size_of::<T>() > 0);
        size_of::<T>() / size_of::<Word>()
    };

    const fn size(length: u32) -> usize {
        (length as usize).saturating_mul(Self::WORDS * size_of::<Word>())
    }
}

impl<T: Pod> MappedArray<T> {
    /// Maps the first `length` values of a map. Those of another layout than `T` would be read
    /// as what they are not.
    ///
    /// # Errors
    /// Those of mmap(2): `EINVAL` for a length of zero, for more than the map has, and for a map
    /// that was made without `BPF_F_MMAPABLE` or is no array.
    pub fn new(map: impl AsFd, length: u32) -> io::Result<Self> {
        Self::map(map, length, libc::PROT_READ)
    }

    /// The same, to be written, too.
    ///
    /// # Errors
    /// As [`MappedArray::new`].
    pub fn writable(map: impl AsFd, length: u32) -> io::Result<WritableArray<T>> {
        Self::map(map, length, libc::PROT_READ | libc::PROT_WRITE).map(WritableArray)
    }

    fn map(map: impl AsFd, length: u32, access: libc::c_int) -> io::Result<Self> {
        let (size, fd) = (Self::size(length), map.as_fd().as_raw_fd());
        // SAFETY: a mapping of its own, at an address that the kernel chooses.
        let memory = unsafe { libc::mmap(ptr::null_mut(), size, access, libc::MAP_SHARED, fd, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { memory, length, values: PhantomData })
    }

    /// How many values there are.
    #[must_use]
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// A value as it is now; `None` beyond the last.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<T> {
        if index >= self.length {
            return None;
        }
        let first = index as usize * Self::WORDS;
        let mut value = T::zeroed();
        let words: &mut [Word] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut value));
        for (at, word) in words.iter_mut().enumerate() {
            // SAFETY: within the mapping, which is page-aligned, begins with `length` values of
            // so many words, and lives as long as `self`. Volatile, since the kernel writes there.
            *word = unsafe { self.memory.add(first + at).read_volatile() };
        }
        Some(value)
    }
}

/// A [`MappedArray`] that can be written.
#[derive(Debug)]
pub struct WritableArray<T>(MappedArray<T>);

impl<T: Pod> WritableArray<T> {
    /// See [`MappedArray::get`].
    #[must_use]
    pub fn get(&self, index: u32) -> Option<T> {
        self.0.get(index)
    }

    /// Writes a value, word by word; beyond the last it does nothing.
    pub fn set(&mut self, index: u32, value: T) {
        if index >= self.0.length {
            return;
        }
        let first = index as usize * MappedArray::<T>::WORDS;
        let words: &[Word] = bytemuck::cast_slice(std::slice::from_ref(&value));
        for (at, word) in words.iter().enumerate() {
            // SAFETY: as in `get`; the mapping was made to be written.
            unsafe { self.0.memory.add(first + at).write_volatile(*word) };
        }
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: address and size are those of the mapping, of which no reference is given out.
        // It cannot fail for what was mapped.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), Self::size(self.length)) };
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    /// A file in memory, which is mapped as a map is.
    pub(in super::super) fn memory<T: Pod>(values: &[T]) -> File {
        let mut file = File::from(memfd_create("nmt-mapped", MFdFlags::MFD_CLOEXEC).unwrap());
        file.write_all(bytemuck::cast_slice(values)).unwrap();
        file
    }

    #[test]
    fn values_are_read_as_they_are_now_and_none_beyond_the_last() {
        let file = memory(&[1_u64, 2, 3, 4, 5, 6]);
        let mapped = MappedArray::<[u64; 2]>::new(&file, 2).unwrap();
        assert_eq!(mapped.length(), 2);
        let read = [0, 1, 2, u32::MAX].map(|at| mapped.get(at));
        assert_eq!(read, [Some([1, 2]), Some([3, 4]), None, None]);
        file.write_all_at(&99_u64.to_ne_bytes(), 24).unwrap();
        drop(file);
        assert_eq!(mapped.get(1), Some([3, 99]), "written meanwhile, and the descriptor is closed");
    }

    #[test]
    fn what_is_written_others_read() {
        let file = memory(&[1_u64, 2, 3, 4]);
        let mut mapped = MappedArray::<[u64; 2]>::writable(&file, 2).unwrap();
        mapped.set(1, [7, 8]);
        mapped.set(2, [9, 9]);
        assert_eq!([0, 1, 2].map(|at| mapped.get(at)), [Some([1, 2]), Some([7, 8]), None]);
        let mut bytes = [0; 32];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytemuck::cast::<_, [u64; 4]>(bytes), [1, 2, 7, 8]);
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error() {
        let refused = |result: io::Result<MappedArray<u64>>| result.unwrap_err().raw_os_error();
        assert_eq!(refused(MappedArray::new(memory(&[1_u64]), 0)), Some(libc::EINVAL));
        let pipe = nix::unistd::pipe().unwrap().0;
        assert_eq!(refused(MappedArray::new(pipe, 1)), Some(libc::ENODEV));
    }
}
