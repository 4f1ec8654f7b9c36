//! What a process under test may do.

use std::{
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    panic,
    path::Path,
    process::Command,
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::{errno::Errno, fcntl::OFlag, sys::prctl, unistd::geteuid};

/// Whether the tests themselves run as root.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// A capability by its number in `linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(u8);

impl Capability {
    /// `CAP_NET_ADMIN`.
    pub const NET_ADMIN: Self = Self(12);
    /// `CAP_SYS_PTRACE`.
    pub const SYS_PTRACE: Self = Self(19);
    /// `CAP_SYS_ADMIN`, which for eBPF stands for the narrower ones too.
    pub const SYS_ADMIN: Self = Self(21);
    /// `CAP_PERFMON`.
    pub const PERFMON: Self = Self(38);
    /// `CAP_BPF`.
    pub const BPF: Self = Self(39);
}

/// The capabilities of a process or thread, by its folder in /proc: inheritable, permitted,
/// effective and ambient, a bit for each number.
///
/// # Errors
/// When it is gone, or may get more than these by exec(2): it lacks no_new_privs.
pub fn held(by: &Path) -> Result<[u64; 4]> {
    let status = fs::read_to_string(by.join("status"))?;
    ensure!(status.contains("NoNewPrivs:\t1"), "{status}");
    let mut sets = [0; 4];
    for (set, name) in sets.iter_mut().zip(["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"]) {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context(name)?;
        *set = u64::from_str_radix(line.trim(), 16)?;
    }
    Ok(sets)
}

/// What a process is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privileges {
    /// Those of the tests: root.
    Full,
    /// Root's user id with all capabilities but these.
    Without(&'static [Capability]),
    /// Root's user id without any capability.
    NoCapability,
    /// The user `nobody`.
    Nobody,
    /// Root with all capabilities, in a user namespace of its own.
    UserNamespace,
    /// Root with all capabilities, and a seccomp filter that refuses bpf(2) with `EPERM`, as that
    /// of a container does.
    NoBpf,
}

/// The user and group id that Linux distributions give to `nobody`.
pub const NOBODY: u32 = 65_534;

impl Capability {
    /// Its bit in [`held`].
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self.0
    }
}

/// Gives a file capabilities, a bit for each number as in [`held`], as setcap(8) does with `…=ep`:
/// capabilities(7), "File capability extended attribute versioning".
///
/// # Errors
/// When the kernel refuses.
pub fn give_capabilities(program: &Path, capabilities: u64) -> Result<()> {
    const REVISION_2: u32 = 0x0200_0000;
    const EFFECTIVE: u32 = 1;
    let [low, high] = [capabilities as u32, (capabilities >> 32) as u32];
    let words = [REVISION_2 | EFFECTIVE, low, 0, high, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let path = CString::new(program.as_os_str().as_bytes())?;
    let name = c"security.capability".as_ptr();
    // SAFETY: both names end with a zero, and of the value so many bytes are read as it has.
    let set = unsafe { libc::setxattr(path.as_ptr(), name, value.as_ptr().cast(), value.len(), 0) };
    Ok(Errno::result(set).map(drop)?)
}

/// Runs `work` on a thread that is the user `nobody` and has no capability.
///
/// # Errors
/// Those of `work`, and when the ids cannot be changed.
pub fn as_nobody<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let run = || {
        become_nobody()?;
        work()
    };
    thread::scope(|scope| {
        scope.spawn(run).join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

/// Of this thread alone, which the functions of the C library do not offer.
fn become_nobody() -> Result<()> {
    let id = libc::c_long::from(NOBODY);
    // SAFETY: these take numbers; no list of groups is read where there is none in it.
    unsafe {
        Errno::result(libc::syscall(libc::SYS_setgroups, 0, 0))?;
        Errno::result(libc::syscall(libc::SYS_setresgid, id, id, id))?;
        Errno::result(libc::syscall(libc::SYS_setresuid, id, id, id))?;
    }
    // Which these have changed for all threads (prctl(2)).
    Ok(prctl::set_dumpable(true)?)
}

impl Privileges {
    /// Makes `command` start with these.
    pub(crate) fn apply(self, command: &mut Command) {
        let dropped: Option<&'static [Capability]> = match self {
            Self::Full => return,
            Self::Nobody => {
                command.uid(NOBODY).gid(NOBODY);
                return;
            }
            Self::UserNamespace => {
                // SAFETY: between fork and exec only system calls are made, and no memory is
                // allocated.
                unsafe { command.pre_exec(enter_user_namespace) };
                return;
            }
            Self::NoBpf => {
                // SAFETY: as above.
                unsafe { command.pre_exec(refuse_bpf) };
                return;
            }
            Self::NoCapability => None,
            Self::Without(capabilities) => Some(capabilities),
        };
        // SAFETY: between fork and exec only prctl(2) is called, and no memory is allocated.
        unsafe {
            command.pre_exec(move || match dropped {
                None => drop_all(),
                Some(capabilities) => {
                    capabilities.iter().try_for_each(|&capability| drop_bound(capability))
                }
            });
        }
    }
}

/// Takes a capability from the bounding set, and with it from root's after exec(2).
fn drop_bound(Capability(number): Capability) -> io::Result<()> {
    // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
    let result =
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
    Ok(Errno::result(result).map(drop)?)
}

fn drop_all() -> io::Result<()> {
    for number in 0..64 {
        match drop_bound(Capability(number)) {
            // The first number that this kernel has no capability for.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

fn enter_user_namespace() -> io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)?;
    for (file, content) in [
        (c"/proc/self/setgroups", &b"deny"[..]),
        (c"/proc/self/uid_map", b"0 0 1"),
        (c"/proc/self/gid_map", b"0 0 1"),
    ] {
        let file = nix::fcntl::open(file, OFlag::O_WRONLY, nix::sys::stat::Mode::empty())?;
        nix::unistd::write(&file, content)?;
    }
    Ok(())
}

fn refuse_bpf() -> io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        // `struct seccomp_data` begins with the call's number.
        step(LOAD, 0, 0, 0),
        step(JUMP, 0, 1, libc::SYS_bpf as u32),
        step(RETURN, 0, 0, refusal),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its steps outlive the call, which copies them.
    let result = unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0)
    };
    Ok(Errno::result(result).map(drop)?)
}
