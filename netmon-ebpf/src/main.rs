//! netmon's programs in the kernel: they count and pass every packet on.
//!
//! | program | hook | minimum kernel |
//! |---|---|---|
//! | `netmon_ingress`, `netmon_egress` | TCX (6.6) or clsact | 5.8 |
//! | `netmon_xdp` | XDP, multi-buffer | 5.18 |
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "aya's macros generate functions without documentation")]

mod count;

use aya_ebpf::{
    bindings::{TC_ACT_UNSPEC, xdp_action},
    helpers::generated::bpf_xdp_get_buff_len,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use count::{Direction, Slot};
use netmon_ebpf::segments::{self, Extra, Packet};

const VLAN_TAG: u64 = 4;

/// Counts what the interface receives, before anything else in the stack sees it.
#[classifier]
pub fn netmon_ingress(ctx: TcContext) -> i32 {
    count_skb(&ctx, Direction::Rx);
    TC_ACT_UNSPEC
}

/// Counts what the stack hands to the interface, before its queueing discipline.
#[classifier]
pub fn netmon_egress(ctx: TcContext) -> i32 {
    count_skb(&ctx, Direction::Tx);
    TC_ACT_UNSPEC
}

/// Counts frames as the driver receives them, before the stack makes skbs of them.
#[xdp(frags)]
pub fn netmon_xdp(ctx: XdpContext) -> u32 {
    // SAFETY: the context is the one that the kernel has given.
    let (ifindex, len) = unsafe { ((*ctx.ctx).ingress_ifindex, bpf_xdp_get_buff_len(ctx.ctx)) };
    if let Some(slot) = Slot::of(&ctx, ifindex, Direction::Rx) {
        slot.add(len);
    }
    xdp_action::XDP_PASS
}

#[inline(always)]
fn count_skb(ctx: &TcContext, direction: Direction) {
    let skb = ctx.skb.skb;
    // SAFETY: the context is the one that the kernel has given; the verifier checks each field.
    let (ifindex, len, gso_size, vlan_present) = unsafe {
        (
            (*skb).ifindex,
            (*skb).len,
            (*skb).gso_size,
            (*skb).vlan_present,
        )
    };
    let Some(slot) = Slot::of(ctx, ifindex, direction) else {
        return;
    };
    slot.add(u64::from(len));
    if gso_size == 0 && vlan_present == 0 {
        return;
    }
    let extra = if gso_size == 0 {
        Extra::default()
    } else {
        segmented(ctx, direction, len, gso_size, slot.link_header)
    };
    let (packets, mut bytes) = (u64::from(extra.packets), u64::from(extra.bytes));
    if vlan_present != 0 {
        bytes += VLAN_TAG * (packets + 1);
    }
    slot.add_extra(packets, bytes);
}

/// What segmentation adds to a super-packet. On egress the kernel has computed both numbers
/// (`qdisc_pkt_len_init`, net/core/dev.c), except where it has not counted segments yet.
#[inline(always)]
fn segmented(ctx: &TcContext, direction: Direction, len: u32, gso_size: u32, link: bool) -> Extra {
    if direction == Direction::Tx {
        let skb = ctx.skb.skb;
        // SAFETY: as in `count_skb`.
        let (segments, wire_len) = unsafe { ((*skb).gso_segs, (*skb).wire_len) };
        if segments != 0 && wire_len >= len {
            return Extra {
                packets: segments - 1,
                bytes: wire_len - len,
            };
        }
    }
    match segments::extra(&Skb(ctx), len, gso_size, link) {
        Some(extra) => extra,
        None => {
            aya_log_ebpf::debug!(ctx, "a super-packet of {} bytes with unknown headers", len);
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
        self.0
            .load::<[u8; 2]>(offset as usize)
            .ok()
            .map(u16::from_be_bytes)
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
