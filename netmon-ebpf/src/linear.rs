//! What of a packet lies in one piece, read where it lies in the kernel.

use aya_ebpf::bindings::__sk_buff;
use netmon_ebpf::flow_key::{Head, Part};
use netmon_ebpf::segments::Packet;

/// What of a packet lies in one piece.
pub struct Linear {
    data: usize,
    end: usize,
}

impl Linear {
    /// Of this packet.
    #[inline(always)]
    pub fn of(skb: *mut __sk_buff) -> Self {
        // SAFETY: the context is the one that the kernel has given; the verifier checks each field.
        unsafe { Self { data: (*skb).data as usize, end: (*skb).data_end as usize } }
    }
}

/// Bytes that the verifier knows to be there.
pub struct InPlace(usize);

impl Head for Linear {
    type Part = InPlace;

    #[inline(always)]
    fn part(&self, offset: u32, length: u32) -> Option<InPlace> {
        let part = self.data + offset as usize;
        if part + length as usize > self.end { None } else { Some(InPlace(part)) }
    }
}

impl InPlace {
    #[inline(always)]
    fn read<T: Copy>(&self, at: u32) -> T {
        // SAFETY: the verifier refuses what is not within the part.
        unsafe { *((self.0 + at as usize) as *const T) }
    }
}

impl Part for InPlace {
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

impl Packet for Linear {
    #[inline(always)]
    fn u8_at(&self, offset: u32) -> Option<u8> {
        Some(self.part(offset, 1)?.u8(0))
    }

    #[inline(always)]
    fn u16_at(&self, offset: u32) -> Option<u16> {
        Some(u16::from_be(self.part(offset, 2)?.u16(0)))
    }
}
