//! The virtual machine: QEMU without an acceleration, so that it runs wherever netmon is built.
//!
//! It ends by itself when the tests have ended, is killed when they take too long, and with us.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process;

pub(super) const QEMU: &str = "qemu-system-x86_64";

/// How the first process closes, followed by the exit code of the tests.
const CLOSING: &str = "netmon-vm: exit code ";

/// How much of the console is shown when the closing line has not come.
const TAIL: usize = 20;

/// Boots and gives each line of the console to `line`; returns the exit code that the first
/// process has said.
pub(super) fn run(
    image: &Path,
    initramfs: &Path,
    limit: Duration,
    mut line: impl FnMut(&str),
) -> Result<u8> {
    let deadline = Instant::now() + limit;
    let mut command = qemu(image, initramfs);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let child = child.with_context(|| format!("`{}`", process::describe(&command)))?;
    let mut machine = Machine(child);
    let console = console(machine.0.stdout.take().context("no console")?);
    let mut tail = VecDeque::new();
    let mut code = None;
    loop {
        match console.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(text) => {
                // What the kernel says behind it is of no interest.
                if code.is_none() {
                    line(&text);
                }
                code = code.or_else(|| exit_code(&text));
                tail.push_back(text);
                tail.drain(..tail.len().saturating_sub(TAIL));
            }
            Err(RecvTimeoutError::Timeout) => {
                bail!("not done in {} minutes; {}", limit.as_secs() / 60, last_words(&tail));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = machine.0.wait()?;
    code.with_context(|| format!("ended without an exit code ({status}); {}", last_words(&tail)))
}

fn last_words(tail: &VecDeque<String>) -> String {
    let lines: Vec<_> = tail.iter().map(String::as_str).collect();
    format!("the console's last lines:\n{}", lines.join("\n"))
}

/// The exit code in the closing line.
fn exit_code(line: &str) -> Option<u8> {
    line.strip_prefix(CLOSING)?.parse().ok()
}

/// Nothing in it but processors, memory and a console.
fn qemu(image: &Path, initramfs: &Path) -> Command {
    // QEMU must not outlive us, however we end; it has no option for that before version 10.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", QEMU]);
    command.args(["-machine", "q35", "-nodefaults", "-no-user-config", "-no-reboot"]);
    command.args(["-accel", "tcg,thread=single", "-smp", "2", "-m", "1G"]);
    command.args(["-display", "none", "-serial", "stdio"]);
    command.arg("-kernel").arg(image).arg("-initrd").arg(initramfs);
    // A panic reboots, which `-no-reboot` makes the end.
    command.args(["-append", "console=ttyS0 quiet loglevel=3 panic=-1"]);
    command
}

/// A running QEMU, which is gone when this is dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It has either gone, or goes now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The console's lines, read by a thread so that waiting for them can end.
fn console(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while from.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
            if sender.send(line).is_err() {
                return;
            }
            bytes.clear();
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_in_the_closing_line_alone() {
        assert_eq!(exit_code("netmon-vm: exit code 0"), Some(0));
        assert_eq!(exit_code("netmon-vm: exit code 101"), Some(101));
        for line in [
            "netmon-vm: exit code ",
            "netmon-vm: exit code 0 or so",
            "netmon-vm: exit code -1",
            "netmon-vm: no exit code: starting it",
            "test x ... netmon-vm: exit code 0",
            "",
        ] {
            assert_eq!(exit_code(line), None, "{line:?}");
        }
    }

    #[test]
    fn lines_of_the_console_have_no_ends() {
        let console = console(&b"one\r\n\r\ntwo\nlast"[..]);
        assert_eq!(console.iter().collect::<Vec<_>>(), ["one", "", "two", "last"]);
    }
}
