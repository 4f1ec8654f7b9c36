//! Generic netlink: families and devices stand in the datagram.

use netmon::fuzzing;

pub(super) fn target(data: &[u8]) -> bool {
    let Ok((family, devices)) = fuzzing::xdp_features(data) else { return false };
    let holds = |wanted: &[u8]| data.windows(wanted.len()).any(|window| window == wanted);
    assert!(family.is_none_or(|family| holds(&family.to_ne_bytes())), "{family:?}");
    for (ifindex, _) in &devices {
        assert!(holds(&ifindex.0.to_ne_bytes()), "{ifindex} is not in the datagram");
    }
    family.is_some() || !devices.is_empty()
}
