//! Facts about interfaces and what follows from them. Pure: no I/O, no clock of its own,
//! nothing of the kernel but the layout of the counters.

pub mod accounting;
pub mod event;
pub mod human;
pub mod link;
pub mod natural;
pub mod options;
pub mod select;
mod slot_counters;
pub mod snapshot;
pub mod totals;
pub mod traffic;
pub mod view;
