//! rtnetlink: which interfaces there are, what becomes of them, and the kernel's own counters
//! in bulk. Nothing here needs a privilege.

pub mod ethtool;
pub mod link_stats;
pub mod links;
pub mod queues;
pub mod stats;
pub mod tc;
mod wire;
pub mod xdp_features;
