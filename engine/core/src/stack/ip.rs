//! IP packets that arrive, of both families: whom they are for and from, and
//! what is in them.

use super::{Input, Stack, offset_in};
use crate::address::Address;
use crate::flow::FlowKey;
use crate::frame::Frame;
use crate::stats::DropReason;
use crate::tcp::{Cx, Segment};
use crate::wire::ip::PROTOCOL_TCP;
use crate::wire::tcp::Header as TcpHeader;
use crate::wire::{ipv4, ipv6, ndp};
use std::net::Ipv6Addr;

/// What a packet's headers say that those who read its payload need.
pub(super) struct Received {
    pub(super) source: Address,
    /// Index of the local address that it was for.
    pub(super) local: u16,
    pub(super) tos: u8,
}

impl Stack {
    /// The frame's window is the packet; it came to one station, or to a group.
    pub(super) fn input_ipv4(&mut self, cx: &mut Cx, to_group: bool, mut frame: Frame) -> Input {
        let (header, payload) = match ipv4::Header::parse(frame.data()) {
            Ok(parsed) => parsed,
            Err(malformed) => return Err((malformed.into(), frame)),
        };
        let (offset, len) = (offset_in(frame.data(), payload), payload.len());
        // Neither broadcast nor multicast is one of ours (RFC 9293, MUST-57), and
        // a group of stations is no way to one of us (RFC 1122 section 3.3.6).
        let local = self.locals.find(header.destination.into());
        let Some(local) = local.filter(|_| !to_group) else {
            return Err((DropReason::NotForUs, frame));
        };
        let source = Address::from(header.source);
        if !self.locals.may_come_from(source) {
            return Err((DropReason::BadSource, frame));
        }
        let received = Received {
            source,
            local,
            tos: header.tos,
        };
        frame.set_window(frame.head() + offset, len);
        match header.protocol {
            PROTOCOL_TCP => self.input_tcp(cx, &received, frame),
            ipv4::PROTOCOL_ICMP => self.input_icmpv4(cx, &received, frame),
            _ => Err((DropReason::Protocol, frame)),
        }
    }

    /// The same for IPv6.
    pub(super) fn input_ipv6(&mut self, cx: &mut Cx, to_group: bool, mut frame: Frame) -> Input {
        let (header, payload) = match ipv6::Header::parse(frame.data()) {
            Ok(parsed) => parsed,
            Err(malformed) => return Err((malformed.into(), frame)),
        };
        let (offset, len) = (offset_in(frame.data(), payload), payload.len());
        let addresses = Address::received(header.source).zip(Address::received(header.destination));
        let Some((source, destination)) = addresses else {
            return Err((DropReason::BadSource, frame));
        };
        // Nobody is who still makes sure that its address is its own.
        let is_from_nobody = header.source == Ipv6Addr::UNSPECIFIED;
        let is_source = self.locals.may_come_from(source);
        if header.destination.is_multicast() {
            // Neighbour discovery alone is for groups (RFC 9293, MUST-57).
            let is_discovery = header.protocol == ipv6::PROTOCOL_ICMP;
            if !(is_discovery && self.is_group_of_ours(header.destination)) {
                return Err((DropReason::NotForUs, frame));
            }
            if !(is_source || is_from_nobody) {
                return Err((DropReason::BadSource, frame));
            }
            frame.set_window(frame.head() + offset, len);
            return self.input_discovery(cx, &header, frame);
        }
        let local = self.locals.find(destination).filter(|_| !to_group);
        let Some(local) = local else {
            return Err((DropReason::NotForUs, frame));
        };
        if !is_source {
            return Err((DropReason::BadSource, frame));
        }
        let received = Received {
            source,
            local,
            tos: header.tos,
        };
        frame.set_window(frame.head() + offset, len);
        match header.protocol {
            PROTOCOL_TCP => self.input_tcp(cx, &received, frame),
            ipv6::PROTOCOL_ICMP => self.input_icmpv6(cx, &header, &received, frame),
            _ => Err((DropReason::Protocol, frame)),
        }
    }

    /// A group that one of our addresses is in.
    fn is_group_of_ours(&self, group: Ipv6Addr) -> bool {
        group == ndp::ALL_NODES || self.locals.is_solicited(group)
    }

    /// The frame's window is the segment.
    fn input_tcp(&mut self, cx: &mut Cx, ip: &Received, mut frame: Frame) -> Input {
        let parsed = TcpHeader::parse(
            frame.data(),
            ip.source.ip(),
            self.locals.ip(ip.local),
            self.config.checksum,
        );
        let (header, payload) = match parsed {
            Ok(parsed) => parsed,
            Err(malformed) => return Err((malformed.into(), frame)),
        };
        let (offset, len) = (offset_in(frame.data(), payload), payload.len());
        let key = FlowKey {
            remote: ip.source,
            local: ip.local,
            local_port: header.destination_port,
            remote_port: header.source_port,
        };
        let segment = Segment {
            key,
            header,
            payload_len: u32::try_from(len).unwrap_or(0),
            ecn: ip.tos & 3,
        };
        frame.set_window(frame.head() + offset, len);
        self.tcp.input(cx, &segment, frame);
        Ok(())
    }
}
