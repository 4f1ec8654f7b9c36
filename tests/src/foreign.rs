//! Programs that stand for somebody else's on the same link: they do nothing but be there, and
//! must be there afterwards.

use std::{
    ffi::CStr,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::{
        RouteNetlinkMessage,
        tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
    },
};

use crate::{
    bpf::{self, Hook, Kind},
    netns::Namespace,
};

/// The name that the programs have in the kernel's listings.
pub const NAME: &CStr = c"not_netmons";

/// Goes on to the next program, and passes the packet after the last (`TC_ACT_UNSPEC`).
pub const TC_NEXT: i32 = -1;
/// Passes the packet without asking the programs behind (`TC_ACT_OK`).
pub const TC_PASS: i32 = 0;
/// Drops the packet (`XDP_DROP`).
pub const XDP_DROP: i32 = 1;
/// Passes the packet to the stack (`XDP_PASS`).
pub const XDP_PASS: i32 = 2;

/// A way to attach an XDP program: `XDP_FLAGS_*` in `linux/if_link.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum XdpMode {
    /// In the stack, for every link.
    Generic = 2,
    /// In the driver.
    Native = 4,
}

/// Which way the packets go. The values are the minor numbers of clsact's two classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Way {
    /// Into the host.
    Ingress = 0xfff2,
    /// Out of the host.
    Egress = 0xfff3,
}

impl Way {
    const fn tcx(self) -> Hook {
        match self {
            Self::Ingress => Hook::TcxIngress,
            Self::Egress => Hook::TcxEgress,
        }
    }
}

/// Somebody else's program; it goes when this value is dropped, except from clsact, whose filter
/// stays with its link.
#[derive(Debug)]
pub struct Foreign {
    /// Its id in the kernel.
    pub program: u32,
    _held: Vec<OwnedFd>,
}

impl Namespace {
    /// Attaches one by TCX, behind those that are there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn foreign_tcx(&self, link: &str, way: Way, verdict: i32) -> Result<Foreign> {
        self.foreign(link, Kind::SchedCls, way.tcx(), verdict, 0)
    }

    /// Attaches one by TCX, in front of those that are there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn foreign_tcx_in_front(&self, link: &str, way: Way, verdict: i32) -> Result<Foreign> {
        self.foreign(link, Kind::SchedCls, way.tcx(), verdict, bpf::BEFORE)
    }

    /// Attaches one by XDP.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn foreign_xdp(&self, link: &str, mode: XdpMode, verdict: i32) -> Result<Foreign> {
        self.foreign(link, Kind::Xdp, Hook::Xdp, verdict, mode as u32)
    }

    fn foreign(
        &self,
        link: &str,
        kind: Kind,
        hook: Hook,
        verdict: i32,
        flags: u32,
    ) -> Result<Foreign> {
        let ifindex = self.ifindex(link)?;
        self.run(move || {
            let program = bpf::load_constant(kind, NAME, verdict)?;
            let attachment = bpf::attach(&program, ifindex, hook, flags)?;
            let id = bpf::program_id(&program)?;
            Ok(Foreign { program: id, _held: vec![program, attachment] })
        })
    }

    /// Adds the qdisc clsact to a link.
    ///
    /// # Errors
    /// When there is one.
    pub fn add_clsact(&self, link: &str) -> Result<()> {
        self.add_qdisc(link, "clsact")
    }

    /// Adds an ingress qdisc, as `tc qdisc add dev LINK ingress` does: it takes clsact's place.
    ///
    /// # Errors
    /// When there is one of either kind already.
    pub fn add_ingress(&self, link: &str) -> Result<()> {
        self.add_qdisc(link, "ingress")
    }

    fn add_qdisc(&self, link: &str, kind: &str) -> Result<()> {
        let message = RouteNetlinkMessage::NewQueueDiscipline(self.qdisc(link, kind)?);
        self.request(message, NLM_F_CREATE | NLM_F_EXCL)
            .with_context(|| format!("adding {kind} to {link}"))
    }

    /// Deletes clsact with all its filters, whosever they are.
    ///
    /// # Errors
    /// When there is none.
    pub fn delete_clsact(&self, link: &str) -> Result<()> {
        let message = RouteNetlinkMessage::DelQueueDiscipline(self.qdisc(link, "clsact")?);
        self.request(message, 0).with_context(|| format!("deleting the clsact of {link}"))
    }

    fn qdisc(&self, link: &str, kind: &str) -> Result<TcMessage> {
        let mut message = self.tc_message(link)?;
        message.header.handle = TcHandle { major: 0xffff, minor: 0 };
        message.header.parent = TcHandle::CLSACT;
        message.attributes.push(TcAttribute::Kind(kind.to_owned()));
        Ok(message)
    }

    /// Attaches one as a filter of clsact, which must be there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn foreign_clsact(&self, link: &str, way: Way, verdict: i32) -> Result<Foreign> {
        /// `TCA_BPF_FLAG_ACT_DIRECT`: the program's result is the verdict.
        const DIRECT: u32 = 1;
        const ETH_P_ALL: u16 = 3;
        let program = bpf::load_constant(Kind::SchedCls, NAME, verdict)?;
        let id = bpf::program_id(&program)?;
        let mut message = self.tc_message(link)?;
        message.header.parent = TcHandle { major: 0xffff, minor: way as u16 };
        message.header.info = u32::from(ETH_P_ALL.to_be());
        message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
        message.attributes.push(TcAttribute::Options(vec![
            TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned())),
            TcOption::Bpf(TcFilterBpfOption::ProgName(NAME.to_string_lossy().into_owned())),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::from_bits_retain(DIRECT))),
        ]));
        self.request(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE | NLM_F_EXCL)
            .with_context(|| format!("adding a filter to {link}"))?;
        Ok(Foreign { program: id, _held: vec![program] })
    }

    fn tc_message(&self, link: &str) -> Result<TcMessage> {
        let mut message = TcMessage::default();
        message.header.index = i32::try_from(self.ifindex(link)?)?;
        Ok(message)
    }

    fn request(&self, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.netlink(async move |mut handle| {
            let mut request = NetlinkMessage::from(message);
            request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
            let mut answers = handle.request(request)?;
            while let Some(answer) = answers.next().await {
                if let NetlinkPayload::Error(error) = answer.payload
                    && error.code.is_some()
                {
                    bail!("{error}");
                }
            }
            Ok(())
        })
    }
}
