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

/// A neighbor solicitation for `target`, to its solicited-node address.
pub(crate) fn neighbor_solicitation(target: Ipv6Addr) -> Vec<u8> {
    let octets = target.octets();
    let low = u16::from_be_bytes([octets[14], octets[15]]);
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(octets[13]), low);
    let mut body = vec![135, 0, 0, 0, 0, 0, 0, 0];
    body.extend(octets);
    ipv6(group, 58, &body)
}

pub(crate) fn icmpv6_echo(to: Ipv6Addr) -> Vec<u8> {
    ipv6(to, 58, &[128, 0, 0, 0, 0, 1, 0, 1])
}

pub(crate) fn tcp_over_ipv6(to: Ipv6Addr, port: u16) -> Vec<u8> {
    ipv6(to, 6, &segment(port, 0))
}

/// The same packet behind a VLAN tag (IEEE 802.1Q).
pub(crate) fn tagged(mut packet: Vec<u8>) -> Vec<u8> {
    packet.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
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

fn ipv6(to: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next_header, 255]);
    packet.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 99).octets());
    packet.extend(to.octets());
    packet.extend(payload);
    ethernet(0x86dd, &packet)
}
