//! What ICMP says of packets that were not delivered, in either family
//! (RFC 792, RFC 4443), and the segment that it says it of.

use super::ip::PROTOCOL_TCP;
use super::{ipv4, ipv4_at, ipv6, ipv6_at, u16_at, u32_at};
use crate::seq::Seq;
use std::net::IpAddr;

/// Why a packet was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no route to its network.
    NetworkUnreachable,
    /// Its host does not answer, or is not to be found.
    HostUnreachable,
    /// Its host does not speak TCP.
    ProtocolUnreachable,
    /// Its host has nothing on that port.
    PortUnreachable,
    /// Somebody on the way does not let it pass.
    Prohibited,
    /// It does not fit the next link.
    PacketTooBig {
        /// What does; 0 where a router does not say (RFC 1191 section 5).
        mtu: u32,
    },
    /// It took too many hops.
    TimeExceeded,
    /// Its header is not understood.
    ParameterProblem,
}

/// The TCP segment that an error quotes: the first 8 bytes of its header are
/// always there (RFC 792; RFC 5927 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Who sent it: this host, if it is ours.
    pub source: IpAddr,
    /// Who it was for.
    pub destination: IpAddr,
    /// Bytes of the IP packet, header included.
    pub packet_len: usize,
    /// TCP source port.
    pub source_port: u16,
    /// TCP destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub seq: Seq,
}

impl Quote {
    /// The start of an IPv4 packet, if it is one of TCP. Its total length is not
    /// held against it: a quote is shorter than the packet was.
    pub fn of_ipv4(packet: &[u8]) -> Option<Quote> {
        let first = *packet.first()?;
        let header_len = usize::from(first & 0xf) * 4;
        let is_ipv4 = first >> 4 == 4 && header_len >= ipv4::HEADER_LEN;
        let tcp = packet.get(header_len..header_len + 8).filter(|_| is_ipv4)?;
        let is_first_fragment = u16_at(packet, 6) & 0x1fff == 0;
        if packet[9] != PROTOCOL_TCP || !is_first_fragment {
            return None;
        }
        Some(Quote {
            source: ipv4_at(packet, 12).into(),
            destination: ipv4_at(packet, 16).into(),
            packet_len: usize::from(u16_at(packet, 2)),
            source_port: u16_at(tcp, 0),
            destination_port: u16_at(tcp, 2),
            seq: Seq(u32_at(tcp, 4)),
        })
    }

    /// The start of an IPv6 packet, if it is one of TCP. This host sends no
    /// extension headers, so a quote that has some is not of a packet of ours.
    pub fn of_ipv6(packet: &[u8]) -> Option<Quote> {
        let tcp = packet.get(ipv6::HEADER_LEN..ipv6::HEADER_LEN + 8)?;
        if packet[0] >> 4 != 6 || packet[6] != PROTOCOL_TCP {
            return None;
        }
        let (source, destination) = (ipv6_at(packet, 8), ipv6_at(packet, 24));
        // A mapped address would be one of the other family.
        if source.to_ipv4_mapped().is_some() || destination.to_ipv4_mapped().is_some() {
            return None;
        }
        Some(Quote {
            source: source.into(),
            destination: destination.into(),
            packet_len: ipv6::HEADER_LEN + usize::from(u16_at(packet, 4)),
            source_port: u16_at(tcp, 0),
            destination_port: u16_at(tcp, 2),
            seq: Seq(u32_at(tcp, 4)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ip;
    use proptest::prelude::*;

    const TCP: [u8; 8] = [0x04, 0x00, 0x00, 0x50, 0, 0, 1, 0];

    fn packet(source: &str, destination: &str, protocol: u8) -> Vec<u8> {
        let (source, destination): (IpAddr, IpAddr) =
            (source.parse().unwrap(), destination.parse().unwrap());
        let header = ip::Header {
            source,
            destination,
            protocol,
            service: ip::Service::default(),
            payload_len: 1_000,
        };
        let mut bytes = vec![0; ip::header_len(destination)];
        header.emit(&mut bytes);
        bytes.extend(TCP);
        bytes
    }

    #[test]
    fn a_quote_names_the_flow_and_the_sequence_number() {
        type Read = fn(&[u8]) -> Option<Quote>;
        for (source, destination, read, len) in [
            ("198.18.0.1", "198.18.0.2", Quote::of_ipv4 as Read, 1_020),
            ("2001:db8::1", "2001:db8::2", Quote::of_ipv6 as Read, 1_040),
        ] {
            let bytes = packet(source, destination, PROTOCOL_TCP);
            let quote = read(&bytes).unwrap();
            assert_eq!(quote.source.to_string(), source);
            assert_eq!(quote.destination.to_string(), destination);
            assert_eq!((quote.source_port, quote.destination_port), (1_024, 80));
            assert_eq!((quote.seq, quote.packet_len), (Seq(256), len));
            assert_eq!(
                read(&bytes[..bytes.len() - 1]),
                None,
                "the quote is too short"
            );
            assert_eq!(read(&packet(source, destination, 17)), None, "not TCP");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Quote::of_ipv4(&bytes);
            let _ = Quote::of_ipv6(&bytes);
        }
    }
}
