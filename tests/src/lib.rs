//! What the tests against the real kernel are made of: network namespaces, links, traffic whose
//! packets and bytes are known, the kernel's own counters and listings as witnesses, and the
//! netmon process with its outputs.
//!
//! Everything that must be undone is undone by a guard, also when a test panics; what `kill -9`
//! of the tests leaves is a name in `/run/netns`, which the next run removes.
//!
//! Needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_BPF) for all but the parsers. Nothing of
//! iproute2, ethtool or iperf is used.

pub mod agent;
pub mod bpf;
pub mod csv_report;
pub mod ethtool;
pub mod flow_key;
pub mod foreign;
pub mod frame;
pub mod fuzz;
pub mod headers;
pub mod inet;
pub mod inventory;
pub mod json;
pub mod kernel;
pub mod lines;
pub mod link;
pub mod memory_group;
pub mod netns;
pub mod packet;
pub mod peer;
pub mod privileges;
pub mod process;
pub mod report;
pub mod route;
pub mod rtnl;
pub mod scratch;
pub mod slots;
pub mod sysfs;
pub mod terminal;
pub mod traffic;
pub mod traffic_json;
pub mod tuntap;
pub mod wait;
pub mod workers;

mod command;
mod netlink;
