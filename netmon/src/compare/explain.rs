//! Names for a difference between what eBPF counted and what the kernel's counters say the rules
//! that explain it. Pure.
//!
//! `skb − kernel = (skb − report) + (report − kernel)`. The first part is how the device counts
//! (`model::accounting`), and is known exactly. The second is the drift: packets that only one of
//! both has seen. Nothing is assumed about a drift that no cause was found for.

use serde::{Deserialize, Serialize};

use super::outcome::{Difference, Part};
use crate::model::accounting::Traffic;

/// A rule. In JSON by its name in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The device counts what super-packets (GSO, GRO) are on a cable, and VLAN tags.
    AsOnACable,
    /// The device counts the VLAN tags that were taken out of the packets.
    VlanTags,
    /// The device's bytes leave out the Ethernet header.
    NoEthernetHeader,
    /// Loopback shows as sent what it received.
    LoopbackReceived,
    /// The device has begun to count in another way meanwhile (offloads or XDP were switched).
    OtherRule,
    /// The device has counted super-packets as on a cable, and netmon's report does not.
    CountsAsOnACable,
    /// Counted at egress, then dropped by a filter, the queueing discipline or the driver.
    DroppedAfterHook,
    /// Counted at egress, and still waiting in the queueing discipline.
    Waiting,
    /// The queueing discipline cuts super-packets up before the device counts them.
    CutInQueue,
    /// Another XDP program drops or redirects packets before TC sees them.
    XdpBeforeHook,
    /// The counters are read one after the other, and this much can pass between.
    InFlight,
}

impl Reason {
    /// For people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::AsOnACable => "the device counts super-packets as on a cable (and VLAN tags)",
            Self::VlanTags => "VLAN tags, which are taken out of the packets",
            Self::NoEthernetHeader => "the device leaves out the 14 bytes of the Ethernet header",
            Self::LoopbackReceived => "loopback shows as sent what it received",
            Self::OtherRule => "the device began to count in another way, or is another one now",
            Self::CountsAsOnACable => {
                "the device counted super-packets as on a cable; the report shows it otherwise"
            }
            Self::DroppedAfterHook => {
                "dropped after the hook, as others have counted: filter, queueing discipline, driver"
            }
            Self::Waiting => "waiting in the queueing discipline",
            Self::CutInQueue => {
                "the queueing discipline cuts super-packets up (as tbf and cake do)"
            }
            Self::XdpBeforeHook => {
                "an XDP program of somebody else's comes first, and may drop or redirect"
            }
            Self::InFlight => "in flight: the counters are read one after the other",
        }
    }
}

/// What is known of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    /// As the stack handles packets.
    pub skb: Traffic,
    /// As a cable carries them.
    pub wire: Traffic,
    /// The report's totals.
    pub report: Traffic,
    /// The report's totals of what was received, if this is what was sent.
    pub received: Option<Traffic>,
    /// The kernel's own counters.
    pub kernel: Traffic,
    /// Dropped after egress: by the queueing discipline and by the driver.
    pub dropped_after: u64,
    /// A queueing discipline is there that cuts super-packets up.
    pub cut_in_queue: bool,
    /// Another XDP program is attached before our hook.
    pub foreign_xdp: bool,
    /// Packets that can pass while the counters are read, generously.
    pub in_flight: u64,
    /// The least of what is left of the drift when it is taken between other ticks than the
    /// first and the last: what has really been lost is in all of them.
    pub lasting: Option<Difference>,
    /// Packets that wait in the queueing discipline, at the first or at the last tick.
    pub waiting: u64,
}

