//! IP packets that arrive, of both families: whom they are for and from, and
//! what is in them.

use super::{Input, Stack, offset_in};
use crate::address::Address;
use crate::frame::Frame;
use crate::stats::DropReason;
use crate::tcp::Cx;
use crate::wire::ip::PROTOCOL_TCP;
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
        let received = Received {
            source: header.source.into(),
            local,
            tos: header.tos,
        };
        frame.narrow(offset, len);
        if header.protocol == PROTOCOL_TCP {
            let pseudo = ipv4::pseudo_header(header.source, header.destination, PROTOCOL_TCP, len);
            return self.input_tcp(&received, pseudo, frame);
        }
        if !self.locals.may_come_from(received.source) {
            return Err((DropReason::BadSource, frame));
        }
        match header.protocol {
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
        if header.destination.is_multicast() {
            // Neighbour discovery alone is for groups (RFC 9293, MUST-57).
            let is_discovery = header.protocol == ipv6::PROTOCOL_ICMP;
            if !(is_discovery && self.is_group_of_ours(header.destination)) {
                return Err((DropReason::NotForUs, frame));
            }
            // Nobody is who still makes sure that its address is its own.
            let is_from_nobody = header.source == Ipv6Addr::UNSPECIFIED;
            if !(is_from_nobody || self.locals.may_come_from(source)) {
                return Err((DropReason::BadSource, frame));
            }
            frame.narrow(offset, len);
            return self.input_discovery(cx, &header, frame);
        }
        let local = self.locals.find(destination).filter(|_| !to_group);
        let Some(local) = local else {
            return Err((DropReason::NotForUs, frame));
        };
        let received = Received {
            source,
            local,
            tos: header.tos,
        };
        frame.narrow(offset, len);
        if header.protocol == PROTOCOL_TCP {
            let pseudo = ipv6::pseudo_header(header.source, header.destination, PROTOCOL_TCP, len);
            return self.input_tcp(&received, pseudo, frame);
        }
        if !self.locals.may_come_from(source) {
            return Err((DropReason::BadSource, frame));
        }
        match header.protocol {
            ipv6::PROTOCOL_ICMP => self.input_icmpv6(cx, &header, &received, frame),
            _ => Err((DropReason::Protocol, frame)),
        }
    }

    /// A group that one of our addresses is in.
    fn is_group_of_ours(&self, group: Ipv6Addr) -> bool {
        group == ndp::ALL_NODES || self.locals.is_solicited(group)
    }
}
