//! ICMP (RFC 792), as far as a TCP host needs it.

use super::checksum::Sum;
use super::{Malformed, ipv4_at, put_u16, u16_at, u32_at};
use crate::seq::Seq;
use std::net::Ipv4Addr;

const HEADER_LEN: usize = 8;
const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO_REQUEST: u8 = 8;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Asks for its data back.
    EchoRequest,
    /// A packet could not be delivered.
    Unreachable {
        /// What could not be reached: 0 network, 1 host, 2 protocol, 3 port,
        /// 4 fragmentation needed.
        code: u8,
        /// The start of the packet.
        original: &'a [u8],
    },
    /// Anything else.
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
        Ok(match message[0] {
            ECHO_REQUEST if message[1] == 0 => Message::EchoRequest,
            UNREACHABLE => Message::Unreachable {
                code: message[1],
                original: &message[HEADER_LEN..],
            },
            _ => Message::Other,
        })
    }
}

/// Turns an echo request into its reply, in place.
pub fn make_echo_reply(message: &mut [u8]) {
    message[0] = ECHO_REPLY;
    put_u16(message, 2, 0);
    let checksum = Sum::default().add_bytes(message).complement();
    put_u16(message, 2, checksum);
}

/// The TCP segment that an error message quotes: the first 8 bytes of its header
/// are always there (RFC 792; RFC 5927 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// Who sent it: this host, if it is ours.
    pub source: Ipv4Addr,
    /// Who it was for.
    pub destination: Ipv4Addr,
    /// TCP source port.
    pub source_port: u16,
    /// TCP destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub seq: Seq,
}

/// The quoted segment, if it is one of TCP. Its total length is not looked at:
/// a quote is shorter than the packet was.
pub fn embedded_tcp(original: &[u8]) -> Option<Embedded> {
    let first = *original.first()?;
    let header_len = usize::from(first & 0xf) * 4;
    let is_ipv4 = first >> 4 == 4 && header_len >= super::ipv4::HEADER_LEN;
    let tcp = original
        .get(header_len..header_len + 8)
        .filter(|_| is_ipv4)?;
    let is_first_fragment = u16_at(original, 6) & 0x1fff == 0;
    (original[9] == super::ipv4::PROTOCOL_TCP && is_first_fragment).then(|| Embedded {
        source: ipv4_at(original, 12),
        destination: ipv4_at(original, 16),
        source_port: u16_at(tcp, 0),
        destination_port: u16_at(tcp, 2),
        seq: Seq(u32_at(tcp, 4)),
    })
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
    fn a_quote_names_the_flow_and_the_sequence_number() {
        let mut original = vec![0; 28];
        original[0] = 0x45;
        original[9] = 6;
        original[12..20].copy_from_slice(&[198, 18, 0, 1, 198, 18, 0, 2]);
        original[20..28].copy_from_slice(&[0x04, 0x00, 0x00, 0x50, 0, 0, 1, 0]);
        let message = with_checksum([&[3, 3, 0, 0, 0, 0, 0, 0], &original[..]].concat());
        let Ok(Message::Unreachable {
            code: 3,
            original: quote,
        }) = Message::parse(&message)
        else {
            panic!()
        };
        let embedded = embedded_tcp(quote).unwrap();
        assert_eq!(
            (
                embedded.source_port,
                embedded.destination_port,
                embedded.seq
            ),
            (1_024, 80, Seq(256))
        );
        assert_eq!(embedded_tcp(&quote[..27]), None, "the quote is too short");
        original[9] = 17;
        assert_eq!(embedded_tcp(&original), None, "not TCP");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 8..80)) {
            let _ = Message::parse(&bytes[..4]);
            let _ = Message::parse(&with_checksum(bytes.clone()));
            let _ = embedded_tcp(&bytes);
        }
    }
}
