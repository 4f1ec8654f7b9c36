//! `RTM_NEWLINK`: an interface has a name, whatever that holds, and its own number.

use netmon::fuzzing;

pub(super) fn target(data: &[u8]) -> bool {
    let links = fuzzing::links(data);
    for (link, name) in &links {
        assert!(!name.is_empty(), "{link:?}");
        assert_eq!(*link.name, *String::from_utf8_lossy(name), "{link:?}");
        assert!(link.peer.is_none(), "the peer is asked for afterwards: {link:?}");
        let holds = |wanted: &[u8]| data.windows(wanted.len()).any(|window| window == wanted);
        assert!(holds(&link.ifindex.0.to_ne_bytes()) && holds(name), "{link:?}");
        assert!(link.altnames.iter().all(|name| holds(name.as_bytes())), "{link:?}");
        assert!(link.xdp || !link.native_xdp, "{link:?}");
    }
    !links.is_empty()
}
