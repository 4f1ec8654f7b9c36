//! Other programs that tell which process the traffic is of, as far as they are installed. They
//! look at packets (libpcap) and at the tables of sockets in /proc, in one network namespace.

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::Result;
use netmon_tests::agent::{Agent, AgentCommand};
use netmon_tests::netns::Namespace;
use netmon_tests::wait;

use crate::tools;

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct Monitor {
    pub(super) name: &'static str,
    /// With lines for programs, once a second; the interface comes last.
    arguments: &'static [&'static str],
    /// The bytes that the lines say a program of this name has sent.
    pub(super) sent: fn(&[String], &str) -> f64,
}

pub(super) const MONITORS: [Monitor; 2] = [
    // Totals in bytes; UDP as well as TCP.
    Monitor { name: "nethogs", arguments: &["-t", "-C", "-v", "2"], sent: by_nethogs },
    Monitor {
        name: "bandwhich",
        arguments: &["--raw", "--processes", "--no-resolve", "--interface"],
        sent: by_bandwhich,
    },
];

impl Monitor {
    pub(super) fn is_installed(&self) -> bool {
        tools::find(self.name).is_some()
    }

    /// Starts it, and waits until it tells of something for the first time.
    pub(super) fn start(&self, namespace: &Namespace, interface: &str) -> Result<Agent> {
        let agent = self.command(namespace, interface)?.start()?;
        wait::until_true(format!("{} to begin", self.name), || Ok(agent.stdout()?.count() > 0))?;
        Ok(agent)
    }

    fn command<'a>(&self, namespace: &'a Namespace, interface: &str) -> Result<AgentCommand<'a>> {
        let program = tools::find(self.name).unwrap_or_else(|| self.name.into());
        let nowhere: OwnedFd = File::options().write(true).open("/dev/null")?.into();
        let command = AgentCommand::new(namespace, &program).args(self.arguments);
        Ok(command.args([interface]).errors_to(nowhere))
    }
}

/// `/path/program/process id/user id<tab>sent<tab>received`, in totals.
fn by_nethogs(lines: &[String], program: &str) -> f64 {
    let mut totals = std::collections::BTreeMap::new();
    for line in lines {
        let mut fields = line.split('\t');
        let (Some(who), Some(sent)) = (fields.next(), fields.next()) else { continue };
        let Ok(sent) = sent.parse::<f64>() else { continue };
        if who.split('/').any(|part| part == program) {
            let total = totals.entry(who.to_owned()).or_insert(0.0);
            *total = sent.max(*total);
        }
    }
    totals.values().sum()
}

/// `process: <time> "program" up/down Bps: sent/received connections: …`, a second's.
fn by_bandwhich(lines: &[String], program: &str) -> f64 {
    let sent = |line: &String| -> Option<f64> {
        let rest = line.strip_prefix("process: ")?;
        let (_, rest) = rest.split_once(&format!("\"{program}\" up/down Bps: "))?;
        rest.split_once('/')?.0.parse().ok()
    };
    lines.iter().filter_map(sent).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_last_total_of_each_process_counts() {
        let told = lines(
            "Refreshing:\n/usr/bin/peer/7/0\t100\t3\nunknown TCP/0/0\t0\t0\n\
             Refreshing:\n/usr/bin/peer/7/0\t2.5e+3\t3\n/usr/bin/peer/8/0\t50\t0\n/bin/other/9/0\t9\t9",
        );
        assert_eq!(by_nethogs(&told, "peer"), 2550.0);
    }

    #[test]
    fn seconds_are_added() {
        let told = lines(
            "Refreshing:\nprocess: <170> \"peer\" up/down Bps: 100/7 connections: 1\n\
             process: <170> \"other\" up/down Bps: 9/9 connections: 1\n\
             Refreshing:\nprocess: <171> \"peer\" up/down Bps: 20/7 connections: 1",
        );
        assert_eq!(by_bandwhich(&told, "peer"), 120.0);
    }
}
