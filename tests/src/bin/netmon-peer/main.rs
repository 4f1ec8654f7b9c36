//! Sends and receives by every kind of system call and socket, as a process of its own, so that
//! the tests know to the byte what netmon must say of it.
//!
//! It says what it does on standard output, a line each: `port N` (it listens there), `ready N` (it
//! is connected, from the port N; it goes on when it reads a line), `done N` (it has moved everything, in N
//! messages, 0 where only the kernel knows), `kernel N` (what TCP has counted), `again N` (what of
//! it was sent more than once), and ends at the end of its standard input.

mod family;
mod kernel;
mod receive;
mod send;
mod uring;

use std::{
    env,
    io::{self, BufRead, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{
    SockaddrIn, SockaddrIn6, SockaddrStorage, getsockname, setsockopt, sockopt,
};

/// The size of a message.
pub(crate) const MESSAGE: usize = 1000;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["send", transport, address, way, bytes] => {
            let socket = connect(transport, address)?;
            wait_for_go_from(&socket)?;
            say(format_args!("done {}", send::all(&socket, way, bytes.parse()?)?))?;
            if transport == "tcp" {
                let kernel::Sent { bytes, again } = kernel::sent(&socket)?;
                say(format_args!("kernel {bytes}"))?;
                say(format_args!("again {again}"))?;
            }
            wait_for_end()
        }
        ["receive", transport, address, way, bytes] => {
            let socket = accept(transport, address)?;
            say(format_args!("done {}", receive::all(&socket, way, bytes.parse()?)?))?;
            if transport == "tcp" {
                say(format_args!("kernel {}", kernel::received(&socket)?))?;
            }
            wait_for_end()
        }
        // It ends as soon as it can.
        ["brief", transport, address, bytes] => {
            send::all(&connect(transport, address)?, "send", bytes.parse()?).map(drop)
        }
        ["unix", bytes] => {
            family::unix(bytes.parse()?)?;
            wait_for_end()
        }
        ["inherit", address, bytes] => family::inherit(connect("tcp", address)?, bytes.parse()?),
        ["pass", address, bytes] => family::pass(connect("tcp", address)?, bytes.parse()?),
        ["prefork", address, children, bytes] => {
            family::prefork(address, children.parse()?, bytes.parse()?)
        }
        ["threads", address, threads, bytes] => {
            family::threads(address, threads.parse()?, bytes.parse()?)?;
            wait_for_end()
        }
        ["exec", address, bytes, program] => family::exec(address, bytes.parse()?, program),
        // What `exec` becomes: the socket is standard input's neighbour.
        ["go-on", socket, bytes] => family::go_on(socket.parse()?, bytes.parse()?),
        _ => bail!("what is {arguments:?}?"),
    }
}

pub(crate) fn connect(transport: &str, address: &str) -> Result<OwnedFd> {
    let to: SocketAddr = address.parse()?;
    match transport {
        "tcp" => Ok(TcpStream::connect(to).with_context(|| address.to_owned())?.into()),
        "udp" => {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.connect(to)?;
            Ok(socket.into())
        }
        other => bail!("no transport {other}"),
    }
}

fn accept(transport: &str, address: &str) -> Result<OwnedFd> {
    match transport {
        "tcp" => {
            let listener = TcpListener::bind(address)?;
            say(format_args!("port {}", listener.local_addr()?.port()))?;
            Ok(listener.accept()?.0.into())
        }
        "udp" => {
            let socket = UdpSocket::bind(address)?;
            // What is not copied takes several times its size. Without root, what there is must do.
            let _ = setsockopt(&socket, sockopt::RcvBufForce, &(1 << 20));
            say(format_args!("port {}", socket.local_addr()?.port()))?;
            Ok(socket.into())
        }
        other => bail!("no transport {other}"),
    }
}

pub(crate) fn say(line: std::fmt::Arguments<'_>) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

/// Waits for a line; says which port it sends from.
fn wait_for_go_from(socket: &OwnedFd) -> Result<()> {
    let address: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let v4 = address.as_sockaddr_in().map(SockaddrIn::port);
    let port = v4.or_else(|| address.as_sockaddr_in6().map(SockaddrIn6::port));
    say(format_args!("ready {}", port.context("no address of IP")?))?;
    io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// Waits for a line.
pub(crate) fn wait_for_go() -> Result<()> {
    say(format_args!("ready"))?;
    io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// Waits for the end of standard input.
pub(crate) fn wait_for_end() -> Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}
