//! Where facts come from. Sources know the model and nothing of each other or of the sinks.

pub mod cgroup;
pub mod ebpf;
pub mod netlink;
pub mod process;
pub mod resolver;
pub mod services;
pub mod sysfs;
pub mod trace;
