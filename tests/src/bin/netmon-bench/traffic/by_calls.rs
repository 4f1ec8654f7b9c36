//! The way of older monitors, as a witness: programs at the ends of the system calls sendto and
//! recvfrom that add up what these give back. recv and send of the C library are such calls.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use netmon_tests::bpf::{self, Kind, MappedArray};
use netmon_tests::netns::Namespace;
use nix::errno::Errno;

use crate::system_calls;

const TRACEPOINTS: [&str; 2] = ["syscalls/sys_exit_sendto", "syscalls/sys_exit_recvfrom"];
/// linux/perf_event.h.
const PERF_EVENT_IOC_SET_BPF: libc::Ioctl = 0x4004_2408;
/// Places in the array: whose calls count, and the bytes.
const PROCESS: usize = 0;
const BYTES: usize = 1;

/// Counts one process's calls at a time.
pub(super) struct ByCalls {
    array: MappedArray,
    _attached: Vec<(OwnedFd, File)>,
}

impl ByCalls {
    /// Needs a namespace's own mount namespace to find the tracepoints.
    pub(super) fn start(namespace: &Namespace) -> Result<Self> {
        let array = MappedArray::new(1, 2)?;
        let program = || bpf::load(Kind::Tracepoint, c"nmt_calls", &instructions(array.map()));
        let attach = |tracepoint: &&'static str| -> Result<(OwnedFd, File)> {
            let tracepoint = *tracepoint;
            let number = namespace.run(move || system_calls::number_of(tracepoint))?;
            let (program, event) = (program()?, system_calls::on_first_cpu(number)?);
            // SAFETY: it takes a program's descriptor. A tracepoint's programs run on every CPU.
            let result = unsafe {
                libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_SET_BPF, program.as_raw_fd())
            };
            Errno::result(result).with_context(|| format!("attaching to {tracepoint}"))?;
            Ok((program, event))
        };
        let attached = TRACEPOINTS.iter().map(attach).collect::<Result<_>>()?;
        Ok(Self { array, _attached: attached })
    }

    /// Counts this process's from now on.
    pub(super) fn watch(&self, pid: u32) {
        self.array.set(BYTES, 0);
        self.array.set(PROCESS, u64::from(pid));
    }

    /// The bytes of its calls.
    pub(super) fn bytes(&self) -> u64 {
        self.array.get(BYTES)
    }
}

/// What a call gives back is at the same place in every `sys_exit_…` (its `format` in tracefs).
fn instructions(map: i32) -> [u64; 11] {
    const RESULT: i16 = 16;
    const GET_CURRENT_PID_TGID: i32 = 14;
    const MAP_VALUE: u8 = 2;
    let code = |code: u8, to: u8, from: u8, offset: i16, number: i32| {
        u64::from(code)
            | u64::from(to) << 8
            | u64::from(from) << 12
            | u64::from(offset.cast_unsigned()) << 16
            | u64::from(number.cast_unsigned()) << 32
    };
    [
        code(0x79, 7, 1, RESULT, 0), // r7 = what the call gives back
        code(0xd5, 7, 0, 7, 0),      // an error, or nothing: to the end
        code(0x85, 0, 0, 0, GET_CURRENT_PID_TGID),
        code(0x77, 0, 0, 0, 32),          // r0 >>= 32: the process
        code(0x18, 1, MAP_VALUE, 0, map), // r1 = the array's value, in two parts
        0,
        code(0x79, 2, 1, 0, 0), // r2 = the process that counts
        code(0x5d, 0, 2, 1, 0), // another one: to the end
        code(0xdb, 1, 7, 8, 0), // the bytes += r7, atomically
        code(0xb7, 0, 0, 0, 0), // r0 = 0
        code(0x95, 0, 0, 0, 0),
    ]
}
