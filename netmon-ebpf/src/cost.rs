//! What a process costs: its system calls, and the time that it spends in them on a CPU. Loaded
//! and attached by `netmon compare` alone, for a few seconds; nothing of it is on a packet's way.
//!
//! User space puts the threads to look at into [`THREADS`]. A thread runs on one CPU at a time,
//! so its entry has one writer. Raw system call tracepoints through BTF: Linux 5.5.

use aya_ebpf::{
    bindings::TC_ACT_UNSPEC,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns},
    macros::{btf_tracepoint, classifier, map},
    maps::{HashMap, PerCpuArray},
    programs::{BtfTracePointContext, TcContext},
};
use netmon_common::{THREADS_MOST, ThreadCost};

#[map]
static THREADS: HashMap<u32, ThreadCost> = HashMap::with_max_entries(THREADS_MOST, 0);

/// When a thread was last put on this CPU.
#[map]
static SWITCHED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// A system call begins.
#[btf_tracepoint(function = "sys_enter")]
pub fn netmon_sys_enter(_ctx: BtfTracePointContext) -> i32 {
    if let Some(thread) = current() {
        // SAFETY: see `current`.
        unsafe {
            (*thread).calls += 1;
            (*thread).entered_ns = bpf_ktime_get_ns();
        }
    }
    0
}

/// It ends.
#[btf_tracepoint(function = "sys_exit")]
pub fn netmon_sys_exit(_ctx: BtfTracePointContext) -> i32 {
    if let Some(thread) = current() {
        // SAFETY: as above.
        unsafe {
            add_time(thread, bpf_ktime_get_ns());
            (*thread).entered_ns = 0;
        }
    }
    0
}

/// The current thread leaves this CPU, and another one gets it.
#[btf_tracepoint(function = "sched_switch")]
pub fn netmon_sched_switch(_ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    if let Some(thread) = current() {
        // SAFETY: as above.
        unsafe { add_time(thread, now) };
    }
    if let Some(switched) = SWITCHED.get_ptr_mut(0) {
        // SAFETY: this CPU's own value; the tracepoint does not interrupt itself.
        unsafe { *switched = now };
    }
    0
}

/// Does nothing: what the kernel's run-time statistics say of it is what they cost themselves.
#[classifier]
pub fn netmon_nothing(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// The entry of the thread that runs, if it is looked at. It stays valid while the program runs.
#[inline(always)]
fn current() -> Option<*mut ThreadCost> {
    THREADS.get_ptr_mut(bpf_get_current_pid_tgid() as u32)
}

/// Adds the time since the thread entered the kernel or was last put on this CPU, whichever
/// came later: what lies before that was added when it left the CPU.
///
/// # Safety
/// `thread` must be of [`current`].
#[inline(always)]
unsafe fn add_time(thread: *mut ThreadCost, now: u64) {
    // SAFETY: as the caller says; the other value is this CPU's own.
    unsafe {
        let entered = (*thread).entered_ns;
        if entered == 0 {
            return;
        }
        let switched = SWITCHED.get_ptr(0).map_or(0, |switched| *switched);
        (*thread).kernel_ns += now.saturating_sub(entered.max(switched));
    }
}
