//! `RTM_NEWLINK`, decoded by the crate rtnetlink: an interface has a name, and its own number.

use netmon::fuzzing;

pub(super) fn target(data: &[u8]) -> bool {
    let links = fuzzing::links(data);
    for link in &links {
        assert!(!link.name.is_empty(), "{link:?}");
        assert!(link.peer.is_none(), "the peer is asked for afterwards: {link:?}");
        let holds = |wanted: &[u8]| data.windows(wanted.len()).any(|window| window == wanted);
        assert!(holds(&link.ifindex.0.to_ne_bytes()), "{link:?}");
    }
    !links.is_empty()
}
