//! `netmon doctor`: tries what the main job needs, for real and without leaving anything, and
//! says for each 'no' what helps. Only loopback and tracepoints are attached to, for an instant.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use caps::Capability;

use super::Failure;
use crate::advice;
use crate::agent::own_sysfs;
use crate::model::human;
use crate::model::link::{IfIndex, Link};
use crate::model::natural;
use crate::model::options::Hook;
use crate::model::traffic::facts::{Missing, Part};
use crate::model::traffic::options::FlowOptions;
use crate::open_files;
use crate::privileges;
use crate::sources::ebpf::attach::{self, has_tcx};
use crate::sources::ebpf::errors::EbpfUnavailable;
use crate::sources::ebpf::object::{self, Loaded, ProgramLog};
use crate::sources::netlink::links::Links;
use crate::sources::netlink::stats::StatsReader;
use crate::sources::netlink::xdp_features;
use crate::sources::trace::{TraceOptions, Tracer};

const LOOPBACK: IfIndex = IfIndex(1);
const BTF: &str = "/sys/kernel/btf/vmlinux";
const JIT: &str = "/proc/sys/net/core/bpf_jit_enable";

/// The tests against the kernel have run on these (`cargo xtask vm`), with these hooks by default.
const TESTED: [(&str, &str); 3] = [
    ("6.1", "clsact in+out: a kill -9 leaves the filters to the next start"),
    ("6.12", "TCX in+out"),
    ("6.18", "TCX in+out"),
];

/// One line of the result.
struct Finding {
    what: &'static str,
    /// `None`: not needed for the main job.
    good: Option<bool>,
    found: String,
    help: Option<String>,
}

impl Finding {
    fn yes(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, good: Some(true), found: found.into(), help: None }
    }

    fn no(what: &'static str, found: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what, good: Some(false), found: found.into(), help: Some(help.into()) }
    }

    fn optional(self) -> Self {
        Self { good: self.good.filter(|good| *good), ..self }
    }
}

pub(super) fn doctor() -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    let entered = runtime.enter();
    let (links, _) = Links::connect().map_err(Failure::other)?;
    let mut existing = runtime.block_on(links.list()).map_err(Failure::other)?;
    let own_sysfs = runtime.block_on(own_sysfs(&links)).map_err(Failure::other)?;
    drop(entered);
    existing.sort_by(|a, b| natural::compare(&a.name, &b.name));

    let mut findings = vec![kernel(), capabilities(), btf(), jit()];
    let (programs, hook) = programs_and_hook();
    let usable = programs.good == Some(true) && hook.good == Some(true);
    findings.extend([programs, hook, counters(), sysfs(own_sysfs.is_some()), flows()]);
    findings.extend(processes_and_drops());
    let text = render(&findings, &existing, usable);
    if let Err(error) = std::io::stdout().write_all(human::on_terminal(&text).as_bytes())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(Failure::other(error));
    }
    Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn render(findings: &[Finding], links: &[Link], usable: bool) -> String {
    let mut text = String::new();
    for Finding { what, good, found, help } in findings {
        let mark = match good {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        let _ = writeln!(text, "{mark:<4} {what:<14} {found}");
        if let Some(help) = open_files::help_for(found).as_ref().or(help.as_ref()) {
            let _ = writeln!(text, "{:<19} -> {help}", "");
        }
    }
    text.push_str("\nNative XDP (only for --hook xdp):\n");
    match xdp_features::native_xdp() {
        Ok(native) => {
            for Link { name, ifindex, .. } in links {
                let word = match native.get(ifindex) {
                    Some(true) => "yes",
                    Some(false) => "no, the driver has none: the default hook counts it by TC",
                    None => "not known",
                };
                let _ = writeln!(text, "  {name:<16} {word}");
            }
        }
        Err(_) => {
            text.push_str("  not known: this kernel does not tell (Linux 6.3 and later do)\n")
        }
    }
    text.push_str("\nTested on Linux:\n");
    for (kernel, hook) in TESTED {
        let _ = writeln!(text, "  {kernel:<16} {hook}");
    }
    text.push_str(if usable {
        "\nnetmon counts with eBPF here.\n"
    } else {
        "\nnetmon counts from sysfs here: the same numbers, at a higher price a tick.\n"
    });
    text
}

fn kernel() -> Finding {
    let release = nix::sys::utsname::uname()
        .map_or_else(|_| "unknown".to_owned(), |name| name.release().to_string_lossy().into());
    let way = if has_tcx() { "TCX" } else { "clsact; TCX came with 6.6" };
    Finding::yes("kernel", format!("Linux {release} ({way})"))
}

fn capabilities() -> Finding {
    let mut missing = privileges::FOR_EBPF.to_vec();
    missing.retain(|capability| !privileges::has(*capability));
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(Capability::to_string).collect();
        let found = format!("{} missing", names.join(" and "));
        return Finding::no("capabilities", found, advice::for_lack_of(&missing));
    }
    if advice::in_user_namespace() {
        let found = "those of a user namespace, which eBPF does not heed";
        return Finding::no("capabilities", found, advice::for_lack_of(&[]));
    }
    if !privileges::has(Capability::CAP_PERFMON) {
        let found = "CAP_BPF, CAP_NET_ADMIN (CAP_PERFMON is for flows, processes and drops; \
                     without it the programs run a little slower)";
        return Finding::yes("capabilities", found);
    }
    Finding::yes("capabilities", "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON")
}

