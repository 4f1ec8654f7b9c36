//! The kernel's types: what is found of them stands there.

use netmon::sources::trace::btf::Types;

pub(super) fn target(data: &[u8]) -> bool {
    let Ok(types) = Types::parse(data) else { return false };
    let holds = |wanted: &[u8]| {
        wanted.is_empty() || data.windows(wanted.len()).any(|window| window == wanted)
    };
    for (structure, path) in [
        ("sock_common", &["skc_num"][..]),
        ("sock_common", &["skc_v6_daddr"]),
        ("sock_common", &["skc_net", "net"]),
        ("net", &["ns", "inum"]),
        ("upid", &["nr"]),
        ("pid", &["numbers"]),
    ] {
        if types.offset(structure, path).is_some() {
            assert!(types.size(structure).is_some(), "a member of no structure");
            assert!(path.iter().all(|name| holds(name.as_bytes())), "{structure} {path:?}");
        }
        assert_eq!(types.offset(structure, &["no_such_member"]), None);
    }
    for (number, name) in types.enumerators("skb_drop_reason") {
        assert!(holds(name.as_bytes()) && holds(&number.to_ne_bytes()), "{number} {name}");
    }
    let arguments = types.tracepoint_arguments("kfree_skb");
    assert!(arguments.is_none_or(|count| count < data.len()), "{arguments:?}");
    arguments.is_some()
        || types.size("upid").is_some()
        || !types.enumerators("skb_drop_reason").is_empty()
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;

    /// Parts of the types of Linux 6.18 on x86-64; where their members are, pahole(1) says, too.
    #[test]
    fn the_seeds_say_what_the_kernel_has() -> Result<()> {
        let seeds = super::super::seeds("btf")?;
        let seed = |name: &str| {
            let found = seeds.iter().find(|(known, _)| known == name);
            found.map(|(_, seed)| seed.as_slice()).unwrap_or_default()
        };
        let sock = Types::parse(seed("sock"))?;
        let offsets = [
            (&["skc_daddr"][..], Some(0)),
            (&["skc_rcv_saddr"], Some(4)),
            (&["skc_dport"], Some(12)),
            (&["skc_num"], Some(14)),
            (&["skc_family"], Some(16)),
            (&["skc_net", "net"], Some(48)),
            (&["skc_family", "nothing"], None),
            // A bit of a byte.
            (&["skc_reuseport"], None),
        ];
        for (path, offset) in offsets {
            assert_eq!(sock.offset("sock_common", path), offset, "{path:?}");
        }
        assert_eq!(sock.tracepoint_arguments("kfree_skb"), Some(4));
        assert_eq!(sock.tracepoint_arguments("sock_send_length"), Some(3));
        assert_eq!(sock.tracepoint_arguments("sock_recv_length"), None);

        let upid = Types::parse(seed("upid"))?;
        assert_eq!((upid.size("upid"), upid.offset("upid", &["ns"])), (Some(16), Some(8)));

        let reasons = Types::parse(seed("reasons"))?.enumerators("skb_drop_reason");
        assert_eq!(reasons[..2], [(0, "SKB_NOT_DROPPED_YET"), (1, "SKB_CONSUMED")]);
        assert_eq!(reasons.len(), 12);
        assert!(Types::parse(seed("cut")).is_err());
        Ok(())
    }
}
