//! Bytes and messages by process.
//!
//! A process has a slot in an array per CPU. The socket is marked with the process that used it
//! last and that one's slot, so the usual call finds its counters by one look-up, of the mark;
//! only the first call of a process on a socket looks for the process in the hash, and tells
//! [`owners`] whose socket it is.

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_NOEXIST, BPF_SK_STORAGE_GET_F_CREATE},
    btf_maps::SkStorage,
    helpers::{
        bpf_get_current_uid_gid,
        generated::{
            bpf_get_current_task_btf, bpf_get_smp_processor_id, bpf_probe_read_kernel_str,
            bpf_sk_storage_get,
        },
    },
    macros::{btf_map, map},
    maps::{Array, HashMap, Stack},
};
use netmon_common::trace::{
    CGROUP_WORDS, Carried, Mark, PROCESSES_DEFAULT, ProcessCounters, ProcessInfo, ProcessKey,
    SocketMark, TELLINGS_MOST,
};

use crate::fields::{Pointer, field, field_at, offset, setting};
use crate::owners;

#[map]
static PROCESSES: HashMap<ProcessKey, u32> = HashMap::with_max_entries(PROCESSES_DEFAULT, 0);

#[map]
static PROCESS_INFO: Array<ProcessInfo> =
    Array::with_max_entries(PROCESSES_DEFAULT, BPF_F_MMAPABLE);

/// By slot and CPU. No per-CPU array, because that cannot be mapped into user space's memory.
#[map]
static PROCESS_COUNTERS: Array<ProcessCounters> =
    Array::with_max_entries(PROCESSES_DEFAULT, BPF_F_MMAPABLE);

#[map]
static FREE_PROCESSES: Stack<u32> = Stack::with_max_entries(PROCESSES_DEFAULT, 0);

#[btf_map]
static SOCKET_MARKS: SkStorage<SocketMark> = SkStorage::new();

/// Which way, seen from the process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Sent.
    Tx,
    /// Received.
    Rx,
}

/// The protocols that are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP, and Multipath TCP, whose bytes are carried by it.
    Tcp,
    /// UDP.
    Udp,
}

/// The thread group's leader of the thread that runs, and what tells the process apart.
#[derive(Clone, Copy)]
struct Process {
    leader: Pointer,
    key: ProcessKey,
}

/// The kernel's socket of one that processes have.
#[inline(always)]
pub fn sock_of(socket: Pointer) -> Pointer {
    // SAFETY: the argument of the function.
    unsafe { field(socket, offset!(socket_sock)) }
}

/// Whether it is Multipath TCP.
#[inline(always)]
pub fn is_multipath(sock: Pointer) -> bool {
    const MPTCP: u16 = 262;

    // SAFETY: the argument of the function.
    !sock.is_null() && unsafe { field::<u16>(sock, offset!(sock_protocol)) } == MPTCP
}

/// Counts what a call has received.
#[inline(always)]
pub fn count_received(sock: Pointer, ret: i32, flags: i32) {
    /// include/linux/socket.h: a look at what stays in the socket.
    const MSG_PEEK: i32 = 0x2;
    /// What comes back of the process's own: time stamps, ICMP errors.
    const MSG_ERRQUEUE: i32 = 0x2000;

    if flags & (MSG_PEEK | MSG_ERRQUEUE) == 0 {
        count(sock, ret, Way::Rx);
    }
}

/// Counts what a call on a socket has carried: `ret` bytes. Errors are less than 0.
#[inline(always)]
pub fn count(sock: Pointer, ret: i32, way: Way) {
    if sock.is_null() {
        return;
    }
    // The end of a stream is no message, an empty datagram is one.
    let Some(transport) = transport(sock) else { return };
    if ret < 0 || ret == 0 && transport == Transport::Tcp {
        return;
    }
    let process = current();
    let slot = slot(sock, &process, transport);
    keep_name(slot, process.leader);
    // SAFETY: a helper without arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(counters) = PROCESS_COUNTERS.get_ptr_mut(slot * setting!(cpus) + cpu) else { return };
    // SAFETY: the map holds the memory, on this CPU alone, for as long as the program runs.
    // Tracepoints run with preemption off. Programs at functions may be preempted where the
    // kernel can be, so there one addition in many millions may be lost: Rust has no atomic
    // addition for this target.
    unsafe {
        let transport = match transport {
            Transport::Tcp => &raw mut (*counters).tcp,
            Transport::Udp => &raw mut (*counters).udp,
        };
        let carried: *mut Carried = match way {
            Way::Tx => &raw mut (*transport).tx,
            Way::Rx => &raw mut (*transport).rx,
        };
        (*carried).bytes += u64::from(ret.cast_unsigned());
        (*carried).messages += 1;
    }
}

