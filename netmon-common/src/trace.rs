//! What `trace.bpf.o` (processes, owners of sockets, drops) and the agent agree on.

use bytemuck::{Pod, Zeroable};

/// Where the running kernel has the fields that the programs read, in bytes from the beginning
/// of their structure. The agent finds them in the kernel's BTF and writes them before loading:
/// to the verifier they are constants, so each is an ordinary load.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Offsets {
    /// `struct sock`: `skc_family`.
    pub sock_family: u32,
    /// `struct sock`: `sk_type`.
    pub sock_type: u32,
    /// `struct sock`: `sk_protocol`.
    pub sock_protocol: u32,
    /// `struct sock`: `skc_num`, the local port in the CPU's byte order.
    pub sock_local_port: u32,
    /// `struct sock`: `skc_dport`, the remote port in the network's byte order.
    pub sock_remote_port: u32,
    /// `struct sock`: `skc_rcv_saddr`.
    pub sock_local_v4: u32,
    /// `struct sock`: `skc_daddr`.
    pub sock_remote_v4: u32,
    /// `struct sock`: `skc_v6_rcv_saddr`.
    pub sock_local_v6: u32,
    /// `struct sock`: `skc_v6_daddr`.
    pub sock_remote_v6: u32,
    /// `struct sock`: `skc_net.net`.
    pub sock_net: u32,
    /// `struct socket`: `sk`.
    pub socket_sock: u32,
    /// `struct net`: `ns.inum`.
    pub net_inode: u32,
    /// `struct task_struct`: `group_leader`.
    pub task_leader: u32,
    /// `struct task_struct`: `tgid`.
    pub task_tgid: u32,
    /// `struct task_struct`: `start_boottime`.
    pub task_start_boottime: u32,
    /// `struct task_struct`: `start_time`.
    pub task_start_time: u32,
    /// `struct task_struct`: `comm`.
    pub task_comm: u32,
    /// `struct task_struct`: `flags`.
    pub task_flags: u32,
    /// `struct task_struct`: `thread_pid`.
    pub task_thread_pid: u32,
    /// `struct task_struct`: `signal`.
    pub task_signal: u32,
    /// `struct task_struct`: `cgroups`.
    pub task_cgroups: u32,
    /// `struct signal_struct`: `live.counter`.
    pub signal_live: u32,
    /// `struct css_set`: `dfl_cgrp`.
    pub cgroups_default: u32,
    /// `struct cgroup`: `kn`.
    pub cgroup_node: u32,
    /// `struct kernfs_node`: `name`.
    pub node_name: u32,
    /// `struct pid`: `level`.
    pub pid_level: u32,
    /// `struct pid`: `numbers`.
    pub pid_numbers: u32,
    /// The size of `struct upid`.
    pub upid_size: u32,
    /// `struct upid`: `nr`.
    pub upid_number: u32,
    /// `struct upid`: `ns`.
    pub upid_namespace: u32,
    /// `struct pid_namespace`: `ns.inum`.
    pub pid_namespace_inode: u32,
    /// `struct sk_buff`: `dev`.
    pub skb_device: u32,
    /// `struct sk_buff`: `skb_iif`.
    pub skb_arrived: u32,
    /// `struct sk_buff`: `sk`.
    pub skb_sock: u32,
    /// `struct sk_buff`: `_skb_refdst`.
    pub skb_route: u32,
    /// `struct dst_entry`: `dev`.
    pub route_device: u32,
    /// `struct net_device`: `ifindex`.
    pub device_ifindex: u32,
    /// `struct net_device`: `nd_net.net`.
    pub device_net: u32,
}

/// What the programs are told besides [`Offsets`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TraceSettings {
    /// The inode of the agent's network namespace.
    pub net_namespace: u32,
    /// The inode of the agent's PID namespace.
    pub pid_namespace: u32,
    /// `SKB_CONSUMED`: the reason that is no drop.
    pub consumed: u32,
    /// Not 0: the tracepoint of drops tells the receiving socket (Linux 6.11).
    pub drop_tells_socket: u32,
    /// How many CPUs there can be.
    pub cpus: u32,
}

/// What tells processes apart, a reused process id from its former owner too.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ProcessKey {
    /// `start_boottime` of the thread group's leader: nanoseconds since the boot, sleep included.
    pub started: u64,
    /// Process id as the kernel's first PID namespace numbers it.
    pub tgid: u32,
    /// Nothing.
    pub padding: u32,
}

/// The value of [`PROCESS_COUNTERS`]: payload that a process's sockets carried on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ProcessCounters {
    /// By TCP.
    pub tcp: SocketCounters,
    /// By UDP.
    pub udp: SocketCounters,
}

