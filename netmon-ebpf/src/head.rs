//! A packet's headers where they lie in the kernel: the usual ones are read in place, where they are
//! in one piece, as they nearly always are; everything else out of line and through a helper.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes};
use netmon_common::NO_LINK_HEADER;
use netmon_ebpf::flow_key::{self, Head, Parsed, Part};

use crate::linear::Linear;

/// Room for a [`Parsed`].
pub type Room = MaybeUninit<Parsed>;

const WORDS: usize = {
    assert!(size_of::<Parsed>().is_multiple_of(8) && align_of::<Parsed>() == 8);
    size_of::<Parsed>() / 8
};

/// Clears it word by word. The compiler would call a function that does it byte by byte, which
/// was 18 ns a packet (Linux 6.18).
#[inline(always)]
fn clear(room: &mut Room) -> &mut Parsed {
    // SAFETY: so many words are in it, and all of it may be zero.
    unsafe {
        for word in 0..WORDS {
            room.as_mut_ptr().cast::<u64>().add(word).write_volatile(0);
        }
        room.assume_init_mut()
    }
}

/// Reads a packet of the interface that has this slot entry.
#[inline(always)]
pub fn parse(skb: *mut __sk_buff, entry: u32, room: &mut Room) -> &mut Parsed {
    let parsed = clear(room);
    let link_header = entry & NO_LINK_HEADER == 0;
    if flow_key::parse_usual(&Linear::of(skb), tag(skb), link_header, parsed).is_none() {
        parse_again(skb, entry, parsed);
    }
    parsed
}

/// Where the headers are not in one piece, unusual, or not there at all.
#[inline(never)]
fn parse_again(skb: *mut __sk_buff, entry: u32, parsed: *mut Parsed) {
    // SAFETY: a `Parsed` is room for one.
    let parsed = clear(unsafe { &mut *parsed.cast::<Room>() });
    // What is cut short is told by what there is.
    let _ = flow_key::parse(&Scattered(skb), tag(skb), entry & NO_LINK_HEADER == 0, parsed);
}

#[inline(always)]
fn tag(skb: *mut __sk_buff) -> Option<u16> {
    // SAFETY: the context is the one that the kernel has given; the verifier checks each field.
    let (present, tag) = unsafe { ((*skb).vlan_present, (*skb).vlan_tci) };
    if present == 0 { None } else { Some(tag as u16) }
}

/// A packet in several pieces.
struct Scattered(*mut __sk_buff);

/// A copy of a part, aligned as the header that it is.
struct Copied(MaybeUninit<[u64; 5]>);

impl Head for Scattered {
    type Part = Copied;

    #[inline(always)]
    fn part(&self, offset: u32, length: u32) -> Option<Copied> {
        let mut copy = MaybeUninit::<[u64; 5]>::uninit();
        // SAFETY: the copy has room for the longest part.
        let result = unsafe {
            let to = copy.as_mut_ptr().cast();
            bpf_skb_load_bytes(self.0.cast_const().cast(), offset, to, length)
        };
        if result < 0 { None } else { Some(Copied(copy)) }
    }
}

impl Copied {
    #[inline(always)]
    fn read<T: Copy>(&self, at: u32) -> T {
        // SAFETY: within what was copied; headers have each number at a multiple of its size.
        unsafe { *self.0.as_ptr().cast::<u8>().add(at as usize).cast::<T>() }
    }
}

impl Part for Copied {
    #[inline(always)]
    fn u8(&self, at: u32) -> u8 {
        self.read(at)
    }
    #[inline(always)]
    fn u16(&self, at: u32) -> u16 {
        self.read(at)
    }
    #[inline(always)]
    fn u32(&self, at: u32) -> u32 {
        self.read(at)
    }
    #[inline(always)]
    fn u64(&self, at: u32) -> u64 {
        self.read(at)
    }
}
