//! ARP for IPv4 over Ethernet (RFC 826).

use super::ethernet::{ETHERTYPE_IPV4, MacAddress};
use super::{Malformed, ipv4_at, put_u16, u16_at};
use std::net::Ipv4Addr;

/// Bytes of a packet.
pub const LEN: usize = 28;
const HARDWARE_ETHERNET: u16 = 1;

/// What a packet asks or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has its address.
    Reply,
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// ar$op
    pub operation: Operation,
    /// ar$sha
    pub sender_mac: MacAddress,
    /// ar$spa
    pub sender_ip: Ipv4Addr,
    /// ar$tha
    pub target_mac: MacAddress,
    /// ar$tpa
    pub target_ip: Ipv4Addr,
}

impl Packet {
    /// Reads a packet; padding after it is ignored.
    pub fn parse(bytes: &[u8]) -> Result<Packet, Malformed> {
        let bytes = bytes.first_chunk::<LEN>().ok_or(Malformed::Truncated)?;
        let is_ours = u16_at(bytes, 0) == HARDWARE_ETHERNET
            && u16_at(bytes, 2) == ETHERTYPE_IPV4
            && bytes[4..6] == [6, 4];
        if !is_ours {
            return Err(Malformed::Hardware);
        }
        let operation = match u16_at(bytes, 6) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(Malformed::Hardware),
        };
        let mac = |at| {
            let mut mac = [0; 6];
            mac.copy_from_slice(&bytes[at..at + 6]);
            MacAddress(mac)
        };
        Ok(Packet {
            operation,
            sender_mac: mac(8),
            sender_ip: ipv4_at(bytes, 14),
            target_mac: mac(18),
            target_ip: ipv4_at(bytes, 24),
        })
    }

    /// Writes the packet into the first 28 bytes.
    pub fn emit(&self, bytes: &mut [u8]) {
        put_u16(bytes, 0, HARDWARE_ETHERNET);
        put_u16(bytes, 2, ETHERTYPE_IPV4);
        bytes[4..6].copy_from_slice(&[6, 4]);
        put_u16(
            bytes,
            6,
            if self.operation == Operation::Request {
                1
            } else {
                2
            },
        );
        bytes[8..14].copy_from_slice(&self.sender_mac.0);
        bytes[14..18].copy_from_slice(&self.sender_ip.octets());
        bytes[18..24].copy_from_slice(&self.target_mac.0);
        bytes[24..28].copy_from_slice(&self.target_ip.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(request: bool, sender: [u8; 6], target: [u8; 6], a: u32, b: u32) {
            let packet = Packet {
                operation: if request { Operation::Request } else { Operation::Reply },
                sender_mac: MacAddress(sender),
                sender_ip: a.into(),
                target_mac: MacAddress(target),
                target_ip: b.into(),
            };
            let mut bytes = [0; 46];
            packet.emit(&mut bytes);
            prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
            prop_assert_eq!(Packet::parse(&bytes[..27]), Err(Malformed::Truncated));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Packet::parse(&bytes);
        }
    }
}
