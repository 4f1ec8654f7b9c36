//! What cannot be is told in words, with exit code 2, before anything is attached.

use anyhow::{Result, ensure};
use netmon_tests::{netns::Namespace, scratch::Scratch};

use super::top;
use crate::{
    Test,
    common::{is_bare, monitor, veth},
};

pub(crate) const TESTS: &[Test] = &[
    ("tables_that_cannot_be", tables_that_cannot_be),
    ("a_live_view_needs_a_terminal", a_live_view_needs_a_terminal),
    ("reports_that_cannot_tell_of_traffic", reports_that_cannot_tell_of_traffic),
    ("a_file_that_is_wrong", a_file_that_is_wrong),
];

fn refused(namespace: &Namespace, arguments: &[&str], words: &[&str]) -> Result<()> {
    let finished = top(namespace, arguments).finish()?;
    ensure!(
        (finished.code, finished.stdout.as_str()) == (Some(2), ""),
        "{arguments:?}: {finished:?}"
    );
    for word in words {
        ensure!(finished.stderr.contains(word), "{arguments:?}: no {word:?} in {finished:?}");
    }
    is_bare(namespace, "nt0")
}

fn tables_that_cannot_be() -> Result<()> {
    let namespace = veth()?;
    let cases: &[(&[&str], &[&str])] = &[
        (&["--sort", "nonsense"], &["'nonsense'", "there are: ", "tx_bytes_per_s"]),
        (&["--by", "flow", "--sort", "uid"], &["'uid'", "destination_port"]),
        (&["--filter", "color:red"], &["'color:red'", "there are: proc, "]),
        (&["--by", "flow", "--filter", "port:99999"], &["'port:99999'", "65535"]),
        (&["--by", "flow", "--filter", "dst:10.0.0.0/33"], &["dst:10.0.0.0/33", "32"]),
        (&["--by", "process", "--filter", "port:443"], &["'port:443'", "no such column"]),
        (&["--by", "users"], &["users", "process"]),
        (&["--by", "flow", "--parts", "drops"], &["--by flow", "flows", "--parts"]),
        (&["--flow-capacity", "0"], &["--flow-capacity"]),
        (&["--flow-sample", "0"], &["--flow-sample"]),
        (&["--alpha", "0"], &["--alpha"]),
        (&["--alert-process", "much"], &["'much'", "10MB"]),
        (&["--interval", "5ms"], &["100ms"]),
        (&["--count", "0"], &["--count"]),
        (&["--count", "2"], &["--once", "--count"]),
        (&["nt00"], &["'nt00'", "did you mean 'nt0'?"]),
        (&["nothing*"], &["'nothing*'", "lo, nt0, peer"]),
        (&["elsewhere/nt0"], &["this network namespace only", "ip netns exec"]),
    ];
    for (arguments, words) in cases {
        refused(&namespace, &[&["--once"], *arguments].concat(), words)?;
    }
    Ok(())
}

fn a_live_view_needs_a_terminal() -> Result<()> {
    let namespace = veth()?;
    for arguments in [&[][..], &["nt0", "--filter", "nt0"]] {
        refused(&namespace, arguments, &["needs a terminal", "--once", "--format"])?;
    }
    Ok(())
}

fn reports_that_cannot_tell_of_traffic() -> Result<()> {
    let namespace = veth()?;
    let cases: &[(&[&str], &str)] = &[
        (&["nt0", "--traffic"], "--format json"),
        (&["nt0", "--traffic", "--format", "csv"], "--format json"),
        (&["nt0", "--traffic", "--format", "json", "--workers"], "--workers"),
        (&["nt0", "--traffic", "--format", "json", "--all-netns"], "--all-netns"),
        (&["elsewhere/nt0", "--traffic", "--format", "json"], "this network namespace only"),
        (&["nt0", "--traffic=users", "--format", "json"], "users"),
    ];
    for (arguments, words) in cases {
        let finished = monitor(&namespace, arguments).finish()?;
        let outcome = (finished.code, finished.stdout.as_str());
        ensure!(outcome == (Some(2), ""), "{arguments:?}: {finished:?}");
        ensure!(finished.stderr.contains(words), "{arguments:?}: {finished:?}");
    }
    is_bare(&namespace, "nt0")
}

fn a_file_that_is_wrong() -> Result<()> {
    let (namespace, scratch) = (veth()?, Scratch::new()?);
    for (text, words) in [
        ("[traffic]\nparts = ['users']", "users"),
        ("[traffic]\nflow_capacity = 0", "flow_capacity"),
        ("[traffic]\nspeed = 1", "speed"),
    ] {
        let path = scratch.write("netmon.toml", text)?;
        refused(&namespace, &["--once", "--config", &path.to_string_lossy()], &[words])?;
    }
    Ok(())
}
