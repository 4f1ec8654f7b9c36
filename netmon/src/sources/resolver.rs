//! Names of addresses by reverse look-up (getnameinfo(3): /etc/hosts, DNS, whatever the system
//! has). Off unless asked for: who looks at the report would tell the name server whom the
//! machine talks to.
//!
//! A name that is asked for is given at once if it is known; else it is looked up by a thread,
//! which may take seconds, and is there some ticks later. Everything is bounded: names that are
//! kept, and addresses that wait; when there are too many, the look-up is left for later.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::model::traffic::names::Hosts;
use crate::privileges;

/// Names that are kept, known ones and unknown ones, about 200 bytes each.
const KEPT: usize = 8_192;
/// Addresses that wait to be looked up.
const WAITING: usize = 256;
/// Look-ups at once: one that gets no answer takes ten seconds and more.
const THREADS: usize = 4;
/// How long a name is taken for right, and how long an address for nameless.
const FRESH: Duration = Duration::from_secs(3_600);
const NAMELESS: Duration = Duration::from_secs(300);
/// The longest name of the domain name system (RFC 1035).
const LONGEST: usize = 253;

/// Looks names up.
pub struct Resolver {
    cache: Arc<Mutex<Cache>>,
    queue: SyncSender<IpAddr>,
}

#[derive(Default)]
struct Cache {
    known: HashMap<IpAddr, Entry>,
    /// In the order of coming.
    order: VecDeque<IpAddr>,
}

struct Entry {
    name: Option<Arc<str>>,
    /// When it is to be looked up anew; `None` while it is looked up.
    until: Option<Instant>,
}

impl Resolver {
    /// Starts the threads, which ask the system.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start() -> io::Result<Self> {
        Self::with(THREADS, |address| dns_lookup::lookup_addr(&address).ok())
    }

    /// Starts threads that ask somebody else.
    fn with(
        threads: usize,
        ask: impl Fn(IpAddr) -> Option<String> + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(WAITING);
        let (cache, waiting) = (Arc::<Mutex<Cache>>::default(), Arc::new(Mutex::new(waiting)));
        for _ in 0..threads {
            let (cache, waiting, ask) = (Arc::clone(&cache), Arc::clone(&waiting), ask.clone());
            // They end when the queue does, after what they are at; nobody waits for them.
            thread::Builder::new().name("netmon-names".to_owned()).spawn(move || {
                // What reads the answers of strangers has no business with privileges.
                privileges::drop_all_but(&[]);
                answer(&cache, &waiting, &ask);
            })?;
        }
        Ok(Self { cache, queue })
    }
}

/// The state is whole even when a holder of the lock has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(
    cache: &Mutex<Cache>,
    waiting: &Mutex<Receiver<IpAddr>>,
    ask: &impl Fn(IpAddr) -> Option<String>,
) {
    loop {
        // A statement of its own, so that the lock is not held while asking.
        let next = lock(waiting).recv();
        let Ok(address) = next else { return };
        let name = ask(address).filter(|name| is_name(name));
        lock(cache).learn(address, name.map(Into::into), Instant::now());
    }
}

/// What a name server says is anybody's word.
fn is_name(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Hosts for Resolver {
    fn name(&self, address: IpAddr) -> Option<Arc<str>> {
        let mut cache = lock(&self.cache);
        let now = Instant::now();
        if cache.is_to_be_asked(address, now) && self.queue.try_send(address).is_ok() {
            cache.ask(address);
        }
        cache.known.get(&address)?.name.clone()
    }
}

impl Cache {
    fn is_to_be_asked(&self, address: IpAddr, now: Instant) -> bool {
        self.known.get(&address).is_none_or(|entry| entry.until.is_some_and(|until| until <= now))
    }

    /// Notes that it is looked up. An old name stays meanwhile.
    fn ask(&mut self, address: IpAddr) {
        if let Some(entry) = self.known.get_mut(&address) {
            entry.until = None;
            return;
        }
        if self.order.len() >= KEPT
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
        self.order.push_back(address);
        self.known.insert(address, Entry { name: None, until: None });
    }

    fn learn(&mut self, address: IpAddr, name: Option<Arc<str>>, now: Instant) {
        // One that was pushed out meanwhile is nobody's any more.
        if let Some(entry) = self.known.get_mut(&address) {
            entry.until = Some(now + if name.is_some() { FRESH } else { NAMELESS });
            entry.name = name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    /// A resolver whose look-ups are told, and wait for their answer.
    fn fake() -> (Resolver, Receiver<IpAddr>, mpsc::Sender<Option<String>>) {
        let (asked, told) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let answers = Arc::new(Mutex::new(answers));
        let ask = move |address| {
            let _ = asked.send(address);
            lock(&answers).recv().ok().flatten()
        };
        (Resolver::with(1, ask).unwrap(), told, answer)
    }

    #[test]
    fn a_name_is_there_later_and_nobody_waits() {
        let (resolver, told, answer) = fake();
        // However often it is asked for, it is looked up once.
        for _ in 0..3 {
            assert_eq!(resolver.name(address(1)), None);
        }
        assert_eq!(told.recv().unwrap(), address(1));
        assert_eq!(resolver.name(address(2)), None);
        answer.send(Some("one.example".to_owned())).unwrap();
        // The second is begun only when the first is known.
        assert_eq!(told.recv().unwrap(), address(2));
        assert_eq!(resolver.name(address(1)).as_deref(), Some("one.example"));
        answer.send(None).unwrap();
        assert_eq!(resolver.name(address(3)), None);
        assert_eq!(told.recv().unwrap(), address(3));
        assert_eq!(resolver.name(address(2)), None);
        assert_eq!(told.try_recv().ok(), None, "one without a name is not asked for again");
        answer.send(Some("a\u{1b}b".to_owned())).unwrap();
        assert_eq!(resolver.name(address(4)), None);
        assert_eq!(told.recv().unwrap(), address(4));
        assert_eq!(resolver.name(address(3)), None, "no name");
    }

    #[test]
    fn too_many_are_left_for_later() {
        let (resolver, told, answer) = fake();
        resolver.name(address(0));
        assert_eq!(told.recv().unwrap(), address(0));
        // One is looked up, and these wait.
        let many = WAITING as u32 + 100;
        (1..=many).for_each(|number| drop(resolver.name(address(number))));
        assert_eq!(lock(&resolver.cache).known.len(), WAITING + 1);
        answer.send(None).unwrap();
        assert_eq!(told.recv().unwrap(), address(1));
        // There is room for one more.
        (1..=many).for_each(|number| drop(resolver.name(address(number))));
        assert_eq!(lock(&resolver.cache).known.len(), WAITING + 2);
    }

    #[test]
    fn names_are_kept_for_their_time_and_bounded() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        (0..=KEPT as u32).for_each(|number| cache.ask(address(number)));
        assert_eq!((cache.known.len(), cache.order.len()), (KEPT, KEPT));
        assert!(cache.is_to_be_asked(address(0), now), "pushed out");
        cache.learn(address(0), Some("late".into()), now);
        assert!(cache.is_to_be_asked(address(0), now));
        assert!(!cache.is_to_be_asked(address(1), now), "it is asked");
        cache.learn(address(1), Some("one".into()), now);
        cache.learn(address(2), None, now);
        let later = now + NAMELESS;
        assert!(
            !cache.is_to_be_asked(address(1), later) && cache.is_to_be_asked(address(2), later)
        );
        assert!(cache.is_to_be_asked(address(1), now + FRESH));
        cache.ask(address(1));
        assert_eq!(cache.known[&address(1)].name.as_deref(), Some("one"), "the old one stays");
    }
}
