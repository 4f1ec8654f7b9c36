//! Attaches the programs to one interface: which hooks, in which order, and what to fall back
//! to. Another's program is never replaced. What is attached is owned by [`Attachment`]; links go
//! with the process, filters of clsact do not (see [`super::clsact`]).

use std::ffi::OsStr;
use std::fmt;
use std::io;

use aya::util::KernelVersion;
use netmon_common::{EGRESS_PROGRAM, INGRESS_PROGRAM};

use super::bpf_link::{BpfLink, Direction, XdpMode};
use super::clsact::Clsact;
use super::errors::one_line;
use super::object::Programs;
use crate::model::link::IfIndex;
use crate::model::options::Hook;
use crate::sources::netlink::ethtool::{Ethtool, name_of};

mod look;

pub use look::Finding;

/// What counts a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcx,
    Clsact,
    XdpNative,
    XdpGeneric,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcx => "TCX",
            Self::Clsact => "clsact",
            Self::XdpNative => "XDP native",
            Self::XdpGeneric => "XDP generic",
        })
    }
}

/// What is attached in one direction.
#[derive(Debug)]
struct Attached {
    kind: Kind,
    /// `None`: a filter of clsact, which is known by its handle.
    link: Option<BpfLink>,
}

/// What is attached to an interface.
#[derive(Debug)]
pub struct Attachment {
    ifindex: IfIndex,
    rx: Attached,
    tx: Attached,
    made_clsact: bool,
    note: Option<String>,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rx.kind, self.tx.kind) {
            (rx, tx) if rx == tx => write!(f, "{rx} in+out")?,
            (rx, tx) => write!(f, "{rx} in, {tx} out")?,
        }
        match &self.note {
            Some(note) => write!(f, " ({note})"),
            None => Ok(()),
        }
    }
}

impl Attachment {
    /// Whether a native XDP program of ours is attached, which can take a card's link down for
    /// some seconds.
    #[must_use]
    pub fn is_native_xdp(&self) -> bool {
        self.rx.kind == Kind::XdpNative
    }

    fn has_filters(&self) -> bool {
        [self.rx.kind, self.tx.kind].contains(&Kind::Clsact)
    }

    /// Detaches, and removes the clsact qdisc if it was made for this and nobody uses it.
    pub fn detach(self, clsact: &mut Option<Clsact>) {
        let filters = self.has_filters();
        let Self { ifindex, rx, tx, made_clsact, .. } = self;
        drop((rx, tx));
        if let Some(clsact) = clsact.as_mut().filter(|_| filters) {
            let removed = clsact.remove_ours(ifindex);
            // Where none was left, the qdisc is another's by now.
            if made_clsact && removed > 0 {
                clsact.remove_if_empty(ifindex);
            }
        }
    }
}

/// Attaches both directions, or nothing.
///
/// # Errors
/// In words for people, when there is no hook that can be used.
pub fn attach(
    programs: &Programs,
    clsact: &mut Option<Clsact>,
    ifindex: IfIndex,
    hook: Hook,
) -> Result<Attachment, String> {
    let name = match name_of(ifindex) {
        Ok(name) => name,
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
            return Err("it was removed before the programs were attached".to_owned());
        }
        Err(error) => return Err(format!("its name cannot be read: {error}")),
    };
    let (xdp, note) = match attach_xdp(programs, (ifindex, &name), hook) {
        Ok(xdp) => (xdp, None),
        Err(why) => (None, Some(why)),
    };
    let mut tc = TcAttacher { programs, clsact, ifindex, hook, made_clsact: false };
    let rx = match xdp {
        Some(xdp) => xdp,
        None => tc.attach(Direction::Ingress)?,
    };
    let tx = tc.attach(Direction::Egress);
    let made_clsact = tc.made_clsact;
    let attachment = |tx| Attachment { ifindex, rx, tx, made_clsact, note };
    match tx {
        Ok(tx) => Ok(attachment(tx)),
        Err(error) => {
            let nothing = Attached { kind: Kind::Clsact, link: None };
            attachment(nothing).detach(clsact);
            Err(error)
        }
    }
}

