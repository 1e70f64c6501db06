//! Whole frames: a segment's headers and data, written where they leave from.

use super::Config;
use crate::flow::FlowKey;
use crate::frame::{Batch, Frame, FramePool, HEADROOM};
use crate::locals::Locals;
use crate::tcp::{Emitter, Payload};
use crate::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, MacAddress};
use crate::wire::ip::{self, PROTOCOL_TCP, Service};
use crate::wire::tcp::Header as TcpHeader;
use std::net::IpAddr;

/// Where a segment comes from and goes to, below TCP.
#[derive(Clone, Copy)]
pub(super) struct Envelope {
    pub(super) source_mac: MacAddress,
    pub(super) destination_mac: MacAddress,
    pub(super) vlan: Option<u16>,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) service: Service,
}

impl Envelope {
    /// Builds a whole segment in `frame`: data first, then headers and checksums.
    pub(super) fn build(&self, frame: &mut Frame, header: &TcpHeader, payload: Option<&Payload>) {
        // Code of its own for IPv4: what depends on the family is decided once.
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.write(frame, header, payload, (source, destination));
            }
            addresses => self.write(frame, header, payload, addresses),
        }
    }

    #[inline]
    fn write<Ip: Copy + Into<IpAddr>>(
        &self,
        frame: &mut Frame,
        header: &TcpHeader,
        payload: Option<&Payload>,
        (source, destination): (Ip, Ip),
    ) {
        let ethernet = ethernet::Header {
            destination: self.destination_mac,
            source: self.source_mac,
            vlan: self.vlan,
            ethertype: ethertype(destination.into()),
        };
        let tcp_at = ethernet.len() + ip::header_len(destination.into());
        let len = payload.map_or(0, Payload::len);
        let tcp_len = header.len() + len;
        frame.set_window(HEADROOM, tcp_at + tcp_len);
        let (headers, segment) = frame.data_mut().split_at_mut(tcp_at);
        if let Some(payload) = payload {
            payload.write(&mut segment[header.len()..]);
        }
        header.emit(segment, source, destination);
        let ip = ip::Header {
            source: source.into(),
            destination: destination.into(),
            protocol: PROTOCOL_TCP,
            service: self.service,
            payload_len: tcp_len,
        };
        ip.emit(&mut headers[ethernet.len()..]);
        ethernet.emit(headers);
    }
}

/// The Ethernet type of packets to an address.
pub(super) fn ethertype(destination: IpAddr) -> u16 {
    match destination {
        IpAddr::V4(_) => ETHERTYPE_IPV4,
        IpAddr::V6(_) => ETHERTYPE_IPV6,
    }
}

/// The way out of connections' segments: a batch towards a resolved next hop.
pub(super) struct Port<'a> {
    pub(super) config: &'a Config,
    pub(super) locals: &'a Locals,
    pub(super) mac: MacAddress,
    pub(super) batch: &'a mut Batch,
}

impl Emitter for Port<'_> {
    fn emit(
        &mut self,
        pool: &mut FramePool,
        key: FlowKey,
        service: Service,
        header: &TcpHeader,
        payload: &Payload,
    ) -> bool {
        if self.batch.room() == 0 {
            return false;
        }
        let Some(mut frame) = pool.alloc() else {
            return false;
        };
        let envelope = Envelope {
            source_mac: self.config.mac,
            destination_mac: self.mac,
            vlan: self.config.vlan,
            source: self.locals.ip(key.local),
            destination: key.remote.ip(),
            service,
        };
        envelope.build(&mut frame, header, Some(payload));
        self.batch.push(frame);
        true
    }
}
