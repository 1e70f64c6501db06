//! What IPv4 and IPv6 have in common, for code that does not care which it is.

use super::checksum::Sum;
use super::{ipv4, ipv6};
use std::net::{IpAddr, Ipv6Addr};

/// TCP, in either family.
pub const PROTOCOL_TCP: u8 = 6;
/// Hops that a packet may take: RFC 9293 section 3.9.2 (MUST-49), RFC 1700.
pub const TIME_TO_LIVE: u8 = 64;

/// What a packet's sender chooses besides the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Diffserv code point and ECN (RFC 2474, RFC 3168): the type of service of
    /// IPv4 (IP_TOS), the traffic class of IPv6.
    pub tos: u8,
    /// Time to live of IPv4 (IP_TTL), hop limit of IPv6.
    pub ttl: u8,
}

impl Default for Service {
    fn default() -> Service {
        Service {
            tos: 0,
            ttl: TIME_TO_LIVE,
        }
    }
}

/// A header of either family, to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// What is inside.
    pub protocol: u8,
    /// Type of service and time to live.
    pub service: Service,
    /// Bytes after the header.
    pub payload_len: usize,
}

impl Header {
    /// Writes the header into the first bytes, [`header_len`] of them.
    #[inline(always)]
    pub fn emit(&self, packet: &mut [u8]) {
        let Service { tos, ttl } = self.service;
        if let (IpAddr::V4(source), IpAddr::V4(destination)) = (self.source, self.destination) {
            let header = ipv4::Header {
                source,
                destination,
                protocol: self.protocol,
                ttl,
                tos,
                payload_len: self.payload_len,
            };
            return header.emit(packet);
        }
        let header = ipv6::Header {
            source: v6(self.source),
            destination: v6(self.destination),
            protocol: self.protocol,
            ttl,
            tos,
            payload_len: self.payload_len,
            has_fragment_header: false,
        };
        header.emit(packet);
    }
}

/// Bytes of a header towards `destination`, without options or extensions.
#[inline]
pub fn header_len(destination: IpAddr) -> usize {
    match destination {
        IpAddr::V4(_) => ipv4::HEADER_LEN,
        IpAddr::V6(_) => ipv6::HEADER_LEN,
    }
}

/// The pseudo-header's part of a checksum (RFC 9293 section 3.1; RFC 8200
/// section 8.1).
#[inline]
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Sum {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ipv4::pseudo_header(source, destination, protocol, len)
        }
        (source, destination) => ipv6::pseudo_header(v6(source), v6(destination), protocol, len),
    }
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
