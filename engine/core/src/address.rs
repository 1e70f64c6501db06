//! Addresses of both families, as the engine's tables keep them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 or IPv6 address in 16 bytes: an IPv4 one is v4-mapped (RFC 4291
/// section 2.5.5.2). No packet may carry a mapped address in an IPv6 header, so
/// the two families never meet (the stack drops one that does).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address([u8; 16]);

impl Address {
    const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

    /// An address from an IPv6 header, where a mapped one is none.
    #[inline]
    pub fn received(ip: Ipv6Addr) -> Option<Address> {
        let address = Address(ip.octets());
        (!address.is_v4()).then_some(address)
    }

    /// The address is one of IPv4.
    #[inline]
    pub fn is_v4(self) -> bool {
        self.0[..12] == Address::MAPPED
    }

    /// The address in its own family.
    #[inline]
    pub fn ip(self) -> IpAddr {
        let Address(bytes) = self;
        if self.is_v4() {
            IpAddr::V4(Ipv4Addr::new(bytes[12], bytes[13], bytes[14], bytes[15]))
        } else {
            IpAddr::V6(bytes.into())
        }
    }

    /// All 16 bytes.
    #[inline]
    pub fn octets(self) -> [u8; 16] {
        self.0
    }

    /// The first `prefix_len` bits, counted in the address's own family, are
    /// those of `other`, which is of the same family.
    pub fn shares_prefix(self, other: Address, prefix_len: u8) -> bool {
        let len = match (self.is_v4(), other.is_v4()) {
            (true, true) => 96 + u32::from(prefix_len.min(32)),
            (false, false) => u32::from(prefix_len.min(128)),
            _ => return false,
        };
        let differing = u128::from_be_bytes(self.0) ^ u128::from_be_bytes(other.0);
        differing.leading_zeros() >= len
    }

    /// A host can have this address and send from it: RFC 1122 section 3.2.1.3
    /// for IPv4, RFC 4291 section 2.5 and 2.7 for IPv6.
    pub fn is_host(self) -> bool {
        match self.ip() {
            IpAddr::V4(ip) => {
                !(ip.is_multicast() || ip.is_broadcast() || ip.is_loopback() || ip.octets()[0] == 0)
            }
            IpAddr::V6(ip) => !(ip.is_multicast() || ip.is_loopback() || ip.is_unspecified()),
        }
    }
}

impl From<Ipv4Addr> for Address {
    #[inline]
    fn from(ip: Ipv4Addr) -> Address {
        Address((0xffff << 32 | u128::from(ip.to_bits())).to_be_bytes())
    }
}

impl From<Ipv6Addr> for Address {
    #[inline]
    fn from(ip: Ipv6Addr) -> Address {
        Address(ip.octets())
    }
}

impl From<IpAddr> for Address {
    #[inline]
    fn from(ip: IpAddr) -> Address {
        match ip {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => ip.into(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_is_the_one_that_went_in(v4: u32, v6: u128) {
            for ip in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into())] {
                prop_assert_eq!(Address::from(ip).ip(), ip);
                prop_assert_eq!(Address::from(ip).is_v4(), ip.is_ipv4());
            }
        }

        #[test]
        fn prefixes_agree_with_masks(a: u32, bit in 0u32..32, len in 0u8..=32) {
            let b = a ^ (1 << 31 >> bit);
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            let (v4a, v4b): (Address, Address) = (Ipv4Addr::from(a).into(), Ipv4Addr::from(b).into());
            prop_assert_eq!(v4a.shares_prefix(v4b, len), (a ^ b) & mask == 0);
        }
    }

    #[test]
    fn a_mapped_address_is_none_on_an_ipv6_network() {
        let v4 = Ipv4Addr::new(198, 18, 0, 1);
        assert_eq!(Address::received(v4.to_ipv6_mapped()), None);
        assert!(Address::received(Ipv6Addr::LOCALHOST).is_some());
    }

    #[test]
    fn families_share_no_prefix() {
        let v4 = Address::from(Ipv4Addr::new(198, 18, 0, 1));
        let v6 = Address::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        assert!(!v4.shares_prefix(v6, 0) && !v6.shares_prefix(v4, 0));
        assert!(v6.shares_prefix("2001:db8::ffff".parse::<IpAddr>().unwrap().into(), 112));
        assert!(!v6.shares_prefix("2001:db8::1:1".parse::<IpAddr>().unwrap().into(), 112));
    }

    #[test]
    fn no_host_has_a_group_or_loopback_or_unspecified_address() {
        for text in [
            "224.0.0.1",
            "255.255.255.255",
            "127.0.0.1",
            "0.1.2.3",
            "ff02::1",
            "::1",
            "::",
        ] {
            assert!(
                !Address::from(text.parse::<IpAddr>().unwrap()).is_host(),
                "{text}"
            );
        }
        for text in ["198.18.0.1", "2001:db8::1", "fe80::1"] {
            assert!(
                Address::from(text.parse::<IpAddr>().unwrap()).is_host(),
                "{text}"
            );
        }
    }
}