fn btf() -> Finding {
    if Path::new(BTF).exists() {
        return Finding::yes("BTF", BTF);
    }
    let help = "the main job works without it; a kernel with CONFIG_DEBUG_INFO_BTF=y has it";
    Finding::no("BTF", format!("there is no {BTF}"), help).optional()
}

fn jit() -> Finding {
    match std::fs::read_to_string(JIT).as_deref().map(str::trim) {
        Ok("0") => {
            let help = "as root, outside of containers: sysctl net.core.bpf_jit_enable=1";
            Finding::no("JIT", "off: each packet costs several times as much", help).optional()
        }
        Ok(_) => Finding::yes("JIT", "on"),
        // Only root may read it, and only in the first network namespace.
        Err(_) => Finding {
            what: "JIT",
            good: None,
            found: format!("not known: {JIT} cannot be read here; it is on unless switched off"),
            help: None,
        },
    }
}

/// Loads the programs, and attaches them to loopback for an instant.
fn programs_and_hook() -> (Finding, Finding) {
    let loaded = object::load(object::slots_for(0), ProgramLog::Off, false, None);
    let Loaded { programs, .. } = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            let programs = match error {
                EbpfUnavailable::Privileges { operation, error, needs, help } => {
                    // Also those of which it is said above that it would work without.
                    let help = format!("needs {needs}: {help}");
                    Finding::no("eBPF programs", format!("{operation}: {error}"), help)
                }
                error @ EbpfUnavailable::Kernel { .. } => {
                    let help = "a kernel from 5.8 on with CONFIG_BPF_SYSCALL=y";
                    Finding::no("eBPF programs", error.to_string(), help)
                }
            };
            let hook = "not tried, since the programs cannot be loaded";
            return (programs, Finding { help: None, ..Finding::no("hook", hook, "") });
        }
    };
    let mut clsact = None;
    let hook = match attach::attach(&programs, &mut clsact, LOOPBACK, Hook::Auto) {
        Ok(attachment) => {
            let found = format!("{attachment} (tried on lo)");
            attachment.detach(&mut clsact);
            Finding::yes("hook", found)
        }
        Err(reason) => {
            let help = "TCX needs Linux 6.6; before that clsact needs the modules sch_ingress \
                        and cls_bpf; as root, outside of containers: modprobe -a sch_ingress cls_bpf";
            Finding::no("hook", reason, help)
        }
    };
    (Finding::yes("eBPF programs", "loaded"), hook)
}

/// Loads the programs that tell flows apart.
fn flows() -> Finding {
    const FLOWS: &str = "flows";
    let options = FlowOptions { capacity: 1, ..FlowOptions::default() };
    match object::load(object::slots_for(0), ProgramLog::Off, false, Some(&options)) {
        Ok(_) => Finding::yes(FLOWS, "the programs that tell them apart are loaded"),
        Err(error) => missing(FLOWS, &error.to_string()),
    }
}

/// Attaches the programs of the tracepoints for an instant.
fn processes_and_drops() -> [Finding; 2] {
    let (tracer, all) = Tracer::start(&TraceOptions::default());
    [(Part::Processes, "traffic by process"), (Part::Drops, "dropped packets by reason")].map(
        |(part, what)| match all.iter().find(|missing| missing.part == part) {
            Some(Missing { why, .. }) => missing(part.name(), why),
            None if part == Part::Processes && !tracer.sees_splice() => {
                Finding::yes(part.name(), format!("{what} (without splice out of a socket)"))
            }
            None => Finding::yes(part.name(), what),
        },
    )
}

/// A part that the main job works without.
fn missing(part: &'static str, why: &str) -> Finding {
    let (found, needs) = why.split_once("; needs ").unwrap_or((why, ""));
    let help = (!needs.is_empty()).then(|| format!("needs {needs}"));
    Finding { what: part, good: None, found: found.to_owned(), help }
}

fn counters() -> Finding {
    let read = StatsReader::new().and_then(|mut reader| reader.read(&[LOOPBACK], 0, |_, _| {}));
    match read {
        Ok(()) => Finding::yes("statistics", "RTM_GETSTATS answers"),
        Err(error) => {
            Finding::no("statistics", format!("RTM_GETSTATS: {error}"), "it came with Linux 4.7")
        }
    }
}

fn sysfs(is_ours: bool) -> Finding {
    if is_ours {
        return Finding::yes("sysfs", "/sys/class/net shows this network namespace");
    }
    let help = "state and carrier counts come from netlink instead; to see them in sysfs enter \
                the namespace by `ip netns exec`, which mounts a sysfs of its own";
    Finding::no("sysfs", "/sys/class/net shows another network namespace", help).optional()
}
