//! Sets downed links up again: a pure policy, and the one file that talks to the kernel.

pub mod link_control;
pub mod policy;
