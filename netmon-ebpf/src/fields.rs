//! Fields of the kernel's structures, at the offsets that the agent has found in its BTF.

use core::ffi::c_void;
use core::mem;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use netmon_common::trace::{Offsets, TraceSettings};

// SAFETY: plain numbers. The agent writes them before it loads the programs.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = unsafe { mem::zeroed() };

// SAFETY: as above.
#[unsafe(no_mangle)]
pub static TRACE_SETTINGS: TraceSettings = unsafe { mem::zeroed() };

/// Where a field is: a constant for the verifier, but not for the compiler.
macro_rules! offset {
    ($field:ident) => {
        $crate::fields::told(&$crate::fields::OFFSETS.$field)
    };
}

/// What the agent has set.
macro_rules! setting {
    ($field:ident) => {
        $crate::fields::told(&$crate::fields::TRACE_SETTINGS.$field)
    };
}

pub(crate) use {offset, setting};

/// A number that the agent has written.
#[inline(always)]
pub fn told(number: &'static u32) -> u32 {
    // SAFETY: a reference; volatile, so that the compiler does not take what it knows for it.
    unsafe { core::ptr::from_ref(number).read_volatile() }
}

/// A structure of the kernel's.
pub type Pointer = *const c_void;

/// The field at `offset` of a structure whose type the verifier knows: an ordinary load.
///
/// # Safety
/// `base` must have come as an argument of a tracepoint, from a helper, or by this function from
/// one of those, and there must be a `T` at the offset.
#[inline(always)]
pub unsafe fn field<T: Copy>(base: Pointer, offset: u32) -> T {
    // SAFETY: the verifier checks the type; the kernel turns a bad address into a zero.
    unsafe { base.byte_add(offset as usize).cast::<T>().read() }
}

/// The field at `offset` of what may be no such structure, nor any memory at all.
#[inline(always)]
pub fn field_at<T>(base: Pointer, offset: u32) -> Option<T> {
    // SAFETY: the helper refuses an address that cannot be read.
    unsafe { bpf_probe_read_kernel(base.wrapping_byte_add(offset as usize).cast::<T>()) }.ok()
}
