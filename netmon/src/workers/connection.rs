//! One end of a connection: says messages without ever waiting, and hears those that come.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;

use nix::sys::socket::{self, MsgFlags};
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::decoder::{Decoder, Received};
use super::protocol::{self, Message};

/// Bytes that are read at once: some samples.
const READ: usize = 8 << 10;
/// What may wait for a peer that does not read. Beyond it the peer is given up.
const WAITING: usize = 1 << 20;

/// The end that says.
#[derive(Debug)]
pub(super) struct Speaker {
    half: OwnedWriteHalf,
    /// What the socket did not take yet; it begins where the last write ended.
    waiting: Vec<u8>,
}

/// The end that hears.
#[derive(Debug)]
pub(super) struct Hearer {
    half: OwnedReadHalf,
    decoder: Decoder,
    /// What was read and not decoded yet.
    unread: Vec<u8>,
}

/// Both ends of a connected socket. Needs a tokio runtime.
///
/// # Errors
/// When it cannot be used without waiting.
pub(super) fn ends(stream: std::os::unix::net::UnixStream) -> io::Result<(Hearer, Speaker)> {
    stream.set_nonblocking(true)?;
    let (reading, writing) = UnixStream::from_std(stream)?.into_split();
    let hearer = Hearer { half: reading, decoder: Decoder::default(), unread: Vec::new() };
    Ok((hearer, Speaker { half: writing, waiting: Vec::new() }))
}

impl Speaker {
    /// Says something that must arrive.
    ///
    /// # Errors
    /// When the peer is gone, or has not read for long.
    pub(super) fn say<M: Message>(&mut self, message: &M) -> io::Result<()> {
        protocol::print(message, &mut self.waiting).map_err(io::Error::other)?;
        self.flush()
    }

    /// Says something that the next message of its kind makes good for: not while the peer is
    /// behind. `false`: it was left out.
    ///
    /// # Errors
    /// When the peer is gone.
    pub(super) fn say_if_heard<M: Message>(&mut self, message: &M) -> io::Result<bool> {
        self.flush()?;
        if !self.waiting.is_empty() {
            return Ok(false);
        }
        self.say(message)?;
        Ok(true)
    }

    /// Adds bytes that are whole messages.
    ///
    /// # Errors
    /// When the peer is gone, or has not read for long.
    pub(super) fn say_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(bytes);
        self.flush()
    }

    /// Says what waits, as far as it is taken.
    ///
    /// # Errors
    /// When the peer is gone, or has not read for long.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            // Not by way of the runtime, which does not try before it was told that it may.
            match send(self.half.as_ref(), &self.waiting) {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.waiting.len() > WAITING {
            let what = "the other side does not read";
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        Ok(())
    }

    /// Waits until everything is said.
    ///
    /// # Errors
    /// When the peer is gone.
    pub(super) async fn finish(mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let stream = self.half.as_ref();
            let send = || send(stream, &self.waiting);
            let written = stream.async_io(Interest::WRITABLE, send).await?;
            self.waiting.drain(..written);
        }
        Ok(())
    }
}

fn send(stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    Ok(socket::send(stream.as_raw_fd(), bytes, flags)?)
}

impl Hearer {
    /// The first message that is known, and the end again.
    ///
    /// # Errors
    /// As [`Hearer::hear`], and when the connection ends before.
    pub(super) async fn first<M: Message>(mut self) -> Result<(Self, M), String> {
        loop {
            match self.next().await? {
                None => return Err("the connection has ended".to_owned()),
                Some(Received::Known(message)) => return Ok((self, message)),
                Some(Received::Unknown(name)) => tracing::debug!("unknown message {name:?}"),
            }
        }
    }

