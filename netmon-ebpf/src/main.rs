//! netmon's programs in the kernel: they count and pass every packet on.
//!
//! | program | hook | minimum kernel |
//! |---|---|---|
//! | `netmon_ingress`, `netmon_egress` | TCX (6.6) or clsact | 5.8 |
//! | `netmon_xdp` | XDP, frames in one buffer | 5.9 |
//! | `netmon_xdp_frags` | XDP, frames in several buffers | 5.18 |
//! | `netmon_sys_enter`, `netmon_sys_exit`, `netmon_sched_switch` | tracepoints through BTF, for `netmon compare` | 5.5 |
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "aya's macros generate functions without documentation")]

mod cost;
mod count;
mod skb;

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_UNSPEC, xdp_action, xdp_md},
    helpers::generated::bpf_xdp_get_buff_len,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use count::{Direction, Slot};
use netmon_common::Counters;
use netmon_ebpf::segments::Extra;

/// Counts what the interface receives, before anything else in the stack sees it.
#[classifier]
pub fn netmon_ingress(ctx: TcContext) -> i32 {
    count_skb(&ctx, Direction::Rx, extra_received)
}

/// Counts what the stack hands to the interface, before its queueing discipline.
#[classifier]
pub fn netmon_egress(ctx: TcContext) -> i32 {
    count_skb(&ctx, Direction::Tx, extra_transmitted)
}

/// Counts frames as the driver receives them, before the stack makes skbs of them.
#[xdp]
pub fn netmon_xdp(ctx: XdpContext) -> u32 {
    count_frame(&ctx, || (ctx.data_end() - ctx.data()) as u64)
}

/// The same for drivers and MTUs whose frames lie in several buffers. Asking for the length of
/// all of them is a call that costs more than the counting (6 ns, Linux 6.18).
#[xdp(frags)]
pub fn netmon_xdp_frags(ctx: XdpContext) -> u32 {
    // SAFETY: the context is the one that the kernel has given.
    count_frame(&ctx, || unsafe { bpf_xdp_get_buff_len(ctx.ctx) })
}

/// The length is asked for last, so that no register keeps it meanwhile.
#[inline(always)]
fn count_frame(ctx: &XdpContext, len: impl FnOnce() -> u64) -> u32 {
    // SAFETY: the context is the one that the kernel has given.
    let ifindex = unsafe { (*ctx.ctx).ingress_ifindex };
    if let Some(slot) = Slot::of(ifindex, Direction::Rx, || frame_elsewhere(ctx.ctx)) {
        slot.add(len());
    }
    xdp_action::XDP_PASS
}

#[inline(never)]
fn frame_elsewhere(ctx: *mut xdp_md) -> u32 {
    // SAFETY: the context is the one that the kernel has given.
    let ifindex = unsafe { (*ctx).ingress_ifindex };
    count::entry_elsewhere(&XdpContext::new(ctx), ifindex)
}

#[inline(always)]
fn count_skb(
    ctx: &TcContext,
    direction: Direction,
    extra: impl FnOnce(*mut __sk_buff, *mut Counters),
) -> i32 {
    let skb = ctx.skb.skb;
    let Some(slot) = Slot::at(skb::entry(skb), direction) else {
        return TC_ACT_UNSPEC;
    };
    slot.add(u64::from(skb::length(skb)));
    if skb::has_extra(skb) {
        extra(skb, slot.counters());
    }
    TC_ACT_UNSPEC
}

#[inline(never)]
fn extra_received(skb: *mut __sk_buff, counters: *mut Counters) {
    add_extra(skb, counters, Direction::Rx);
}

#[inline(never)]
fn extra_transmitted(skb: *mut __sk_buff, counters: *mut Counters) {
    add_extra(skb, counters, Direction::Tx);
}

#[inline(always)]
fn add_extra(skb: *mut __sk_buff, counters: *mut Counters, direction: Direction) {
    let Extra { packets, bytes } = skb::extra(skb, direction);
    Slot::from_counters(counters).add_extra(u64::from(packets), u64::from(bytes));
}

// The programs use GPL-only helpers; the same text is MIT OR Apache-2.0 elsewhere.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
