//! IPv6 headers and the chain of extension headers behind them (RFC 8200).
//!
//! ```text
//! | IPv6 | hop-by-hop | destination | routing | fragment | destination | TCP ...
//!        |<----------------- the chain, bounded ------------------->|
//! ```
//!
//! A chain has at most [`EXTENSIONS_MAX`] headers. Of what they ask nothing is
//! done: what may be passed over is passed over, and a packet that must not be
//! used without is refused.

use super::checksum::Sum;
use super::{Malformed, ipv6_at, put_u16, put_u32, u16_at};
use std::net::Ipv6Addr;

/// Bytes of a header without extensions.
pub const HEADER_LEN: usize = 40;
/// ICMPv6.
pub const PROTOCOL_ICMP: u8 = 58;
/// Extension headers that a packet may have. RFC 8504 section 5.3 lets a host
/// set a limit; RFC 8200 section 4.1 has an order in which at most six occur.
pub const EXTENSIONS_MAX: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// What the engine uses of a header and its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// What is inside, behind all extension headers.
    pub protocol: u8,
    /// Hop limit.
    pub ttl: u8,
    /// Traffic class: Diffserv code point and ECN (RFC 2474, RFC 3168).
    pub tos: u8,
    /// Bytes after the header and its extensions.
    pub payload_len: usize,
    /// A fragment header was in the chain: neighbour discovery must not be
    /// believed then (RFC 6980 section 5).
    pub has_fragment_header: bool,
}

impl Header {
    /// Splits a packet into header and the payload behind the extension headers.
    /// What lies after the payload length is padding.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<(Header, &[u8]), Malformed> {
        if packet.len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        if packet[0] >> 4 != 6 {
            return Err(Malformed::Version);
        }
        // A length of 0 announces a jumbogram (RFC 2675), of which no Ethernet
        // frame is one, or nothing at all.
        let payload_len = usize::from(u16_at(packet, 4));
        if payload_len == 0 || HEADER_LEN + payload_len > packet.len() {
            return Err(Malformed::TotalLength);
        }
        let chain = Chain {
            next: packet[6],
            rest: &packet[HEADER_LEN..HEADER_LEN + payload_len],
            has_fragment_header: false,
        };
        let chain = chain.walk()?;
        let header = Header {
            source: ipv6_at(packet, 8),
            destination: ipv6_at(packet, 24),
            protocol: chain.next,
            ttl: packet[7],
            tos: u8::try_from(u16_at(packet, 0) >> 4 & 0xff).unwrap_or(0),
            payload_len: chain.rest.len(),
            has_fragment_header: chain.has_fragment_header,
        };
        Ok((header, chain.rest))
    }

    /// Writes the header into the first 40 bytes. The flow label is 0: none is
    /// chosen (RFC 6437 section 2).
    #[inline]
    pub fn emit(&self, packet: &mut [u8]) {
        put_u32(packet, 0, 6 << 28 | u32::from(self.tos) << 20);
        put_u16(
            packet,
            4,
            u16::try_from(self.payload_len).unwrap_or(u16::MAX),
        );
        packet[6] = self.protocol;
        packet[7] = self.ttl;
        packet[8..24].copy_from_slice(&self.source.octets());
        packet[24..40].copy_from_slice(&self.destination.octets());
    }
}

/// A place in the chain: the kind of what comes next, and its bytes.
struct Chain<'a> {
    next: u8,
    rest: &'a [u8],
    has_fragment_header: bool,
}

impl<'a> Chain<'a> {
    /// Goes to the first header that is no extension. Every step takes at least
    /// eight bytes off, and there are few steps, whatever the lengths say.
    #[inline]
    fn walk(mut self) -> Result<Chain<'a>, Malformed> {
        for step in 0..=EXTENSIONS_MAX {
            match self.next {
                // Only right behind the IPv6 header (RFC 8200 section 4.3).
                HOP_BY_HOP if step > 0 => break,
                HOP_BY_HOP | DESTINATION => {
                    check_options(
                        &self
                            .rest
                            .get(..self.len()?)
                            .ok_or(Malformed::HeaderLength)?[2..],
                    )?;
                }
                ROUTING => self.check_routing()?,
                FRAGMENT => self.check_fragment()?,
                _ => return Ok(self),
            }
            let len = if self.next == FRAGMENT {
                8
            } else {
                self.len()?
            };
            self.next = self.rest[0];
            self.rest = self.rest.get(len..).ok_or(Malformed::HeaderLength)?;
        }
        Err(Malformed::Extension)
    }

    /// Bytes of the extension header here, by its own length field.
    fn len(&self) -> Result<usize, Malformed> {
        let units = usize::from(*self.rest.get(1).ok_or(Malformed::HeaderLength)?);
        Ok((units + 1) * 8)
    }

    /// A routing header with nothing left to visit is passed over; any other must
    /// not be followed (RFC 8200 section 4.4; type 0: RFC 5095 section 3).
    fn check_routing(&self) -> Result<(), Malformed> {
        match self.rest.get(3) {
            Some(0) => Ok(()),
            Some(_) => Err(Malformed::SourceRoute),
            None => Err(Malformed::HeaderLength),
        }
    }

    /// A packet in one fragment is whole (RFC 6946 section 4).
    fn check_fragment(&mut self) -> Result<(), Malformed> {
        if self.rest.len() < 8 {
            return Err(Malformed::HeaderLength);
        }
        // The offset and the M flag; the two bits between them are reserved.
        if u16_at(self.rest, 2) & 0xfff9 != 0 {
            return Err(Malformed::Fragment);
        }
        self.has_fragment_header = true;
        Ok(())
    }
}

