//! The driver between packetdrill's bare IP packets and the engine's frames.
//!
//! It puts an Ethernet header in front of what arrives, takes it off what
//! leaves, and answers the engine's questions for neighbours, so that every
//! address is on the link. What leaves is stamped with the virtual instant, and
//! its TCP checksum is verified, which packetdrill leaves to a network card.

use crate::offload::Offload;
use ringmill_core::driver::{Driver, DriverDrops};
use ringmill_core::frame::{Batch, Frame, FramePool};
use ringmill_core::time::Instant;
use ringmill_core::wire::ethernet::{
    self, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, MacAddress,
};
use ringmill_core::wire::icmpv6::{self, Message};
use ringmill_core::wire::tcp::Header as TcpHeader;
use ringmill_core::wire::{ChecksumPolicy, arp, ip, ipv4, ipv6, ndp};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};

/// The engine's Ethernet address.
pub(crate) const ENGINE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
/// That of everyone else.
const PEER: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

/// A packet that left the engine, without Ethernet.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) at: Instant,
    pub(crate) packet: Vec<u8>,
}

/// Both directions of the link, as queues.
#[derive(Debug)]
pub(crate) struct Port {
    arrived: VecDeque<Frame>,
    departed: VecDeque<Departure>,
    offload: Offload,
    /// Whether the device takes what is to leave. While it does not, it is as one whose
    /// ring is full: every free frame is in it, so that the engine has none to send.
    refuses: bool,
    ring: Vec<Frame>,
    /// Departures since the engine was last at rest.
    unmarked: usize,
    drops: DriverDrops,
}

impl Port {
    pub(crate) fn new(offload: Offload) -> Port {
        Port {
            arrived: VecDeque::new(),
            departed: VecDeque::new(),
            offload,
            refuses: false,
            ring: Vec::new(),
            unmarked: 0,
            drops: DriverDrops::default(),
        }
    }

    /// An IP packet of the script arrives.
    pub(crate) fn arrive(&mut self, packet: &[u8]) {
        let ethertype = match packet.first().map(|byte| byte >> 4) {
            Some(6) => ETHERTYPE_IPV6,
            _ => ETHERTYPE_IPV4,
        };
        self.arrived.push_back(frame(ethertype, packet));
    }

    /// The oldest packet that left.
    pub(crate) fn depart(&mut self) -> Option<Departure> {
        self.departed.pop_front()
    }

    /// The engine is at rest: what left since it last was is one burst.
    /// No packet of it has more than `most` segments.
    pub(crate) fn end_burst(&mut self, most: usize) {
        let first = std::mem::replace(&mut self.unmarked, 0);
        let first = self.departed.len().saturating_sub(first);
        self.offload.mark(self.departed.range_mut(first..), most);
    }

    /// The device takes what is to leave, or nothing.
    pub(crate) fn set_refuses(&mut self, refuses: bool) {
        self.refuses = refuses;
    }

    pub(crate) fn refuses(&self) -> bool {
        self.refuses
    }

    /// Nothing waits to be received by the engine.
    pub(crate) fn is_quiet(&self) -> bool {
        self.arrived.is_empty()
    }

    fn answer_arp(&mut self, packet: &[u8]) {
        let Ok(request) = arp::Packet::parse(packet) else {
            return;
        };
        if request.operation != arp::Operation::Request {
            return;
        }
        let mut reply = [0; arp::LEN];
        arp::Packet {
            operation: arp::Operation::Reply,
            sender_mac: PEER,
            sender_ip: request.target_ip,
            target_mac: request.sender_mac,
            target_ip: request.sender_ip,
        }
        .emit(&mut reply);
        self.arrived.push_back(frame(ETHERTYPE_ARP, &reply));
    }

