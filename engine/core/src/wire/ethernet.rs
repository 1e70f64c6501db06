//! Ethernet II headers, with an 802.1Q tag or without.

use super::{Malformed, put_u16, u16_at};
use std::fmt;
use std::str::FromStr;

/// Bytes of an Ethernet header without a tag.
pub const HEADER_LEN: usize = 14;
/// Bytes of an 802.1Q tag.
pub const TAG_LEN: usize = 4;
/// IPv4 (RFC 894).
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// IPv6 (RFC 2464).
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// ARP (RFC 826).
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// An 802.1Q tag (IEEE 802.1Q section 9.6).
pub const ETHERTYPE_VLAN: u16 = 0x8100;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Every station.
    pub const BROADCAST: MacAddress = MacAddress([0xff; 6]);

    /// A group address; the broadcast address is one.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Not six hexadecimal bytes with colons between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an Ethernet address is written as aa:bb:cc:dd:ee:ff")]
pub struct MacAddressError;

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<MacAddress, MacAddressError> {
        let mut parts = text.split(':');
        let mut bytes = [0; 6];
        for byte in &mut bytes {
            let part = parts
                .next()
                // from_str_radix alone would take "+2".
                .filter(|part| part.len() == 2 && !part.starts_with('+'))
                .ok_or(MacAddressError)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| MacAddressError)?;
        }
        if parts.next().is_some() {
            Err(MacAddressError)
        } else {
            Ok(MacAddress(bytes))
        }
    }
}

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who it is for.
    pub destination: MacAddress,
    /// Who sent it.
    pub source: MacAddress,
    /// The VLAN of its tag, 1 to 4095. A tag of VLAN 0 carries a priority alone
    /// and is as none (IEEE 802.1Q section 9.6).
    pub vlan: Option<u16>,
    /// What is inside. A second tag is not looked behind.
    pub ethertype: u16,
}

impl Header {
    /// Splits a frame into header and payload.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<(Header, &[u8]), Malformed> {
        let (header, mut payload) = frame
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated)?;
        let address = |at| {
            let mut bytes = [0; 6];
            bytes.copy_from_slice(&header[at..at + 6]);
            MacAddress(bytes)
        };
        let mut ethertype = u16_at(header, 12);
        let mut vlan = None;
        if ethertype == ETHERTYPE_VLAN {
            let (tag, rest) = payload
                .split_first_chunk::<TAG_LEN>()
                .ok_or(Malformed::Truncated)?;
            vlan = Some(u16_at(tag, 0) & 0xfff).filter(|&vlan| vlan > 0);
            ethertype = u16_at(tag, 2);
            payload = rest;
        }
        Ok((
            Header {
                destination: address(0),
                source: address(6),
                vlan,
                ethertype,
            },
            payload,
        ))
    }

    /// Bytes that the header takes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub fn len(&self) -> usize {
        header_len(self.vlan)
    }

    /// Writes the header into the first bytes, [`len`](Header::len) of them.
    #[inline]
    pub fn emit(&self, frame: &mut [u8]) {
        frame[..6].copy_from_slice(&self.destination.0);
        frame[6..12].copy_from_slice(&self.source.0);
        let mut at = 12;
        if let Some(vlan) = self.vlan {
            put_u16(frame, 12, ETHERTYPE_VLAN);
            put_u16(frame, 14, vlan & 0xfff);
            at += TAG_LEN;
        }
        put_u16(frame, at, self.ethertype);
    }
}

/// Bytes of a header on a VLAN, or on none.
#[inline]
pub fn header_len(vlan: Option<u16>) -> usize {
    HEADER_LEN + if vlan.is_some() { TAG_LEN } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header = Header {
            destination: "02:00:00:00:00:0a".parse().unwrap(),
            source: MacAddress([2, 0, 0, 0, 0, 11]),
            vlan: None,
            ethertype: ETHERTYPE_ARP,
        };
        let mut frame = [0; 15];
        header.emit(&mut frame);
        assert_eq!(Header::parse(&frame), Ok((header, &[0][..])));
        assert_eq!(Header::parse(&frame[..13]), Err(Malformed::Truncated));
        assert_eq!(header.destination.to_string(), "02:00:00:00:00:0a");
    }

    #[test]
    fn a_tag_is_read_as_it_was_written() {
        let header = Header {
            destination: MacAddress::BROADCAST,
            source: MacAddress([2, 0, 0, 0, 0, 11]),
            vlan: Some(4_094),
            ethertype: ETHERTYPE_IPV6,
        };
        let mut frame = [0; 20];
        header.emit(&mut frame);
        assert_eq!(Header::parse(&frame), Ok((header, &[0; 2][..])));
        assert_eq!(Header::parse(&frame[..17]), Err(Malformed::Truncated));
        let (theirs, rest) = etherparse::SingleVlanHeader::from_slice(&frame[14..]).unwrap();
        assert_eq!((theirs.vlan_id.value(), rest), (4_094, &[0; 2][..]));
        // A priority without a VLAN is no VLAN.
        frame[14..16].copy_from_slice(&[0xe0, 0]);
        let (priority, _) = Header::parse(&frame).unwrap();
        assert_eq!((priority.vlan, priority.ethertype), (None, ETHERTYPE_IPV6));
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:0a:01",
            "2:0:0:0:0:a",
            "+2:00:00:00:00:0a",
            "02:00:00:00:00:0g",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }
}