/// How generous `in_flight` is, as traffic is not even. A drift that lasts over several ticks is
/// not in flight, unless it is as small as that can be everywhere.
pub const GENEROUS: u64 = 4;
/// linux/if_ether.h: ETH_HLEN.
const ETHERNET_HEADER: u64 = 14;
/// The longest packet without and with segmentation still to come: a jumbo frame is found by
/// the average, GSO's limit is from include/linux/netdevice.h (GSO_LEGACY_MAX_SIZE and headers).
const FULL_FRAME: u64 = 1_518;
const SUPER_PACKET: u64 = 65_550;
/// Ethernet with a VLAN tag, IPv6 and TCP with all options, and what a tunnel adds to that.
const LONGEST_HEADERS: u64 = 192;
/// A packet that is dropped in the queue may be this many on the wire (GSO_MAX_SEGS is higher,
/// but 64 KiB in segments of 1,448 bytes are 45).
const MOST_SEGMENTS: u64 = 64;

/// The parts that explain the difference, and what is left of it.
#[must_use]
pub fn explain(known: &Known) -> (Vec<Part>, Difference) {
    let mut parts = Vec::new();
    let mut add = |rule, amount: Difference| {
        if !amount.is_zero() {
            parts.push(Part { rule, amount });
        }
    };
    add_rule(known, &mut add);
    let drift = Difference::of(known.report, known.kernel);
    if let Some(rule) = cause(known, drift) {
        add(rule, drift);
        return (parts, Difference::default());
    }
    if drift.packets < 0 && known.wire.packets > known.report.packets {
        return cut(known, parts, drift);
    }
    tagged(known, parts, drift)
}

/// The device has counted VLAN tags that the report, as the stack, is without.
fn tagged(known: &Known, mut parts: Vec<Part>, drift: Difference) -> (Vec<Part>, Difference) {
    let Known { skb, wire, report, kernel, .. } = *known;
    let tags = wire.bytes.saturating_sub(skb.bytes);
    if tags == 0 || (wire.packets, report.packets) != (skb.packets, skb.packets) {
        return (parts, drift);
    }
    let with_tags = Traffic { bytes: report.bytes + tags, ..report };
    let left = Difference::of(with_tags, kernel);
    // Ticks tell of drifts without tags.
    let whole = Known { report: with_tags, lasting: None, ..*known };
    let Some(rule) = cause(&whole, left) else { return (parts, drift) };
    parts.push(Part { rule: Reason::VlanTags, amount: Difference::of(report, with_tags) });
    if !left.is_zero() {
        parts.push(Part { rule, amount: left });
    }
    (parts, Difference::default())
}

/// The device has counted more packets than it was handed, and super-packets were among these.
fn cut(known: &Known, mut parts: Vec<Part>, drift: Difference) -> (Vec<Part>, Difference) {
    let Known { report, wire, kernel, .. } = *known;
    let left = Difference::of(wire, kernel);
    let add = |parts: &mut Vec<Part>, rule, amount: Difference| {
        if !amount.is_zero() {
            parts.push(Part { rule, amount });
        }
    };
    // tbf cuts only those that are longer than its burst: of the others the headers are missing.
    let uncut = left.packets.unsigned_abs().saturating_mul(LONGEST_HEADERS);
    let headers = left.packets >= 0 && left.bytes >= 0 && left.bytes.unsigned_abs() <= uncut;
    if known.cut_in_queue && headers {
        add(&mut parts, Reason::CutInQueue, drift);
        return (parts, Difference::default());
    }
    // What is cut up in the queue leaves it as on a cable; what it drops may be missing as well.
    let whole = Known { report: wire, lasting: None, ..*known };
    if known.cut_in_queue
        && let Some(rule) = cause(&whole, left)
    {
        add(&mut parts, Reason::CutInQueue, Difference::of(report, wire));
        add(&mut parts, rule, left);
        return (parts, Difference::default());
    }
    let header = (wire.packets * ETHERNET_HEADER).cast_signed();
    if left.packets == 0 && (left.bytes == 0 || left.bytes == header) {
        add(&mut parts, Reason::CountsAsOnACable, drift);
        return (parts, Difference::default());
    }
    (parts, drift)
}

