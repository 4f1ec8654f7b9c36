//! Other programs that watch interfaces, as far as they are installed, each told to do it once a
//! second as netmon does, or as often as it can.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::netns::Namespace;
use netmon_tests::wait;

use crate::tick::INTERVAL;

/// Where vnstatd keeps its database: hidden by a file system in memory, in the namespace's own
/// mount namespace.
const VNSTAT: &str = "/var/lib/vnstat";
/// The shortest intervals that it takes, in seconds. Nothing of the host is changed, asked or
/// logged to.
const VNSTAT_CONFIG: &str = r#"
DatabaseDir "/var/lib/vnstat"
PollInterval 2
UpdateInterval 2
AlwaysAddNewInterfaces 1
BandwidthDetection 0
MaxBandwidth 0
TimeSyncWait 0
UseLogging 0
CheckDiskSpace 0
DaemonUser ""
DaemonGroup ""
"#;
const NODE_EXPORTER: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9100);

/// One of them.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) interval: Duration,
    /// Whether it does something only when it is asked over HTTP.
    pub(crate) is_asked: bool,
}

pub(crate) const TOOLS: [Tool; 5] = [
    // Two numbers an interface.
    Tool {
        name: "ifstat",
        program: "ifstat",
        arguments: &["1"],
        interval: INTERVAL,
        is_asked: false,
    },
    Tool {
        name: "bwm-ng",
        program: "bwm-ng",
        arguments: &["-o", "csv", "-t", "1000"],
        interval: INTERVAL,
        is_asked: false,
    },
    Tool {
        name: "sar (sysstat)",
        program: "sar",
        arguments: &["-n", "DEV", "1"],
        interval: INTERVAL,
        is_asked: false,
    },
    Tool {
        name: "vnstatd (vnstat), every 2 s",
        program: "vnstatd",
        arguments: &["--nodaemon", "--config", "/var/lib/vnstat/config"],
        interval: Duration::from_secs(2),
        is_asked: false,
    },
    Tool {
        name: "prometheus-node-exporter",
        program: "prometheus-node-exporter",
        arguments: &[
            "--collector.disable-defaults",
            "--collector.netdev",
            "--collector.netclass",
            "--web.disable-exporter-metrics",
            "--web.listen-address=127.0.0.1:9100",
        ],
        interval: INTERVAL,
        is_asked: true,
    },
];

/// The first file of that name on the path on which daemons are, too.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.is_file())
}

/// What they need: a place for vnstatd's files, where it is installed.
pub(crate) fn prepare(namespace: &Namespace) -> Result<()> {
    if find("vnstatd").is_none() {
        return Ok(());
    }
    namespace.hide(VNSTAT)?;
    namespace.run(|| Ok(fs::write(Path::new(VNSTAT).join("config"), VNSTAT_CONFIG)?))
}

/// Waits until the one that is asked answers.
pub(crate) fn wait_for_answer(namespace: &Namespace) -> Result<()> {
    wait::until_true("node_exporter to answer", || Ok(ask(namespace).is_ok()))
}

/// Asks it once, and reads all of its answer.
pub(crate) fn ask(namespace: &Namespace) -> Result<()> {
    namespace.run(|| {
        let mut stream = TcpStream::connect(NODE_EXPORTER)?;
        stream.set_read_timeout(Some(wait::PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("reading metrics")?;
        ensure!(answer.starts_with(b"HTTP/1.0 200 "), "node_exporter does not give metrics");
        Ok(())
    })
}