/// One protocol of [`ProcessCounters`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SocketCounters {
    /// Sent.
    pub tx: Carried,
    /// Received.
    pub rx: Carried,
}

/// One direction of [`SocketCounters`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Carried {
    /// Bytes.
    pub bytes: u64,
    /// Calls for TCP, datagrams for UDP.
    pub messages: u64,
}

/// The value of [`PROCESS_INFO`]: who has the slot. All zero: nobody.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ProcessInfo {
    /// What tells it apart. Written last.
    pub key: ProcessKey,
    /// `start_time` of the thread group's leader: nanoseconds of `CLOCK_MONOTONIC`.
    pub started_monotonic: u64,
    /// Process id as the agent's PID namespace numbers it; 0: it does not see it.
    pub pid: u32,
    /// User id, of the first user namespace.
    pub uid: u32,
    /// `flags` of the thread group's leader: see [`PF_KTHREAD`].
    pub flags: u32,
    /// Not 0: its last thread has ended.
    pub ended: u32,
    /// How often `name` was written again.
    pub renamed: u32,
    /// Nothing.
    pub padding: u32,
    /// `comm` of the thread group's leader, as it was when the process last sent or received.
    pub name: [u64; 2],
    /// The last part of the path of its control group (version 2), cut short where it is longer.
    pub cgroup: [u64; CGROUP_WORDS],
}

/// Room for the name of a control group, with the zero at its end: `cri-containerd-`, 64 digits
/// and `.scope` fit.
pub const CGROUP_WORDS: usize = 12;

/// The key of [`OWNERS`]: a socket by its addresses, as the network has them. Four-byte addresses
/// are mapped into IPv6 (`::ffff:0:0/96`); what is not bound or not connected is all zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct OwnerKey {
    /// Local address.
    pub local: [u32; 4],
    /// Remote address.
    pub remote: [u32; 4],
    /// The inode of the network namespace.
    pub net_namespace: u32,
    /// `IPPROTO_TCP` or `IPPROTO_UDP`.
    pub protocol: u32,
    /// Local port, in the CPU's byte order.
    pub local_port: u16,
    /// Remote port, in the CPU's byte order.
    pub remote_port: u16,
}

/// The key of [`DROPS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct DropKey {
    /// The interface, of the agent's network namespace; 0: none, or another namespace's.
    pub ifindex: u32,
    /// `enum skb_drop_reason`.
    pub reason: u32,
}

/// Counts in [`DROPS`] what found no room there: no drop has this reason. User space puts it in.
pub const DROPS_UNTRACKED: DropKey = DropKey { ifindex: 0, reason: 0 };

const _: () = assert!(size_of::<Offsets>() == 38 * 4);
const _: () = assert!(size_of::<TraceSettings>() == 20);
const _: () = assert!(size_of::<ProcessKey>() == 16);
const _: () = assert!(size_of::<ProcessCounters>() == 64);
const _: () = assert!(size_of::<ProcessInfo>() == 160);
const _: () = assert!(size_of::<OwnerKey>() == 44);
const _: () = assert!(size_of::<DropKey>() == 8);

/// A process and its slot in 64 bits, so that it is read and written at once: it marks a socket
/// with the process that used it last, and is the value of [`OWNERS`]. Never 0.
///
/// The upper 22 bits are the process id (the kernel has no higher ones, `PID_MAX_LIMIT`), then
/// 16 for the slot, then 26 of the time of its start in units of 1,024 ns. A process is taken for
/// another one only if that has had the same id, the same socket, and was started a multiple of
/// 68.7 s earlier to the microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub u64);

impl Mark {
    const SLOT_SHIFT: u32 = 26;
    const TGID_SHIFT: u32 = 42;
    const SLOT: u64 = (MOST_PROCESSES as u64) << Self::SLOT_SHIFT;
    const STARTED: u64 = (1 << Self::SLOT_SHIFT) - 1;

    /// The mark of a process, with the slot 0.
    #[inline(always)]
    #[must_use]
    pub const fn of(tgid: u32, started: u64) -> Self {
        Self((tgid as u64) << Self::TGID_SHIFT | (started >> 10) & Self::STARTED)
    }

    /// With this slot.
    #[inline(always)]
    #[must_use]
    pub const fn with_slot(self, slot: u32) -> Self {
        Self(self.0 & !Self::SLOT | (slot as u64) << Self::SLOT_SHIFT & Self::SLOT)
    }

