//! The machine that was measured on, in a few words.

use std::fs;

use anyhow::{Context, Result};
use nix::sys::utsname::uname;
use serde::Serialize;

/// What decides about figures, and names nobody.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) architecture: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) memory_gib: f64,
    pub(crate) virtual_machine: bool,
}

impl Machine {
    pub(crate) fn this() -> Result<Self> {
        let name = uname()?;
        let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
        let cpu_info = fs::read_to_string("/proc/cpuinfo")?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let total = field(&memory, "MemTotal").context("no MemTotal in /proc/meminfo")?;
        let kib: f64 = total.trim_end_matches(" kB").parse()?;
        let flags = field(&cpu_info, "flags").unwrap_or_default();
        Ok(Self {
            kernel: format!("{} {}", text(name.sysname()), text(name.release())),
            architecture: text(name.machine()),
            // On Arm there is no such line.
            cpu: field(&cpu_info, "model name").unwrap_or("unnamed CPU").to_owned(),
            cpus: netmon_tests::packet::cpus()?.len(),
            memory_gib: kib / f64::from(1 << 20),
            virtual_machine: flags.split(' ').any(|flag| flag == "hypervisor"),
        })
    }
}

/// The value of the first line with this key.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then_some(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_key() {
        let text = "model\t\t: 17\nmodel name\t: A CPU\nflags\t: a hypervisor\n";
        assert_eq!(field(text, "model name"), Some("A CPU"));
        assert_eq!(field(text, "model"), Some("17"));
        assert_eq!(field(text, "name"), None);
        assert!(Machine::this().is_ok_and(|machine| machine.cpus > 0 && machine.memory_gib > 0.0));
    }
}
