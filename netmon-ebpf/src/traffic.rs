//! The programs in the kernel that count and also tell flows, protocols, sizes and bursts apart.
//! Loaded in the place of those of `main.rs`, so that a packet passes one program.
//!
//! | program | hook | minimum kernel |
//! |---|---|---|
//! | `netmon_ingress`, `netmon_egress` | TCX (6.6) or clsact | 5.8 |
//! | `netmon_jiffies` | none: it is run by `BPF_PROG_TEST_RUN` | 5.8 |
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(missing_docs, reason = "aya's macros generate functions without documentation")]

#[expect(dead_code, reason = "not all of it is used by both objects")]
mod count;
mod flows;
mod head;
mod linear;
mod skb;
mod totals;

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_UNSPEC},
    helpers::generated::bpf_jiffies64,
    macros::classifier,
    programs::TcContext,
};
use count::{Cpu, Direction, Slot};
use netmon_ebpf::segments::Extra;

/// Counts what the interface receives, before anything else in the stack sees it.
#[classifier]
pub fn netmon_ingress(ctx: TcContext) -> i32 {
    look(ctx.skb.skb, Direction::Rx, extra_received)
}

/// Counts what the stack hands to the interface, before its queueing discipline.
#[classifier]
pub fn netmon_egress(ctx: TcContext) -> i32 {
    look(ctx.skb.skb, Direction::Tx, extra_transmitted)
}

/// Says what jiffy it is.
#[classifier]
pub fn netmon_jiffies(ctx: TcContext) -> i32 {
    // SAFETY: a helper without arguments; the context is the one that the kernel has given.
    unsafe {
        let jiffy = bpf_jiffies64();
        (*ctx.skb.skb).cb[0] = jiffy as u32;
        (*ctx.skb.skb).cb[1] = (jiffy >> 32) as u32;
    }
    TC_ACT_UNSPEC
}

/// A packet, as the parts of the program hand it on.
struct Packet {
    skb: *mut __sk_buff,
    direction: Direction,
    /// Bytes as the stack handles them.
    length: u32,
    /// What a cable would carry beyond that.
    extra: Extra,
    /// When it came.
    jiffy: u64,
}

impl Packet {
    /// As a cable carries it.
    #[inline(always)]
    fn wire(&self) -> (u64, u64) {
        let Extra { packets, bytes } = self.extra;
        (1 + u64::from(packets), u64::from(self.length) + u64::from(bytes))
    }
}

#[inline(always)]
fn look(
    skb: *mut __sk_buff,
    direction: Direction,
    extra: impl FnOnce(*mut __sk_buff) -> u64,
) -> i32 {
    let cpu = Cpu::this();
    let entry = count::entry(skb::ifindex(skb)).unwrap_or_else(|| elsewhere(skb));
    let length = skb::length(skb);
    let extra = if skb::has_extra(skb) { unpacked(extra(skb)) } else { Extra::default() };
    if let Some(slot) = Slot::at(cpu, entry, direction) {
        slot.add(u64::from(length));
        if extra != Extra::default() {
            slot.add_extra(u64::from(extra.packets), u64::from(extra.bytes));
        }
    }
    // SAFETY: a helper without arguments.
    let jiffy = unsafe { bpf_jiffies64() };
    let packet = Packet { skb, direction, length, extra, jiffy };
    let mut room = head::Room::uninit();
    let parsed = head::parse(skb, entry, &mut room);
    totals::add(&packet, cpu.index(entry), parsed.class);
    flows::add(&packet, parsed);
    TC_ACT_UNSPEC
}

#[inline(never)]
fn elsewhere(skb: *mut __sk_buff) -> u32 {
    skb::entry_elsewhere(skb)
}

#[inline(never)]
fn extra_received(skb: *mut __sk_buff) -> u64 {
    packed(skb::extra(skb, Direction::Rx))
}

#[inline(never)]
fn extra_transmitted(skb: *mut __sk_buff) -> u64 {
    packed(skb::extra(skb, Direction::Tx))
}

/// For a function out of line, which gives back one register.
#[inline(always)]
fn packed(extra: Extra) -> u64 {
    u64::from(extra.packets) << 32 | u64::from(extra.bytes)
}

#[inline(always)]
fn unpacked(extra: u64) -> Extra {
    Extra { packets: (extra >> 32) as u32, bytes: extra as u32 }
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
