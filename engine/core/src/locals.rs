//! The stack's own addresses, and where packets to all others go first.

use crate::address::Address;
use crate::wire::ndp;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of an interface and its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub ip: IpAddr,
    /// Bits of the network prefix: what is in it is reached directly.
    pub prefix_len: u8,
}

/// Gateways of both families; what is on no link of ours goes there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gateways {
    /// The one for IPv4.
    pub v4: Option<Ipv4Addr>,
    /// The one for IPv6. Router advertisements are not listened to.
    pub v6: Option<Ipv6Addr>,
}

/// The addresses, found by their bytes and by their index.
#[derive(Debug)]
pub(crate) struct Locals {
    /// In the order of the configuration: a flow's key holds the index.
    addresses: Vec<(Address, u8)>,
    /// Sorted by address.
    by_address: Vec<(Address, u16)>,
    /// One address and the prefix length of each network: ranges of addresses
    /// are of few networks.
    networks: Vec<(Address, u8)>,
    v4: Turn,
    v6: Turn,
    gateway_v4: Option<Address>,
    gateway_v6: Option<Address>,
}

/// The addresses of one family, which take turns.
#[derive(Debug, Default)]
struct Turn {
    locals: Vec<u16>,
    next: usize,
}

impl Locals {
    /// At most 65,536 addresses; any more have no index and are not used.
    pub(crate) fn new(addresses: &[InterfaceAddress], gateways: Gateways) -> Locals {
        let addresses: Vec<(Address, u8)> = addresses
            .iter()
            .take(1 << 16)
            .map(|a| (a.ip.into(), a.prefix_len))
            .collect();
        let mut by_address: Vec<(Address, u16)> = addresses
            .iter()
            .zip(0..)
            .map(|(&(address, _), index)| (address, index))
            .collect();
        let (v4, v6) = by_address
            .iter()
            .map(|&(address, index)| (index, address.is_v4()))
            .partition::<Vec<_>, _>(|&(_, is_v4)| is_v4);
        let turn = |members: Vec<(u16, bool)>| Turn {
            locals: members.into_iter().map(|(index, _)| index).collect(),
            next: 0,
        };
        by_address.sort_unstable();
        let mut networks: Vec<(Address, u8)> = Vec::new();
        for &(address, prefix_len) in &addresses {
            let is_known = networks
                .iter()
                .any(|&(known, len)| len == prefix_len && known.shares_prefix(address, len));
            if !is_known {
                networks.push((address, prefix_len));
            }
        }
        Locals {
            addresses,
            networks,
            by_address,
            v4: turn(v4),
            v6: turn(v6),
            gateway_v4: gateways.v4.map(Address::from),
            gateway_v6: gateways.v6.map(Address::from),
        }
    }

    /// The index of an address, if it is one of ours.
    #[inline]
    pub(crate) fn find(&self, address: Address) -> Option<u16> {
        let at = self
            .by_address
            .binary_search_by_key(&address, |&(address, _)| address)
            .ok()?;
        Some(self.by_address[at].1)
    }