/// Marks a process as ended when its last thread ends: what comes after is no more its own.
#[inline(always)]
pub fn end(task: Pointer) {
    // SAFETY: the argument of the tracepoint.
    unsafe {
        let signal: Pointer = field(task, offset!(task_signal));
        if field::<i32>(signal, offset!(signal_live)) != 0 {
            return;
        }
        let Some(slot) = PROCESSES.get(key(field(task, offset!(task_leader)))) else { return };
        if let Some(info) = PROCESS_INFO.get_ptr_mut(*slot) {
            (*info).ended = 1;
        }
    }
}

/// Raw sockets may have any protocol's number: the kind of socket tells.
#[inline(always)]
fn transport(sock: Pointer) -> Option<Transport> {
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    const SOCK_STREAM: u16 = 1;
    const SOCK_DGRAM: u16 = 2;
    const TCP: u16 = 6;
    const MPTCP: u16 = 262;
    const UDP: u16 = 17;

    // SAFETY: the argument of the tracepoint.
    let (family, kind, protocol): (u16, u16, u16) = unsafe {
        (
            field(sock, offset!(sock_family)),
            field(sock, offset!(sock_type)),
            field(sock, offset!(sock_protocol)),
        )
    };
    match (family, kind, protocol) {
        (AF_INET | AF_INET6, SOCK_STREAM, TCP | MPTCP) => Some(Transport::Tcp),
        (AF_INET | AF_INET6, SOCK_DGRAM, UDP) => Some(Transport::Udp),
        _ => None,
    }
}

#[inline(always)]
fn current() -> Process {
    // SAFETY: the helper gives the thread that runs, which has a leader.
    unsafe {
        let task: Pointer = bpf_get_current_task_btf().cast();
        let leader = field(task, offset!(task_leader));
        Process { leader, key: key(leader) }
    }
}

/// # Safety
/// As [`field`]'s: a task.
#[inline(always)]
unsafe fn key(leader: Pointer) -> ProcessKey {
    // SAFETY: as the caller says.
    unsafe {
        ProcessKey {
            started: field(leader, offset!(task_start_boottime)),
            tgid: field(leader, offset!(task_tgid)),
            padding: 0,
        }
    }
}

/// The process's slot, by the socket's mark, or from the hash.
#[inline(always)]
fn slot(sock: Pointer, process: &Process, transport: Transport) -> u32 {
    let ProcessKey { started, tgid, .. } = process.key;
    let wanted = Mark::of(tgid, started);
    // SAFETY: the argument of the tracepoint; the map is ours.
    let marked: *mut SocketMark = unsafe {
        bpf_sk_storage_get(
            (&raw const SOCKET_MARKS).cast_mut().cast(),
            sock.cast_mut(),
            ptr::null_mut(),
            u64::from(BPF_SK_STORAGE_GET_F_CREATE),
        )
    }
    .cast();
    if !marked.is_null() {
        // SAFETY: the kernel keeps it while the program runs; 64 bits are read at once.
        let mark = Mark(unsafe { (&raw const (*marked).mark).read_volatile() });
        if mark.is_same_process(wanted) {
            return mark.slot();
        }
    }
    first_call(sock, transport == Transport::Tcp, marked)
}

/// The slot of the process that runs, of which the socket does not know: so it is marked, and its
/// owner told. Out of line, like all that is rare.
#[inline(never)]
fn first_call(sock: Pointer, is_tcp: bool, marked: *mut SocketMark) -> u32 {
    let process = current();
    let slot = slot_of(&process);
    if slot == 0 || marked.is_null() {
        return slot;
    }
    let mark = Mark::of(process.key.tgid, process.key.started).with_slot(slot);
    // SAFETY: as in `slot`; two processes may do so at once, and one of them is the last.
    unsafe {
        (&raw mut (*marked).mark).write_volatile(mark.0);
        if (*marked).tellings < TELLINGS_MOST {
            (*marked).tellings += 1;
            owners::tell(sock, is_tcp, mark);
        }
    }
    slot
}

