//! Asks the running network monitor how its interface monitors are.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::decoder::{Decoder, ProtocolError, Received};
use super::peer;
use super::protocol::{self, FromMonitor, List, Processes, ToMonitor, VERSION, WorkerStatus};

/// More than any machine has.
const MOST: usize = 1 << 16;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nobody to ask.
    #[error(transparent)]
    Connect(#[from] peer::ConnectError),
    /// The connection broke, or nothing came in time.
    #[error("the network monitor does not answer: {0}")]
    Broken(#[from] io::Error),
    /// It does not want to answer.
    #[error("the network monitor refuses to answer: {0}")]
    Refused(String),
    /// What came is not of the protocol.
    #[error("the network monitor's answer: {0}")]
    Protocol(#[from] ProtocolError),
}

/// Asks, and waits at most so long for each part of the answer.
///
/// # Errors
/// See [`NoAnswer`].
pub fn ask(path: &Path, patience: Duration) -> Result<(Processes, Vec<WorkerStatus>), NoAnswer> {
    let mut stream = peer::connect(path)?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut question = Vec::new();
    let list = ToMonitor::List(List { version: VERSION });
    protocol::print(&list, &mut question).map_err(io::Error::other)?;
    stream.write_all(&question)?;
    let (mut decoder, mut buffer, mut workers) = (Decoder::default(), vec![0; 8 << 10], Vec::new());
    let mut processes = Processes::default();
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            decoder.finish()?;
            return Err(NoAnswer::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut input = &buffer[..length];
        while let Some(message) = decoder.next(&mut input)? {
            match message {
                Received::Known(FromMonitor::Workers(part)) if part.is_empty() => {
                    return Ok((processes, workers));
                }
                Received::Known(FromMonitor::Processes(told)) => processes = told,
                Received::Known(FromMonitor::Workers(part)) if workers.len() < MOST => {
                    workers.extend(part);
                }
                Received::Known(FromMonitor::Workers(_)) => {
                    let why = format!("it has told of {MOST} interface monitors and does not end");
                    return Err(NoAnswer::Broken(io::Error::other(why)));
                }
                Received::Known(FromMonitor::ShutDown { reason }) => {
                    return Err(NoAnswer::Refused(reason));
                }
                Received::Known(_) | Received::Unknown(_) => {}
            }
        }
    }
}
