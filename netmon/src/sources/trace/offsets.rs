//! Where the running kernel has the fields that the programs read.

use netmon_common::trace::Offsets;

use super::btf::Types;

/// A field that the running kernel does not have where it is looked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this kernel's struct {structure} has no {member}")]
pub struct NoSuchField {
    structure: &'static str,
    member: String,
}

/// Finds those that counting by process needs.
///
/// # Errors
/// The first that is not there.
pub fn for_processes(types: &Types<'_>, offsets: &mut Offsets) -> Result<(), NoSuchField> {
    let at = |structure, path: &[&str]| field(types, structure, path);
    offsets.sock_family = at("sock", &["__sk_common", "skc_family"])?;
    offsets.sock_type = at("sock", &["sk_type"])?;
    offsets.sock_protocol = at("sock", &["sk_protocol"])?;
    offsets.sock_local_port = at("sock", &["__sk_common", "skc_num"])?;
    offsets.sock_remote_port = at("sock", &["__sk_common", "skc_dport"])?;
    offsets.sock_local_v4 = at("sock", &["__sk_common", "skc_rcv_saddr"])?;
    offsets.sock_remote_v4 = at("sock", &["__sk_common", "skc_daddr"])?;
    // A kernel without IPv6 has neither these nor sockets that would be asked for them.
    offsets.sock_local_v6 = at("sock", &["__sk_common", "skc_v6_rcv_saddr"]).unwrap_or_default();
    offsets.sock_remote_v6 = at("sock", &["__sk_common", "skc_v6_daddr"]).unwrap_or_default();
    offsets.sock_net = at("sock", &["__sk_common", "skc_net", "net"])?;
    offsets.socket_sock = at("socket", &["sk"])?;
    offsets.net_inode = at("net", &["ns", "inum"])?;
    offsets.task_leader = at("task_struct", &["group_leader"])?;
    offsets.task_tgid = at("task_struct", &["tgid"])?;
    offsets.task_start_boottime = at("task_struct", &["start_boottime"])?;
    offsets.task_start_time = at("task_struct", &["start_time"])?;
    offsets.task_comm = at("task_struct", &["comm"])?;
    offsets.task_flags = at("task_struct", &["flags"])?;
    offsets.task_thread_pid = at("task_struct", &["thread_pid"])?;
    offsets.task_signal = at("task_struct", &["signal"])?;
    offsets.task_cgroups = at("task_struct", &["cgroups"])?;
    offsets.signal_live = at("signal_struct", &["live", "counter"])?;
    offsets.cgroups_default = at("css_set", &["dfl_cgrp"])?;
    offsets.cgroup_node = at("cgroup", &["kn"])?;
    offsets.node_name = at("kernfs_node", &["name"])?;
    offsets.pid_level = at("pid", &["level"])?;
    offsets.pid_numbers = at("pid", &["numbers"])?;
    offsets.upid_number = at("upid", &["nr"])?;
    offsets.upid_namespace = at("upid", &["ns"])?;
    offsets.upid_size = types.size("upid").unwrap_or(16);
    offsets.pid_namespace_inode = at("pid_namespace", &["ns", "inum"])?;
    Ok(())
}

/// Finds those that counting drops needs.
///
/// # Errors
/// The first that is not there.
pub fn for_drops(types: &Types<'_>, offsets: &mut Offsets) -> Result<(), NoSuchField> {
    let at = |structure, path: &[&str]| field(types, structure, path);
    offsets.skb_device = at("sk_buff", &["dev"])?;
    offsets.skb_arrived = at("sk_buff", &["skb_iif"])?;
    offsets.skb_sock = at("sk_buff", &["sk"])?;
    offsets.skb_route = at("sk_buff", &["_skb_refdst"])?;
    offsets.route_device = at("dst_entry", &["dev"])?;
    offsets.device_ifindex = at("net_device", &["ifindex"])?;
    offsets.device_net = at("net_device", &["nd_net", "net"])?;
    offsets.sock_net = at("sock", &["__sk_common", "skc_net", "net"])?;
    offsets.net_inode = at("net", &["ns", "inum"])?;
    Ok(())
}

fn field(types: &Types<'_>, structure: &'static str, path: &[&str]) -> Result<u32, NoSuchField> {
    let missing = || NoSuchField { structure, member: path.join(".") };
    types.offset(structure, path).ok_or_else(missing)
}
