//! TCP packets that were joined on their way and come in several buffers: each buffer
//! becomes a segment of its own.
//!
//! ```text
//! | headers | data |   | data |              | data |
//! | headers | data |   | headers | data |    | headers | data |
//! ```
//!
//! A receiving device's GRO joins segments, and with TSO a kernel on this machine does
//! not cut them. Both leave a partial checksum (see [`ChecksumPolicy`]), so the pieces
//! have one each. A whole one, which would be of a packet that crossed a wire as it
//! is, can't be checked before its last buffer: such a packet is refused, and so is
//! what is no plain data.
//!
//! [`ChecksumPolicy`]: super::ChecksumPolicy

use super::checksum::Sum;
use super::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use super::ip::{PROTOCOL_TCP, pseudo_header};
use super::tcp::Flags;
use super::{ipv4, ipv4_at, ipv6, ipv6_at, put_u16, put_u32, tcp, u16_at, u32_at};
use crate::frame::{Frame, HEADROOM};
use crate::seq::Seq;
use std::net::IpAddr;

/// What stays at the end of the data that was joined.
const AT_THE_END: Flags = Flags(Flags::FIN.0 | Flags::PSH.0);
/// What has no place in joined data: GRO and TSO leave it alone.
const NEVER: Flags = Flags(Flags::SYN.0 | Flags::RST.0 | Flags::URG.0);

/// A packet of which buffers are still to come.
#[derive(Clone, Copy, Debug)]
pub struct Joined {
    /// Those of the next piece, as many bytes as `data` says.
    headers: [u8; HEADROOM],
    places: Places,
    /// Flags of the last piece.
    flags: Flags,
}

/// Where in a frame what begins.
#[derive(Clone, Copy, Debug)]
struct Places {
    ip: usize,
    tcp: usize,
    data: usize,
}

impl Joined {
    /// Makes the first buffer of a packet a segment. None if the packet is no TCP data
    /// with a partial checksum, or has more headers than fit in front of a buffer; then
    /// none of its buffers is of use.
    pub fn begin(frame: &mut Frame) -> Option<Joined> {
        let bytes = frame.data_mut();
        let places = Places::of(bytes)?;
        let flags = Flags(bytes[places.tcp + 13]);
        let is_data = flags.contains(Flags::ACK) && flags.0 & NEVER.0 == 0;
        if !is_data || places.data >= bytes.len() {
            return None;
        }
        bytes[places.tcp + 13] = flags.without(AT_THE_END).0;
        places.seal(bytes);
        let mut joined = Joined {
            headers: [0; HEADROOM],
            places,
            flags: flags.without(Flags::CWR),
        };
        joined.headers[..places.data].copy_from_slice(&bytes[..places.data]);
        // RFC 3168 section 6.1.2: it is said once, with the first data.
        joined.headers[places.tcp + 13] = flags.without(AT_THE_END | Flags::CWR).0;
        joined.advance(bytes.len() - places.data);
        Some(joined)
    }

    /// Makes the next buffer, which holds data alone, a segment. There is room for
    /// headers in front of it, as in every frame that a driver receives.
    ///
    /// # Panics
    /// When there is not.
    pub fn piece(&mut self, frame: &mut Frame, is_last: bool) {
        let (len, head) = (frame.len(), frame.head());
        let Places { data, tcp, .. } = self.places;
        frame.set_window(head - data, data + len);
        let bytes = frame.data_mut();
        bytes[..data].copy_from_slice(&self.headers[..data]);
        if is_last {
            bytes[tcp + 13] = self.flags.0;
        }
        self.places.seal(bytes);
        self.advance(len);
    }

    /// The next piece begins so many bytes of data later.
    fn advance(&mut self, len: usize) {
        let at = self.places.tcp + 4;
        let seq = Seq(u32_at(&self.headers, at)) + u32::try_from(len).unwrap_or(0);
        put_u32(&mut self.headers, at, seq.0);
    }
}

