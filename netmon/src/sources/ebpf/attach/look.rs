//! What has become of what was attached: whether it is still there, and what stands in front.

use std::io;

use super::super::bpf_link::{self, Direction};
use super::super::clsact::Clsact;
use super::{Attached, Attachment, Kind, has_tcx};
use crate::model::link::IfIndex;

/// What a look at an attachment has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The programs are attached, and nothing else that is known of stands in front of them.
    InPlace,
    /// A program is not attached any more; the text says which and, where that is known, why.
    Detached(String),
    /// Another program stands in front of one of ours: when it ends a packet's way, ours does not
    /// see the packet. The text names it.
    Behind(String),
}

impl Attachment {
    /// Looks at both directions. Needs CAP_NET_ADMIN.
    ///
    /// # Errors
    /// The kernel's, when it cannot be known.
    pub fn look(&self, clsact: &mut Option<Clsact>) -> io::Result<Finding> {
        let directions = [(&self.rx, Direction::Ingress), (&self.tx, Direction::Egress)];
        let mut found = Finding::InPlace;
        for (attached, direction) in directions {
            match attached.look(self.ifindex, direction, clsact)? {
                detached @ Finding::Detached(_) => return Ok(detached),
                behind @ Finding::Behind(_) => found = behind,
                Finding::InPlace => {}
            }
        }
        Ok(found)
    }
}

impl Attached {
    fn look(
        &self,
        ifindex: IfIndex,
        direction: Direction,
        clsact: &mut Option<Clsact>,
    ) -> io::Result<Finding> {
        let Self { kind, link } = self;
        let Some(link) = link else {
            return look_at_filter(ifindex, direction, clsact);
        };
        let facts = link.facts()?;
        if facts.ifindex.is_none() {
            return Ok(Finding::Detached(format!(
                "netmon's {kind} program on {direction} was detached by another program"
            )));
        }
        if *kind != Kind::Tcx {
            return Ok(Finding::InPlace);
        }
        let programs = bpf_link::tcx_programs(ifindex, direction)?;
        let before = programs.iter().position(|program| *program == facts.program).unwrap_or(0);
        Ok(behind_tcx(&programs[..before], direction))
    }
}

fn behind_tcx(before: &[u32], direction: Direction) -> Finding {
    match before {
        [] => Finding::InPlace,
        [first, ..] => Finding::Behind(format!(
            "another program (TCX, id {first}) stands in front of netmon's on {direction}"
        )),
    }
}

fn look_at_filter(
    ifindex: IfIndex,
    direction: Direction,
    clsact: &mut Option<Clsact>,
) -> io::Result<Finding> {
    let Some(clsact) = clsact else {
        return Ok(Finding::InPlace);
    };
    let before = clsact.before_ours(ifindex, direction).map_err(io::Error::other)?;
    Ok(match before {
        None => Finding::Detached(format!(
            "netmon's filter on {direction} was removed by another program, or the whole clsact \
             qdisc was"
        )),
        Some(Some(name)) => Finding::Behind(format!(
            "another filter ({name}) stands in front of netmon's on {direction}"
        )),
        Some(None) if has_tcx() => {
            behind_tcx(&bpf_link::tcx_programs(ifindex, direction)?, direction)
        }
        Some(None) => Finding::InPlace,
    })
}