/// `skb − report`: how the device counts.
fn add_rule(known: &Known, add: &mut impl FnMut(Reason, Difference)) {
    let Known { skb, wire, report, received, .. } = *known;
    for unit in [skb, wire] {
        let header = unit.bytes.wrapping_sub(report.bytes);
        let headers = unit.packets.wrapping_mul(ETHERNET_HEADER);
        if unit.packets == report.packets && (header == 0 || header == headers) {
            let cable = Difference::of(skb, unit);
            let rule = if cable.packets == 0 { Reason::VlanTags } else { Reason::AsOnACable };
            add(rule, cable);
            add(Reason::NoEthernetHeader, Difference { packets: 0, bytes: header.cast_signed() });
            return;
        }
    }
    let rule = if received == Some(report) { Reason::LoopbackReceived } else { Reason::OtherRule };
    add(rule, Difference::of(skb, report));
}

/// `report − kernel`: packets that only one of both has seen.
fn cause(known: &Known, drift: Difference) -> Option<Reason> {
    let Known { dropped_after, foreign_xdp, in_flight, waiting, .. } = *known;
    let packets = drift.packets.unsigned_abs();
    let segments = if known.report.packets > known.skb.packets { MOST_SEGMENTS } else { 1 };
    let gone = dropped_after.saturating_add(waiting);
    let dropped = gone.saturating_mul(segments).saturating_add(in_flight);
    let longest = longest(known);
    // A few that were in flight the other way may be among them.
    let bytes = -bytes_of(in_flight, longest)..=bytes_of(gone.saturating_add(in_flight), longest);
    if drift.packets > 0
        && dropped_after > 0
        && packets <= dropped
        && bytes.contains(&i128::from(drift.bytes))
    {
        return Some(Reason::DroppedAfterHook);
    }
    let lasts = |drift| !is_in_flight(known, in_flight / GENEROUS, drift);
    if drift.is_zero()
        || (is_in_flight(known, in_flight, drift) && !known.lasting.is_some_and(lasts))
    {
        return Some(Reason::InFlight);
    }
    let in_queue = waiting.saturating_mul(segments).saturating_add(in_flight);
    if waiting > 0 && is_in_flight(known, in_queue, drift) {
        return Some(Reason::Waiting);
    }
    (drift.packets < 0 && foreign_xdp).then_some(Reason::XdpBeforeHook)
}

/// Packets and bytes that can have passed while the counters were read.
fn is_in_flight(known: &Known, in_flight: u64, drift: Difference) -> bool {
    drift.packets.unsigned_abs() <= in_flight
        && i128::from(drift.bytes.unsigned_abs()) <= bytes_of(in_flight, longest(known))
}

/// As long as a packet can be.
fn longest(known: &Known) -> u64 {
    let Known { skb, wire, .. } = *known;
    let average = skb.bytes.checked_div(skb.packets).unwrap_or(0);
    match wire.packets > skb.packets {
        true => SUPER_PACKET,
        false => FULL_FRAME.max(average.saturating_mul(2)),
    }
}

