//! Attaches the programs to one interface: which hooks, in which order, and what to fall back
//! to. Another's program is never replaced. What is attached is owned by [`Attachment`]: when
//! that is dropped, or the process dies, it is gone (clsact: see [`super::clsact`]).

use std::fmt;

use aya::programs::links::LinkOrder;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, TcAttachType, XdpMode};
use aya::util::KernelVersion;
use netmon_common::{EGRESS_PROGRAM, INGRESS_PROGRAM, XDP_FRAGS_PROGRAM, XDP_PROGRAM};

use super::clsact::Clsact;
use super::errors::{errno, one_line};
use super::object::Programs;
use crate::model::link::IfIndex;
use crate::model::options::Hook;
use crate::sources::netlink::ethtool::{Ethtool, name_of};

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

#[expect(dead_code, reason = "links are held to be dropped")]
enum Link {
    Tc(SchedClassifierLink),
    Xdp(XdpLink),
}

/// What is attached to an interface. Dropping it detaches.
pub struct Attachment {
    ifindex: IfIndex,
    rx: (Kind, Link),
    tx: (Kind, Link),
    made_clsact: bool,
    note: Option<String>,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rx.0, self.tx.0) {
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
        self.rx.0 == Kind::XdpNative
    }

    /// Whether something of it has to be removed, since it does not go with the process.
    #[must_use]
    pub fn is_clsact(&self) -> bool {
        [self.rx.0, self.tx.0].contains(&Kind::Clsact)
    }

    /// Detaches, and removes the clsact qdisc if it was made for this and nobody uses it.
    pub fn detach(self, clsact: &mut Option<Clsact>) {
        let Self { ifindex, rx, tx, made_clsact, note: _ } = self;
        drop((rx, tx));
        if made_clsact && let Some(clsact) = clsact {
            clsact.remove_if_empty(ifindex);
        }
    }
}

/// Attaches both directions, or nothing.
///
/// # Errors
/// In words for people, when there is no hook that can be used.
pub fn attach(
    programs: &mut Programs,
    clsact: &mut Option<Clsact>,
    ifindex: IfIndex,
    hook: Hook,
) -> Result<Attachment, String> {
    let name = name_of(ifindex)
        .ok_or_else(|| "it was removed before the programs were attached".to_owned())?;
    let (xdp, note) = match attach_xdp(programs, (ifindex, &name), hook) {
        Ok(xdp) => (xdp, None),
        Err(why) => (None, Some(why)),
    };
    let mut tc = TcAttacher { programs, clsact, ifindex, name: &name, hook, made_clsact: false };
    let rx = match xdp {
        Some(xdp) => Ok(xdp),
        None => tc.attach(INGRESS_PROGRAM, TcAttachType::Ingress),
    };
    let both = rx.and_then(|rx| Ok((rx, tc.attach(EGRESS_PROGRAM, TcAttachType::Egress)?)));
    let made_clsact = tc.made_clsact;
    // aya attaches by name; if names were changed meanwhile, that was another interface.
    let both = both.and_then(|both| match name_of(ifindex) {
        Some(now) if now == name => Ok(both),
        _ => Err("it was renamed while the programs were attached".to_owned()),
    });
    match both {
        Ok((rx, tx)) => Ok(Attachment { ifindex, rx, tx, made_clsact, note }),
        Err(error) => {
            if made_clsact && let Some(clsact) = clsact {
                clsact.remove_if_empty(ifindex);
            }
            Err(error)
        }
    }
}

