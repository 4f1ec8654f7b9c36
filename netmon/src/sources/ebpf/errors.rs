//! What goes wrong with eBPF, and what helps.

use std::io;

/// Why eBPF cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EbpfUnavailable {
    /// The kernel refuses for lack of privileges.
    #[error("{operation}: {error}; needs CAP_BPF and CAP_NET_ADMIN: {}", privileges_help())]
    Privileges {
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        error: String,
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
        let text = one_line(error);
        match errno(error) {
            Some(libc::EPERM | libc::EACCES) => Self::Privileges { operation, error: text },
            _ => Self::Kernel { operation, error: text },
        }
    }
}

/// What to do when privileges are missing.
#[must_use]
pub fn privileges_help() -> String {
    let exe = std::env::current_exe()
        .map_or_else(|_| "netmon".to_owned(), |path| path.display().to_string());
    format!(
        "run it with sudo, or once \
         `sudo setcap cap_bpf,cap_perfmon,cap_net_admin+ep {exe}`"
    )
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
        line.trim_end_matches(". Verifier output:")
            .trim_end_matches(". Verifier output: ")
            .to_owned()
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
    #[error("outer\nwith a log of many lines")]
    struct Outer(#[source] io::Error);

    #[test]
    fn errno_is_found_below_and_the_text_is_one_line() {
        let error = Outer(io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(errno(&error), Some(libc::EPERM));
        let text = one_line(&error);
        assert!(text.starts_with("outer: Operation not permitted"), "{text}");
        assert!(!text.contains('\n'));
        let sorted = EbpfUnavailable::new("load", &error).to_string();
        assert!(sorted.contains("CAP_BPF"), "{sorted}");
    }
}
