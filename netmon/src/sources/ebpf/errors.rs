//! What goes wrong with eBPF, and what helps.

use std::io;

use caps::Capability;

use crate::{advice, privileges};

/// Why eBPF cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EbpfUnavailable {
    /// The kernel refuses for lack of privileges.
    #[error("{operation}: {error}; needs {needs}: {help}")]
    Privileges {
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        error: String,
        /// Which.
        needs: &'static str,
        /// What helps here.
        help: String,
    },
    /// Anything else.
    #[error("{operation}: {error}")]
    Kernel {
        /// What was tried.
        operation: &'static str,
        /// The kernel's or aya's answer.
        error: String,
    },
}

impl EbpfUnavailable {
    /// Sorts an error of aya.
    pub(super) fn new(operation: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        match errno(error) {
            // Not which of several maps was the first: that differs each time.
            Some(code @ libc::EPERM) => {
                let error = io::Error::from_raw_os_error(code).to_string();
                let needs = needed();
                Self::Privileges { operation, error, needs, help: help(needs) }
            }
            Some(libc::EACCES) => {
                let (needs, error) = (needed(), one_line(error));
                Self::Privileges { operation, error, needs, help: help(needs) }
            }
            _ => Self::Kernel { operation, error: one_line(error) },
        }
    }

    /// The same for what needs another privilege than counting does.
    pub(in crate::sources) fn needing(
        capability: &str,
        operation: &'static str,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        match Self::new(operation, error) {
            Self::Privileges { operation, error, needs: _, help: _ } => {
                let error = format!("{error}; needs {capability}: {}", help(capability));
                Self::Kernel { operation, error }
            }
            other => other,
        }
    }
}

/// What is missing when the kernel refuses: with the usual two it is its verifier, which on some
/// processors lets only those who may see the kernel's memory load such programs.
fn needed() -> &'static str {
    let has_usual = privileges::FOR_EBPF.into_iter().all(privileges::has);
    match has_usual && !privileges::has(Capability::CAP_PERFMON) {
        true => PERFMON,
        false => "CAP_BPF and CAP_NET_ADMIN",
    }
}

const PERFMON: &str = "CAP_PERFMON";

/// What helps who lacks these, of which there may be several: `CAP_BPF and CAP_PERFMON`.
fn help(needs: &str) -> String {
    let words = needs.split([' ', ',']);
    let needed: Vec<Capability> = words.filter_map(|word| word.parse().ok()).collect();
    advice::for_lack_of(&needed)
}

/// The errno at the bottom of an error of aya, if there is one.
#[must_use]
pub fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(code);
        }
        current = error.source();
    }
    None
}

/// An error and its causes in one line, without a verifier's log of many.
#[must_use]
pub fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let first = |text: String| {
        let line = text.lines().next().unwrap_or_default();
        // The log may begin in the same line.
        line.split(". Verifier output:").next().unwrap_or_default().to_owned()
    };
    let mut text = first(error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = first(cause.to_string());
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer. Verifier output: 0: R1=ctx()\nwith a log of many lines")]
    struct Outer(#[source] io::Error);

    #[test]
    fn errno_is_found_below_and_the_text_is_one_line() {
        let error = Outer(io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(errno(&error), Some(libc::EPERM));
        let text = one_line(&error);
        assert!(text.starts_with("outer: Operation not permitted"), "{text}");
        assert!(!text.contains('\n') && !text.contains("R1"), "{text}");
        let sorted = EbpfUnavailable::new("load", &error).to_string();
        assert!(sorted.contains("CAP_BPF"), "{sorted}");
    }
}