    /// The slot.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        ((self.0 & Self::SLOT) >> Self::SLOT_SHIFT) as u32
    }

    /// Whether both are the same process's, whatever their slots.
    #[inline(always)]
    #[must_use]
    pub const fn is_same_process(self, other: Self) -> bool {
        (self.0 ^ other.0) & !Self::SLOT == 0
    }
}

/// What each socket has in [`SOCKET_MARKS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SocketMark {
    /// The [`Mark`] of the process that used it last; 0: none yet.
    pub mark: u64,
    /// How often its owner was told to [`OWNERS`]; at [`TELLINGS_MOST`] it stays what it was.
    pub tellings: u64,
}

const _: () = assert!(size_of::<SocketMark>() == 16);

/// Processes that use a socket in turn would otherwise write at every call.
pub const TELLINGS_MOST: u64 = 16;

/// The global that holds the [`Offsets`].
pub const OFFSETS: &str = "OFFSETS";
/// The global that holds the [`TraceSettings`].
pub const TRACE_SETTINGS: &str = "TRACE_SETTINGS";
/// The hash [`ProcessKey`] → slot.
pub const PROCESSES: &str = "PROCESSES";
/// The array of [`ProcessInfo`], by slot.
pub const PROCESS_INFO: &str = "PROCESS_INFO";
/// The array of [`ProcessCounters`], for each slot all CPUs. Slot 0 counts who found no free one.
pub const PROCESS_COUNTERS: &str = "PROCESS_COUNTERS";
/// The stack of free slots: filled by user space, the lowest on top.
pub const FREE_PROCESSES: &str = "FREE_PROCESSES";
/// The hash [`OwnerKey`] → [`Mark`], least recently used first out.
pub const OWNERS: &str = "OWNERS";
/// The socket storage of [`SocketMark`].
pub const SOCKET_MARKS: &str = "SOCKET_MARKS";
/// The per-CPU hash [`DropKey`] → packets, with [`DROPS_UNTRACKED`].
pub const DROPS: &str = "DROPS";

/// The most slots there can be, slot 0 included, less one: what fits in a [`Mark`].
pub const MOST_PROCESSES: u32 = 0xffff;
/// Slots unless set at load time, slot 0 included.
pub const PROCESSES_DEFAULT: u32 = 4_096;
/// Length of [`OWNERS`] unless set at load time.
pub const OWNERS_DEFAULT: u32 = 16_384;
/// Length of [`DROPS`]: the kernel has some 120 reasons.
pub const DROPS_MOST: u32 = 4_096;

/// In [`ProcessInfo::flags`]: the kernel's own (include/linux/sched.h, the same since 2.6).
pub const PF_KTHREAD: u32 = 0x0020_0000;

/// The programs that count by process, and their tracepoints (Linux 6.3).
pub const SOCKET_TRACEPOINTS: [(&str, &str); 2] =
    [("netmon_sent", "sock_send_length"), ("netmon_received", "sock_recv_length")];
/// What counts in their place before, and the kernel's functions at whose ends they stand.
pub const SOCKET_FUNCTIONS: [(&str, &str); 4] = [
    ("netmon_sent_v4", "inet_sendmsg"),
    ("netmon_sent_v6", "inet6_sendmsg"),
    ("netmon_received_v4", "inet_recvmsg"),
    ("netmon_received_v6", "inet6_recvmsg"),
];
/// What goes past both: `splice` out of a TCP socket, and (before Linux 6.5) `sendfile` and
/// `splice` into one. The programs and the kernel's functions at whose ends they stand.
pub const SPLICE_FUNCTIONS: [(&str, &str); 2] =
    [("netmon_spliced", "tcp_splice_read"), ("netmon_sent_page", "inet_sendpage")];
/// The program that sees processes end, and its tracepoint.
pub const EXIT_PROGRAM: (&str, &str) = ("netmon_exit", "sched_process_exit");
/// The program that counts drops, and its tracepoint.
pub const DROP_PROGRAM: (&str, &str) = ("netmon_drop", "kfree_skb");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_holds_a_process_and_a_slot() {
        let mark = Mark::of(4_194_304 - 1, u64::MAX);
        for slot in [0, 1, 77, MOST_PROCESSES] {
            let with = mark.with_slot(slot);
            assert_eq!(with.slot(), slot);
            assert!(with.is_same_process(mark));
            assert_eq!(with.with_slot(0), mark);
        }
        assert!(!mark.is_same_process(Mark::of(4_194_302, u64::MAX)));
        assert!(!mark.is_same_process(Mark::of(4_194_303, u64::MAX - 1_024)));
    }
}
