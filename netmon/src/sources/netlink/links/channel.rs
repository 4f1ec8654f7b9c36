//! A socket that the interfaces are listed over, and on which their news come. It is read only
//! when somebody wants what is on it: what waits then waits in the kernel, whose buffer has an
//! end, and what does not fit is reported as lost.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rtnetlink::sys::{Socket, SocketAddr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::sources::netlink::wire::{self, HEADER, Messages};

/// Room for the news of some thousand interfaces that change at once. The kernel caps it at
/// net.core.rmem_max; what does not fit is lost.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;
/// A datagram of a dump has up to 32 KiB, and one of news as much as its one interface needs.
const RECEIVE: usize = 64 << 10;
/// News that come within a list, which are kept for later. More are lost.
const MOST_WAITING: usize = 1024;
/// A list is read so often when interfaces that come and go make it incomplete. After that the
/// news have to complete it.
const ATTEMPTS: usize = 3;
/// The kernel answers at once; this only keeps a broken kernel from being waited for for good.
const PATIENCE_MS: u16 = 1_000;
/// What there is to say of an interface without its statistics (`RTEXT_FILTER_SKIP_STATS`).
const WITHOUT_STATISTICS: u32 = 1 << 3;
const IFLA_EXT_MASK: u16 = 29;
/// `struct ifinfomsg` and the mask.
const REQUEST: usize = 16 + 8;

/// One message of the kernel's: its type, and what stands behind its header.
pub(super) type Message = (u16, Vec<u8>);

/// News, or that some are lost.
#[derive(Debug)]
pub(super) enum Heard {
    Message(Message),
    Lost,
}

/// The socket, which several may use.
pub(super) struct Channel {
    socket: AsyncFd<Socket>,
    /// What the kernel addresses answers to.
    port: u32,
    reader: Mutex<Reader>,
    /// News were kept by somebody who has read a list.
    kept: Notify,
}

#[derive(Default)]
struct Reader {
    buffer: Vec<u8>,
    sequence: u32,
    waiting: VecDeque<Message>,
    lost: bool,
}

impl Channel {
    /// Takes over a socket that is bound, and subscribed if news are wanted. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// Those of the socket calls.
    pub(super) fn over(socket: Socket) -> io::Result<Self> {
        if let Err(error) = socket.set_rx_buf_sz(RECEIVE_BUFFER) {
            tracing::debug!("netlink receive buffer stays as it is: {error}");
        }
        socket.set_non_blocking(true)?;
        // What other processes send is refused.
        socket.connect(&SocketAddr::new(0, 0))?;
        let mut address = SocketAddr::new(0, 0);
        socket.get_address(&mut address)?;
        // SAFETY: the socket owns its descriptor, always gives the same one, and closes it only
        // when it is dropped, which AsyncFd does after it has deregistered it.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        let reader = Reader { buffer: Vec::with_capacity(RECEIVE), ..Reader::default() };
        let port = address.port_number();
        Ok(Self { socket, port, reader: Mutex::new(reader), kept: Notify::new() })
    }

    /// Waits for news, one by one. Cancelling it loses nothing.
    ///
    /// # Errors
    /// Those of recv(2).
    pub(super) async fn next(&self) -> io::Result<Heard> {
        loop {
            if let Some(heard) = self.reader().kept() {
                return Ok(heard);
            }
            let mut ready = tokio::select! {
                ready = self.socket.readable() => ready?,
                () = self.kept.notified() => continue,
            };
            let mut reader = self.reader();
            match reader.receive(self.socket.get_ref()) {
                Ok(()) => reader.keep(self.port),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => reader.lose(error)?,
            }
        }
    }