    /// Answers a solicitation of the engine; false if the packet is none.
    fn answer_solicitation(&mut self, packet: &[u8]) -> bool {
        let Ok((ip, message)) = ipv6::Header::parse(packet) else {
            return false;
        };
        if ip.protocol != ipv6::PROTOCOL_ICMP {
            return false;
        }
        let Ok(Message::Solicitation(asked)) = Message::parse(message, ip.source, ip.destination)
        else {
            return false;
        };
        self.arrived
            .push_back(advertisement(asked.target, ip.source));
        true
    }

    fn depart_ip(&mut self, now: Instant, packet: &[u8]) {
        if !is_sound(packet) {
            eprintln!("ringmill-packetdrill: a packet left with a bad checksum");
            self.drops.tx_invalid += 1;
            return;
        }
        self.unmarked += 1;
        self.departed.push_back(Departure {
            at: now,
            packet: packet.to_vec(),
        });
    }
}

impl Driver for Port {
    fn rx(&mut self, _now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        if self.refuses {
            self.ring.extend(std::iter::from_fn(|| pool.alloc()));
        } else {
            for frame in self.ring.drain(..) {
                pool.free(frame);
            }
        }
        while batch.room() > 0 {
            let Some(frame) = self.arrived.pop_front() else {
                return;
            };
            batch.push(frame);
        }
    }

    fn tx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        for frame in batch.drain(Batch::CAPACITY) {
            if let Ok((header, packet)) = ethernet::Header::parse(frame.data()) {
                match header.ethertype {
                    ETHERTYPE_ARP => self.answer_arp(packet),
                    ETHERTYPE_IPV6 if self.answer_solicitation(packet) => {}
                    _ => self.depart_ip(now, packet),
                }
            }
            pool.free(frame);
        }
    }

    fn held(&self) -> usize {
        // Arrivals are copies, of no pool.
        self.ring.len()
    }

    fn drops(&self) -> DriverDrops {
        self.drops
    }
}

fn frame(ethertype: u16, packet: &[u8]) -> Frame {
    let mut bytes = vec![0; ethernet::HEADER_LEN];
    ethernet::Header {
        vlan: None,
        destination: ENGINE,
        source: PEER,
        ethertype,
    }
    .emit(&mut bytes);
    bytes.extend(packet);
    Frame::copied(&bytes)
}

/// `target` is at the peer, as told to `engine`.
fn advertisement(target: Ipv6Addr, engine: Ipv6Addr) -> Frame {
    let mut packet = [0; ipv6::HEADER_LEN + ndp::LEN];
    let (header, message) = packet.split_at_mut(ipv6::HEADER_LEN);
    ndp::Advertisement {
        target,
        at: Some(PEER),
        solicited: true,
        overrides: true,
    }
    .emit(message);
    icmpv6::seal(message, target, engine);
    ip::Header {
        source: target.into(),
        destination: engine.into(),
        protocol: ipv6::PROTOCOL_ICMP,
        service: ip::Service {
            ttl: ndp::HOP_LIMIT,
            tos: 0,
        },
        payload_len: ndp::LEN,
    }
    .emit(header);
    frame(ETHERTYPE_IPV6, &packet)
}

/// The checksums hold of a packet that leaves (RFC 9293 section 3.1, MUST-2).
fn is_sound(packet: &[u8]) -> bool {
    let v4 = ipv4::Header::parse(packet).map(|(ip, segment)| {
        let addresses: [IpAddr; 2] = [ip.source.into(), ip.destination.into()];
        (ip.protocol, addresses, segment)
    });
    let parsed = v4.or_else(|_| {
        let (ip, segment) = ipv6::Header::parse(packet)?;
        let addresses = [ip.source.into(), ip.destination.into()];
        Ok::<_, ringmill_core::wire::Malformed>((ip.protocol, addresses, segment))
    });
    let Ok((protocol, [source, destination], segment)) = parsed else {
        return false;
    };
    protocol != ip::PROTOCOL_TCP
        || TcpHeader::parse(segment, source, destination, ChecksumPolicy::Full).is_ok()
}
