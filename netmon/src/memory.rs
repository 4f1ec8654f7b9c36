//! Memory that was used once and is not needed again.

/// Gives what was freed back to the kernel. Loading the programs takes some 2 MiB for a moment,
/// which the C library would keep for later: too much for a process for each interface.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes no pointers and only touches what is not in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has what is larger than this given back to the kernel when it is freed, and grown without
/// being copied. Left to itself, the C library takes what was freed once (the kernel's types, 20
/// MiB at the start) for usual, and then keeps as much for later.
pub(crate) fn give_back_large_parts() {
    /// The lists of a tick with ten thousand flows are smaller: to map them anew takes time.
    #[cfg(target_env = "gnu")]
    const LARGE: libc::c_int = 1 << 20;
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes no pointers and sets a number.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
