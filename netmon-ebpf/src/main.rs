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
mod linear;
mod skb;

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_UNSPEC, xdp_action, xdp_md},
    helpers::generated::bpf_xdp_get_buff_len,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use count::{Cpu, Direction, Slot};
use netmon_common::Counters;
use netmon_ebpf::segments::Extra;

/// Counts what the interface receives, before anything else in the stack sees it.
#[classifier]
pub fn netmon_ingress(ctx: TcContext) -> i32 {
    let (skb, cpu) = (ctx.skb.skb, Cpu::this());
    match count::entry(skb::ifindex(skb)) {
        Some(entry) => count_skb(skb, cpu, entry, Direction::Rx, extra_received),
        None => received_elsewhere(skb),
    }
    TC_ACT_UNSPEC
}

/// Counts what the stack hands to the interface, before its queueing discipline.
#[classifier]
pub fn netmon_egress(ctx: TcContext) -> i32 {
    let (skb, cpu) = (ctx.skb.skb, Cpu::this());
    match count::entry(skb::ifindex(skb)) {
        Some(entry) => count_skb(skb, cpu, entry, Direction::Tx, extra_transmitted),
        None => transmitted_elsewhere(skb),
    }
    TC_ACT_UNSPEC
}

/// Counts frames as the driver receives them, before the stack makes skbs of them.
#[xdp]
pub fn netmon_xdp(ctx: XdpContext) -> u32 {
    let cpu = Cpu::this();
    match count::entry(ifindex(ctx.ctx)) {
        Some(entry) => count_frame(cpu, entry, || length(ctx.ctx)),
        None => frame_elsewhere(ctx.ctx),
    }
    xdp_action::XDP_PASS
}

/// The same for drivers and MTUs whose frames lie in several buffers. Asking for the length of
/// all of them is a call that costs more than the counting (6 ns, Linux 6.18).
#[xdp(frags)]
pub fn netmon_xdp_frags(ctx: XdpContext) -> u32 {
    let cpu = Cpu::this();
    match count::entry(ifindex(ctx.ctx)) {
        Some(entry) => count_frame(cpu, entry, || length_of_all(ctx.ctx)),
        None => frames_elsewhere(ctx.ctx),
    }
    xdp_action::XDP_PASS
}

#[inline(always)]
fn ifindex(ctx: *mut xdp_md) -> u32 {
    // SAFETY: the context is the one that the kernel has given.
    unsafe { (*ctx).ingress_ifindex }
}

#[inline(always)]
fn length(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    (ctx.data_end() - ctx.data()) as u64
}

#[inline(always)]
fn length_of_all(ctx: *mut xdp_md) -> u64 {
    // SAFETY: the context is the one that the kernel has given.
    unsafe { bpf_xdp_get_buff_len(ctx) }
}

#[inline(never)]
fn frame_elsewhere(ctx: *mut xdp_md) {
    count_frame(Cpu::this(), entry_elsewhere(ctx), || length(ctx));
}

#[inline(never)]
fn frames_elsewhere(ctx: *mut xdp_md) {
    count_frame(Cpu::this(), entry_elsewhere(ctx), || length_of_all(ctx));
}

#[inline(always)]
fn entry_elsewhere(ctx: *mut xdp_md) -> u32 {
    count::entry_elsewhere(&XdpContext::new(ctx), ifindex(ctx))
}

/// The length is asked for last, so that no register keeps it meanwhile.
#[inline(always)]
fn count_frame(cpu: Cpu, entry: u32, len: impl FnOnce() -> u64) {
    if let Some(slot) = Slot::at(cpu, entry, Direction::Rx) {
        slot.add(len());
    }
}

#[inline(always)]
fn count_skb(
    skb: *mut __sk_buff,
    cpu: Cpu,
    entry: u32,
    direction: Direction,
    extra: impl FnOnce(*mut __sk_buff, *mut Counters),
) {
    let Some(slot) = Slot::at(cpu, entry, direction) else {
        return;
    };
    slot.add(u64::from(skb::length(skb)));
    if skb::has_extra(skb) {
        extra(skb, slot.counters());
    }
}

#[inline(never)]
fn received_elsewhere(skb: *mut __sk_buff) {
    count_skb(skb, Cpu::this(), skb::entry_elsewhere(skb), Direction::Rx, extra_received);
}

#[inline(never)]
fn transmitted_elsewhere(skb: *mut __sk_buff) {
    count_skb(skb, Cpu::this(), skb::entry_elsewhere(skb), Direction::Tx, extra_transmitted);
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
