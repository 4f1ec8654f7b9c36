//! `BPF_PROG_TEST_RUN` of bpf(2): a program over and over on one packet, without a network.
//!
//! By hand and not by aya, whose programs only it can run: the empty program is none of its own.
//! The kernel's own duration is in whole nanoseconds a run (`bpf_test_run`, net/bpf/test_run.c),
//! which is too coarse here, so the whole call is timed: by the thread's CPU time, for the call
//! sleeps for milliseconds while it puts an XDP program into the dispatcher.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};

const BPF_PROG_TEST_RUN: libc::c_int = 10;
/// Size of `struct __sk_buff`, and offsets in it (linux/bpf.h).
const SK_BUFF: usize = 192;
const WIRE_LEN: usize = 160;
const GSO_SEGS: usize = 164;
const GSO_SIZE: usize = 176;

/// A packet for a program.
pub(crate) struct Input {
    data: Vec<u8>,
    /// `struct __sk_buff`, or nothing for programs that take no such context.
    context: Vec<u8>,
}

impl Input {
    /// A frame as short as Ethernet's get, of a protocol that nobody knows.
    pub(crate) fn plain() -> Self {
        Self { data: frame(64, 0x88b5), context: Vec::new() }
    }

    /// A UDP datagram in a frame as short as Ethernet's get, from the source of that number.
    pub(crate) fn datagram(source: u32) -> Self {
        let mut data = frame(64, 0x0800);
        data[14] = 0x45; // IPv4, five words of header.
        data[23] = 17; // UDP.
        data[26..30].copy_from_slice(&source.to_be_bytes());
        Self { data, context: Vec::new() }
    }

    /// A TCP segment of two that segmentation has not taken apart yet.
    pub(crate) fn super_packet() -> Self {
        const SEGMENT: u32 = 1448;
        const HEADERS: u32 = 14 + 20 + 20;
        let length = HEADERS + 2 * SEGMENT;
        let mut data = frame(length as usize, 0x0800);
        data[14] = 0x45; // IPv4, five words of header.
        data[23] = 6; // TCP,
        data[46] = 0x50; // five words of header.
        let mut context = vec![0; SK_BUFF];
        for (offset, value) in [(WIRE_LEN, length + HEADERS), (GSO_SEGS, 2), (GSO_SIZE, SEGMENT)] {
            context[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        }
        Self { data, context }
    }
}

fn frame(length: usize, protocol: u16) -> Vec<u8> {
    let mut data = vec![0; length];
    data[12..14].copy_from_slice(&protocol.to_be_bytes());
    data
}

/// CPU time of the calling thread so far.
fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Runs `program` on `input` so often, and returns the nanoseconds of one run.
pub(crate) fn nanoseconds(program: BorrowedFd<'_>, input: &Input, repeat: u32) -> Result<f64> {
    /// The part of `union bpf_attr` for this command.
    #[repr(C)]
    #[derive(Default)]
    struct TestRun {
        program: u32,
        verdict: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        context_size_in: u32,
        context_size_out: u32,
        context_in: u64,
        context_out: u64,
        flags: u32,
        cpu: u32,
        batch_size: u32,
        padding: u32,
    }
    let mut test_run = TestRun {
        program: program.as_raw_fd().cast_unsigned(),
        data_size_in: u32::try_from(input.data.len())?,
        data_in: input.data.as_ptr() as u64,
        repeat,
        ..TestRun::default()
    };
    if !input.context.is_empty() {
        test_run.context_size_in = u32::try_from(input.context.len())?;
        test_run.context_in = input.context.as_ptr() as u64;
    }
    let begin = cpu_time()?;
    // SAFETY: the layout is that of the command; both inputs outlive the call, and there is no
    // output but `test_run` itself.
    let result = unsafe {
        let attribute = &raw mut test_run;
        libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, attribute, size_of::<TestRun>())
    };
    let time = cpu_time()? - begin;
    if result < 0 {
        return Err(io::Error::last_os_error()).context("BPF_PROG_TEST_RUN");
    }
    Ok(time.as_secs_f64() * 1e9 / f64::from(repeat))
}
