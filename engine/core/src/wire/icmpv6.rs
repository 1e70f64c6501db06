//! ICMPv6 (RFC 4443), as far as a TCP host needs it; neighbour discovery is in
//! [`ndp`].

use super::icmp::Error;
use super::ipv6::{PROTOCOL_ICMP, pseudo_header};
use super::{Malformed, ndp, put_u16, u32_at};
use std::net::Ipv6Addr;

/// Bytes before a message's data.
pub const HEADER_LEN: usize = 8;
const UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Asks for its data back.
    EchoRequest,
    /// A packet could not be delivered.
    Error {
        /// Why.
        error: Error,
        /// The start of the packet.
        original: &'a [u8],
    },
    /// Asks for an Ethernet address.
    Solicitation(ndp::Solicitation),
    /// Tells one.
    Advertisement(ndp::Advertisement),
    /// Anything else. Router advertisements and redirects are among it: the
    /// gateway is configured.
    Other,
}

impl Message<'_> {
    /// Reads a message whose checksum holds.
    pub fn parse(
        message: &[u8],
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) -> Result<Message<'_>, Malformed> {
        if message.len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        let pseudo = pseudo_header(source, destination, PROTOCOL_ICMP, message.len());
        if pseudo.add_bytes(message).fold() != 0xffff {
            return Err(Malformed::Checksum);
        }
        let error = match (message[0], message[1]) {
            (ECHO_REQUEST, 0) => return Ok(Message::EchoRequest),
            (ndp::SOLICITATION, 0) => {
                return ndp::Solicitation::parse(message).map(Message::Solicitation);
            }
            (ndp::ADVERTISEMENT, 0) => {
                return ndp::Advertisement::parse(message).map(Message::Advertisement);
            }
            (UNREACHABLE, code) => unreachable_error(code),
            (PACKET_TOO_BIG, _) => Error::PacketTooBig {
                mtu: u32_at(message, 4),
            },
            (TIME_EXCEEDED, _) => Error::TimeExceeded,
            // Code 1: the next header is not known, which is TCP.
            (PARAMETER_PROBLEM, 1) => Error::ProtocolUnreachable,
            (PARAMETER_PROBLEM, _) => Error::ParameterProblem,
            _ => return Ok(Message::Other),
        };
        Ok(Message::Error {
            error,
            original: &message[HEADER_LEN..],
        })
    }
}

/// RFC 4443 section 3.1.
fn unreachable_error(code: u8) -> Error {
    match code {
        0 => Error::NetworkUnreachable,
        1 | 5 | 6 => Error::Prohibited,
        4 => Error::PortUnreachable,
        _ => Error::HostUnreachable,
    }
}

/// Turns an echo request into its reply, in place.
pub fn make_echo_reply(message: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) {
    message[0] = ECHO_REPLY;
    seal(message, source, destination);
}

/// Writes the checksum of a message that is otherwise whole.
pub fn seal(message: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) {
    put_u16(message, 2, 0);
    let checksum = pseudo_header(source, destination, PROTOCOL_ICMP, message.len())
        .add_bytes(message)
        .complement();
    put_u16(message, 2, checksum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

    fn sealed(mut message: Vec<u8>) -> Vec<u8> {
        seal(&mut message, A, B);
        message
    }

    #[test]
    fn errors_are_told_apart_by_type_and_code() {
        for (kind, code, expected) in [
            (1, 0, Some(Error::NetworkUnreachable)),
            (1, 1, Some(Error::Prohibited)),
            (1, 3, Some(Error::HostUnreachable)),
            (1, 4, Some(Error::PortUnreachable)),
            (2, 0, Some(Error::PacketTooBig { mtu: 1_400 })),
            (3, 0, Some(Error::TimeExceeded)),
            (4, 0, Some(Error::ParameterProblem)),
            (4, 1, Some(Error::ProtocolUnreachable)),
            (134, 0, None), // Router Advertisement
            (137, 0, None), // Redirect
        ] {
            let message = sealed(vec![kind, code, 0, 0, 0, 0, 0x05, 0x78, b'q']);
            let expected = expected.map_or(Message::Other, |error| Message::Error {
                error,
                original: b"q",
            });
            assert_eq!(
                Message::parse(&message, A, B),
                Ok(expected),
                "{kind} {code}"
            );
        }
        let mut bad = sealed(vec![128, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Message::parse(&bad, A, B), Ok(Message::EchoRequest));
        assert_eq!(
            Message::parse(&bad, A, A),
            Err(Malformed::Checksum),
            "another packet's"
        );
        bad[7] ^= 1;
        assert_eq!(Message::parse(&bad, A, B), Err(Malformed::Checksum));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 8..80)) {
            let _ = Message::parse(&bytes[..4], A, B);
            let _ = Message::parse(&sealed(bytes.clone()), A, B);
        }

        #[test]
        fn another_implementation_reads_the_reply(id: u16, seq: u16, data in prop::collection::vec(any::<u8>(), 0..64)) {
            let header = etherparse::IcmpEchoHeader { id, seq };
            let mut message = Vec::new();
            let request = etherparse::Icmpv6Type::EchoRequest(header);
            etherparse::Icmpv6Header::with_checksum(request, A.octets(), B.octets(), &data).unwrap().write(&mut message).unwrap();
            message.extend(&data);
            prop_assert_eq!(Message::parse(&message, A, B), Ok(Message::EchoRequest));
            make_echo_reply(&mut message, B, A);
            let (theirs, rest) = etherparse::Icmpv6Header::from_slice(&message).unwrap();
            prop_assert_eq!(&theirs.icmp_type, &etherparse::Icmpv6Type::EchoReply(header));
            prop_assert_eq!(theirs.checksum, theirs.icmp_type.calc_checksum(B.octets(), A.octets(), rest).unwrap());
            prop_assert_eq!(rest, &data[..]);
        }
    }
}