    /// Gives each message to `each`, until that returns `false` or the connection ends.
    ///
    /// # Errors
    /// In words for people: what came is not of the protocol, or the connection broke.
    pub(super) async fn hear<M: Message>(
        mut self,
        mut each: impl FnMut(Received<M>) -> bool,
    ) -> Result<(), String> {
        while let Some(message) = self.next().await? {
            if !each(message) {
                break;
            }
            // One who talks without end is not to keep anything else on this thread waiting, a
            // signal least of all.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The next message; `None`: the connection has ended.
    ///
    /// # Errors
    /// In words for people: what came is not of the protocol, or the connection broke.
    pub(super) async fn next<M: Message>(&mut self) -> Result<Option<Received<M>>, String> {
        loop {
            let mut input = self.unread.as_slice();
            let message = self.decoder.next(&mut input).map_err(|error| error.to_string())?;
            let taken = self.unread.len() - input.len();
            self.unread.drain(..taken);
            if message.is_some() {
                return Ok(message);
            }
            match self.read().await {
                Ok(0) => {
                    return self.decoder.finish().map(|()| None).map_err(|error| error.to_string());
                }
                Ok(_) => {}
                // It has ended without reading all that it was told.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let Self { half, unread, .. } = self;
        unread.resize(READ, 0);
        let read = poll_fn(|context| {
            let mut room = ReadBuf::new(unread);
            Pin::new(&mut *half).poll_read(context, &mut room).map_ok(|()| room.filled().len())
        })
        .await;
        unread.truncate(*read.as_ref().unwrap_or(&0));
        read
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream as Std;

    use super::*;
    use crate::workers::protocol::{Done, FromMonitor, ToMonitor};

    const DONE: &[u8] = b"{\"Done\":{\"ticks\":7}}\n";

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap().block_on(test);
    }

    #[test]
    fn what_is_said_is_sent_at_once() {
        run(async {
            let (ours, mut theirs) = Std::pair().unwrap();
            let (_hearer, mut speaker) = ends(ours).unwrap();
            speaker.say(&ToMonitor::Done(Done { ticks: 7 })).unwrap();
            let mut came = vec![0; DONE.len()];
            theirs.read_exact(&mut came).unwrap();
            assert_eq!(came, DONE);
        });
    }

    #[test]
    fn one_who_does_not_read_misses_samples_and_is_given_up_at_last() {
        run(async {
            let (ours, mut theirs) = Std::pair().unwrap();
            let (_hearer, mut speaker) = ends(ours).unwrap();
            let done = ToMonitor::Done(Done { ticks: 7 });
            let mut said = 0;
            while speaker.say_if_heard(&done).unwrap() && speaker.waiting.is_empty() {
                said += 1;
            }
            assert!(!speaker.say_if_heard(&done).unwrap(), "left out while it is behind");
            let kept = speaker.waiting.len();
            // It reads again: what was begun is ended, so that no line is torn.
            let mut all = vec![0; (said + 1) * DONE.len() - kept];
            theirs.read_exact(&mut all).unwrap();
            assert!(speaker.say_if_heard(&done).unwrap());
            theirs.set_nonblocking(true).unwrap();
            let mut rest = Vec::new();
            let _ = theirs.read_to_end(&mut rest);
            all.extend(rest);
            assert!(all.chunks(DONE.len()).all(|line| line == DONE));
            let given_up = std::iter::repeat_with(|| speaker.say(&done)).find_map(Result::err);
            assert_eq!(given_up.unwrap().kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn messages_are_heard_however_they_are_cut_and_the_end_is_told() {
        run(async {
            let (ours, mut theirs) = Std::pair().unwrap();
            let (hearer, _speaker) = ends(ours).unwrap();
            let line = b"{\"Shut Down\":{\"reason\":\"x\"}}\n{\"Set Link Up\":{}}\n{\"Set";
            theirs.write_all(line).unwrap();
            drop(theirs);
            let (hearer, first) = hearer.first::<FromMonitor>().await.unwrap();
            assert_eq!(first, FromMonitor::ShutDown { reason: "x".to_owned() });
            let mut heard = Vec::new();
            let end = hearer.hear(|message| {
                heard.push(message);
                true
            });
            let end = end.await.unwrap_err();
            assert_eq!(heard, [Received::Known(FromMonitor::SetLinkUp {})]);
            assert!(end.contains("within a line"), "{end}");
        });
    }
}
