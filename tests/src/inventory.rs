//! What the kernel itself lists as attached to a link: TCX, XDP, qdiscs and their filters.

use anyhow::Result;
use futures_util::TryStreamExt;
use rtnetlink::packet_route::{
    link::{LinkAttribute, LinkXdp},
    tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption},
};

use crate::{
    bpf::{self, Hook},
    foreign::Way,
    kernel::TCX,
    netns::Namespace,
};

/// All that is attached to a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Ids of the TCX programs on ingress, in the order in which they run.
    pub tcx_ingress: Vec<u32>,
    /// The same for egress.
    pub tcx_egress: Vec<u32>,
    /// Ids of the XDP programs.
    pub xdp: Vec<u32>,
    /// Kinds of the qdiscs, without those that a link has of itself.
    pub qdiscs: Vec<String>,
    /// The eBPF filters of clsact on ingress.
    pub filters_ingress: Vec<Filter>,
    /// The same for egress.
    pub filters_egress: Vec<Filter>,
}

/// A filter of clsact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Id of its program.
    pub program: Option<u32>,
    /// The name that it was given.
    pub name: String,
}

impl Attached {
    /// The ids of all programs.
    #[must_use]
    pub fn programs(&self) -> Vec<u32> {
        let filters = self.filters_ingress.iter().chain(&self.filters_egress);
        let filters = filters.filter_map(|filter| filter.program);
        let others = self.tcx_ingress.iter().chain(&self.tcx_egress).chain(&self.xdp);
        others.copied().chain(filters).collect()
    }
}

impl Namespace {
    /// Asks the kernel what is attached to a link.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn attached(&self, link: &str) -> Result<Attached> {
        let message = self.link(link)?;
        let ifindex = message.header.index;
        let (tcx_ingress, tcx_egress) = self.run(move || match TCX.is_here() {
            true => Ok((
                bpf::attached(ifindex, Hook::TcxIngress)?,
                bpf::attached(ifindex, Hook::TcxEgress)?,
            )),
            false => Ok((Vec::new(), Vec::new())),
        })?;
        let qdiscs = self.qdiscs(ifindex)?;
        // A dump of filters fails where no clsact is.
        let has_clsact = qdiscs.iter().any(|kind| kind == "clsact");
        let filters = |way| match has_clsact {
            true => self.filters(ifindex, way),
            false => Ok(Vec::new()),
        };
        Ok(Attached {
            tcx_ingress,
            tcx_egress,
            xdp: xdp(&message.attributes),
            filters_ingress: filters(Way::Ingress)?,
            filters_egress: filters(Way::Egress)?,
            qdiscs,
        })
    }

    fn qdiscs(&self, ifindex: u32) -> Result<Vec<String>> {
        let index = i32::try_from(ifindex)?;
        let messages: Vec<TcMessage> = self.netlink(async move |handle| {
            Ok(handle.qdisc().get().index(index).execute().try_collect().await?)
        })?;
        let own = messages.iter().filter(|message| message.header.index == index);
        let kinds = own.filter_map(kind).filter(|kind| !["noqueue", "pfifo_fast"].contains(kind));
        Ok(kinds.map(str::to_owned).collect())
    }

    fn filters(&self, ifindex: u32, way: Way) -> Result<Vec<Filter>> {
        let index = i32::try_from(ifindex)?;
        let messages: Vec<TcMessage> = self.netlink(async move |handle| {
            let mut filters = handle.traffic_filter(index);
            let request = match way {
                Way::Ingress => filters.get().ingress(),
                Way::Egress => filters.get().egress(),
            };
            Ok(request.execute().try_collect().await?)
        })?;
        // Each is told of twice: the head without options, then the filter.
        Ok(messages.iter().filter_map(filter).collect())
    }
}

fn kind(message: &TcMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.as_str()),
        _ => None,
    })
}

fn filter(message: &TcMessage) -> Option<Filter> {
    let options = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    let mut filter = Filter { program: None, name: String::new() };
    for option in options {
        match option {
            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => filter.program = Some(*id),
            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => filter.name.clone_from(name),
            _ => {}
        }
    }
    Some(filter)
}

fn xdp(attributes: &[LinkAttribute]) -> Vec<u32> {
    let nested = attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::Xdp(nested) => Some(nested),
        _ => None,
    });
    let ids = nested.flatten().filter_map(|attribute| match attribute {
        LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => Some(*id),
        _ => None,
    });
    ids.collect()
}
