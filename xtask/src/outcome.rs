//! What test runners say, read line by line.

use std::fmt;

/// How the kernel tests begin the reason why one cannot be run: the kernel lacks what it is about.
/// No failure even under CI, and always told.
const NOT_HERE: &str = "not on this kernel";

/// What the test runners said, added up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) passed: u64,
    pub(crate) failed: Vec<String>,
    pub(crate) skipped: Vec<String>,
    pub(crate) not_here: Vec<String>,
}

impl Outcome {
    /// Takes in one line of libtest's or libtest-mimic's output.
    pub(crate) fn read(&mut self, line: &str) {
        let line = without_colour(line);
        let Some((name, result)) =
            line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        let name = name.trim();
        match result.split([',', ' ']).next() {
            Some("ok") => self.passed += 1,
            Some("FAILED") => self.failed.push(name.to_owned()),
            Some("ignored") if result.contains(NOT_HERE) => self.not_here.push(name.to_owned()),
            Some("ignored") => self.skipped.push(name.to_owned()),
            _ => {}
        }
    }

    /// The last words: the sum, and what has not passed.
    pub(crate) fn tell(&self) {
        let groups =
            [("failed", &self.failed), ("skipped", &self.skipped), (NOT_HERE, &self.not_here)];
        for (what, names) in groups.iter().filter(|(_, names)| !names.is_empty()) {
            eprintln!("xtask: {what}:");
            names.iter().for_each(|name| eprintln!("  {name}"));
        }
        eprintln!("xtask: {self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, skipped) = (self.failed.len(), self.skipped.len());
        write!(f, "{} tests passed, {failed} failed, {skipped} skipped", self.passed)?;
        match self.not_here.len() {
            0 => Ok(()),
            count => write!(f, ", {count} {NOT_HERE}"),
        }
    }
}

/// The line without terminal escapes of the form `ESC [ … m`.
fn without_colour(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_runners_say() {
        let mut outcome = Outcome::default();
        for line in [
            "running 4 tests",
            "test model::adds ... ok",
            "test veth::counts   ... \x1b[32mok\x1b[0m",
            "test veth::breaks ... FAILED",
            "test veth::skipped ... ignored",
            "test veth::told ... ignored, needs root",
            "test veth::by_tcx ... \x1b[33mignored\x1b[0m (not on this kernel: needs TCX (Linux 6.6))",
            "test result: ok. 2 passed; 1 failed; 2 ignored",
            "test netmon::Foo (line 3) ... ok",
        ] {
            outcome.read(line);
        }
        let expected = Outcome {
            passed: 3,
            failed: vec!["veth::breaks".into()],
            skipped: vec!["veth::skipped".into(), "veth::told".into()],
            not_here: vec!["veth::by_tcx".into()],
        };
        assert_eq!(outcome, expected);
        let sum = "3 tests passed, 1 failed, 2 skipped, 1 not on this kernel";
        assert_eq!(outcome.to_string(), sum);
    }
}
