//! ICMP (RFC 792), as far as a TCP host needs it.

use super::checksum::Sum;
use super::icmp::Error;
use super::{Malformed, put_u16, u16_at};

/// Bytes before a message's data.
pub const HEADER_LEN: usize = 8;
const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

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
    /// Anything else: Source Quench among it, which is to be discarded in silence
    /// (RFC 9293 section 3.9.2.2, MUST-55; RFC 6633).
    Other,
}

impl Message<'_> {
    /// Reads a message whose checksum holds.
    pub fn parse(message: &[u8]) -> Result<Message<'_>, Malformed> {
        if message.len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        if Sum::default().add_bytes(message).fold() != 0xffff {
            return Err(Malformed::Checksum);
        }
        let error = match (message[0], message[1]) {
            (ECHO_REQUEST, 0) => return Ok(Message::EchoRequest),
            (UNREACHABLE, 4) => Error::PacketTooBig {
                mtu: u16_at(message, 6).into(),
            },
            (UNREACHABLE, code) => unreachable_error(code),
            (TIME_EXCEEDED, _) => Error::TimeExceeded,
            (PARAMETER_PROBLEM, _) => Error::ParameterProblem,
            _ => return Ok(Message::Other),
        };
        Ok(Message::Error {
            error,
            original: &message[HEADER_LEN..],
        })
    }
}

/// RFC 792 for codes to 5, RFC 1122 section 3.2.2.1 for those to 12, RFC 1812
/// section 5.2.7.1 for the rest.
fn unreachable_error(code: u8) -> Error {
    match code {
        0 | 6 | 11 => Error::NetworkUnreachable,
        2 => Error::ProtocolUnreachable,
        3 => Error::PortUnreachable,
        9 | 10 | 13 => Error::Prohibited,
        _ => Error::HostUnreachable,
    }
}

/// Turns an echo request into its reply, in place.
pub fn make_echo_reply(message: &mut [u8]) {
    message[0] = ECHO_REPLY;
    put_u16(message, 2, 0);
    let checksum = Sum::default().add_bytes(message).complement();
    put_u16(message, 2, checksum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_checksum(mut message: Vec<u8>) -> Vec<u8> {
        put_u16(&mut message, 2, 0);
        let sum = Sum::default().add_bytes(&message).complement();
        put_u16(&mut message, 2, sum);
        message
    }

    #[test]
    fn an_echo_request_becomes_its_reply() {
        let mut message = with_checksum(vec![8, 0, 0, 0, 0, 7, 0, 1, b'h', b'i', b'!']);
        assert_eq!(Message::parse(&message), Ok(Message::EchoRequest));
        make_echo_reply(&mut message);
        assert_eq!(
            message,
            with_checksum(vec![0, 0, 0, 0, 0, 7, 0, 1, b'h', b'i', b'!'])
        );
        message[9] ^= 1;
        assert_eq!(Message::parse(&message), Err(Malformed::Checksum));
    }

    #[test]
    fn errors_are_told_apart_by_type_and_code() {
        for (kind, code, expected) in [
            (3, 0, Some(Error::NetworkUnreachable)),
            (3, 1, Some(Error::HostUnreachable)),
            (3, 2, Some(Error::ProtocolUnreachable)),
            (3, 3, Some(Error::PortUnreachable)),
            (3, 4, Some(Error::PacketTooBig { mtu: 1_400 })),
            (3, 5, Some(Error::HostUnreachable)),
            (3, 13, Some(Error::Prohibited)),
            (11, 0, Some(Error::TimeExceeded)),
            (12, 0, Some(Error::ParameterProblem)),
            (4, 0, None), // Source Quench
            (5, 1, None), // Redirect: there is one gateway
        ] {
            let message = with_checksum(vec![kind, code, 0, 0, 0, 0, 0x05, 0x78, b'q']);
            let expected = expected.map_or(Message::Other, |error| Message::Error {
                error,
                original: b"q",
            });
            assert_eq!(Message::parse(&message), Ok(expected), "{kind} {code}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 8..80)) {
            let _ = Message::parse(&bytes[..4]);
            let _ = Message::parse(&with_checksum(bytes.clone()));
        }

        #[test]
        fn another_implementation_reads_the_reply(id: u16, seq: u16, data in prop::collection::vec(any::<u8>(), 0..64)) {
            let header = etherparse::IcmpEchoHeader { id, seq };
            let mut message = Vec::new();
            etherparse::Icmpv4Header::with_checksum(etherparse::Icmpv4Type::EchoRequest(header), &data).write(&mut message).unwrap();
            message.extend(&data);
            prop_assert_eq!(Message::parse(&message), Ok(Message::EchoRequest));
            make_echo_reply(&mut message);
            let (theirs, rest) = etherparse::Icmpv4Header::from_slice(&message).unwrap();
            prop_assert_eq!(&theirs.icmp_type, &etherparse::Icmpv4Type::EchoReply(header));
            prop_assert_eq!(theirs.checksum, theirs.icmp_type.calc_checksum(rest));
            prop_assert_eq!(rest, &data[..]);
        }
    }
}
