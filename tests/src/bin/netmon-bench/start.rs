//! How long a start takes: until the first report, and until everything is attached.

use std::time::{Duration, Instant};

use anyhow::Result;
use netmon_tests::agent::AgentCommand;
use netmon_tests::netns::Namespace;
use netmon_tests::report::Block;

use crate::samples::{Compared, Row, Summary};
use crate::{Measure, Table};

/// The greatest time until the first report, in seconds.
const BOUND: f64 = 3.0;

pub(crate) fn measure(measure: &Measure) -> Result<Table> {
    let namespace = measure.namespace()?;
    let (mut reports, mut attached) = (Vec::new(), Vec::new());
    for _ in 0..measure.rounds {
        let (report, attach) = round(&namespace, measure)?;
        reports.push(report.as_secs_f64());
        attached.push(attach.as_secs_f64());
    }
    let row = |name: &str, samples, bound: Option<f64>| {
        let value = Summary::of(samples);
        let compared = bound.map(|_| Compared { how: "s", value, bound });
        Row { name: name.to_owned(), unit: "s", value, compared }
    };
    let about = format!(
        "of `netmon run --all` with {} interfaces, medians of {} rounds",
        measure.interfaces, measure.rounds
    );
    let rows = vec![
        row("until the first report is whole", reports, Some(BOUND)),
        row("until every interface has said what counts it", attached, None),
    ];
    Ok(Table { name: "start", about, rows })
}

fn round(namespace: &Namespace, measure: &Measure) -> Result<(Duration, Duration)> {
    let begin = Instant::now();
    let agent = AgentCommand::new(namespace, &measure.netmon)
        .args(["run", "--all", "--exclude", "lo"])
        .start()?;
    let lines = measure.interfaces * Block::LINES;
    let report = agent
        .stdout()?
        .wait_for("the first report", |so_far| (so_far.len() >= lines).then(|| begin.elapsed()))?;
    // Either may come first: this is then an upper limit.
    let attach = agent.stderr()?.wait_for("what counts each interface", |so_far| {
        (so_far.len() >= measure.interfaces).then(|| begin.elapsed())
    })?;
    agent.kill()?;
    Ok((report, attach))
}
