//! Multicast groups of an interface.
//!
//! A neighbor is asked for at its solicited-node address, a multicast group (RFC
//! 4861, 7.2.2). A veth hears all groups, but a real device filters, and a switch
//! that snoops forwards only to those who have reported that they listen (RFC
//! 4541). The kernel does both for a socket's membership: it opens the filter,
//! reports the group (MLD), and takes both back when the socket is closed.

use std::io;
use std::net::{Ipv6Addr, UdpSocket};

/// Memberships of one socket: the kernel bounds the memory of each
/// (net.core.optmem_max, 20 KB on older ones).
const GROUPS_PER_SOCKET: usize = 256;

/// Memberships that end when this is dropped.
#[derive(Debug)]
pub(crate) struct Groups {
    _sockets: Vec<UdpSocket>,
}

impl Groups {
    /// Joins the groups that `addresses` are asked for at, on the interface with
    /// this index, in the calling thread's network namespace.
    pub(crate) fn of_neighbors(index: u32, addresses: &[Ipv6Addr]) -> io::Result<Groups> {
        let mut groups: Vec<Ipv6Addr> = addresses.iter().copied().map(solicited_node).collect();
        groups.sort_unstable();
        groups.dedup();
        let sockets = groups.chunks(GROUPS_PER_SOCKET).map(|groups| {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
            for group in groups {
                socket.join_multicast_v6(group, index)?;
            }
            Ok(socket)
        });
        Ok(Groups {
            _sockets: sockets.collect::<io::Result<_>>()?,
        })
    }
}

/// The group of all nodes whose address ends like this one (RFC 4291, 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_has_the_last_24_bits_of_the_address() {
        let address: Ipv6Addr = "2001:db8::12ab:cdef:1234".parse().unwrap();
        assert_eq!(
            solicited_node(address),
            "ff02::1:ffef:1234".parse::<Ipv6Addr>().unwrap()
        );
    }
}
