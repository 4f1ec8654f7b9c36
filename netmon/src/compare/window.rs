//! What passed between two ticks of the eBPF mode, interface by interface. Pure.

use std::collections::HashMap;

use super::explain::{GENEROUS, Known, explain};
use super::outcome::{Compared, Difference, Direction};
use super::tick::{self, Interface, Tick};
use crate::model::accounting::Traffic;
use crate::model::snapshot::Source;
use crate::sources::netlink::queues::Queue;

/// Drivers add to their counters after a batch of packets (NAPI_POLL_WEIGHT, 64), so theirs may
/// be so much later than ours.
const DRIVER_DELAY_S: f64 = 100e-6;
/// So many ticks at each end are looked at for a drift that lasts.
const END: usize = 3;
/// Places in [`Interface::ways`].
const RX: usize = 0;
const TX: usize = 1;

/// The ticks of a comparison, as far as they are needed.
#[derive(Clone, Debug)]
pub struct Window {
    /// The first ones, at most [`END`].
    first: Vec<Tick>,
    /// The last ones, at most [`END`]; the first one too, while there is no other.
    last: Vec<Tick>,
    seconds: f64,
}

/// What is known of an interface besides its counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings {
    /// Its queueing disciplines at the first and at the last tick.
    pub queue: [Queue; 2],
    /// An XDP program is attached, at the first or at the last tick.
    pub xdp: bool,
    /// Seconds that may lie between a tick and the reading of the queueing disciplines, for both
    /// ticks together.
    pub late_s: f64,
}

impl Window {
    /// Begins with this tick.
    #[must_use]
    pub fn new(first: Tick) -> Self {
        Self { last: vec![first.clone()], first: vec![first], seconds: 0.0 }
    }

    /// Goes on to this tick.
    pub fn add(&mut self, tick: Tick) {
        // What is not read in time is left out, and each tells only of the time since the last.
        let ticks = tick.tick.saturating_sub(self.end().tick).max(1);
        self.seconds += tick.elapsed_s.unwrap_or(0.0) * ticks as f64;
        if self.first.len() < END {
            self.first.push(tick.clone());
        }
        if self.last.len() == END {
            self.last.remove(0);
        }
        self.last.push(tick);
    }

