//! Capabilities (capabilities(7)): which ones there are, and giving up those that are no longer
//! needed. They belong to a thread, and new threads inherit them.

use caps::{CapSet, Capability, CapsHashSet};

/// What counting with eBPF needs to start.
pub const FOR_EBPF: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN];

/// What netmon keeps while it runs: attaching to interfaces that come, and setting links up,
/// need CAP_NET_ADMIN; giving them slots needs CAP_BPF before Linux 5.19.
pub const WHILE_RUNNING: [Capability; 2] = FOR_EBPF;

/// What an interface monitor keeps after its start: setting a link up needs CAP_NET_ADMIN.
/// Reading the counters needs nothing.
#[must_use]
pub fn of_a_worker(recovery: bool) -> Vec<Capability> {
    recovery.then_some(Capability::CAP_NET_ADMIN).into_iter().collect()
}

/// What an interface monitor is started with. CAP_PERFMON is for loading alone: without it the
/// verifiers of Linux 6.1 and 6.12 take the programs for a way to leak kernel memory, where the
/// CPU needs that to be prevented.
pub const FOR_WORKERS: [Capability; 3] =
    [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON];

/// Whether this thread has a capability. `false` also when the kernel does not know it.
#[must_use]
pub fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Keeps every process of the same user from reading or changing this one's memory and from tracing
/// it (`PR_SET_DUMPABLE`: prctl(2), ptrace(2)), if it has any capability. The kernel compares the
/// capabilities thread by thread, and in one memory there are threads that have given theirs up:
/// through such a thread another process would get into those that have some. It is to be called
/// before there are threads. exec(2) and another user or group id undo it: each process of netmon
/// calls this first, and none changes its ids. Then `/proc/PID` belongs to root, and no core is
/// dumped.
///
/// # Errors
/// The kernel's.
pub fn forbid_tracing() -> nix::Result<()> {
    let has_none = caps::read(None, CapSet::Permitted).is_ok_and(|held| held.is_empty());
    if has_none { Ok(()) } else { nix::sys::prctl::set_dumpable(false) }
}

/// Gives up every capability but those of `keep` that this thread has, and lets the program that
/// it becomes by exec(2) have just those: whoever the user is (ambient), and root, too
/// (no_new_privs).
///
/// # Errors
/// When more would be kept.
pub fn hand_on(keep: &[Capability]) -> Result<(), String> {
    let permitted = |kept: &Capability| caps::has_cap(None, CapSet::Permitted, *kept);
    let keep: CapsHashSet =
        keep.iter().copied().filter(|kept| permitted(kept).unwrap_or(false)).collect();
    nix::sys::prctl::set_no_new_privs().map_err(|error| error.to_string())?;
    let given_up = caps::set(None, CapSet::Inheritable, &keep).and_then(|()| {
        // Refused by securebits(7) at most; then the program has less.
        let _ = caps::set(None, CapSet::Ambient, &keep);
        caps::set(None, CapSet::Effective, &keep)?;
        caps::set(None, CapSet::Permitted, &keep)
    });
    given_up.map_err(|error| error.to_string())
}

/// Gives up every capability but `keep`, for this thread and the threads and programs that it
/// starts. That it cannot is a warning, and no more: netmon works as well with more.
pub fn drop_all_but(keep: &[Capability]) {
    if let Err(error) = give_up_all_but(keep) {
        tracing::warn!("privileges that are not needed are kept: {error}");
    }
}

/// The same for those who have no log.
///
/// # Errors
/// When more is kept.
pub fn give_up_all_but(keep: &[Capability]) -> Result<(), String> {
    let keep: CapsHashSet = keep.iter().copied().filter(|kept| has(*kept)).collect();
    let given_up = caps::clear(None, CapSet::Ambient)
        .and_then(|()| caps::set(None, CapSet::Inheritable, &CapsHashSet::new()))
        .and_then(|()| caps::set(None, CapSet::Effective, &keep))
        .and_then(|()| caps::set(None, CapSet::Permitted, &keep));
    let sealed = nix::sys::prctl::set_no_new_privs();
    given_up.map_err(|error| error.to_string())?;
    sealed.map_err(|error| format!("no_new_privs is not set: {error}"))
}
