//! netmon's programs in the kernel: they count and pass every packet on.
//!
//! | program | hook | minimum kernel |
//! |---|---|---|
//! | `netmon_ingress`, `netmon_egress` | TCX (6.6) or clsact | 5.8 |
//! | `netmon_xdp` | XDP, frames in one buffer | 5.9 |
//! | `netmon_xdp_frags` | XDP, frames in several buffers | 5.18 |
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "aya's macros generate functions without documentation")]

mod count;

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_UNSPEC, xdp_action, xdp_md},
    helpers::generated::bpf_xdp_get_buff_len,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use count::{Direction, Slot};
use netmon_common::Counters;
use netmon_ebpf::segments::{self, Extra, Packet};

const VLAN_TAG: u64 = 4;

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
    count_frame(&ctx, (ctx.data_end() - ctx.data()) as u64)
}

/// The same for drivers and MTUs whose frames lie in several buffers. Asking for the length of
/// all of them is a call that costs more than the counting (6 ns, Linux 6.18).
#[xdp(frags)]
pub fn netmon_xdp_frags(ctx: XdpContext) -> u32 {
    // SAFETY: the context is the one that the kernel has given.
    let len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    count_frame(&ctx, len)
}

#[inline(always)]
fn count_frame(ctx: &XdpContext, len: u64) -> u32 {
    // SAFETY: the context is the one that the kernel has given.
    let ifindex = unsafe { (*ctx.ctx).ingress_ifindex };
    if let Some(slot) = Slot::of(ifindex, Direction::Rx, || frame_elsewhere(ctx.ctx)) {
        slot.add(len);
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
    // SAFETY: the context is the one that the kernel has given; the verifier checks each field.
    let ifindex = unsafe { (*skb).ifindex };
    let Some(slot) = Slot::of(ifindex, direction, || skb_elsewhere(skb)) else {
        return TC_ACT_UNSPEC;
    };
    // SAFETY: as above.
    let (len, gso_size, vlan_present) =
        unsafe { ((*skb).len, (*skb).gso_size, (*skb).vlan_present) };
    slot.add(u64::from(len));
    if gso_size != 0 || vlan_present != 0 {
        extra(skb, slot.counters());
    }
    TC_ACT_UNSPEC
}

#[inline(never)]
fn skb_elsewhere(skb: *mut __sk_buff) -> u32 {
    // SAFETY: the context is the one that the kernel has given.
    let ifindex = unsafe { (*skb).ifindex };
    count::entry_elsewhere(&TcContext::new(skb), ifindex)
}

#[inline(never)]
fn extra_received(skb: *mut __sk_buff, counters: *mut Counters) {
    add_extra(skb, counters, Direction::Rx);
}

#[inline(never)]
fn extra_transmitted(skb: *mut __sk_buff, counters: *mut Counters) {
    add_extra(skb, counters, Direction::Tx);
}

/// What a super-packet, or a packet with a VLAN tag taken out, is on the wire beyond its skb.
#[inline(always)]
fn add_extra(skb: *mut __sk_buff, counters: *mut Counters, direction: Direction) {
    // SAFETY: as in `count_skb`.
    let (gso_size, vlan_present) = unsafe { ((*skb).gso_size, (*skb).vlan_present) };
    let extra = if gso_size == 0 { Extra::default() } else { segmented(skb, direction, gso_size) };
    let (packets, mut bytes) = (u64::from(extra.packets), u64::from(extra.bytes));
    if vlan_present != 0 {
        bytes += VLAN_TAG * (packets + 1);
    }
    Slot::from_counters(counters).add_extra(packets, bytes);
}

/// What segmentation adds to a super-packet. On egress the kernel has computed both numbers
/// (`qdisc_pkt_len_init`, net/core/dev.c), except where it has not counted segments yet.
#[inline(always)]
fn segmented(skb: *mut __sk_buff, direction: Direction, gso_size: u32) -> Extra {
    // SAFETY: as in `count_skb`.
    let (ifindex, len) = unsafe { ((*skb).ifindex, (*skb).len) };
    if direction == Direction::Tx {
        // SAFETY: as in `count_skb`.
        let (segments, wire_len) = unsafe { ((*skb).gso_segs, (*skb).wire_len) };
        if segments != 0 && wire_len >= len {
            return Extra { packets: segments - 1, bytes: wire_len - len };
        }
    }
    let ctx = TcContext::new(skb);
    match segments::extra(&Skb(&ctx), len, gso_size, count::has_link_header(ifindex)) {
        Some(extra) => extra,
        None => {
            aya_log_ebpf::debug!(&ctx, "a super-packet of {} bytes with unknown headers", len);
            Extra::default()
        }
    }
}

struct Skb<'a>(&'a TcContext);

impl Packet for Skb<'_> {
    #[inline(always)]
    fn u8_at(&self, offset: u32) -> Option<u8> {
        self.0.load::<u8>(offset as usize).ok()
    }

    #[inline(always)]
    fn u16_at(&self, offset: u32) -> Option<u16> {
        self.0.load::<[u8; 2]>(offset as usize).ok().map(u16::from_be_bytes)
    }
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
