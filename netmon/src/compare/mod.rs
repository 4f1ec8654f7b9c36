//! `netmon compare`: eBPF and sysfs side by side on the same traffic. Each mode is a netmon
//! process of its own ([`mode`]), so that what is measured is what a user gets; this one reads
//! their JSON ([`tick`]), adds up what passed between two ticks ([`window`]), names for every
//! difference between our counters and the kernel's the rule that explains it ([`explain`]),
//! and measures what each mode costs ([`cost`]); [`session`] is the order of all that. The result ([`outcome`]) is written as text
//! ([`text`]) or JSON, and can be compared to an earlier one ([`change`]).

pub mod change;
pub mod cost;
pub mod explain;
pub mod mode;
pub mod outcome;
pub mod session;
pub mod text;
pub mod tick;
pub mod window;
