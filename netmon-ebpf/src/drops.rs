//! Dropped packets, by interface and reason.
//!
//! `skb->dev` cannot be trusted: it shares its place with what UDP and the trees of TCP and netem
//! keep there, and TCP clears it. So it is taken for a device only if the agent's network
//! namespace stands where a device has its own; else the interface is the one that the packet
//! came in by, and the namespace that of the socket or of the route.

use aya_ebpf::{macros::map, maps::PerCpuHashMap, programs::BtfTracePointContext};
use netmon_common::trace::{DROPS_MOST, DROPS_UNTRACKED, DropKey};

use crate::fields::{Pointer, field_at, offset, setting};

#[map]
static DROPS: PerCpuHashMap<DropKey, u64> = PerCpuHashMap::with_max_entries(DROPS_MOST, 0);

/// Counts one.
#[inline(always)]
pub fn count(ctx: &BtfTracePointContext) {
    let (skb, reason): (Pointer, u32) = (ctx.arg(0), ctx.arg(2));
    if reason == 0 || reason == setting!(consumed) {
        return;
    }
    let receiver: Pointer =
        if setting!(drop_tells_socket) == 0 { core::ptr::null() } else { ctx.arg(3) };
    let key = DropKey { ifindex: interface(skb, receiver), reason };
    // With no room for another, the last there is takes it.
    if !add_one(key) && DROPS.insert(key, 1, 0).is_err() {
        add_one(DROPS_UNTRACKED);
    }
}

/// Adds to an entry, if there is one.
#[inline(always)]
fn add_one(key: DropKey) -> bool {
    let Some(packets) = DROPS.get_ptr_mut(key) else { return false };
    // SAFETY: the map holds the memory, on this CPU alone; the kernel does not run a program
    // within itself.
    unsafe { *packets += 1 };
    true
}

/// The interface, if it is of the agent's namespace; else 0.
#[inline(always)]
fn interface(skb: Pointer, receiver: Pointer) -> u32 {
    if let Some(device) = field_at::<Pointer>(skb, offset!(skb_device))
        && let Some(net) = net_of_device(device)
    {
        return if net == setting!(net_namespace) { ifindex(device) } else { 0 };
    }
    let arrived: u32 = field_at(skb, offset!(skb_arrived)).unwrap_or(0);
    if arrived != 0 && net_of_packet(skb, receiver) == Some(setting!(net_namespace)) {
        arrived
    } else {
        0
    }
}

#[inline(always)]
fn ifindex(device: Pointer) -> u32 {
    field_at(device, offset!(device_ifindex)).unwrap_or(0)
}

/// The namespace's inode, if this is a device.
#[inline(always)]
fn net_of_device(device: Pointer) -> Option<u32> {
    net_inode(field_at(device, offset!(device_net))?)
}

/// The namespace's inode by the socket or the route, whichever is there.
#[inline(always)]
fn net_of_packet(skb: Pointer, receiver: Pointer) -> Option<u32> {
    /// In the pointer to the route: whether it is counted as a reference.
    const FLAGS: u64 = 0b11;

    let by_socket = |sock: Pointer| net_inode(field_at(sock, offset!(sock_net))?);
    // The verifier wants to see that it is one.
    if !receiver.is_null() {
        return by_socket(receiver);
    }
    if let Some(net) = field_at::<Pointer>(skb, offset!(skb_sock)).and_then(by_socket) {
        return Some(net);
    }
    let route: u64 = field_at(skb, offset!(skb_route))?;
    net_of_device(field_at((route & !FLAGS) as Pointer, offset!(route_device))?)
}

/// The inode of what may be a network namespace.
#[inline(always)]
fn net_inode(net: Pointer) -> Option<u32> {
    /// include/linux/proc_fs.h: `PROC_DYNAMIC_FIRST` is 0xf0000000, and the first namespaces have
    /// numbers shortly before it (since Linux 6.18 the network's, too). The upper half of a
    /// pointer, which may stand there instead, lies above.
    const INODES: core::ops::Range<u32> = 0xefff_ff00..0xf800_0000;

    field_at(net, offset!(net_inode)).filter(|inode| INODES.contains(inode))
}