impl Places {
    /// Of the first bytes of a TCP packet with a partial checksum.
    fn of(bytes: &[u8]) -> Option<Places> {
        let (ethernet, packet) = ethernet::Header::parse(bytes).ok()?;
        let ip = bytes.len() - packet.len();
        // The whole packet's length, its header's, and what is inside.
        let version = packet.first()? >> 4;
        let (total, header, protocol) = match (ethernet.ethertype, version) {
            (ETHERTYPE_IPV4, 4) if packet.len() >= ipv4::HEADER_LEN => {
                let header = usize::from(packet[0] & 0xf) * 4;
                let fixed = packet.get(..header)?;
                let is_whole = Sum::default().add_bytes(fixed).fold() == 0xffff;
                let total = is_whole.then(|| usize::from(u16_at(packet, 2)))?;
                (total, header.max(ipv4::HEADER_LEN), packet[9])
            }
            (ETHERTYPE_IPV6, 6) if packet.len() >= ipv6::HEADER_LEN => {
                let total = ipv6::HEADER_LEN + usize::from(u16_at(packet, 4));
                (total, ipv6::HEADER_LEN, packet[6])
            }
            _ => return None,
        };
        let segment = packet.get(header..)?;
        if protocol != PROTOCOL_TCP || segment.len() < tcp::HEADER_LEN {
            return None;
        }
        let header_len = usize::from(segment[12] >> 4) * 4;
        let places = Places {
            ip,
            tcp: ip + header,
            data: ip + header + header_len.max(tcp::HEADER_LEN),
        };
        let partial = places.partial_checksum(bytes, total.checked_sub(header)?);
        let is_partial = u16_at(segment, 16) == partial;
        (is_partial && places.data <= HEADROOM).then_some(places)
    }

    /// The folded sum of the pseudo-header alone.
    fn partial_checksum(&self, bytes: &[u8], segment_len: usize) -> u16 {
        let packet = &bytes[self.ip..];
        let (source, destination): (IpAddr, IpAddr) = match packet[0] >> 4 {
            4 => (ipv4_at(packet, 12).into(), ipv4_at(packet, 16).into()),
            _ => (ipv6_at(packet, 8).into(), ipv6_at(packet, 24).into()),
        };
        pseudo_header(source, destination, PROTOCOL_TCP, segment_len).fold()
    }