fn bytes_of(packets: u64, each: u64) -> i128 {
    i128::from(packets) * i128::from(each)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn traffic(packets: u64, bytes: u64) -> Traffic {
        Traffic { packets, bytes }
    }

    const fn part(rule: Reason, packets: i64, bytes: i64) -> Part {
        Part { rule, amount: Difference { packets, bytes } }
    }

    /// 1,000 packets, counted in the same way by everybody.
    fn plain() -> Known {
        let all = traffic(1_000, 100_000);
        Known { skb: all, wire: all, report: all, kernel: all, ..Known::default() }
    }

    /// A thousand packets of which many were super-packets.
    fn aggregated() -> Known {
        Known { wire: traffic(5_000, 364_000), ..plain() }
    }

    #[test]
    fn each_rule_explains_its_part() {
        let cable = traffic(5_000, 364_000);
        let less = traffic(5_000, 364_000 - 5_000 * 14);
        let headless = traffic(1_000, 86_000);
        let tagged = traffic(1_000, 104_000);
        let other = traffic(400, 41_000);
        let cases = [
            ("plain", plain(), vec![]),
            (
                "a bridge",
                Known { report: headless, kernel: headless, ..plain() },
                vec![part(Reason::NoEthernetHeader, 0, 14_000)],
            ),
            (
                "a card",
                Known { report: cable, kernel: cable, ..aggregated() },
                vec![part(Reason::AsOnACable, -4_000, -264_000)],
            ),
            (
                "veth with NAPI",
                Known { report: less, kernel: less, ..aggregated() },
                vec![
                    part(Reason::AsOnACable, -4_000, -264_000),
                    part(Reason::NoEthernetHeader, 0, 70_000),
                ],
            ),
            (
                "a card with VLANs",
                Known { wire: tagged, report: tagged, kernel: tagged, ..plain() },
                vec![part(Reason::VlanTags, 0, -4_000)],
            ),
            (
                "loopback",
                Known { report: other, received: Some(other), kernel: other, ..plain() },
                vec![part(Reason::LoopbackReceived, 600, 59_000)],
            ),
            (
                "switched meanwhile",
                Known { report: other, received: Some(cable), kernel: other, ..plain() },
                vec![part(Reason::OtherRule, 600, 59_000)],
            ),
        ];
        for (name, known, expected) in cases {
            assert_eq!(explain(&known), (expected, Difference::default()), "{name}");
        }
    }

    #[test]
    fn tags_that_only_the_device_has_counted() {
        let tagged = |missing: u64| Known {
            wire: traffic(1_000, 104_000),
            kernel: traffic(1_000 - missing, 104_000 - missing * 104),
            in_flight: 2,
            ..plain()
        };
        let tags = part(Reason::VlanTags, 0, -4_000);
        assert_eq!(explain(&tagged(0)), (vec![tags.clone()], Difference::default()));
        let both = vec![tags, part(Reason::InFlight, 2, 208)];
        assert_eq!(explain(&tagged(2)), (both, Difference::default()));
        let drift = Difference { packets: 3, bytes: 3 * 104 - 4_000 };
        assert_eq!(explain(&tagged(3)), (vec![], drift), "more than can be in flight");
        let other = Known { kernel: traffic(1_000, 103_999), in_flight: 0, ..tagged(0) };
        assert_eq!(explain(&other).1, Difference { packets: 0, bytes: -3_999 });
    }

    #[test]
    fn a_drift_needs_a_cause_that_is_large_enough() {
        let fewer = |lost: u64| traffic(1_000 - lost, 100_000 - lost * 100);
        let dropped = |lost, dropped_after| Known { kernel: fewer(lost), dropped_after, ..plain() };
        let unseen = |foreign_xdp| Known {
            skb: fewer(50),
            wire: fewer(50),
            report: fewer(50),
            foreign_xdp,
            ..plain()
        };
        let flying = |in_flight| Known { kernel: fewer(3), in_flight, ..plain() };
        let rest = |packets: i64| Difference { packets, bytes: packets * 100 };
        let cases = [
            ("dropped", dropped(50, 50), Some(Reason::DroppedAfterHook), rest(50)),
            ("more than were dropped", dropped(50, 49), None, rest(50)),
            ("nothing was dropped", dropped(50, 0), None, rest(50)),
            ("XDP", unseen(true), Some(Reason::XdpBeforeHook), rest(-50)),
            ("no XDP", unseen(false), None, rest(-50)),
            ("in flight", flying(3), Some(Reason::InFlight), rest(3)),
            ("more than can be", flying(2), None, rest(3)),
        ];
        for (name, known, rule, amount) in cases {
            let expected = match rule {
                Some(rule) => (vec![Part { rule, amount }], Difference::default()),
                None => (vec![], amount),
            };
            assert_eq!(explain(&known), expected, "{name}");
        }
    }

    #[test]
    fn bytes_without_packets_are_not_explained_by_a_few_in_flight() {
        let kernel = traffic(1_000, 86_000);
        let known = Known { kernel, in_flight: 2, ..plain() };
        assert_eq!(explain(&known), (vec![], Difference { packets: 0, bytes: 14_000 }));
    }

    #[test]
    fn bytes_beyond_those_of_the_dropped_packets_are_not_explained() {
        let dropped = |bytes: u64| {
            let report = traffic(1_000, 50_000_000);
            let kernel = traffic(990, report.bytes - bytes);
            let short = traffic(1_000, 100_000);
            let known = Known { report, kernel, dropped_after: 10, ..plain() };
            explain(&Known { skb: short, wire: short, ..known }).1.bytes
        };
        assert_eq!(dropped(15_180), 0, "ten full frames");
        assert_eq!(dropped(15_181), 15_181);
        let more = Known { kernel: traffic(990, 100_001), dropped_after: 10, ..plain() };
        assert_eq!(explain(&more).1, Difference { packets: 10, bytes: -1 });
    }

    #[test]
    fn a_queue_that_cuts_super_packets_up() {
        let cut = |kernel, dropped_after, cut_in_queue| {
            explain(&Known { kernel, dropped_after, cut_in_queue, ..aggregated() })
        };
        let wire = traffic(5_000, 364_000);
        let all = part(Reason::CutInQueue, -4_000, -264_000);
        assert_eq!(cut(wire, 0, true), (vec![all.clone()], Difference::default()));
        let some = part(Reason::DroppedAfterHook, 20, 20_000);
        let fewer = traffic(4_980, 344_000);
        assert_eq!(cut(fewer, 20, true), (vec![all, some], Difference::default()));
        let drift = |kernel| Difference::of(traffic(1_000, 100_000), kernel);
        // Twenty more segments would have had 66 bytes of headers each.
        let uncut = traffic(4_980, 364_000 - 20 * 66);
        let (rule, amount) = (Reason::CutInQueue, drift(uncut));
        let partly = (vec![Part { rule, amount }], Difference::default());
        assert_eq!(cut(uncut, 0, true), partly, "only the long ones");
        assert_eq!(cut(fewer, 0, true), (vec![], drift(fewer)), "more than headers is missing");
        assert_eq!(cut(fewer, 0, false), (vec![], drift(fewer)), "no such queue");
        let more = traffic(5_001, 365_000);
        assert_eq!(cut(more, 0, true), (vec![], drift(more)), "more than there can be");
    }

    #[test]
    fn a_device_that_counts_as_on_a_cable_unlike_the_report() {
        let wire = traffic(5_000, 364_000);
        for header in [0, 14] {
            let kernel = traffic(5_000, wire.bytes - 5_000 * header);
            let amount = Difference::of(aggregated().report, kernel);
            let part = Part { rule: Reason::CountsAsOnACable, amount };
            let known = Known { kernel, ..aggregated() };
            assert_eq!(explain(&known), (vec![part], Difference::default()), "{header}");
        }
    }

    #[test]
    fn what_has_gone_at_another_tick_was_in_flight() {
        let lost = |lasting| Known {
            kernel: traffic(990, 99_000),
            in_flight: 12,
            lasting: Some(Difference { packets: lasting, bytes: lasting * 100 }),
            ..plain()
        };
        assert_eq!(explain(&lost(3)).0, [part(Reason::InFlight, 10, 1_000)]);
        assert_eq!(explain(&lost(4)).1, Difference { packets: 10, bytes: 1_000 });
    }

    #[test]
    fn what_waits_is_not_lost() {
        let known = Known { kernel: traffic(990, 99_000), waiting: 10, ..plain() };
        assert_eq!(explain(&known).0, [part(Reason::Waiting, 10, 1_000)]);
        let fewer = Known { waiting: 9, ..known };
        assert_eq!(explain(&fewer).1, Difference { packets: 10, bytes: 1_000 });
    }

    #[test]
    fn a_super_packet_that_was_dropped_is_many_on_a_cable() {
        let report = traffic(5_000, 364_000);
        let kernel = traffic(4_956, 300_000);
        let known = Known { report, kernel, dropped_after: 1, ..aggregated() };
        let (parts, rest) = explain(&known);
        assert!(rest.is_zero());
        assert_eq!(parts.last(), Some(&part(Reason::DroppedAfterHook, 44, 64_000)));
    }
}
