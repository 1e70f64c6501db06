//! Neighbour discovery (RFC 4861): solicitations and advertisements.
//!
//! ```text
//! | type | code | checksum | flags, reserved | target address | options ...
//! 0      1      2          4                 8                24
//! ```

use super::ethernet::MacAddress;
use super::{Malformed, ipv6_at};
use std::net::Ipv6Addr;

/// Type of a solicitation.
pub const SOLICITATION: u8 = 135;
/// Type of an advertisement.
pub const ADVERTISEMENT: u8 = 136;
/// Bytes of a message with one Ethernet address.
pub const LEN: usize = 32;
/// What no router can have let pass (RFC 4861 section 7.1).
pub const HOP_LIMIT: u8 = 255;
/// All nodes on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const OPTIONS_AT: usize = 24;
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Who has the target address?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// The address that is asked for.
    pub target: Ipv6Addr,
    /// The Ethernet address of who asks; none while it has no IPv6 address yet.
    pub source: Option<MacAddress>,
}

/// The target address is at this Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// The address that it is about. That its owner is a router is not looked at.
    pub target: Ipv6Addr,
    /// Where it is, if it says so.
    pub at: Option<MacAddress>,
    /// It answers a solicitation.
    pub solicited: bool,
    /// It takes the place of what was known.
    pub overrides: bool,
}

impl Solicitation {
    /// Reads a message whose ICMPv6 header holds (RFC 4861 section 7.1.1).
    pub fn parse(message: &[u8]) -> Result<Solicitation, Malformed> {
        Ok(Solicitation {
            target: target(message)?,
            source: address_option(message, SOURCE_ADDRESS)?,
        })
    }

    /// Writes the message into its 32 bytes, but for the checksum.
    pub fn emit(&self, message: &mut [u8]) {
        let source = self.source.unwrap_or_default();
        emit(
            message,
            SOLICITATION,
            0,
            self.target,
            SOURCE_ADDRESS,
            source,
        );
    }
}

impl Advertisement {
    /// Reads a message whose ICMPv6 header holds (RFC 4861 section 7.1.2).
    pub fn parse(message: &[u8]) -> Result<Advertisement, Malformed> {
        let target = target(message)?;
        Ok(Advertisement {
            target,
            at: address_option(message, TARGET_ADDRESS)?,
            solicited: message[4] & SOLICITED != 0,
            overrides: message[4] & OVERRIDE != 0,
        })
    }

    /// Writes the message into its 32 bytes, but for the checksum.
    pub fn emit(&self, message: &mut [u8]) {
        let flags = (SOLICITED * u8::from(self.solicited)) | (OVERRIDE * u8::from(self.overrides));
        let at = self.at.unwrap_or_default();
        emit(
            message,
            ADVERTISEMENT,
            flags,
            self.target,
            TARGET_ADDRESS,
            at,
        );
    }
}

fn emit(message: &mut [u8], kind: u8, flags: u8, target: Ipv6Addr, option: u8, mac: MacAddress) {
    message[..8].copy_from_slice(&[kind, 0, 0, 0, flags, 0, 0, 0]);
    message[8..OPTIONS_AT].copy_from_slice(&target.octets());
    message[OPTIONS_AT..26].copy_from_slice(&[option, 1]);
    message[26..LEN].copy_from_slice(&mac.0);
}

fn target(message: &[u8]) -> Result<Ipv6Addr, Malformed> {
    if message.len() < OPTIONS_AT {
        return Err(Malformed::Truncated);
    }
    let target = ipv6_at(message, 8);
    if target.is_multicast() {
        return Err(Malformed::Hardware);
    }
    Ok(target)
}

/// The Ethernet address in the first option of a kind. An option of length 0
/// condemns the message (RFC 4861 section 4.6); unknown ones are passed over.
fn address_option(message: &[u8], kind: u8) -> Result<Option<MacAddress>, Malformed> {
    let mut rest = &message[OPTIONS_AT..];
    let mut found = None;
    while let [its_kind, units, ..] = *rest {
        let len = usize::from(units) * 8;
        let option = rest
            .get(..len)
            .filter(|option| !option.is_empty())
            .ok_or(Malformed::Option)?;
        if its_kind == kind
            && found.is_none()
            && let Some(mac) = option[2..].first_chunk::<6>()
        {
            found = Some(MacAddress(*mac));
        }
        rest = &rest[len..];
    }
    if rest.is_empty() {
        Ok(found)
    } else {
        Err(Malformed::Option)
    }
}

/// The group that owners of an address listen to when it is looked for (RFC 4291
/// section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let [a, b, c] = [a, b, c].map(u16::from);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a, b << 8 | c)
}

/// The Ethernet address of an IPv6 group (RFC 2464 section 7).
pub fn multicast_mac(group: Ipv6Addr) -> MacAddress {
    let [.., a, b, c, d] = group.octets();
    MacAddress([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x1234, 0x5678);

    proptest! {
        #[test]
        fn what_is_written_is_read(target in (0u128..0xff << 120), mac: [u8; 6], solicited: bool, overrides: bool) {
            let target = target.into();
            let mut bytes = [0; LEN];
            let asked = Solicitation { target, source: Some(MacAddress(mac)) };
            asked.emit(&mut bytes);
            prop_assert_eq!(Solicitation::parse(&bytes), Ok(asked));
            let told = Advertisement { target, at: Some(MacAddress(mac)), solicited, overrides };
            told.emit(&mut bytes);
            prop_assert_eq!(Advertisement::parse(&bytes), Ok(told));
            let (theirs, _) = etherparse::Icmpv6Header::from_slice(&bytes).unwrap();
            let etherparse::Icmpv6Type::NeighborAdvertisement(flags) = theirs.icmp_type else {
                panic!("{theirs:?}")
            };
            prop_assert_eq!((flags.router, flags.solicited, flags.r#override), (false, solicited, overrides));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Solicitation::parse(&bytes);
            let _ = Advertisement::parse(&bytes);
        }
    }

    #[test]
    fn options_that_lie_condemn_the_message() {
        let mut bytes = [0; LEN + 8];
        let asked = Solicitation {
            target: A,
            source: Some(MacAddress([2, 0, 0, 0, 0, 1])),
        };
        asked.emit(&mut bytes);
        assert_eq!(
            Solicitation::parse(&bytes),
            Err(Malformed::Option),
            "length 0"
        );
        bytes[LEN] = 14; // a nonce (RFC 3971), to be passed over
        bytes[LEN + 1] = 1;
        assert_eq!(Solicitation::parse(&bytes), Ok(asked));
        bytes[LEN + 1] = 2;
        assert_eq!(
            Solicitation::parse(&bytes),
            Err(Malformed::Option),
            "too long"
        );
        assert_eq!(
            Solicitation::parse(&bytes[..LEN + 1]),
            Err(Malformed::Option)
        );
        assert_eq!(Solicitation::parse(&bytes[..23]), Err(Malformed::Truncated));
        let without = Solicitation {
            source: None,
            ..asked
        };
        assert_eq!(Solicitation::parse(&bytes[..24]), Ok(without));
    }

    #[test]
    fn groups_have_the_addresses_of_their_rfcs() {
        assert_eq!(
            solicited_node(A),
            "ff02::1:ff34:5678".parse::<Ipv6Addr>().unwrap()
        );
        assert_eq!(
            multicast_mac(solicited_node(A)),
            MacAddress([0x33, 0x33, 0xff, 0x34, 0x56, 0x78])
        );
    }
}
