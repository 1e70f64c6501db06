//! A TCP segment in a frame: read from it, and built into one.

use ringmill_core::wire::ethernet::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, MacAddress};
use ringmill_core::wire::tcp::Header;
use ringmill_core::wire::{ChecksumPolicy, arp, ipv4};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// A segment and the addresses around it.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: SocketAddrV4,
    pub(crate) header: Header,
    pub(crate) data: Vec<u8>,
}

/// What a frame is to the wire.
pub(crate) enum Content {
    Tcp(Packet),
    /// Somebody asks who has an address.
    WhoHas {
        asker: (MacAddress, Ipv4Addr),
        target: Ipv4Addr,
    },
    /// What the stage has no part for.
    Other,
}

impl Content {
    pub(crate) fn of(frame: &[u8]) -> Content {
        Content::parse(frame).unwrap_or(Content::Other)
    }

    fn parse(frame: &[u8]) -> Option<Content> {
        let (ethernet, packet) = ethernet::Header::parse(frame).ok()?;
        match ethernet.ethertype {
            ETHERTYPE_ARP => {
                let arp = arp::Packet::parse(packet).ok()?;
                (arp.operation == arp::Operation::Request).then_some(Content::WhoHas {
                    asker: (arp.sender_mac, arp.sender_ip),
                    target: arp.target_ip,
                })
            }
            ETHERTYPE_IPV4 => {
                let (ip, segment) = ipv4::Header::parse(packet).ok()?;
                // A kernel leaves the checksum to its end of the veth.
                let policy = ChecksumPolicy::AcceptPartial;
                let (header, data) =
                    Header::parse(segment, ip.source, ip.destination, policy).ok()?;
                Some(Content::Tcp(Packet {
                    source: SocketAddrV4::new(ip.source, header.source_port),
                    destination: SocketAddrV4::new(ip.destination, header.destination_port),
                    header,
                    data: data.to_vec(),
                }))
            }
            _ => None,
        }
    }
}

impl Packet {
    /// Sequence numbers that it takes: its data, SYN and FIN.
    pub(crate) fn len(&self) -> u32 {
        use ringmill_core::wire::tcp::Flags;
        let flags = self.header.flags;
        let controls =
            u32::from(flags.contains(Flags::SYN)) + u32::from(flags.contains(Flags::FIN));
        u32::try_from(self.data.len()).unwrap_or(u32::MAX) + controls
    }

    /// The frame that carries it.
    pub(crate) fn frame(&self, to: MacAddress) -> Vec<u8> {
        let len = self.header.len() + self.data.len();
        let ip = ipv4::Header {
            source: *self.source.ip(),
            destination: *self.destination.ip(),
            protocol: ipv4::PROTOCOL_TCP,
            ttl: 64,
            tos: 0,
            payload_len: len,
        };
        let header = Header {
            source_port: self.source.port(),
            destination_port: self.destination.port(),
            ..self.header
        };
        let mut frame = vec![0; ethernet::HEADER_LEN + ipv4::HEADER_LEN + len];
        ethernet::Header {
            destination: to,
            source: SWITCH,
            vlan: None,
            ethertype: ETHERTYPE_IPV4,
        }
        .emit(&mut frame);
        ip.emit(&mut frame[ethernet::HEADER_LEN..]);
        let segment = &mut frame[ethernet::HEADER_LEN + ipv4::HEADER_LEN..];
        segment[self.header.len()..].copy_from_slice(&self.data);
        header.emit(segment, ip.source, ip.destination);
        frame
    }

    pub(crate) fn flow(&self) -> (SocketAddr, SocketAddr) {
        (self.source.into(), self.destination.into())
    }
}

/// Whoever answers for addresses that no station has.
pub(crate) const SWITCH: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);

/// The answer to `asker`: `target` is at `mac`.
pub(crate) fn arp_reply(
    asker: (MacAddress, Ipv4Addr),
    target: Ipv4Addr,
    mac: MacAddress,
) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_LEN + arp::LEN];
    ethernet::Header {
        destination: asker.0,
        source: mac,
        vlan: None,
        ethertype: ETHERTYPE_ARP,
    }
    .emit(&mut frame);
    arp::Packet {
        operation: arp::Operation::Reply,
        sender_mac: mac,
        sender_ip: target,
        target_mac: asker.0,
        target_ip: asker.1,
    }
    .emit(&mut frame[ethernet::HEADER_LEN..]);
    frame
}