    /// Ticks since the first.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.end().tick - self.begin().tick
    }

    /// Seconds from the first to the last, by the clock of the mode.
    #[must_use]
    pub const fn seconds(&self) -> f64 {
        self.seconds
    }

    fn begin(&self) -> &Tick {
        &self.first[0]
    }

    fn end(&self) -> &Tick {
        &self.last[self.last.len() - 1]
    }

    /// All interfaces of the last tick, and what was there at the first and is not any more.
    #[must_use]
    pub fn compare(&self, around: &HashMap<u32, Surroundings>) -> Vec<Compared> {
        let (begin, end) = (self.begin(), self.end());
        let gone = begin.interfaces.iter().filter(|one| end.interface(one.ifindex).is_none());
        let gone = gone.map(|interface| not_compared(interface, "it was removed meanwhile"));
        let here = end.interfaces.iter().filter_map(|last| {
            let around = around.get(&last.ifindex?).copied().unwrap_or_default();
            Some(match begin.interface(last.ifindex) {
                None => not_compared(last, "it came meanwhile"),
                Some(first) => self.interface(first, last, &around),
            })
        });
        here.chain(gone).collect()
    }

    fn interface(&self, first: &Interface, last: &Interface, around: &Surroundings) -> Compared {
        if first.source != Source::Ebpf || last.source != Source::Ebpf {
            return not_compared(last, "eBPF does not count it");
        }
        let rx = Passed::between(&first.rx, &last.rx);
        let tx = Passed::between(&first.tx, &last.tx);
        let (Some(rx), Some(tx)) = (rx, tx) else {
            return not_compared(last, "a counter could not be read, or began anew");
        };
        let [before, after] = around.queue;
        let dropped = after.dropped_since(&before);
        let late = dropped.unwrap_or(0) as f64 * around.late_s / self.seconds.max(around.late_s);
        let rx_known = Known {
            // Where our own XDP program is the hook, another's cannot be.
            foreign_xdp: around.xdp && !last.hook.starts_with("XDP"),
            ..self.known(&rx, last, RX)
        };
        let tx_known = Known {
            received: Some(rx.report),
            dropped_after: dropped.unwrap_or(0) + late.ceil() as u64 + tx.dropped.unwrap_or(0),
            cut_in_queue: before.cuts || after.cuts,
            waiting: u64::from(before.waiting.max(after.waiting)),
            ..self.known(&tx, last, TX)
        };
        Compared {
            interface: last.interface.clone(),
            source: last.source,
            hook: last.hook.clone(),
            not_compared: None,
            rx: Some(rx.explained(&rx_known, self.seconds, None)),
            tx: Some(tx.explained(&tx_known, self.seconds, dropped)),
        }
    }

    fn known(&self, passed: &Passed, last: &Interface, way: usize) -> Known {
        let Passed { skb, wire, report, kernel, .. } = *passed;
        let ifindex = last.ifindex;
        let in_flight = self.in_flight(ifindex, way);
        let lasting = self.lasting(ifindex, way);
        Known { skb, wire, report, kernel, in_flight, lasting, ..Known::default() }
    }

    /// Packets that can pass while the counters are read, at both ends of the window. At the first
    /// tick only if they passed both before and after it.
    fn in_flight(&self, ifindex: Option<u32>, way: usize) -> u64 {
        let rate = |tick: Option<&Tick>| {
            let interface = tick.and_then(|tick| tick.interface(ifindex));
            interface.and_then(|one| one.ways()[way].packets_per_s).unwrap_or(0.0)
        };
        let second = self.first.get(1).or(self.last.get(1));
        let (begin, end) = (self.begin(), self.end());
        let at_begin = rate(Some(begin)).min(rate(second)) * (begin.read_us / 1e6 + DRIVER_DELAY_S);
        let at_end = rate(Some(end)) * (end.read_us / 1e6 + DRIVER_DELAY_S);
        // In a long interval a short time of traffic is hidden the better.
        let uneven = GENEROUS as f64 * end.elapsed_s.unwrap_or(1.0).max(1.0);
        (uneven * (at_begin + at_end)).ceil() as u64
    }

    /// The least drift between any of the first and any of the last ticks. `None`: too few.
    fn lasting(&self, ifindex: Option<u32>, way: usize) -> Option<Difference> {
        if self.ticks() < 2 * END as u64 {
            return None;
        }
        let drift = |tick: &Tick| {
            let way = tick.interface(ifindex)?.ways()[way];
            Some(Difference::of(report(way)?, way.kernel?))
        };
        let [firsts, lasts] = [&self.first, &self.last].map(|ticks| ticks.iter().filter_map(drift));
        let lasts: Vec<_> = lasts.collect();
        let pairs = firsts.flat_map(|first| lasts.iter().map(move |last| last.since(first)));
        pairs.min_by_key(|drift| (drift.packets.unsigned_abs(), drift.bytes.unsigned_abs()))
    }
}

fn not_compared(interface: &Interface, why: &str) -> Compared {
    Compared {
        interface: interface.interface.clone(),
        source: interface.source,
        hook: interface.hook.clone(),
        not_compared: Some(why.to_owned()),
        rx: None,
        tx: None,
    }
}

/// What passed in one direction.
struct Passed {
    skb: Traffic,
    wire: Traffic,
    report: Traffic,
    kernel: Traffic,
    dropped: Option<u64>,
    errors: Option<u64>,
}

impl Passed {
    /// `None`: a number is missing, or the kernel's or ours went backwards.
    fn between(first: &tick::Direction, last: &tick::Direction) -> Option<Self> {
        Some(Self {
            skb: since(first.skb, last.skb)?,
            wire: since(first.wire, last.wire)?,
            report: since(report(first), report(last))?,
            kernel: since(first.kernel, last.kernel)?,
            dropped: number_since(first.dropped, last.dropped),
            errors: number_since(first.errors, last.errors),
        })
    }