/// `Ok(None)`: not asked for. An error is the reason to fall back to TC, in words.
fn attach_xdp(
    programs: &Programs,
    (ifindex, name): (IfIndex, &OsStr),
    hook: Hook,
) -> Result<Option<Attached>, String> {
    let (kind, mode, frags_first) = match hook {
        // With the other one nobody could raise the MTU of a veth's other end any more.
        Hook::Xdp => (Kind::XdpNative, XdpMode::Native, is_veth(name)),
        // For the other one the kernel would copy each super-packet into one buffer.
        Hook::XdpGeneric => (Kind::XdpGeneric, XdpMode::Generic, true),
        Hook::Auto | Hook::Tc | Hook::Clsact => return Ok(None),
    };
    if !kernel_from(5, 9) {
        // Before, XDP has no links: another's program would be replaced, and ours would stay.
        return Err(format!("not {kind}: it needs Linux 5.9"));
    }
    if let Some(why) = &programs.no_xdp {
        return Err(why.clone());
    }
    let attach = |frags: bool| match programs.xdp(frags) {
        Some(program) => BpfLink::xdp(program, ifindex, mode),
        None => Err(io::ErrorKind::Unsupported.into()),
    };
    let attached = match attach(frags_first) {
        // Another's program stands in the way of either.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) => {
            Err(error)
        }
        Err(error) => attach(!frags_first).map_err(|_| error),
        attached => attached,
    };
    match attached {
        Ok(link) => Ok(Some(Attached { kind, link: Some(link) })),
        Err(error) => Err(format!("not {kind}: {}", xdp_refusal(&error))),
    }
}

fn is_veth(name: &OsStr) -> bool {
    Ethtool::new().is_ok_and(|ethtool| ethtool.driver(name).as_deref() == Some("veth"))
}

fn xdp_refusal(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => "another XDP program is attached, which is left alone".to_owned(),
        Some(libc::EEXIST) => {
            "another XDP program is attached in another mode, or to the interface above it, \
             and is left alone"
                .to_owned()
        }
        Some(libc::EOPNOTSUPP) => "the driver has none".to_owned(),
        _ => error.to_string(),
    }
}

struct TcAttacher<'a> {
    programs: &'a Programs,
    clsact: &'a mut Option<Clsact>,
    ifindex: IfIndex,
    hook: Hook,
    made_clsact: bool,
}

impl TcAttacher<'_> {
    fn attach(&mut self, direction: Direction) -> Result<Attached, String> {
        if self.hook != Hook::Clsact && has_tcx() {
            // First in both directions: another program's verdict, even to pass, ends the chain.
            match BpfLink::tcx(self.programs.classifier(direction), self.ifindex, direction) {
                Ok(link) => return Ok(Attached { kind: Kind::Tcx, link: Some(link) }),
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {}
                Err(error) => return Err(format!("TCX: {error}")),
            }
        }
        self.attach_clsact(direction).map_err(|error| format!("clsact: {error}"))
    }

    fn attach_clsact(&mut self, direction: Direction) -> Result<Attached, String> {
        let clsact = match self.clsact {
            Some(clsact) => clsact,
            None => self.clsact.insert(Clsact::new().map_err(|error| one_line(&error))?),
        };
        self.made_clsact |= clsact.ensure(self.ifindex).map_err(|error| one_line(&error))?;
        let name = match direction {
            Direction::Ingress => INGRESS_PROGRAM,
            Direction::Egress => EGRESS_PROGRAM,
        };
        let program = (self.programs.classifier(direction), name);
        clsact
            .add(self.ifindex, direction, program, self.made_clsact)
            .map_err(|error| one_line(&error))?;
        Ok(Attached { kind: Kind::Clsact, link: None })
    }
}

/// TCX links came with Linux 6.6.
#[must_use]
pub fn has_tcx() -> bool {
    kernel_from(6, 6)
}

fn kernel_from(major: u8, minor: u8) -> bool {
    KernelVersion::current().is_ok_and(|current| current >= KernelVersion::new(major, minor, 0))
}
