//! The first process of the virtual machine that `cargo xtask vm` starts: mounts what the tests
//! need, loads the modules that xtask has put in, keeps the hooks in use, runs the command in
//! `/command`, says its exit code in a line of its own, and switches the machine off, whatever
//! happens. Linux 5.17, for modules that are compressed.
//!
//! It is linked statically and is, with the tests themselves, all of user space there.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{self, Command};

use anyhow::{Context, Result};
use netmon_tests::foreign::{Foreign, TC_NEXT, Way};
use netmon_tests::kernel::TCX;
use netmon_tests::netns::Namespace;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;

/// Who mounts what, in this order.
const MOUNTS: [(&str, &str); 4] =
    [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("devpts", "/dev/pts")];

fn main() {
    // Before anything else: on the machine of somebody who tries it out, it must not end that.
    if process::id() != 1 {
        eprintln!("netmon-vm-init is for the virtual machine of `cargo xtask vm`");
        return;
    }
    let code = std::panic::catch_unwind(run).unwrap_or_else(|_| Err(anyhow::anyhow!("a panic")));
    // At the beginning of a line, whatever the command was at when it ended.
    match code {
        Ok(code) => println!("\nnetmon-vm: exit code {code}"),
        Err(error) => println!("\nnetmon-vm: no exit code: {error:#}"),
    }
    let error = reboot(RebootMode::RB_POWER_OFF);
    // The kernel panics when its first process ends, and then ends the machine too.
    println!("netmon-vm: cannot switch off: {error:?}");
}

fn run() -> Result<i32> {
    // The root is in memory as it is; nothing is mounted over it, for the tests may lie anywhere.
    for folder in ["/tmp", "/run"] {
        fs::create_dir_all(folder)?;
    }
    for (kind, target) in MOUNTS {
        mount_at(kind, target).with_context(|| format!("mounting {target}"))?;
    }
    load_modules(Path::new("/modules"))?;
    loopback_up().context("setting lo up")?;
    let _held = hold_hooks().context("holding the hooks")?;
    let text = fs::read_to_string("/command").context("/command")?;
    let mut words = text.lines();
    let mut command = Command::new(words.next().context("an empty command")?);
    // Emulated CPUs send a twentieth of what the load tests send elsewhere.
    command.args(words).env("CI", "true").env("NETMON_LOAD", "0.05");
    finish(&mut command)
}

fn mount_at(kind: &str, target: &str) -> Result<()> {
    fs::create_dir_all(target)?;
    let no_data: Option<&str> = None;
    Ok(mount(Some(kind), target, Some(kind), MsFlags::empty(), no_data)?)
}

/// Loads all in the folder, in the order of their names: xtask has numbered them so that what a
/// module needs stands before it.
fn load_modules(folder: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    for file in files {
        load(&file).with_context(|| format!("the module {}", file.display()))?;
    }
    Ok(())
}

fn load(file: &Path) -> Result<()> {
    /// `MODULE_INIT_COMPRESSED_FILE` (linux/module.h, Linux 5.17): the kernel decompresses it.
    const COMPRESSED: ModuleInitFlags = ModuleInitFlags::from_bits_retain(4);
    let is_plain = file.extension().is_some_and(|extension| extension == "ko");
    let flags = if is_plain { ModuleInitFlags::empty() } else { COMPRESSED };
    Ok(finit_module(&File::open(file)?, c"", flags)?)
}

/// Attaches something to hooks in a namespace of its own, to stay there. The kernel changes its own
/// code when the first program of all is attached and when the last one goes, and QEMU 7.2 may go
/// on with a stale copy of it on a CPU that receives packets meanwhile: an `int3` without end on
/// Linux 6.1, a panic on 6.12.
fn hold_hooks() -> Result<(Namespace, Vec<Foreign>)> {
    let namespace = Namespace::new()?;
    namespace.add_clsact("lo")?;
    let ways = if TCX.is_here() { &[Way::Ingress, Way::Egress][..] } else { &[] };
    let held = ways.iter().map(|&way| namespace.foreign_tcx("lo", way, TC_NEXT));
    let held = held.collect::<Result<_>>()?;
    Ok((namespace, held))
}

/// As every machine has it. Without an address of its own a kernel takes all for broadcast ones.
fn loopback_up() -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: all of it is numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the socket is open, and the request is as netdevice(7) wants it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result < 0 { Err(io::Error::last_os_error().into()) } else { Ok(()) }
}

/// Runs it to its end, and is meanwhile a mother to the orphans, as the first process is.
fn finish(command: &mut Command) -> Result<i32> {
    let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    let child = Pid::from_raw(child.id().cast_signed());
    loop {
        match wait()? {
            WaitStatus::Exited(process, code) if process == child => return Ok(code),
            // As a shell has it.
            WaitStatus::Signaled(process, signal, _) if process == child => {
                return Ok(128 + signal as i32);
            }
            _ => {}
        }
    }
}