/// The process's slot from the hash, a new one if it has none yet; 0 when there is none.
#[inline(always)]
fn slot_of(process: &Process) -> u32 {
    // SAFETY: nobody changes a value that is there.
    if let Some(slot) = unsafe { PROCESSES.get(process.key) } {
        return *slot;
    }
    let Ok(Some(slot)) = FREE_PROCESSES.pop() else { return 0 };
    if PROCESSES.insert(process.key, slot, u64::from(BPF_NOEXIST)).is_ok() {
        introduce(slot, process);
        return slot;
    }
    // Another thread of the process was faster.
    let _ = FREE_PROCESSES.push(slot, 0);
    // SAFETY: as above.
    unsafe { PROCESSES.get(process.key) }.copied().unwrap_or(0)
}

/// Writes down who has the slot: a process may be gone before user space looks.
#[inline(always)]
fn introduce(slot: u32, process: &Process) {
    const CGROUP_BYTES: u32 = 8 * CGROUP_WORDS as u32;

    let Some(info) = PROCESS_INFO.get_ptr_mut(slot) else { return };
    let leader = process.leader;
    // SAFETY: the slot is this process's; its other threads may write its name at the same time,
    // which is the same.
    unsafe {
        (*info).started_monotonic = field(leader, offset!(task_start_time));
        (*info).pid = pid_for_agent(leader);
        (*info).uid = bpf_get_current_uid_gid() as u32;
        (*info).flags = field(leader, offset!(task_flags));
        (*info).name = name(leader);
        let groups: Pointer = field(leader, offset!(task_cgroups));
        let group: Pointer = field(groups, offset!(cgroups_default));
        let node: Pointer = field(group, offset!(cgroup_node));
        if let Some(name) = field_at::<Pointer>(node, offset!(node_name)) {
            let room = (&raw mut (*info).cgroup).cast();
            bpf_probe_read_kernel_str(room, CGROUP_BYTES, name);
        }
        (&raw mut (*info).key).write_volatile(process.key);
    }
}

/// The name as it is now, if that is another one than before: by exec(2) or prctl(2).
#[inline(always)]
fn keep_name(slot: u32, leader: Pointer) {
    let Some(info) = PROCESS_INFO.get_ptr_mut(slot) else { return };
    // SAFETY: the map holds the memory; the leader is a task.
    unsafe {
        let name = name(leader);
        if slot != 0 && (*info).name != name {
            (*info).name = name;
            (*info).renamed += 1;
        }
    }
}

/// # Safety
/// As [`field`]'s: a task.
#[inline(always)]
unsafe fn name(leader: Pointer) -> [u64; 2] {
    // SAFETY: as the caller says; `comm` has 16 bytes.
    unsafe { [field(leader, offset!(task_comm)), field(leader, offset!(task_comm) + 8)] }
}

/// The process id in the agent's PID namespace; 0 when it cannot be seen from there.
#[inline(always)]
fn pid_for_agent(leader: Pointer) -> u32 {
    /// The kernel allows 32; containers in containers make 3.
    const LEVELS: u32 = 8;

    let Some(pid) = field_at::<Pointer>(leader, offset!(task_thread_pid)) else { return 0 };
    let Some(deepest) = field_at::<u32>(pid, offset!(pid_level)) else { return 0 };
    for level in 0..LEVELS {
        if level > deepest {
            break;
        }
        let at = offset!(pid_numbers) + level * offset!(upid_size);
        let namespace = field_at::<Pointer>(pid, at + offset!(upid_namespace));
        let inode = namespace.and_then(|it| field_at::<u32>(it, offset!(pid_namespace_inode)));
        if inode == Some(setting!(pid_namespace)) {
            return field_at::<u32>(pid, at + offset!(upid_number)).unwrap_or(0);
        }
    }
    0
}
