//! Every kind of system call, by TCP and UDP over IPv4 and IPv6: both sides to the byte, and
//! where one call is one message, to the message.

use anyhow::{Result, bail};
use netmon::model::traffic::facts::{ProcessFacts, SocketTraffic};
use netmon_tests::{netns::Namespace, peer::Peer};

use super::{PEER, Watch, loopback, received, sent};
use crate::Test;

/// Forty datagrams fit into a socket that nobody reads meanwhile.
const BYTES: u64 = 40_000;
const ADDRESSES: [&str; 2] = ["127.0.0.1", "[::1]"];
const SENDING: &[&str] = &[
    "write",
    "writev",
    "send",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "more",
    "sendfile",
    "splice",
    "io_uring_send",
    "io_uring_write",
    "io_uring_sendmsg",
    "io_uring_send_zc",
    "zerocopy",
];
const RECEIVING: &[&str] = &[
    "read",
    "readv",
    "recv",
    "recvmsg",
    "recvmmsg",
    "peek",
    "io_uring_recv",
    "io_uring_read",
    "io_uring_recvmsg",
];

pub(crate) const TESTS: &[Test] = &[
    ("every_way_to_send_by_tcp", || every_way("tcp", SENDING, &["recv"])),
    ("every_way_to_receive_by_tcp", || every_way("tcp", &["send"], RECEIVING)),
    ("every_way_to_send_by_udp", || every_way("udp", UDP_SENDING, &["recv"])),
    ("every_way_to_receive_by_udp", || every_way("udp", &["send"], RECEIVING)),
    ("splice_out_of_a_socket", splice_out_of_a_socket),
];

/// A datagram is made of what one call gives: `more` has others.
const UDP_SENDING: &[&str] = &[
    "write",
    "writev",
    "send",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "segments",
    "sendfile_pieces",
    "splice_pieces",
    "io_uring_send",
    "io_uring_write",
    "io_uring_sendmsg",
    "io_uring_send_zc",
    "zerocopy",
];

/// What was said of the sender and the receiver, and their numbers of messages.
struct Told {
    sender: ProcessFacts,
    receiver: ProcessFacts,
    messages: (u64, u64),
}

fn transfer(
    watch: &mut Watch,
    namespace: &Namespace,
    [transport, address]: [&str; 2],
    [sending, receiving]: [&str; 2],
) -> Result<Told> {
    let bytes = BYTES.to_string();
    let anywhere = format!("{address}:0");
    let mut receiver =
        Peer::start(namespace, PEER, &["receive", transport, &anywhere, receiving, &bytes])?;
    let there = format!("{address}:{}", receiver.tells("port")?);
    let mut sender = Peer::start(namespace, PEER, &["send", transport, &there, sending, &bytes])?;
    sender.says("ready")?;
    sender.go()?;
    let messages = (sender.tells("done")?, receiver.tells("done")?);
    let told = Told {
        sender: watch.process(sender.pid())?,
        receiver: watch.process(receiver.pid())?,
        messages,
    };
    sender.end()?;
    receiver.end()?;
    Ok(told)
}

fn every_way(transport: &str, sending: &[&str], receiving: &[&str]) -> Result<()> {
    let (mut watch, namespace) = (Watch::start()?, loopback()?);
    for address in ADDRESSES {
        for sending in sending {
            for receiving in receiving {
                let told =
                    transfer(&mut watch, &namespace, [transport, address], [sending, receiving])?;
                let Told { sender, receiver, messages: (out, taken) } = &told;
                let what = format!("{transport} to {address} by {sending} and {receiving}");
                // Where the kernel makes the messages, their number is its own matter.
                let out = if *out == 0 { of(sender, transport).tx_messages } else { *out };
                is(sender, transport, sent(BYTES, out), &what);
                is(receiver, transport, received(BYTES, *taken), &what);
            }
        }
    }
    Ok(())
}

fn of(process: &ProcessFacts, transport: &str) -> SocketTraffic {
    if transport == "tcp" { process.tcp } else { process.udp }
}

/// Carried this by this protocol, and nothing by the other.
fn is(process: &ProcessFacts, transport: &str, expected: SocketTraffic, what: &str) {
    let (tcp, udp) = match transport {
        "tcp" => (expected, SocketTraffic::default()),
        _ => (SocketTraffic::default(), expected),
    };
    assert_eq!((process.tcp, process.udp), (tcp, udp), "{what}: {process:#?}");
}

/// There is no tracepoint (Linux 6.18): it is counted where the kernel lets a program stand at
/// the end of the function.
fn splice_out_of_a_socket() -> Result<()> {
    let (mut watch, namespace) = (Watch::alone()?, loopback()?);
    let told = transfer(&mut watch, &namespace, ["tcp", "127.0.0.1"], ["send", "splice"]);
    match (told, watch.tracer.sees_splice()) {
        (Ok(Told { receiver, messages: (_, taken), .. }), true) => {
            is(&receiver, "tcp", received(BYTES, taken), "splice");
            Ok(())
        }
        (Err(error), false) if error.to_string().starts_with("nothing is said of") => Ok(()),
        (Ok(told), false) => bail!("seen by whom? {:?}", told.receiver),
        (Err(error), _) => Err(error),
    }
}
