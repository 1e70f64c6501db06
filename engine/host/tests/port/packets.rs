//! Packets for steering to judge. Only what it reads is filled in.

use std::net::{Ipv4Addr, Ipv6Addr};

const ETHERNET: usize = 14;

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([0x02, 0, 0, 0, 0, 1]);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// TCP from port 1024, with `number` as its sequence number.
pub(crate) fn tcp(to: Ipv4Addr, port: u16, number: u32) -> Vec<u8> {
    ipv4(to, 6, &[], &segment(port, number))
}

/// The sequence number of a packet made by [`tcp`].
pub(crate) fn number(packet: &[u8]) -> u32 {
    let at = ETHERNET + 20 + 4;
    u32::from_be_bytes(packet[at..at + 4].try_into().unwrap())
}

/// TCP behind eight bytes of IPv4 options, which read as ports 1 and 1.
pub(crate) fn tcp_behind_options(to: Ipv4Addr, port: u16) -> Vec<u8> {
    ipv4(to, 6, &[0, 1, 0, 1, 0, 1, 0, 1], &segment(port, 0))
}

/// A fragment of TCP that starts `offset` bytes into the segment. Its payload
/// reads as a TCP header with that port.
pub(crate) fn tcp_fragment(to: Ipv4Addr, port: u16, offset: u16) -> Vec<u8> {
    let mut packet = tcp(to, port, 0);
    let more_fragments = 0x2000 | (offset / 8);
    packet[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&more_fragments.to_be_bytes());
    packet
}

pub(crate) fn icmp(to: Ipv4Addr) -> Vec<u8> {
    ipv4(to, 1, &[], &[8, 0, 0, 0, 0, 1, 0, 1])
}

pub(crate) fn udp(to: Ipv4Addr) -> Vec<u8> {
    ipv4(to, 17, &[], &[0, 80, 0, 80, 0, 8, 0, 0])
}

/// ARP: operation 1 asks who has `target`, 2 answers `target`.
pub(crate) fn arp(operation: u16, target: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4];
    body.extend(operation.to_be_bytes());
    body.extend([0x02, 0, 0, 0, 0, 1, 198, 18, 0, 99, 0, 0, 0, 0, 0, 0]);
    body.extend(target.octets());
    ethernet(0x0806, &body)
}

/// Numbers of IPv6 headers (RFC 8200, 4).
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const OPTIONS: u8 = 60;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// A neighbor solicitation for `target`, to its solicited-node address.
pub(crate) fn neighbor_solicitation(target: Ipv6Addr) -> Vec<u8> {
    let octets = target.octets();
    let low = u16::from_be_bytes([octets[14], octets[15]]);
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(octets[13]), low);
    discovery(135, group, target)
}

/// A neighbor advertisement of `target`: an answer goes to who asked, an
/// announcement to all nodes.
pub(crate) fn neighbor_advertisement(to: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    discovery(136, to, target)
}

fn discovery(kind: u8, to: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    body.extend(target.octets());
    ipv6(to, &[], ICMPV6, &body)
}

pub(crate) fn router_advertisement() -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    ipv6(all_nodes, &[], ICMPV6, &[134; 16])
}

pub(crate) fn icmpv6_echo(to: Ipv6Addr) -> Vec<u8> {
    ipv6(to, &[], ICMPV6, &[128, 0, 0, 0, 0, 1, 0, 1])
}

pub(crate) fn udp_over_ipv6(to: Ipv6Addr) -> Vec<u8> {
    ipv6(to, &[], UDP, &[0, 80, 0, 80, 0, 8, 0, 0])
}

pub(crate) fn tcp_over_ipv6(to: Ipv6Addr, port: u16) -> Vec<u8> {
    tcp_behind(to, port, &[])
}

/// TCP behind extension headers.
pub(crate) fn tcp_behind(to: Ipv6Addr, port: u16, headers: &[u8]) -> Vec<u8> {
    ipv6(to, headers, TCP, &segment(port, 0))
}

/// A fragment of TCP over IPv6 that starts `offset` bytes into the segment. Its
/// payload reads as a TCP header with that port.
pub(crate) fn tcp_fragment_over_ipv6(to: Ipv6Addr, port: u16, offset: u16) -> Vec<u8> {
    let mut packet = tcp_behind(to, port, &[FRAGMENT]);
    let at = ETHERNET + 40 + 2;
    packet[at..at + 2].copy_from_slice(&(offset | 1).to_be_bytes());
    packet
}

/// The same packet behind a tag for this VLAN, with a priority (IEEE 802.1Q).
pub(crate) fn tagged(mut packet: Vec<u8>, vlan: u16) -> Vec<u8> {
    let [high, low] = (0xa000 | vlan).to_be_bytes();
    packet.splice(12..12, [0x81, 0x00, high, low]);
    packet
}

fn segment(port: u16, number: u32) -> Vec<u8> {
    let mut segment = 1024_u16.to_be_bytes().to_vec();
    segment.extend(port.to_be_bytes());
    segment.extend(number.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    segment
}

fn ipv4(to: Ipv4Addr, protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    let length = u16::try_from(20 + options.len() + payload.len()).unwrap();
    let mut packet = vec![0x40 | words, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0, 198, 18, 0, 99]);
    packet.extend(to.octets());
    packet.extend(options);
    packet.extend(payload);
    ethernet(0x0800, &packet)
}

/// A packet with a chain of extension headers of 16 bytes each, but for
/// fragments: theirs has 8.
fn ipv6(to: Ipv6Addr, headers: &[u8], payload_kind: u8, payload: &[u8]) -> Vec<u8> {
    let next = [headers, &[payload_kind]].concat();
    let mut chain = Vec::new();
    for (header, next) in headers.iter().zip(&next[1..]) {
        match *header {
            FRAGMENT => chain.extend([*next, 0, 0, 0, 0, 0, 0, 7]),
            _ => chain.extend([*next, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        }
    }
    let length = u16::try_from(chain.len() + payload.len()).unwrap();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next[0], 255]);
    packet.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 99).octets());
    packet.extend(to.octets());
    packet.extend(chain);
    packet.extend(payload);
    ethernet(0x86dd, &packet)
}
