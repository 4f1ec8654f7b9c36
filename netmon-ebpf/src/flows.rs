//! The table of flows. All CPUs add to one value, atomically: memory goes by the flows and not by
//! the CPUs, and a flow's packets mostly stay on one CPU, whose cache then has it.

use core::arch::asm;

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::generated::{bpf_get_prandom_u32, bpf_get_smp_processor_id},
    macros::map,
    maps::{Array, HashMap},
};
use netmon_common::traffic::{FlowCpu, FlowKey, FlowValue};
use netmon_ebpf::flow_key::Parsed;

use crate::{Packet, count::Direction};

#[map]
static FLOWS: HashMap<FlowKey, FlowValue> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

#[map]
static FLOW_CPUS: Array<FlowCpu> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[unsafe(no_mangle)]
static FLOW_SAMPLE: Global<u32> = Global::new(1);

/// Adds a packet to its flow. What was parsed is not copied: that would cost a tenth of it all.
#[inline(always)]
pub fn add(packet: &Packet, parsed: &mut Parsed) {
    if !is_sampled() {
        return;
    }
    let Parsed { key, tcp_flags, .. } = parsed;
    // SAFETY: the context is the one that the kernel has given.
    key.ifindex = unsafe { (*packet.skb).ifindex };
    key.direction = match packet.direction {
        Direction::Rx => 0,
        Direction::Tx => 1,
    };
    let value = FlowValue {
        packets: 1,
        bytes: u64::from(packet.length),
        extra_packets: u64::from(packet.extra.packets),
        extra_bytes: u64::from(packet.extra.bytes),
        first: packet.jiffy,
        last: packet.jiffy,
        tcp_flags: u64::from(*tcp_flags),
    };
    #[expect(clippy::needless_borrows_for_generic_args, reason = "the key would be copied")]
    let known = FLOWS.get_ptr_mut(&*key);
    match known {
        Some(flow) => add_to(flow, &value),
        None => begin(key, &value),
    }
}

/// Whether this packet is one of those that are looked at. By chance, so that no regular traffic
/// is always or never met; by numbers of our own (xorshift64*, Vigna 2016), since the kernel's cost
/// 17 ns a packet (Linux 6.18).
#[inline(always)]
fn is_sampled() -> bool {
    let sample = u64::from(FLOW_SAMPLE.load());
    if sample <= 1 {
        return true;
    }
    let Some(cpu) = this_cpu() else { return false };
    // SAFETY: this CPU's own; see `count::Slot::add`.
    unsafe {
        let mut random = (*cpu).random;
        if random == 0 {
            random = seed();
        }
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        (*cpu).random = random;
        ((random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * sample) >> 32 == 0
    }
}

#[inline(never)]
fn seed() -> u64 {
    // SAFETY: a helper without arguments.
    u64::from(unsafe { bpf_get_prandom_u32() }) << 1 | 1
}

#[inline(always)]
fn this_cpu() -> Option<*mut FlowCpu> {
    // SAFETY: a helper without arguments.
    FLOW_CPUS.get_ptr_mut(unsafe { bpf_get_smp_processor_id() })
}

/// A flow's first packet, or one that found no room.
#[inline(never)]
fn begin(key: &FlowKey, value: &FlowValue) {
    if FLOWS.insert(key, value, u64::from(BPF_NOEXIST)).is_ok() {
        return;
    }
    // Another CPU may have been faster.
    match FLOWS.get_ptr_mut(key) {
        Some(flow) => add_to(flow, value),
        None => give_up(value),
    }
}

#[inline(always)]
fn add_to(flow: *mut FlowValue, value: &FlowValue) {
    // SAFETY: the kernel keeps the memory until the program ends; numbers that several CPUs add
    // to are only touched atomically, but for two where it does no harm: which of two CPUs was
    // last, and a TCP flag that is new on two at once, which the next packet with it sets.
    unsafe {
        atomic_add(&raw mut (*flow).packets, value.packets);
        atomic_add(&raw mut (*flow).bytes, value.bytes);
        if value.extra_bytes != 0 {
            atomic_add(&raw mut (*flow).extra_packets, value.extra_packets);
            atomic_add(&raw mut (*flow).extra_bytes, value.extra_bytes);
        }
        (*flow).last = value.last;
        if value.tcp_flags & !(*flow).tcp_flags != 0 {
            (*flow).tcp_flags |= value.tcp_flags;
        }
    }
}

/// `core` has no addition for targets that cannot compare and swap, and eBPF could not until
/// Linux 5.12.
///
/// # Safety
/// `number` must be good for writing.
#[inline(always)]
unsafe fn atomic_add(number: *mut u64, summand: u64) {
    // SAFETY: as the caller says.
    unsafe {
        asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) number, in(reg) summand, options(nostack));
    }
}

#[inline(always)]
fn give_up(value: &FlowValue) {
    if let Some(cpu) = this_cpu() {
        // SAFETY: as in `is_sampled`.
        unsafe {
            (*cpu).untracked.packets += value.packets + value.extra_packets;
            (*cpu).untracked.bytes += value.bytes + value.extra_bytes;
        }
    }
}
