//! `RTM_NEWQDISC`, decoded by the crate rtnetlink: what is counted is of an interface that is told.

use netmon::{fuzzing, sources::netlink::queues::Queue};

pub(super) fn target(data: &[u8]) -> bool {
    let queues = fuzzing::queues(data);
    let holds = |number: u32| data.windows(4).any(|window| window == number.to_ne_bytes());
    for (ifindex, queue) in &queues {
        let Queue { root, drops, filtered, waiting, cuts: _ } = *queue;
        assert!(
            [ifindex.0, root, drops, filtered, waiting]
                .into_iter()
                .all(|number| number == 0 || holds(number)),
            "{ifindex:?}: {queue:?}"
        );
        assert_eq!(queue.dropped_since(queue), Some(0), "{queue:?}");
    }
    queues.values().any(|queue| *queue != Queue::default())
}