    /// The address of an index that this gave.
    #[inline]
    pub(crate) fn ip(&self, index: u16) -> IpAddr {
        self.addresses
            .get(usize::from(index))
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |(address, _)| {
                address.ip()
            })
    }

    fn turn(&mut self, family: Address) -> &mut Turn {
        if family.is_v4() {
            &mut self.v4
        } else {
            &mut self.v6
        }
    }

    /// How many addresses are of the family of `remote`.
    pub(crate) fn count_towards(&mut self, remote: Address) -> usize {
        self.turn(remote).locals.len()
    }

    /// The address whose turn it is to connect to `remote`.
    pub(crate) fn take_turn(&mut self, remote: Address) -> Option<u16> {
        let turn = self.turn(remote);
        let index = turn.locals.get(turn.next).copied()?;
        turn.next = (turn.next + 1) % turn.locals.len();
        Some(index)
    }

    /// The address on the link that a packet to `remote` goes to first.
    #[inline]
    pub(crate) fn next_hop(&self, remote: Address) -> Address {
        let gateway = if remote.is_v4() {
            &self.gateway_v4
        } else {
            &self.gateway_v6
        };
        match gateway {
            Some(gateway) if !self.is_on_link(remote) => *gateway,
            _ => remote,
        }
    }

    fn is_on_link(&self, remote: Address) -> bool {
        // RFC 4861 section 5.1: the link-local prefix is on every link. Routers ask
        // for us from such an address.
        let is_link_local = matches!(remote.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local());
        is_link_local
            || self
                .networks
                .iter()
                .any(|&(address, prefix_len)| address.shares_prefix(remote, prefix_len))
    }

    /// A packet may come from this address: a host's, not ours (LAND), and not the
    /// broadcast address of a network of ours (RFC 1122 section 3.2.1.3; RFC 9293
    /// section 3.9.2.3, MUST-63).
    #[inline]
    pub(crate) fn may_come_from(&self, source: Address) -> bool {
        source.is_host() && self.find(source).is_none() && !self.is_broadcast(source)
    }

    /// The broadcast address of a network of ours: a host part of all zeros or all
    /// ones, where the network has room for both (RFC 3021).
    pub(crate) fn is_broadcast(&self, address: Address) -> bool {
        let IpAddr::V4(ip) = address.ip() else {
            return false;
        };
        self.networks.iter().any(|&(network, prefix_len)| {
            let host = u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
            let part = u32::from(ip) & host;
            network.is_v4()
                && host > 1
                && (part == 0 || part == host)
                && network.shares_prefix(address, prefix_len)
        })
    }

    /// Owners of one of our addresses are looked for in this group (RFC 4291
    /// section 2.7.1).
    pub(crate) fn is_solicited(&self, group: Ipv6Addr) -> bool {
        self.addresses
            .iter()
            .any(|(address, _)| match address.ip() {
                IpAddr::V4(_) => false,
                IpAddr::V6(ip) => ndp::solicited_node(ip) == group,
            })
    }

    /// The address to ask for `target` from: one of its network, else any of its
    /// family.
    pub(crate) fn towards(&self, target: Address) -> Option<Address> {
        let of_family = || {
            self.addresses
                .iter()
                .filter(|(address, _)| address.is_v4() == target.is_v4())
        };
        of_family()
            .find(|&&(address, prefix_len)| address.shares_prefix(target, prefix_len))
            .or_else(|| of_family().next())
            .map(|&(address, _)| address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, prefix_len: u8) -> InterfaceAddress {
        InterfaceAddress {
            ip: text.parse().unwrap(),
            prefix_len,
        }
    }

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn both() -> Locals {
        Locals::new(
            &[
                at("2001:db8::1", 64),
                at("198.18.0.1", 24),
                at("2001:db8:0:1::1", 64),
                at("198.18.0.2", 24),
            ],
            Gateways {
                v4: Some(Ipv4Addr::new(198, 18, 0, 254)),
                v6: None,
            },
        )
    }

    #[test]
    fn each_address_is_found_by_its_bytes_and_by_its_index() {
        let locals = both();
        for (index, text) in (0..).zip(["2001:db8::1", "198.18.0.1", "2001:db8:0:1::1"]) {
            assert_eq!(locals.find(address(text)), Some(index));
            assert_eq!(locals.ip(index), text.parse::<IpAddr>().unwrap());
        }
        assert_eq!(locals.find(address("198.18.0.3")), None);
    }

    #[test]
    fn the_addresses_of_a_family_take_turns() {
        let mut locals = both();
        let mut turns = |remote| [0; 3].map(|_| locals.take_turn(address(remote)));
        assert_eq!(turns("198.18.0.9"), [Some(1), Some(3), Some(1)]);
        assert_eq!(turns("2001:db8::9"), [Some(0), Some(2), Some(0)]);
        let mut v4 = Locals::new(&[at("198.18.0.1", 24)], Gateways::default());
        assert_eq!(v4.take_turn(address("2001:db8::9")), None);
    }

    #[test]
    fn no_packet_comes_from_us_or_from_a_broadcast_address() {
        let locals = both();
        for source in [
            "198.18.0.1",
            "2001:db8::1",
            "198.18.0.255",
            "198.18.0.0",
            "224.0.0.1",
        ] {
            assert!(!locals.may_come_from(address(source)), "{source}");
        }
        for source in ["198.18.0.3", "198.19.0.255", "2001:db8::ff", "2001:db8::"] {
            assert!(locals.may_come_from(address(source)), "{source}");
        }
        let pair = Locals::new(&[at("198.18.0.0", 31)], Gateways::default());
        assert!(pair.may_come_from(address("198.18.0.1")), "RFC 3021");
        assert!(locals.is_solicited("ff02::1:ff00:1".parse().unwrap()));
        assert!(!locals.is_solicited("ff02::1:ff00:2".parse().unwrap()));
    }

    #[test]
    fn what_is_off_link_goes_to_the_gateway_of_its_family() {
        let locals = both();
        for (remote, hop) in [
            ("198.18.0.77", "198.18.0.77"),
            ("198.19.0.1", "198.18.0.254"),
            ("2001:db8:0:1::5", "2001:db8:0:1::5"),
            ("2001:db8:0:2::5", "2001:db8:0:2::5"),
        ] {
            assert_eq!(locals.next_hop(address(remote)), address(hop), "{remote}");
        }
        let routed = Locals::new(
            &[at("2001:db8::1", 64)],
            Gateways {
                v4: None,
                v6: Some("2001:db8::fe".parse().unwrap()),
            },
        );
        for (remote, hop) in [
            ("2001:db8::5", "2001:db8::5"),
            ("2001:db8:1::5", "2001:db8::fe"),
            ("fe80::5", "fe80::5"),
        ] {
            assert_eq!(routed.next_hop(address(remote)), address(hop), "{remote}");
        }
        assert_eq!(
            locals.towards(address("2001:db8:0:1::5")),
            Some(address("2001:db8:0:1::1"))
        );
    }
}
