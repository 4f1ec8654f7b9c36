//! Flows, protocols, sizes and bursts: what the programs say of known traffic is what was sent,
//! to the packet and to the byte.

use anyhow::{Context, Result, anyhow, ensure};
use netmon::model::accounting::Traffic;
use netmon::model::link::IfIndex;
use netmon::model::options::Hook;
use netmon::model::traffic::facts::{FlowFacts, FlowKey, Flows, InterfaceFacts, TrafficFacts};
use netmon::model::traffic::options::FlowOptions;
use netmon::model::traffic::protocol::{Direction, ProtocolClass};
use netmon::sources::ebpf::attach::{self, Attachment};
use netmon::sources::ebpf::clsact::Clsact;
use netmon::sources::ebpf::counters::CounterReader;
use netmon::sources::ebpf::flows::FlowReader;
use netmon::sources::ebpf::object::{self, Loaded, ProgramLog, Programs};
use netmon::sources::ebpf::slots::{SlotMaps, SlotTable};
use netmon_tests::netns::Namespace;

pub(crate) mod exact;
pub(crate) mod hostile;
pub(crate) mod streams;
pub(crate) mod table;
pub(crate) mod witnesses;

/// Interfaces that are looked at, for as long as this is.
pub(crate) struct Watch {
    interfaces: Vec<(IfIndex, u32, u32)>,
    counters: CounterReader,
    flows: FlowReader,
    facts: TrafficFacts,
    attached: Option<Attached>,
}

/// What is held attached, and what holds it.
struct Attached {
    attachments: Vec<Attachment>,
    programs: Programs,
    clsact: Option<Clsact>,
    slots: SlotTable<SlotMaps>,
}

impl Attached {
    fn attach(&mut self, ifindex: IfIndex, ethernet: bool) -> Result<u32> {
        let Self { attachments, programs, clsact, slots } = self;
        let slot = slots.give(ifindex, ethernet).map_err(|error| anyhow!("{error}"))?;
        let attachment = attach::attach(programs, clsact, ifindex, Hook::Auto);
        attachments.push(attachment.map_err(|error| anyhow!(error))?);
        Ok(slot)
    }
}

impl Watch {
    /// Of links of a namespace, with whether they have Ethernet headers.
    pub(crate) fn new(
        namespace: &Namespace,
        links: &[(&str, bool)],
        options: FlowOptions,
    ) -> Result<Self> {
        let links = links.iter().map(|(link, ethernet)| Ok((namespace.ifindex(link)?, *ethernet)));
        let links = links.collect::<Result<Vec<_>>>()?;
        namespace.run(move || Self::attach(&links, &options))
    }

    fn attach(links: &[(u32, bool)], options: &FlowOptions) -> Result<Self> {
        let slots = object::slots_for(links.len());
        let loaded = object::load(slots, ProgramLog::Off, true, Some(options))?;
        let Loaded { counters, flows, slots, programs, .. } = loaded;
        let mut flows = flows.context("no reader of flows")?;
        let mut interfaces = Vec::new();
        let mut attached = Attached { attachments: Vec::new(), programs, clsact: None, slots };
        for (ifindex, ethernet) in links {
            let ifindex = IfIndex(*ifindex);
            let slot = attached.attach(ifindex, *ethernet)?;
            flows.begin(slot);
            interfaces.push((ifindex, slot, 1));
        }
        let (facts, attached) = (TrafficFacts::default(), Some(attached));
        Ok(Self { interfaces, counters, flows, facts, attached })
    }

    /// Ends the counting of all interfaces, and begins that of another one. Nothing is read.
    pub(crate) fn go_over_to(&mut self, namespace: &Namespace, link: &str) -> Result<()> {
        let next = IfIndex(namespace.ifindex(link)?);
        let mut attached = self.attached.take().context("nothing is attached")?;
        let before = std::mem::take(&mut self.interfaces);
        let (attached, slot) = namespace.run(move || {
            for attachment in attached.attachments.drain(..) {
                attachment.detach(&mut attached.clsact);
            }
            before.iter().for_each(|(ifindex, ..)| attached.slots.take_back(*ifindex));
            let slot = attached.attach(next, true)?;
            Ok((attached, slot))
        })?;
        self.flows.begin(slot);
        (self.attached, self.interfaces) = (Some(attached), vec![(next, slot, 1)]);
        Ok(())
    }

    /// Reads all of it.
    pub(crate) fn read(&mut self) -> Result<&TrafficFacts> {
        self.flows.read(self.interfaces.iter().copied(), &mut self.facts);
        ensure!(self.facts.missing.is_empty(), "{:?}", self.facts.missing);
        Ok(&self.facts)
    }

    /// The table as read last.
    pub(crate) fn table(&self) -> Result<&Flows> {
        self.facts.flows.as_ref().context("no flows")
    }

    /// The totals of the first interface as read last.
    pub(crate) fn interface(&self) -> Result<&InterfaceFacts> {
        let interfaces = self.facts.interfaces.as_deref().unwrap_or_default();
        interfaces.first().context("no interface")
    }

    /// What the first interface's counters have, skb and wire, received or transmitted.
    pub(crate) fn counted(&mut self, direction: Direction) -> Result<(Traffic, Traffic)> {
        let (_, slot, _) = *self.interfaces.first().context("no interface")?;
        let counters = self.counters.now(slot).context("no such slot")?;
        let counters = match direction {
            Direction::Rx => counters.rx,
            Direction::Tx => counters.tx,
        };
        Ok((
            Traffic { packets: counters.packets, bytes: counters.bytes },
            Traffic { packets: counters.wire_packets(), bytes: counters.wire_bytes() },
        ))
    }

    /// The only flow that is so.
    pub(crate) fn flow(&self, is: impl Fn(&FlowKey) -> bool) -> Result<FlowFacts> {
        let table = self.table()?;
        let mut found = table.flows.iter().filter(|flow| is(&flow.key));
        let flow = found.next().with_context(|| format!("no such flow: {table:#?}"))?;
        ensure!(found.next().is_none(), "more than one such flow: {table:#?}");
        Ok(*flow)
    }
}

/// A number of packets of a length.
pub(crate) fn packets(packets: u64, length: usize) -> Traffic {
    Traffic { packets, bytes: packets * length as u64 }
}

/// All of a table's flows, as a cable carries them, with what is no flow's.
pub(crate) fn everything(table: &Flows) -> Traffic {
    let flows = table.flows.iter().map(|flow| flow.wire);
    flows.fold(table.gone.plus(table.untracked), Traffic::plus)
}

/// The total of a class.
pub(crate) fn class_of(totals: &[Traffic], class: ProtocolClass) -> Traffic {
    totals.get(class as usize).copied().unwrap_or_default()
}

/// The sum of all classes.
pub(crate) fn sum(totals: &[Traffic]) -> Traffic {
    totals.iter().fold(Traffic::default(), |sum, more| sum.plus(*more))
}
