//! The link: ARP and neighbour discovery, and frames that wait for them.
//!
//! The engine answers for its addresses and defends them against a host that
//! probes for one of them (RFC 4861 section 7.2.3, RFC 5227 section 2.4). It takes
//! them as its own when it starts and probes for none: they are given to it.

use super::build::ethertype;
use super::{Input, Stack};
use crate::address::Address;
use crate::frame::{Frame, HEADROOM};
use crate::neighbor::{Probe, Resolution, Word};
use crate::siblings::News;
use crate::stats::DropReason;
use crate::tcp::Cx;
use crate::wire::ethernet::{self, ETHERTYPE_ARP, ETHERTYPE_IPV6, MacAddress};
use crate::wire::ndp::{self, Advertisement, Solicitation};
use crate::wire::{arp, icmpv6, ipv6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Frames that may wait to be sent besides TCP's own: ARP and ICMP.
const OUTBOX_MAX: usize = 256;

impl Stack {
    /// RFC 826, the packet reception algorithm. The frame's window is the packet.
    pub(super) fn input_arp(&mut self, cx: &mut Cx, mut frame: Frame) -> Input {
        let packet = match arp::Packet::parse(frame.data()) {
            Ok(packet) => packet,
            Err(malformed) => return Err((malformed.into(), frame)),
        };
        let is_for_us = self.locals.find(packet.target_ip.into()).is_some();
        let is_request = packet.operation == arp::Operation::Request;
        let sender = Address::from(packet.sender_ip);
        // One that probes for an address has none yet (RFC 5227 section 2.1.1).
        if self.locals.may_come_from(sender) && !packet.sender_mac.is_multicast() {
            let word = match (is_for_us, is_request) {
                (true, true) => Word::Asks(packet.sender_mac),
                (true, false) => Word::Tells {
                    at: Some(packet.sender_mac),
                    solicited: true,
                    overrides: true,
                },
                (false, _) => Word::Overheard(packet.sender_mac),
            };
            self.hear(cx, sender, word);
        }
        if !is_for_us {
            return Err((DropReason::NotForUs, frame));
        }
        if !is_request {
            cx.pool.free(frame);
            return Ok(());
        }
        let reply = arp::Packet {
            operation: arp::Operation::Reply,
            sender_mac: self.config.mac,
            sender_ip: packet.target_ip,
            target_mac: packet.sender_mac,
            target_ip: packet.sender_ip,
        };
        let header_len = self.header_len();
        frame.set_window(frame.head() - header_len, header_len + arp::LEN);
        self.write_arp(&mut frame, packet.sender_mac, &reply);
        self.send_later(frame)
    }

    /// RFC 4861 section 7.2.3. The frame's window is the message.
    pub(super) fn input_solicitation(
        &mut self,
        cx: &mut Cx,
        header: &ipv6::Header,
        asked: &Solicitation,
        frame: Frame,
    ) -> Input {
        let is_probe = header.source == Ipv6Addr::UNSPECIFIED;
        // RFC 4861 section 7.1.1: who has no address yet asks the group, unnamed.
        if is_probe && (asked.source.is_some() || !header.destination.is_multicast()) {
            return Err((DropReason::Icmp, frame));
        }
        let target = Address::received(asked.target);
        if target.and_then(|target| self.locals.find(target)).is_none() {
            return Err((DropReason::NotForUs, frame));
        }
        let source = Address::from(header.source);
        if let Some(mac) = asked.source.filter(|mac| !mac.is_multicast()) {
            self.hear(cx, source, Word::Asks(mac));
        }
        let told = Advertisement {
            target: asked.target,
            at: Some(self.config.mac),
            solicited: !is_probe,
            overrides: true,
        };
        let to = if is_probe {
            ndp::ALL_NODES
        } else {
            header.source
        };
        // The answer may be longer than the question was.
        let Some(mut answer) = cx.pool.alloc() else {
            return Err((DropReason::ReplyQueueFull, frame));
        };
        cx.pool.free(frame);
        answer.set_window(HEADROOM, self.header_len() + ipv6::HEADER_LEN + ndp::LEN);
        told.emit(&mut answer.data_mut()[self.header_len() + ipv6::HEADER_LEN..]);
        self.write_discovery(&mut answer, asked.target, to, ndp::multicast_mac(to));
        if is_probe {
            self.send_later(answer)
        } else {
            self.send_to(cx, source, answer)
        }
    }

    /// RFC 4861 section 7.2.5. The frame's window is the message.
    pub(super) fn input_advertisement(
        &mut self,
        cx: &mut Cx,
        header: &ipv6::Header,
        told: &Advertisement,
        frame: Frame,
    ) -> Input {
        // RFC 4861 section 7.1.2: what is told to all was asked by nobody.
        let is_sound = !(header.destination.is_multicast() && told.solicited)
            && told.at.is_none_or(|mac| !mac.is_multicast());
        let target = Address::received(told.target)
            .filter(|&target| is_sound && self.locals.may_come_from(target));
        let Some(target) = target else {
            return Err((DropReason::Icmp, frame));
        };
        let word = Word::Tells {
            at: told.at,
            solicited: told.solicited,
            overrides: told.overrides,
        };
        self.hear(cx, target, word);
        cx.pool.free(frame);
        Ok(())
    }

    /// Takes a neighbour's word, which came to one queue, for all shards.
    fn hear(&mut self, cx: &Cx, ip: Address, word: Word) {
        for _ in 0..self.tcp.siblings.tell_all(News::Neighbor(ip, word)) {
            self.drops.count(DropReason::StrayQueueFull);
        }
        self.learn(cx, ip, word);
    }

    /// Once a next hop has a place, what waited for it goes out.
    pub(super) fn learn(&mut self, cx: &Cx, ip: Address, mut word: Word) {
        // That it answers is its own word; that it was asked is ours.
        if let Word::Tells { solicited, .. } = &mut word {
            *solicited &= self.neighbors.is_asked_for(ip);
        }
        if !self.neighbors.learn(cx.now, ip, word) {
            return;
        }
        for index in self.unresolved.drain(..) {
            self.tcp.requeue_output(index);
        }
        for (mut frame, mac) in self.neighbors.take_pending(ip) {
            frame.data_mut()[..6].copy_from_slice(&mac.0);
            self.outbox.push_back(frame);
        }
    }

    /// Sends a finished IP packet once its next hop is known; the frame comes
    /// back where that is hopeless.
    pub(super) fn send_to(&mut self, cx: &mut Cx, remote: Address, mut frame: Frame) -> Input {
        let hop = self.locals.next_hop(remote);
        let ethertype = ethertype(remote.ip());
        match self.neighbors.lookup(cx.now, hop) {
            Resolution::Reachable(mac) => {
                self.write_ethernet(&mut frame, mac, ethertype);
                self.send_later(frame)
            }
            Resolution::Pending => {
                self.write_ethernet(&mut frame, MacAddress::BROADCAST, ethertype);
                self.neighbors
                    .hold(hop, frame)
                    .map_err(|frame| (DropReason::ReplyQueueFull, frame))
            }
            Resolution::Failed => Err((DropReason::NextHopUnreachable, frame)),
        }
    }

    pub(super) fn send_later(&mut self, frame: Frame) -> Input {
        if self.outbox.len() >= OUTBOX_MAX {
            return Err((DropReason::ReplyQueueFull, frame));
        }
        self.outbox.push_back(frame);
        Ok(())
    }

    /// Asks for a neighbour: all of them, or the one that was there last.
    pub(super) fn probe(&mut self, cx: &mut Cx, probe: Probe) {
        let sender = self.locals.towards(probe.target).map(Address::ip);
        let (Some(sender), Some(mut frame)) = (sender, cx.pool.alloc()) else {
            return;
        };
        match (probe.target.ip(), sender) {
            (IpAddr::V4(target), IpAddr::V4(sender)) => {
                self.write_request(&mut frame, probe.at, target, sender);
            }
            (IpAddr::V6(target), IpAddr::V6(sender)) => {
                self.write_solicitation(&mut frame, probe.at, target, sender);
            }
            _ => return cx.pool.free(frame),
        }
        self.outbox.push_back(frame);
    }

    fn write_request(
        &self,
        frame: &mut Frame,
        at: Option<MacAddress>,
        target_ip: Ipv4Addr,
        sender_ip: Ipv4Addr,
    ) {
        frame.set_window(HEADROOM, self.header_len() + arp::LEN);
        let request = arp::Packet {
            operation: arp::Operation::Request,
            sender_mac: self.config.mac,
            sender_ip,
            target_mac: MacAddress([0; 6]),
            target_ip,
        };
        self.write_arp(frame, at.unwrap_or(MacAddress::BROADCAST), &request);
    }

    fn write_solicitation(
        &self,
        frame: &mut Frame,
        at: Option<MacAddress>,
        target: Ipv6Addr,
        sender: Ipv6Addr,
    ) {
        frame.set_window(HEADROOM, self.header_len() + ipv6::HEADER_LEN + ndp::LEN);
        let asked = Solicitation {
            target,
            source: Some(self.config.mac),
        };
        asked.emit(&mut frame.data_mut()[self.header_len() + ipv6::HEADER_LEN..]);
        let group = ndp::solicited_node(target);
        let (destination, mac) = match at {
            Some(mac) => (target, mac),
            None => (group, ndp::multicast_mac(group)),
        };
        self.write_discovery(frame, sender, destination, mac);
    }

    /// Puts checksum and headers to a message that fills the end of the frame.
    fn write_discovery(&self, frame: &mut Frame, source: Ipv6Addr, to: Ipv6Addr, mac: MacAddress) {
        let message_at = self.header_len() + ipv6::HEADER_LEN;
        icmpv6::seal(&mut frame.data_mut()[message_at..], source, to);
        let header = ipv6::Header {
            source,
            destination: to,
            protocol: ipv6::PROTOCOL_ICMP,
            ttl: ndp::HOP_LIMIT,
            tos: 0,
            payload_len: ndp::LEN,
            has_fragment_header: false,
        };
        header.emit(&mut frame.data_mut()[self.header_len()..]);
        self.write_ethernet(frame, mac, ETHERTYPE_IPV6);
    }

    fn write_arp(&self, frame: &mut Frame, destination: MacAddress, packet: &arp::Packet) {
        packet.emit(&mut frame.data_mut()[self.header_len()..]);
        self.write_ethernet(frame, destination, ETHERTYPE_ARP);
    }

    fn write_ethernet(&self, frame: &mut Frame, destination: MacAddress, ethertype: u16) {
        let header = ethernet::Header {
            destination,
            source: self.config.mac,
            vlan: self.config.vlan,
            ethertype,
        };
        header.emit(frame.data_mut());
    }

    /// Bytes of every Ethernet header that leaves.
    pub(super) fn header_len(&self) -> usize {
        ethernet::header_len(self.config.vlan)
    }
}
