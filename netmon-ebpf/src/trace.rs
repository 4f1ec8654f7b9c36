//! What processes send and receive, and why packets are dropped: by tracepoints through BTF.
//!
//! | program | tracepoint | minimum kernel |
//! |---|---|---|
//! | `netmon_sent`, `netmon_received` | `sock_send_length`, `sock_recv_length` | 6.3 |
//! | `netmon_exit` | `sched_process_exit` | 5.5 |
//! | `netmon_drop` | `kfree_skb`, with the reason | 5.17 |
//!
//! | program | at the end of the function | for |
//! |---|---|---|
//! | `netmon_sent_v4`, `_v6` | `inet_sendmsg`, `inet6_sendmsg` | kernels before 6.3 |
//! | `netmon_received_v4`, `_v6` | `inet_recvmsg`, `inet6_recvmsg` | kernels before 6.3 |
//! | `netmon_spliced` | `tcp_splice_read` | all that allow it |
//! | `netmon_sent_page` | `inet_sendpage` | kernels before 6.5 |
//!
//! They read and count; nothing that the kernel does depends on them.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "aya's macros generate functions without documentation")]

mod drops;
mod fields;
mod owners;
mod processes;

use aya_ebpf::{
    macros::{btf_tracepoint, fexit},
    programs::{BtfTracePointContext, FExitContext},
};
use fields::Pointer;
use processes::Way;

/// A socket has taken what a process sends: `ret` bytes, or an error.
#[btf_tracepoint(function = "sock_send_length")]
pub fn netmon_sent(ctx: BtfTracePointContext) -> i32 {
    let (sock, ret): (Pointer, i32) = (ctx.arg(0), ctx.arg(1));
    processes::count(sock, ret, Way::Tx);
    0
}

/// A socket has given a process `ret` bytes, or an error.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn netmon_received(ctx: BtfTracePointContext) -> i32 {
    let (sock, ret, flags): (Pointer, i32, i32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    processes::count_received(sock, ret, flags);
    0
}

/// `inet_sendmsg(socket, message, size)`: the result stands behind the arguments.
#[fexit(function = "inet_sendmsg")]
pub fn netmon_sent_v4(ctx: FExitContext) -> i32 {
    processes::count(processes::sock_of(ctx.arg(0)), ctx.arg(3), Way::Tx);
    0
}

/// `inet6_sendmsg(socket, message, size)`.
#[fexit(function = "inet6_sendmsg")]
pub fn netmon_sent_v6(ctx: FExitContext) -> i32 {
    processes::count(processes::sock_of(ctx.arg(0)), ctx.arg(3), Way::Tx);
    0
}

/// `inet_recvmsg(socket, message, size, flags)`.
#[fexit(function = "inet_recvmsg")]
pub fn netmon_received_v4(ctx: FExitContext) -> i32 {
    processes::count_received(processes::sock_of(ctx.arg(0)), ctx.arg(4), ctx.arg(3));
    0
}

/// `inet6_recvmsg(socket, message, size, flags)`.
#[fexit(function = "inet6_recvmsg")]
pub fn netmon_received_v6(ctx: FExitContext) -> i32 {
    processes::count_received(processes::sock_of(ctx.arg(0)), ctx.arg(4), ctx.arg(3));
    0
}

/// `tcp_splice_read(socket, position, pipe, length, flags)`.
#[fexit(function = "tcp_splice_read")]
pub fn netmon_spliced(ctx: FExitContext) -> i32 {
    processes::count(processes::sock_of(ctx.arg(0)), ctx.arg(5), Way::Rx);
    0
}

/// `inet_sendpage(socket, page, offset, size, flags)`. Multipath TCP takes no pages: for it this ends
/// in an ordinary call to send, which is counted as such.
#[fexit(function = "inet_sendpage")]
pub fn netmon_sent_page(ctx: FExitContext) -> i32 {
    let sock = processes::sock_of(ctx.arg(0));
    if !processes::is_multipath(sock) {
        processes::count(sock, ctx.arg(5), Way::Tx);
    }
    0
}

/// A thread has ended.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn netmon_exit(ctx: BtfTracePointContext) -> i32 {
    processes::end(ctx.arg(0));
    0
}

/// A packet is dropped.
#[btf_tracepoint(function = "kfree_skb")]
pub fn netmon_drop(ctx: BtfTracePointContext) -> i32 {
    drops::count(&ctx);
    0
}

// The programs use GPL-only helpers; the same text is MIT OR Apache-2.0 elsewhere.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
