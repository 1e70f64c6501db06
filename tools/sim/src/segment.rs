//! A TCP segment as it is seen on the wire.

use ringmill_core::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use ringmill_core::wire::ip::PROTOCOL_TCP;
use ringmill_core::wire::tcp::{HEADER_LEN, Header};
use ringmill_core::wire::{ChecksumPolicy, ipv4, ipv6};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
}

impl Flow {
    pub(crate) fn back(&self) -> Flow {
        Flow {
            from: self.to,
            to: self.from,
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}", self.from, self.to)
    }
}

/// A whole and undamaged one.
#[derive(Clone, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) flow: Flow,
    pub(crate) header: Header,
    pub(crate) options_len: usize,
    pub(crate) data: &'a [u8],
}

impl Seen<'_> {
    /// The segment in a frame; none if there is no other than a damaged one.
    pub(crate) fn parse(frame: &[u8]) -> Option<Seen<'_>> {
        let (source, destination, segment) = packet(frame)?;
        let policy = ChecksumPolicy::Full;
        let (header, data) = Header::parse(segment, source, destination, policy).ok()?;
        Some(Seen {
            flow: Flow {
                from: SocketAddr::new(source, header.source_port),
                to: SocketAddr::new(destination, header.destination_port),
            },
            options_len: segment.len() - data.len() - HEADER_LEN,
            header,
            data,
        })
    }
}

/// The addresses of a packet with TCP in it, and what is in it.
fn packet(frame: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let (ethernet, packet) = ethernet::Header::parse(frame).ok()?;
    let (protocol, source, destination, payload) = match ethernet.ethertype {
        ETHERTYPE_IPV4 => {
            let (ip, payload) = ipv4::Header::parse(packet).ok()?;
            let (source, destination) = (ip.source.into(), ip.destination.into());
            (ip.protocol, source, destination, payload)
        }
        ETHERTYPE_IPV6 => {
            let (ip, payload) = ipv6::Header::parse(packet).ok()?;
            let (source, destination) = (ip.source.into(), ip.destination.into());
            (ip.protocol, source, destination, payload)
        }
        _ => return None,
    };
    (protocol == PROTOCOL_TCP).then_some((source, destination, payload))
}

impl fmt::Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header {
            flags,
            seq,
            ack,
            window,
            options,
            ..
        } = &self.header;
        write!(f, "{} {flags:?} seq {seq:?}", self.flow)?;
        if !self.data.is_empty() {
            write!(f, " len {}", self.data.len())?;
        }
        write!(f, " ack {ack:?} win {window}")?;
        if let Some(mss) = options.mss {
            write!(f, " mss {mss}")?;
        }
        if let Some(shift) = options.window_scale {
            write!(f, " scale {shift}")?;
        }
        if options.sack_permitted {
            write!(f, " sackOK")?;
        }
        for block in options.sack.as_slice() {
            write!(f, " sack {:?}-{:?}", block.left, block.right)?;
        }
        if let Some(timestamps) = options.timestamps {
            write!(f, " ts {} {}", timestamps.value, timestamps.echo)?;
        }
        if let Some(cookie) = options.fast_open {
            write!(f, " cookie {cookie:?}")?;
        }
        Ok(())
    }
}
