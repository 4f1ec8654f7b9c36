//! What the TC programs of both objects ask of a packet (skb).

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use netmon_ebpf::segments::{self, Extra, Packet};

use crate::count::{self, Direction};
use crate::linear::Linear;

/// Bytes of a VLAN tag.
pub const VLAN_TAG: u32 = 4;

/// The packet's interface.
#[inline(always)]
pub fn ifindex(skb: *mut __sk_buff) -> u32 {
    // SAFETY: the context is the one that the kernel has given; the verifier checks each field.
    unsafe { (*skb).ifindex }
}

/// The packet's bytes, as the stack handles it.
#[inline(always)]
pub fn length(skb: *mut __sk_buff) -> u32 {
    // SAFETY: as above.
    unsafe { (*skb).len }
}

/// Whether [`extra`] may be more than nothing. Every tag that was taken out has a protocol, which
/// is one instruction to read where `vlan_present` is three; before Linux 6.2 a tag that is gone
/// may have left its protocol behind, and there is nothing extra.
#[inline(always)]
pub fn has_extra(skb: *mut __sk_buff) -> bool {
    // SAFETY: as above.
    unsafe { (*skb).gso_size != 0 || (*skb).vlan_proto != 0 }
}

/// The slot entry of an interface that has none in the table. It should be called out of line.
#[inline(always)]
pub fn entry_elsewhere(skb: *mut __sk_buff) -> u32 {
    count::entry_elsewhere(&TcContext::new(skb), ifindex(skb))
}

/// What a super-packet, or a packet with a VLAN tag taken out, is on the wire beyond its skb.
/// It should be called out of line.
#[inline(always)]
pub fn extra(skb: *mut __sk_buff, direction: Direction) -> Extra {
    // SAFETY: as above.
    let (gso_size, vlan_present) = unsafe { ((*skb).gso_size, (*skb).vlan_present) };
    let mut extra =
        if gso_size == 0 { Extra::default() } else { segmented(skb, direction, gso_size) };
    if vlan_present != 0 {
        extra.bytes += VLAN_TAG * (extra.packets + 1);
    }
    extra
}

/// What segmentation adds to a super-packet. On egress the kernel has computed both numbers,
/// except where it has not counted segments yet; but in a tunnel's it missed the inner headers
/// until Linux 6.17 (and does in 6.1; 6.12.117 has it mended), so they are read there too.
#[inline(always)]
fn segmented(skb: *mut __sk_buff, direction: Direction, gso_size: u32) -> Extra {
    let (ifindex, len) = (ifindex(skb), length(skb));
    let told = if direction == Direction::Tx { told_by_kernel(skb, len) } else { None };
    let ctx = TcContext::new(skb);
    let link_header = count::has_link_header(ifindex);
    let usual = match link_header {
        true => segments::extra_usual(&Linear::of(skb), len, gso_size),
        false => None,
    };
    let read = usual.or_else(|| segments::extra(&Skb(&ctx), len, gso_size, link_header));
    match segments::larger(told, read) {
        Some(extra) => extra,
        None => {
            aya_log_ebpf::debug!(&ctx, "a super-packet of {} bytes with unknown headers", len);
            Extra::default()
        }
    }
}

/// By `qdisc_pkt_len_init` (net/core/dev.c).
#[inline(always)]
fn told_by_kernel(skb: *mut __sk_buff, len: u32) -> Option<Extra> {
    // SAFETY: as above.
    let (segments, wire_len) = unsafe { ((*skb).gso_segs, (*skb).wire_len) };
    if segments == 0 || wire_len < len {
        return None;
    }
    Some(Extra { packets: segments - 1, bytes: wire_len - len })
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
