//! The programs in the kernel: loading them, attaching them to interfaces, reading what they
//! counted. Least kernel: 5.8 (clsact), 6.6 (TCX), 5.18 (XDP). Needs CAP_BPF and CAP_NET_ADMIN
//! to start; reading needs nothing, for the counters are mapped.
//!
//! [`object::load`] gives the pieces: [`counters::CounterReader`] stays with the tick,
//! [`attacher::Attacher`] goes into a thread of its own, because attaching waits for the kernel
//! (about 12 ms each) and the tick does not wait for anything.

pub mod attach;
pub mod attacher;
mod bpf_link;
pub mod clsact;
pub mod counters;
pub mod cpus;
pub mod errors;
pub mod flows;
pub mod mapped;
pub mod object;
pub mod run_times;
pub mod slots;
pub mod syscalls;