    /// Asks for all interfaces, with their statistics or without, and gives what `read` makes of each one's message. News that come
    /// meanwhile are kept.
    ///
    /// # Errors
    /// When the kernel refuses it, or does not answer.
    pub(super) fn list<T>(
        &self,
        statistics: bool,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut reader = self.reader();
        let mut attempts = 0;
        let listed = loop {
            attempts += 1;
            match self.list_once(&mut reader, statistics, &read) {
                Ok((_, false)) if attempts < ATTEMPTS => {}
                Ok((listed, _)) => break Ok(listed),
                Err(error) => break Err(error),
            }
        };
        drop(reader);
        self.kept.notify_one();
        listed
    }

    /// With `false` the kernel says that something may be missing.
    fn list_once<T>(
        &self,
        reader: &mut Reader,
        statistics: bool,
        read: &impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<(Vec<T>, bool)> {
        let socket = self.socket.get_ref();
        reader.sequence = reader.sequence.wrapping_add(1).max(1);
        let sequence = reader.sequence;
        socket.send(&request(sequence, statistics), 0)?;
        let (mut listed, mut complete, mut ended) = (Vec::new(), true, None);
        loop {
            match reader.receive(socket) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(socket)?,
                Err(error) => reader.lose(error)?,
            }
            for (header, payload) in Messages(&reader.buffer) {
                if header.port != self.port || header.sequence != sequence {
                    continue;
                }
                complete &= i32::from(header.flags) & libc::NLM_F_DUMP_INTR == 0;
                match (header.kind, i32::from(header.kind)) {
                    (_, libc::NLMSG_DONE) => ended = Some(Ok(())),
                    (_, libc::NLMSG_ERROR) => ended = Some(Err(wire::error_of(payload))),
                    (libc::RTM_NEWLINK, _) => listed.extend(read(payload)),
                    _ => {}
                }
            }
            // A part of the list may come with news in one datagram; those stay.
            reader.keep(self.port);
            if let Some(ended) = ended.take() {
                return ended.map(|()| (listed, complete));
            }
        }
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        // Whoever has panicked has left nothing half done that matters here.
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    fn receive(&mut self, socket: &Socket) -> io::Result<()> {
        wire::receive(socket, &mut self.buffer)
    }

    /// Keeps the news of the datagram that was received last: all but answers to this port.
    fn keep(&mut self, port: u32) {
        for (header, payload) in Messages(&self.buffer).filter(|(header, _)| header.port != port) {
            if self.waiting.len() >= MOST_WAITING {
                self.lost = true;
                break;
            }
            self.waiting.push_back((header.kind, payload.to_vec()));
        }
        self.buffer.clear();
    }

    fn kept(&mut self) -> Option<Heard> {
        if let Some(message) = self.waiting.pop_front() {
            return Some(Heard::Message(message));
        }
        // A burst has made room for more than is needed from then on.
        self.waiting.shrink_to(1);
        std::mem::take(&mut self.lost).then_some(Heard::Lost)
    }

    fn lose(&mut self, error: io::Error) -> io::Result<()> {
        if error.raw_os_error() != Some(libc::ENOBUFS) {
            return Err(error);
        }
        self.lost = true;
        Ok(())
    }
}

/// Waits for an answer.
fn wait(socket: &Socket) -> io::Result<()> {
    // SAFETY: the descriptor is the socket's, which is borrowed for as long.
    let socket = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    match poll(&mut [PollFd::new(socket, PollFlags::POLLIN)], PollTimeout::from(PATIENCE_MS)) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// `RTM_GETLINK`, for all.
fn request(sequence: u32, statistics: bool) -> Vec<u8> {
    let length = HEADER + REQUEST;
    let mut request = Vec::with_capacity(length);
    request.extend((length as u32).to_ne_bytes());
    request.extend(libc::RTM_GETLINK.to_ne_bytes());
    request.extend(((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    request.extend(sequence.to_ne_bytes());
    request.extend([0; 4 + 16]);
    request.extend(8_u16.to_ne_bytes());
    request.extend(IFLA_EXT_MASK.to_ne_bytes());
    let mask = if statistics { 0 } else { WITHOUT_STATISTICS };
    request.extend(mask.to_ne_bytes());
    request
}