    /// Writes the lengths and checksums of a packet that is all of `bytes`.
    fn seal(&self, bytes: &mut [u8]) {
        let len = |from: usize| u16::try_from(bytes.len() - from).unwrap_or(u16::MAX);
        let (packet_len, segment_len) = (len(self.ip), len(self.tcp));
        if bytes[self.ip] >> 4 == 4 {
            let header = &mut bytes[self.ip..self.tcp];
            put_u16(header, 2, packet_len);
            put_u16(header, 10, 0);
            let checksum = Sum::default().add_bytes(header).complement();
            put_u16(header, 10, checksum);
        } else {
            put_u16(bytes, self.ip + 4, segment_len);
        }
        let partial = self.partial_checksum(bytes, segment_len.into());
        put_u16(bytes, self.tcp + 16, partial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ethernet::MacAddress;
    use crate::wire::ip::{self, Service};
    use crate::wire::tcp::{Options, Timestamps};
    use crate::wire::{ChecksumPolicy, Malformed};
    use proptest::prelude::*;

    const PORTS: [u16; 2] = [40_000, 80];
    const FLAGS: Flags = Flags(Flags::ACK.0 | Flags::PSH.0 | Flags::FIN.0 | Flags::CWR.0);

    /// A packet of so much data as TSO leaves it: one header, a partial checksum.
    fn packet(ends: [&str; 2], vlan: Option<u16>, flags: Flags, data: &[u8]) -> Vec<u8> {
        let [source, destination] = ends.map(|end| end.parse::<IpAddr>().unwrap());
        let header = tcp::Header {
            source_port: PORTS[0],
            destination_port: PORTS[1],
            seq: Seq(u32::MAX - 5_000),
            ack: Seq(7),
            flags,
            window: 512,
            urgent: 0,
            options: Options {
                timestamps: Some(Timestamps { value: 1, echo: 2 }),
                ..Options::default()
            },
        };
        let link = ethernet::Header {
            destination: MacAddress([2; 6]),
            source: MacAddress([4; 6]),
            vlan,
            ethertype: if source.is_ipv4() {
                ETHERTYPE_IPV4
            } else {
                ETHERTYPE_IPV6
            },
        };
        let network = ip::Header {
            source,
            destination,
            protocol: PROTOCOL_TCP,
            service: Service::default(),
            payload_len: header.len() + data.len(),
        };
        let tcp_at = link.len() + ip::header_len(source);
        let mut bytes = vec![0; tcp_at + header.len()];
        bytes.extend(data);
        link.emit(&mut bytes);
        network.emit(&mut bytes[link.len()..]);
        header.emit(&mut bytes[tcp_at..], source, destination);
        let partial = pseudo_header(source, destination, PROTOCOL_TCP, network.payload_len);
        put_u16(&mut bytes, tcp_at + 16, partial.fold());
        bytes
    }

    /// The packet in frames of so many bytes, as a driver receives it, each made a
    /// segment.
    fn cut(packet: &[u8], room: usize) -> Option<Vec<Frame>> {
        let mut frames: Vec<Frame> = packet
            .chunks(room)
            .map(|bytes| {
                let mut frame = Frame::pooled(HEADROOM + room);
                frame.set_window(HEADROOM, bytes.len());
                frame.data_mut().copy_from_slice(bytes);
                frame
            })
            .collect();
        let (first, rest) = frames.split_first_mut().unwrap();
        let mut joined = Joined::begin(first)?;
        let count = rest.len();
        for (number, frame) in rest.iter_mut().enumerate() {
            joined.piece(frame, number + 1 == count);
        }
        Some(frames)
    }

    /// What the engine reads of a frame.
    fn read(frame: &Frame) -> Result<(tcp::Header, &[u8]), Malformed> {
        let (ethernet, packet) = ethernet::Header::parse(frame.data())?;
        let policy = ChecksumPolicy::AcceptPartial;
        if ethernet.ethertype == ETHERTYPE_IPV4 {
            let (ip, segment) = ipv4::Header::parse(packet)?;
            tcp::Header::parse(segment, ip.source, ip.destination, policy)
        } else {
            let (ip, segment) = ipv6::Header::parse(packet)?;
            tcp::Header::parse(segment, ip.source, ip.destination, policy)
        }
    }

    const V4: [&str; 2] = ["198.18.0.1", "198.18.0.2"];
    const V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];

    #[test]
    fn each_buffer_is_a_segment_and_together_they_are_the_packet() {
        let data: Vec<u8> = (0..u16::MAX - 100).map(|n| n.to_be_bytes()[1]).collect();
        for (ends, vlan) in [(V4, None), (V4, Some(5)), (V6, None), (V6, Some(5))] {
            let frames = cut(&packet(ends, vlan, FLAGS, &data), 1_792).unwrap();
            let mut seq = Seq(u32::MAX - 5_000);
            let mut together: Vec<u8> = Vec::new();
            for (number, frame) in frames.iter().enumerate() {
                let (header, data) = read(frame).unwrap();
                let mut flags = Flags::ACK;
                if number == 0 {
                    flags = flags | Flags::CWR;
                }
                if number + 1 == frames.len() {
                    flags = flags | Flags::PSH | Flags::FIN;
                }
                assert_eq!((header.seq, header.flags), (seq, flags));
                assert_eq!([header.source_port, header.destination_port], PORTS);
                assert_eq!(header.options.timestamps.unwrap().echo, 2);
                seq += u32::try_from(data.len()).unwrap();
                together.extend(data);
            }
            assert!(together == data, "{ends:?} {vlan:?}");
        }
    }

    #[test]
    fn what_is_no_joined_data_is_refused() {
        let data = [1; 4_000];
        let good = packet(V4, None, FLAGS, &data);
        assert!(cut(&good, 1_792).is_some());
        let changed = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            cut(&bytes, 1_792).is_none()
        };
        let tcp_at = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
        assert!(changed(tcp_at + 16, 0), "another checksum");
        assert!(changed(tcp_at - 1, 9), "an IP checksum that does not hold");
        assert!(changed(12, 0), "another protocol than IP");
        for flag in [Flags::SYN, Flags::RST, Flags::URG] {
            let bytes = packet(V4, None, FLAGS | flag, &data);
            assert!(cut(&bytes, 1_792).is_none(), "{flag:?}");
        }
        assert!(cut(&good, tcp_at + 32).is_none(), "no data in the first");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_cut_or_refused(
            family in any::<bool>(),
            changes in prop::collection::vec((0usize..80, any::<u8>()), 0..4),
            room in 20usize..200,
        ) {
            let ends = if family { V4 } else { V6 };
            let mut bytes = packet(ends, None, Flags::ACK, &[7; 500]);
            for (at, value) in changes {
                bytes[at] = value;
            }
            let len: usize = bytes.len();
            if let Some(frames) = cut(&bytes, room) {
                let headers = frames.len() - 1;
                let sum: usize = frames.iter().map(Frame::len).sum();
                prop_assert!(sum > len && (sum - len).is_multiple_of(headers));
            }
        }
    }
}
