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
