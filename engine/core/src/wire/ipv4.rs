//! IPv4 headers (RFC 791, RFC 6864).

use super::checksum::Sum;
use super::{Malformed, ipv4_at, put_words, u16_at};
use std::net::Ipv4Addr;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
pub use super::ip::PROTOCOL_TCP;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff;

/// What the engine uses of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// What is inside.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Type of service: Diffserv code point and ECN (RFC 2474, RFC 3168).
    pub tos: u8,
    /// Bytes after the header.
    pub payload_len: usize,
}

impl Header {
    /// Splits a packet into header and payload. What lies after the total length
    /// is padding and not part of the payload. Options are passed over (RFC 9293
    /// section 3.9.2, MUST-50); a packet with a source route is refused (RFC 7126
    /// sections 4.3 and 4.4).
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<(Header, &[u8]), Malformed> {
        let (fixed, rest) = packet
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated)?;
        if fixed[0] >> 4 != 4 {
            return Err(Malformed::Version);
        }
        let header_len = usize::from(fixed[0] & 0xf) * 4;
        let (options, data) = header_len
            .checked_sub(HEADER_LEN)
            .and_then(|len| rest.split_at_checked(len))
            .ok_or(Malformed::HeaderLength)?;
        // What follows the total length is padding of a short frame.
        let payload = usize::from(u16_at(fixed, 2))
            .checked_sub(header_len)
            .and_then(|len| data.get(..len))
            .ok_or(Malformed::TotalLength)?;
        let sum = Sum::default().add_bytes(fixed);
        let is_whole = if options.is_empty() {
            sum.fold() == 0xffff
        } else {
            sum.add_bytes(options).fold() == 0xffff
        };
        if !is_whole {
            return Err(Malformed::Checksum);
        }
        if u16_at(fixed, 6) & MORE_FRAGMENTS_OR_OFFSET != 0 {
            return Err(Malformed::Fragment);
        }
        check_options(options)?;
        let header = Header {
            source: ipv4_at(fixed, 12),
            destination: ipv4_at(fixed, 16),
            protocol: fixed[9],
            ttl: fixed[8],
            tos: fixed[1],
            payload_len: payload.len(),
        };
        Ok((header, payload))
    }

    /// Writes the header into the first 20 bytes. It must not be fragmented, so
    /// its identification says nothing and is 0 (RFC 6864 section 4.1).
    #[inline]
    pub fn emit(&self, packet: &mut [u8]) {
        let total_len = u16::try_from(HEADER_LEN + self.payload_len).unwrap_or(u16::MAX);
        let [tos, ttl, protocol] = [self.tos, self.ttl, self.protocol].map(u32::from);
        let mut words = [
            0x45 << 24 | tos << 16 | u32::from(total_len),
            DONT_FRAGMENT.into(),
            ttl << 24 | protocol << 16,
            self.source.into(),
            self.destination.into(),
        ];
        words[2] |= u32::from(Sum::default().add_words(words).complement());
        put_words(&mut packet[..HEADER_LEN], words);
    }
}

/// Options end in the header (RFC 791 section 3.1) and route nothing.
fn check_options(mut bytes: &[u8]) -> Result<(), Malformed> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    while let [kind, rest @ ..] = bytes {
        match *kind {
            END => break,
            NO_OPERATION => bytes = rest,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(Malformed::SourceRoute),
            _ => {
                let len = usize::from(*rest.first().ok_or(Malformed::Option)?);
                bytes = bytes
                    .get(len..)
                    .filter(|_| len >= 2)
                    .ok_or(Malformed::Option)?;
            }
        }
    }
    Ok(())
}

