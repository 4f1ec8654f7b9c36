//! What holds a program attached to an interface: a link of bpf(2), which goes with the process.
//!
//! By system calls of our own, since aya 0.14 attaches TC programs by the interface's name only
//! (which may become another's, or be no UTF-8), needs its whole object for that, and cannot ask
//! what has become of a link. Layouts are those of `union bpf_attr` and `struct bpf_link_info` in
//! linux/bpf.h. Least kernel: 5.9 (XDP), 6.6 (TCX).

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::model::link::IfIndex;

const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
/// Before all others, as no other is named.
const BPF_F_BEFORE: u32 = 1 << 3;
/// The most programs that a hook has (`BPF_MPROG_MAX`).
const MOST_PROGRAMS: usize = 64;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Into the host.
    Ingress,
    /// Out of the host.
    Egress,
}

impl Direction {
    const fn tcx_hook(self) -> u32 {
        match self {
            Self::Ingress => BPF_TCX_INGRESS,
            Self::Egress => BPF_TCX_EGRESS,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// How an XDP program is attached: `XDP_FLAGS_*` of linux/if_link.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum XdpMode {
    /// In the stack.
    Generic = 1 << 1,
    /// In the driver.
    Native = 1 << 2,
}

/// A link that this process holds. Dropping it detaches the program.
#[derive(Debug)]
pub(super) struct BpfLink(OwnedFd);

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkFacts {
    /// The program's id.
    pub(super) program: u32,
    /// `None`: it is attached to nothing any more; somebody has detached it, or the interface is gone.
    pub(super) ifindex: Option<IfIndex>,
}

impl BpfLink {
    /// Attaches a program at the TCX hook, before all others that are there.
    ///
    /// # Errors
    /// The kernel's: `EINVAL` where there is no TCX.
    pub(super) fn tcx(
        program: BorrowedFd<'_>,
        ifindex: IfIndex,
        direction: Direction,
    ) -> io::Result<Self> {
        Self::create(program, ifindex, direction.tcx_hook(), BPF_F_BEFORE)
    }

    /// Attaches an XDP program.
    ///
    /// # Errors
    /// The kernel's: `EBUSY` or `EEXIST` where another's stands, `EOPNOTSUPP` where the driver has none.
    pub(super) fn xdp(
        program: BorrowedFd<'_>,
        ifindex: IfIndex,
        mode: XdpMode,
    ) -> io::Result<Self> {
        Self::create(program, ifindex, BPF_XDP, mode as u32)
    }

    fn create(
        program: BorrowedFd<'_>,
        ifindex: IfIndex,
        hook: u32,
        flags: u32,
    ) -> io::Result<Self> {
        #[repr(C)]
        struct Create {
            program: RawFd,
            ifindex: u32,
            hook: u32,
            flags: u32,
            relative: u32,
            padding: u32,
            expected_revision: u64,
        }
        let mut create = Create {
            program: program.as_raw_fd(),
            ifindex: ifindex.0,
            hook,
            flags,
            relative: 0,
            padding: 0,
            expected_revision: 0,
        };
        // SAFETY: the layout is that of the attribute's part for this command, without pointers.
        let fd = unsafe { bpf(BPF_LINK_CREATE, &mut create) }?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// What the kernel says of it. Needs no capability.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn facts(&self) -> io::Result<LinkFacts> {
        #[repr(C)]
        struct GetInfo {
            fd: RawFd,
            length: u32,
            info: u64,
        }
        #[repr(C)]
        #[derive(Default)]
        struct Info {
            kind: u32,
            id: u32,
            program: u32,
            padding: u32,
            /// First in the part of either kind.
            ifindex: u32,
            rest: [u32; 11],
        }
        let mut info = Info::default();
        let mut get = GetInfo {
            fd: self.0.as_fd().as_raw_fd(),
            length: size_of::<Info>() as u32,
            info: (&raw mut info) as u64,
        };
        // SAFETY: the layout is that of the attribute's part for this command; `info` outlives
        // the call and has the length that is given.
        unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut get) }?;
        let ifindex = (info.ifindex != 0).then_some(IfIndex(info.ifindex));
        Ok(LinkFacts { program: info.program, ifindex })
    }
}

/// The ids of the programs at a TCX hook, in the order in which they run. Needs CAP_NET_ADMIN.
///
/// # Errors
/// The kernel's: `EINVAL` where there is no TCX.
pub(super) fn tcx_programs(ifindex: IfIndex, direction: Direction) -> io::Result<Vec<u32>> {
    #[repr(C)]
    struct Query {
        ifindex: u32,
        hook: u32,
        query_flags: u32,
        attach_flags: u32,
        programs: u64,
        count: u32,
        padding: u32,
        others: [u64; 4],
    }
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut query = Query {
        ifindex: ifindex.0,
        hook: direction.tcx_hook(),
        query_flags: 0,
        attach_flags: 0,
        programs: ids.as_mut_ptr() as u64,
        count: MOST_PROGRAMS as u32,
        padding: 0,
        others: [0; 4],
    };
    // SAFETY: the layout is that of the attribute's part for this command; `ids` outlives the
    // call and has room for the `count` numbers that the kernel may write.
    match unsafe { bpf(BPF_PROG_QUERY, &mut query) } {
        Ok(_) => Ok(ids.iter().copied().take(query.count as usize).collect()),
        // Nothing has ever been attached there.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// # Safety
/// The attribute has to be laid out as the command wants it, and its pointers have to be good.
unsafe fn bpf<T>(command: libc::c_int, attribute: &mut T) -> io::Result<RawFd> {
    let (attribute, length) = (std::ptr::from_mut(attribute), size_of::<T>());
    // SAFETY: the caller's promise; the length is the attribute's.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute, length) };
    RawFd::try_from(result).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)
}
