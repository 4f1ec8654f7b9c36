//! Whose socket it is: so that a flow can name its process. Written when a process uses a socket
//! for the first time, or after another one did.

use aya_ebpf::{macros::map, maps::LruHashMap};
use netmon_common::trace::{Mark, OWNERS_DEFAULT, OwnerKey};

use crate::fields::{Pointer, field, offset};

#[map]
static OWNERS: LruHashMap<OwnerKey, u64> = LruHashMap::with_max_entries(OWNERS_DEFAULT, 0);

/// Tells that the socket is this process's.
#[inline(always)]
pub fn tell(sock: Pointer, is_tcp: bool, mark: Mark) {
    const TCP: u32 = 6;
    const UDP: u32 = 17;

    // SAFETY: the argument of the tracepoint.
    let key = unsafe {
        let net: Pointer = field(sock, offset!(sock_net));
        OwnerKey {
            local: address(sock, offset!(sock_local_v4), offset!(sock_local_v6)),
            remote: address(sock, offset!(sock_remote_v4), offset!(sock_remote_v6)),
            net_namespace: field(net, offset!(net_inode)),
            protocol: if is_tcp { TCP } else { UDP },
            local_port: field(sock, offset!(sock_local_port)),
            remote_port: u16::from_be(field(sock, offset!(sock_remote_port))),
        }
    };
    // It makes room itself, so this fails only for want of memory.
    let _ = OWNERS.insert(key, mark.0, 0);
}

/// # Safety
/// As [`field`]'s: a socket of IPv4 or IPv6.
#[inline(always)]
unsafe fn address(sock: Pointer, v4: u32, v6: u32) -> [u32; 4] {
    const AF_INET: u16 = 2;
    const MAPPED: u32 = 0xffff_u32.to_be();

    // SAFETY: as the caller says.
    unsafe {
        if field::<u16>(sock, offset!(sock_family)) == AF_INET {
            let address: u32 = field(sock, v4);
            return if address == 0 { [0; 4] } else { [0, 0, MAPPED, address] };
        }
        [field(sock, v6), field(sock, v6 + 4), field(sock, v6 + 8), field(sock, v6 + 12)]
    }
}