/// Options of a hop-by-hop or destination header. An unknown one says itself
/// whether it may be passed over (RFC 8200 section 4.2): the upper two bits of
/// its kind are then 0. The jumbo payload option says no.
fn check_options(mut bytes: &[u8]) -> Result<(), Malformed> {
    const PAD1: u8 = 0;
    while let [kind, rest @ ..] = bytes {
        if *kind == PAD1 {
            bytes = rest;
            continue;
        }
        let len = usize::from(*rest.first().ok_or(Malformed::Option)?);
        if kind >> 6 != 0 {
            return Err(Malformed::Option);
        }
        bytes = rest.get(1 + len..).ok_or(Malformed::Option)?;
    }
    Ok(())
}

/// The pseudo-header's part of a checksum (RFC 8200 section 8.1).
#[inline]
pub fn pseudo_header(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, len: usize) -> Sum {
    Sum::default()
        .add_bytes(&source.octets())
        .add_bytes(&destination.octets())
        .add_u16(u16::from(protocol))
        .add_u32(u32::try_from(len).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
    const TCP: u8 = 6;

    fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
        let header = Header {
            source: A,
            destination: B,
            protocol: next,
            ttl: 64,
            tos: 0,
            payload_len: payload.len(),
            has_fragment_header: false,
        };
        let mut packet = vec![0; HEADER_LEN];
        packet.extend(payload);
        header.emit(&mut packet);
        packet
    }

    /// An extension header of one unit: six bytes of body.
    fn extension(next: u8, body: [u8; 6]) -> Vec<u8> {
        [&[next, 0], &body[..]].concat()
    }

    const PADN: [u8; 6] = [1, 4, 0, 0, 0, 0];

    fn refusal(packet: &[u8]) -> Malformed {
        Header::parse(packet).unwrap_err()
    }

    #[test]
    fn a_chain_leads_to_what_is_inside() {
        let chain = [
            extension(DESTINATION, PADN),
            extension(ROUTING, [1, 4, 0, 0, 0, 0]),
            extension(FRAGMENT, [4, 0, 0, 0, 0, 0]), // segments left: 0
            extension(TCP, [0, 6, 0, 0, 0, 7]),      // reserved bits, and no more to come
            b"tcp".to_vec(),
        ]
        .concat();
        let bytes = packet(HOP_BY_HOP, &chain);
        let (header, payload) = Header::parse(&bytes).unwrap();
        assert_eq!((header.protocol, payload), (TCP, &b"tcp"[..]));
        assert!(header.has_fragment_header);
    }

    /// Attack case 10.
    #[test]
    fn chains_that_lie_or_never_end_are_refused() {
        let endless = extension(DESTINATION, PADN).repeat(60);
        assert_eq!(
            refusal(&packet(DESTINATION, &endless)),
            Malformed::Extension
        );
        let mut most = extension(DESTINATION, PADN).repeat(EXTENSIONS_MAX - 1);
        most.extend(extension(TCP, PADN));
        assert!(Header::parse(&packet(DESTINATION, &most)).is_ok());
        let mut overlong = extension(TCP, [1, 0, 0, 0, 0, 0]);
        overlong[1] = 255;
        for next in [HOP_BY_HOP, DESTINATION, ROUTING] {
            assert_eq!(refusal(&packet(next, &overlong)), Malformed::HeaderLength);
            assert_eq!(refusal(&packet(next, &[TCP])), Malformed::HeaderLength);
        }
        assert_eq!(
            refusal(&packet(FRAGMENT, &[TCP, 0, 0, 0, 0, 0, 0])),
            Malformed::HeaderLength
        );
        let twice = [extension(HOP_BY_HOP, PADN), extension(TCP, PADN)].concat();
        assert_eq!(refusal(&packet(HOP_BY_HOP, &twice)), Malformed::Extension);
    }

    #[test]
    fn options_end_in_their_header_and_say_whether_they_may_be_ignored() {
        for (options, ok) in [
            ([0, 0, 0, 0, 0, 0], true),
            ([5, 2, 0, 0, 1, 0], true),     // router alert (RFC 2711)
            ([0x1e, 4, 1, 2, 3, 4], true),  // experimental, may be skipped
            ([0xc2, 4, 0, 1, 0, 0], false), // jumbo payload (RFC 2675)
            ([0x9e, 4, 1, 2, 3, 4], false), // must be understood
            ([1, 5, 0, 0, 0, 0], false),    // longer than its header
            ([0, 0, 0, 0, 0, 1], false),    // without a length
        ] {
            let bytes = packet(HOP_BY_HOP, &[extension(TCP, options), vec![0]].concat());
            assert_eq!(Header::parse(&bytes).is_ok(), ok, "{options:?}");
        }
    }

    /// RFC 5095: a type 0 routing header is as unknown as any other.
    #[test]
    fn source_routes_are_not_followed() {
        for kind in [0, 2, 4, 253] {
            let route = extension(TCP, [kind, 1, 0, 0, 0, 0]);
            assert_eq!(refusal(&packet(ROUTING, &route)), Malformed::SourceRoute);
        }
    }

    #[test]
    fn fragments_are_refused_unless_they_are_the_whole() {
        for (offset_and_more, ok) in [
            ([0, 0], true),
            ([0, 1], false),
            ([0, 8], false),
            ([0xff, 0xf8], false),
        ] {
            let [a, b] = offset_and_more;
            let bytes = packet(FRAGMENT, &extension(TCP, [a, b, 0, 0, 0, 9]));
            assert_eq!(Header::parse(&bytes).is_ok(), ok);
        }
    }

    /// Attack case 11.
    #[test]
    fn lengths_that_lie_are_refused() {
        let good = packet(TCP, b"abcd");
        assert_eq!(refusal(&good[..39]), Malformed::Truncated);
        assert_eq!(refusal(&good[..43]), Malformed::TotalLength);
        let mut empty = good.clone();
        put_u16(&mut empty, 4, 0);
        assert_eq!(refusal(&empty), Malformed::TotalLength);
        let mut padded = good.clone();
        padded.resize(60, 0xee);
        assert_eq!(Header::parse(&padded).unwrap().1, b"abcd");
        let mut other = good;
        other[0] = 0x45;
        assert_eq!(refusal(&other), Malformed::Version);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(next: u8, bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Header::parse(&bytes);
            let _ = Header::parse(&packet(next, &bytes));
        }

        #[test]
        fn another_implementation_reads_what_is_written(source: u128, destination: u128, tos: u8, ttl: u8, payload in prop::collection::vec(any::<u8>(), 1..64)) {
            let header = Header { source: source.into(), destination: destination.into(), protocol: TCP, ttl, tos, payload_len: payload.len(), has_fragment_header: false };
            let mut bytes = vec![0; HEADER_LEN];
            bytes.extend(&payload);
            header.emit(&mut bytes);
            prop_assert_eq!(Header::parse(&bytes), Ok((header, &payload[..])));
            let (theirs, rest) = etherparse::Ipv6Header::from_slice(&bytes).unwrap();
            prop_assert_eq!(theirs.source, header.source.octets());
            prop_assert_eq!(theirs.destination, header.destination.octets());
            prop_assert_eq!((theirs.traffic_class, theirs.hop_limit), (tos, ttl));
            prop_assert_eq!(usize::from(theirs.payload_length), rest.len());
        }

        /// Chains that another implementation walks end for both at the same byte.
        #[test]
        fn another_implementation_walks_the_chain_alike(kinds in prop::collection::vec(0usize..3, 0..6), payload in prop::collection::vec(any::<u8>(), 1..40)) {
            let kinds: Vec<u8> = kinds.iter().map(|&k| [DESTINATION, ROUTING, FRAGMENT][k]).collect();
            let mut bytes = Vec::new();
            for at in 0..kinds.len() {
                let next = kinds.get(at + 1).copied().unwrap_or(TCP);
                bytes.extend(extension(next, if kinds[at] == DESTINATION { PADN } else { [0; 6] }));
            }
            bytes.extend(&payload);
            let first = kinds.first().copied().unwrap_or(TCP);
            let whole = packet(first, &bytes);
            let (header, ours) = Header::parse(&whole).unwrap();
            let start = etherparse::IpNumber(first);
            let (_, next, theirs) = etherparse::Ipv6ExtensionsSlice::from_slice(start, &bytes).unwrap();
            prop_assert_eq!((header.protocol, ours), (next.0, theirs));
        }
    }
}