/// `Ok(None)`: not asked for. An error is the reason to fall back to TC, in words.
fn attach_xdp(
    programs: &mut Programs,
    (ifindex, name): (IfIndex, &str),
    hook: Hook,
) -> Result<Option<(Kind, Link)>, String> {
    let (kind, mode, names) = match hook {
        // With the first one nobody could raise the MTU of a veth's other end any more.
        Hook::Xdp if is_veth(name) => {
            (Kind::XdpNative, XdpMode::Driver, [XDP_FRAGS_PROGRAM, XDP_PROGRAM])
        }
        Hook::Xdp => (Kind::XdpNative, XdpMode::Driver, [XDP_PROGRAM, XDP_FRAGS_PROGRAM]),
        // For the other one the kernel would copy each super-packet into one buffer.
        Hook::XdpGeneric => (Kind::XdpGeneric, XdpMode::Skb, [XDP_FRAGS_PROGRAM, XDP_PROGRAM]),
        Hook::Auto | Hook::Tc | Hook::Clsact => return Ok(None),
    };
    if !kernel_from(5, 9) {
        // Before, XDP has no links: another's program would be replaced, and ours would stay.
        return Err(format!("not {kind}: it needs Linux 5.9"));
    }
    if let Some(why) = &programs.no_xdp {
        return Err(why.clone());
    }
    let [first, second] = names;
    let attached = match attach_xdp_program(programs, first, ifindex, mode) {
        // Another's program stands in the way of either.
        Err(error) if matches!(errno(&error), Some(libc::EBUSY | libc::EEXIST)) => Err(error),
        Err(error) => attach_xdp_program(programs, second, ifindex, mode).map_err(|_| error),
        attached => attached,
    };
    match attached {
        Ok(link) => Ok(Some((kind, Link::Xdp(link)))),
        Err(error) => Err(format!("not {kind}: {}", xdp_refusal(&error))),
    }
}

fn is_veth(name: &str) -> bool {
    Ethtool::new().is_ok_and(|ethtool| ethtool.driver(name).as_deref() == Some("veth"))
}

fn attach_xdp_program(
    programs: &mut Programs,
    name: &str,
    ifindex: IfIndex,
    mode: XdpMode,
) -> Result<XdpLink, ProgramError> {
    let program = programs.xdp(name)?;
    let id = program.attach_to_if_index(ifindex.0, mode)?;
    program.take_link(id)
}

fn xdp_refusal(error: &ProgramError) -> String {
    match errno(error) {
        Some(libc::EBUSY) => "another XDP program is attached, which is left alone".to_owned(),
        Some(libc::EEXIST) => {
            "another XDP program is attached in another mode, or to the interface above it, \
             and is left alone"
                .to_owned()
        }
        Some(libc::EOPNOTSUPP) => "the driver has none".to_owned(),
        _ => one_line(error),
    }
}

struct TcAttacher<'a> {
    programs: &'a mut Programs,
    clsact: &'a mut Option<Clsact>,
    ifindex: IfIndex,
    name: &'a str,
    hook: Hook,
    made_clsact: bool,
}

impl TcAttacher<'_> {
    fn attach(&mut self, program: &str, direction: TcAttachType) -> Result<(Kind, Link), String> {
        if self.hook != Hook::Clsact && has_tcx() {
            match self.attach_tcx(program, direction) {
                Err(error) if matches!(errno(&error), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {}
                result => return result.map_err(|error| format!("TCX: {}", one_line(&error))),
            }
        }
        self.attach_clsact(program, direction).map_err(|error| format!("clsact: {error}"))
    }

    /// First in both directions: another program's verdict, even to pass, ends the chain.
    fn attach_tcx(
        &mut self,
        program: &str,
        direction: TcAttachType,
    ) -> Result<(Kind, Link), ProgramError> {
        let link =
            self.attach_as(program, direction, TcAttachOptions::TcxOrder(LinkOrder::first()))?;
        Ok((Kind::Tcx, link))
    }

    fn attach_clsact(
        &mut self,
        program: &str,
        direction: TcAttachType,
    ) -> Result<(Kind, Link), String> {
        let clsact = match self.clsact {
            Some(clsact) => clsact,
            None => self.clsact.insert(Clsact::new().map_err(|error| one_line(&error))?),
        };
        self.made_clsact |= clsact.ensure(self.ifindex).map_err(|error| one_line(&error))?;
        let options = NlOptions {
            priority: 0,
            handle: TcHandle::from(Clsact::filter_handle(self.made_clsact)),
            classid: None,
        };
        let link = self
            .attach_as(program, direction, TcAttachOptions::Netlink(options))
            .map_err(|error| one_line(&error))?;
        Ok((Kind::Clsact, link))
    }

    fn attach_as(
        &mut self,
        program: &str,
        direction: TcAttachType,
        options: TcAttachOptions,
    ) -> Result<Link, ProgramError> {
        let program = self.programs.classifier(program)?;
        let id = program.attach_with_options(self.name, direction, options)?;
        Ok(Link::Tc(program.take_link(id)?))
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