/// The pseudo-header's part of a TCP checksum (RFC 9293 section 3.1).
#[inline]
pub fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, len: usize) -> Sum {
    Sum::default().add_words([
        source.into(),
        destination.into(),
        protocol.into(),
        u16::try_from(len).unwrap_or(u16::MAX).into(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::put_u16;
    use proptest::prelude::*;

    fn packet(payload: &[u8]) -> Vec<u8> {
        let header = Header {
            source: Ipv4Addr::new(198, 18, 0, 1),
            destination: Ipv4Addr::new(198, 18, 0, 2),
            protocol: PROTOCOL_TCP,
            ttl: 64,
            tos: 0,
            payload_len: payload.len(),
        };
        let mut packet = vec![0; HEADER_LEN];
        packet.extend(payload);
        header.emit(&mut packet);
        packet
    }

    /// Changes a packet and mends its checksum.
    fn changed(mut packet: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        change(&mut packet);
        let len = (usize::from(packet[0] & 0xf) * 4).min(packet.len());
        put_u16(&mut packet, 10, 0);
        let sum = Sum::default().add_bytes(&packet[..len]).complement();
        put_u16(&mut packet, 10, sum);
        packet
    }

    fn refusal(packet: &[u8]) -> Malformed {
        Header::parse(packet).unwrap_err()
    }

    #[test]
    fn padding_to_the_least_frame_is_no_payload() {
        let mut padded = packet(b"abc");
        padded.resize(46, 0xee);
        assert_eq!(Header::parse(&padded).unwrap().1, b"abc");
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let good = packet(b"abcd");
        assert_eq!(refusal(&good[..19]), Malformed::Truncated);
        assert_eq!(
            refusal(&changed(good.clone(), |p| put_u16(p, 2, 25))),
            Malformed::TotalLength
        );
        assert_eq!(
            refusal(&changed(good.clone(), |p| put_u16(p, 2, 19))),
            Malformed::TotalLength
        );
        assert_eq!(
            refusal(&changed(good.clone(), |p| p[0] = 0x44)),
            Malformed::HeaderLength
        );
        assert_eq!(
            refusal(&changed(good.clone(), |p| p[0] = 0x4f)),
            Malformed::HeaderLength
        );
        assert_eq!(refusal(&changed(good, |p| p[0] = 0x65)), Malformed::Version);
    }

    #[test]
    fn fragments_and_bad_checksums_are_refused() {
        let good = packet(b"abcd");
        assert_eq!(
            refusal(&changed(good.clone(), |p| put_u16(p, 6, 0x2000))),
            Malformed::Fragment
        );
        assert_eq!(
            refusal(&changed(good.clone(), |p| put_u16(p, 6, 1))),
            Malformed::Fragment
        );
        let mut bad = good;
        bad[8] ^= 1;
        assert_eq!(refusal(&bad), Malformed::Checksum);
    }

    #[test]
    fn options_are_passed_over() {
        let with_options = changed(packet(&[1, 1, 1, 0, b'x']), |p| p[0] = 0x46);
        assert_eq!(Header::parse(&with_options).unwrap().1, b"x");
    }

    /// Attack case 13, and lengths that would never end.
    #[test]
    fn source_routes_and_endless_options_are_refused() {
        let refused = |options: [u8; 4]| {
            let bytes = changed(packet(&options), |p| p[0] = 0x46);
            Header::parse(&bytes).err()
        };
        for route in [131, 137] {
            assert_eq!(refused([route, 3, 4, 0]), Some(Malformed::SourceRoute));
            assert_eq!(refused([1, route, 3, 4]), Some(Malformed::SourceRoute));
        }
        for len in [0, 1, 5, 255] {
            assert_eq!(refused([7, len, 4, 0]), Some(Malformed::Option), "{len}");
        }
        assert_eq!(refused([1, 1, 1, 7]), Some(Malformed::Option), "no length");
        assert_eq!(
            refused([148, 4, 0, 0]),
            None,
            "router alert says nothing to a host"
        );
        assert_eq!(refused([0, 131, 3, 4]), None, "behind the end");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Header::parse(&bytes);
            let _ = Header::parse(&changed([&[0x45u8; 20], &bytes[..]].concat(), |_| ()));
        }

        #[test]
        fn another_implementation_reads_what_is_written(source: u32, destination: u32, tos: u8, ttl: u8, payload in prop::collection::vec(any::<u8>(), 0..64)) {
            let header = Header { source: source.into(), destination: destination.into(), protocol: 6, ttl, tos, payload_len: payload.len() };
            let mut bytes = vec![0; HEADER_LEN];
            bytes.extend(&payload);
            header.emit(&mut bytes);
            prop_assert_eq!(Header::parse(&bytes), Ok((header, &payload[..])));
            let (theirs, _) = etherparse::Ipv4Header::from_slice(&bytes).unwrap();
            prop_assert_eq!(theirs.source, header.source.octets());
            prop_assert_eq!(usize::from(theirs.total_len), bytes.len());
            prop_assert_eq!(theirs.header_checksum, theirs.calc_header_checksum());
            prop_assert!(theirs.dont_fragment);
        }
    }
}