    fn explained(&self, known: &Known, seconds: f64, queue_dropped: Option<u64>) -> Direction {
        let Self { skb, wire, report, kernel, dropped, errors } = *self;
        let (reasons, unexplained) = explain(known);
        let a_second = |number: u64| if seconds > 0.0 { number as f64 / seconds } else { 0.0 };
        Direction {
            skb,
            wire,
            report,
            kernel,
            difference: Difference::of(skb, kernel),
            reasons,
            unexplained,
            dropped,
            errors,
            queue_dropped,
            packets_per_s: a_second(skb.packets),
            bytes_per_s: a_second(skb.bytes),
        }
    }
}

fn report(direction: &tick::Direction) -> Option<Traffic> {
    Some(Traffic { packets: direction.packets?, bytes: direction.bytes? })
}

fn since(first: Option<Traffic>, last: Option<Traffic>) -> Option<Traffic> {
    let (first, last) = (first?, last?);
    Some(Traffic {
        packets: last.packets.checked_sub(first.packets)?,
        bytes: last.bytes.checked_sub(first.bytes)?,
    })
}

fn number_since(first: Option<u64>, last: Option<u64>) -> Option<u64> {
    last?.checked_sub(first?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::explain::Reason;

    const ALL: fn(u64, u64) -> Option<Traffic> = |packets, bytes| Some(Traffic { packets, bytes });

    fn direction(ours: u64, kernel: u64) -> tick::Direction {
        tick::Direction {
            packets: Some(ours),
            bytes: Some(ours * 100),
            dropped: Some(3),
            errors: Some(0),
            packets_per_s: Some(10.0),
            skb: ALL(ours, ours * 100),
            wire: ALL(ours, ours * 100),
            kernel: ALL(kernel, kernel * 100),
        }
    }

    fn interface(ifindex: u32, rx: tick::Direction, tx: tick::Direction) -> Interface {
        let (interface, source) = (format!("eth{ifindex}"), Source::Ebpf);
        Interface { interface, ifindex: Some(ifindex), source, hook: "TCX in+out".into(), rx, tx }
    }

    fn tick(number: u64, interfaces: Vec<Interface>) -> Tick {
        Tick { time_ms: 0, tick: number, elapsed_s: Some(1.0), read_us: 50.0, interfaces }
    }

    fn compared(first: Interface, last: Interface, around: Surroundings) -> Compared {
        let ifindex = last.ifindex.unwrap();
        let mut window = Window::new(tick(1, vec![first]));
        window.add(tick(11, vec![last]));
        assert_eq!(window.ticks(), 10);
        window.compare(&HashMap::from([(ifindex, around)])).remove(0)
    }

    #[test]
    fn what_passed_is_the_difference_of_two_ticks() {
        let (first, last) = (direction(100, 90), direction(600, 590));
        let found =
            compared(interface(2, first, first), interface(2, last, last), Default::default());
        let rx = found.rx.unwrap();
        assert_eq!(rx.skb, Traffic { packets: 500, bytes: 50_000 });
        assert_eq!((rx.kernel, rx.unexplained.is_zero()), (rx.skb, true));
        assert_eq!((rx.dropped, rx.packets_per_s, rx.bytes_per_s), (Some(0), 50.0, 5_000.0));
    }

    #[test]
    fn ticks_that_were_left_out_have_passed() {
        let mut window = Window::new(tick(1, vec![]));
        for number in [2, 5, 6] {
            window.add(tick(number, vec![]));
        }
        assert_eq!((window.ticks(), window.seconds()), (5, 5.0));
    }

    #[test]
    fn drops_of_the_queue_explain_and_wrap() {
        let (first, rx, tx) = (direction(0, 0), direction(600, 600), direction(600, 100));
        let queue = |drops| Queue { drops, ..Queue::default() };
        let around =
            Surroundings { queue: [queue(u32::MAX), queue(499)], ..Surroundings::default() };
        let found = compared(interface(2, first, first), interface(2, rx, tx), around);
        let tx = found.tx.unwrap();
        assert_eq!(tx.reasons[0].rule, Reason::DroppedAfterHook);
        assert_eq!((tx.reasons[0].amount.packets, tx.unexplained.is_zero()), (500, true));
        assert_eq!(tx.queue_dropped, Some(500));
    }

    #[test]
    fn another_queue_explains_nothing() {
        let (first, rx, tx) = (direction(0, 0), direction(600, 600), direction(600, 100));
        let before = Queue { root: 1, drops: 900, ..Queue::default() };
        let around = Surroundings { queue: [before, Queue::default()], ..Surroundings::default() };
        let found = compared(interface(2, first, first), interface(2, rx, tx), around);
        let tx = found.tx.unwrap();
        assert_eq!((tx.unexplained.packets, tx.queue_dropped), (500, None));
    }

    /// Ticks with these packets of ours and of the kernel's, and this rate.
    fn ticks(numbers: &[(u64, u64)], rate: f64) -> Window {
        let mut ticks = numbers.iter().zip(1..).map(|(&(ours, kernel), number)| {
            let way = tick::Direction { packets_per_s: Some(rate), ..direction(ours, kernel) };
            let interfaces = vec![interface(2, way, way)];
            Tick { time_ms: 0, tick: number, elapsed_s: Some(1.0), read_us: 100.0, interfaces }
        });
        let mut window = Window::new(ticks.next().unwrap());
        ticks.for_each(|tick| window.add(tick));
        window
    }

    #[test]
    fn what_is_in_flight_comes_and_goes() {
        let unexplained = |numbers: &[(u64, u64)], rate| {
            let found = ticks(numbers, rate).compare(&HashMap::new()).remove(0);
            found.rx.unwrap().unexplained.packets
        };
        // 10,000 a second for 0.2 ms at both ends, and four times that: 16.
        let flying = [(0, 0), (9, 9), (20, 19), (30, 28), (40, 38), (50, 49), (60, 60), (70, 60)];
        assert_eq!(unexplained(&flying, 10_000.0), 0);
        assert_eq!(unexplained(&flying, 1_000.0), 10, "so many cannot be");
        let lost = [(0, 0), (10, 10), (20, 20), (30, 20), (40, 30), (50, 40), (60, 50), (70, 60)];
        assert_eq!(unexplained(&lost, 10_000.0), 10, "they do not come back");
        assert_eq!(unexplained(&[(0, 0), (20, 10)], 10_000.0), 0, "too few ticks to tell");
    }

    #[test]
    fn our_own_xdp_program_is_no_stranger() {
        let (first, last) = (direction(0, 0), direction(500, 600));
        let around = Surroundings { xdp: true, ..Surroundings::default() };
        let compare = |hook: &str| {
            let last = Interface { hook: hook.to_owned(), ..interface(2, last, last) };
            compared(interface(2, first, first), last, around).rx.unwrap()
        };
        assert_eq!(compare("XDP native in, TCX out").unexplained.packets, -100);
        assert_eq!(compare("TCX in+out").reasons[0].rule, Reason::XdpBeforeHook);
    }

    #[test]
    fn what_cannot_be_compared_says_why() {
        let (first, last) = (direction(100, 100), direction(600, 600));
        let backwards = direction(10, 10);
        let why = |first: Interface, last: Interface| {
            compared(first, last, Surroundings::default()).not_compared.unwrap()
        };
        let by_sysfs = Interface { source: Source::Sysfs, ..interface(2, last, last) };
        assert_eq!(why(interface(2, first, first), by_sysfs), "eBPF does not count it");
        let anew = why(interface(2, first, first), interface(2, backwards, last));
        assert_eq!(anew, "a counter could not be read, or began anew");
        assert_eq!(why(interface(3, first, first), interface(2, last, last)), "it came meanwhile");
        let mut window = Window::new(tick(1, vec![interface(3, first, first)]));
        window.add(tick(2, vec![]));
        let gone = &window.compare(&HashMap::new())[0];
        assert_eq!(gone.not_compared.as_deref(), Some("it was removed meanwhile"));
    }
}
