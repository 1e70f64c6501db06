//! What a network does to packets besides losing them, and strangers to connections:
//! marks of congestion (RFC 3168), word of a link that is too narrow (RFC 1191, RFC
//! 8201), filters of an option that they do not know (RFC 7413), and forged segments
//! (RFC 5961).

use super::network::mac;
use super::observer::Target;
use super::segment::Seen;
use ringmill_core::rng::Rng;
use ringmill_core::seq::Seq;
use ringmill_core::wire::checksum::Sum;
use ringmill_core::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use ringmill_core::wire::tcp::{Flags, Header, Options};
use ringmill_core::wire::{icmpv6, ip, ipv4, ipv6};
use std::net::IpAddr;

/// Marks a packet whose sender can be told so.
pub(crate) fn mark(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(ethernet::HEADER_LEN..) else {
        return;
    };
    match packet {
        [0x45, tos, ..] if *tos & 3 != 0 => {
            *tos |= 3;
            packet[10..12].fill(0);
            let sum = Sum::default().add_bytes(&packet[..ipv4::HEADER_LEN]);
            let checksum = sum.complement().to_be_bytes();
            packet[10..12].copy_from_slice(&checksum);
        }
        // The traffic class lies across two bytes.
        [first, second, ..] if *first >> 4 == 6 && *second & 0x30 != 0 => *second |= 0x30,
        _ => {}
    }
}

/// What a router tells the sender of a packet that does not fit a link of `mtu`
/// bytes; none where it is no packet of TCP. It speaks in the name of the other host.
pub(crate) fn too_big(frame: &[u8], mtu: usize, hosts: [usize; 2]) -> Option<Vec<u8>> {
    let seen = Seen::parse(frame)?;
    let (source, destination) = (seen.flow.to.ip(), seen.flow.from.ip());
    let mtu = u32::try_from(mtu).unwrap_or(0);
    let (kind, code) = if source.is_ipv4() { (3, 4) } else { (2, 0) };
    let mut message = vec![kind, code, 0, 0];
    message.extend(mtu.to_be_bytes());
    let quoted = ip::header_len(destination) + 8;
    message.extend(frame.get(ethernet::HEADER_LEN..)?.get(..quoted)?);
    let protocol = match (source, destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            icmpv6::seal(&mut message, source, destination);
            ipv6::PROTOCOL_ICMP
        }
        _ => {
            let sum = Sum::default().add_bytes(&message).complement();
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            ipv4::PROTOCOL_ICMP
        }
    };
    Some(packet(source, destination, protocol, &message, hosts))
}

/// What becomes of a segment with the Fast Open option (RFC 7413 section 4.1.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Filter {
    #[default]
    Passes,
    /// It goes on without the option.
    Strips,
    Drops,
}

impl Filter {
    /// What comes out of the filter where `frame` went in; none where it is lost.
    pub(crate) fn pass(self, frame: Vec<u8>, hosts: [usize; 2]) -> Option<Vec<u8>> {
        if self == Filter::Passes {
            return Some(frame);
        }
        let seen = Seen::parse(&frame).filter(|seen| seen.header.options.fast_open.is_some());
        match seen {
            None => Some(frame),
            Some(_) if self == Filter::Drops => None,
            Some(seen) => Some(strip(&seen, hosts)),
        }
    }
}

/// The segment without the Fast Open option.
fn strip(seen: &Seen, hosts: [usize; 2]) -> Vec<u8> {
    let mut header = seen.header;
    header.options.fast_open = None;
    let (source, destination) = (seen.flow.from.ip(), seen.flow.to.ip());
    let mut segment = vec![0; header.len()];
    segment.extend(seen.data);
    header.emit(&mut segment, source, destination);
    packet(source, destination, ip::PROTOCOL_TCP, &segment, hosts)
}

/// A segment in the name of who sent `seen`, which must change nothing: its numbers
/// are near, but a RST is not at RCV.NXT (RFC 5961 section 3) and what could carry
/// data acknowledges what can't be (section 5).
pub(crate) fn forge(seen: &Seen, target: &Target, rng: &mut Rng, hosts: [usize; 2]) -> Vec<u8> {
    let mut near = |span: u32| u32::try_from(rng.below(span.into())).unwrap_or(0);
    let letters = [Flags::RST, Flags::SYN, Flags::ACK, Flags::ACK | Flags::FIN];
    let flags = letters[near(4) as usize];
    let seq = if flags == Flags::RST {
        target.end + 1 + near(1 << 16)
    } else {
        target.end.back(1 << 16) + near(1 << 17)
    };
    let far = if near(2) == 0 { 1 << 30 } else { 3 << 30 };
    let mut options = Options::default();
    if let Some(mut stamps) = seen.header.options.timestamps.filter(|_| near(4) > 0) {
        stamps.value = stamps.value.wrapping_add(near(1_000));
        options.timestamps = Some(stamps);
    }
    let header = Header {
        source_port: seen.flow.from.port(),
        destination_port: seen.flow.to.port(),
        seq,
        ack: if flags == Flags::SYN {
            Seq(0)
        } else {
            target.una + far
        },
        flags,
        window: u16::try_from(near(1 << 16)).unwrap_or(0),
        urgent: 0,
        options,
    };
    let carries = flags.contains(Flags::ACK);
    let len = if carries { near(100) as usize } else { 0 };
    let (source, destination) = (seen.flow.from.ip(), seen.flow.to.ip());
    let mut segment = vec![0; header.len()];
    segment.extend(vec![b'!'; len]);
    header.emit(&mut segment, source, destination);
    packet(source, destination, ip::PROTOCOL_TCP, &segment, hosts)
}

/// A packet from one host to another as a whole frame.
fn packet(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    payload: &[u8],
    [from, to]: [usize; 2],
) -> Vec<u8> {
    let is_v4 = destination.is_ipv4();
    let mut frame = vec![0; ethernet::HEADER_LEN + ip::header_len(destination)];
    let (ethernet, packet) = frame.split_at_mut(ethernet::HEADER_LEN);
    ethernet::Header {
        destination: mac(to),
        source: mac(from),
        vlan: None,
        ethertype: if is_v4 {
            ETHERTYPE_IPV4
        } else {
            ETHERTYPE_IPV6
        },
    }
    .emit(ethernet);
    ip::Header {
        source,
        destination,
        protocol,
        service: ip::Service::default(),
        payload_len: payload.len(),
    }
    .emit(packet);
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Flow;
    use ringmill_core::wire::fast_open::FastOpenCookie;
    use ringmill_core::wire::icmp::{Error, Quote};
    use ringmill_core::wire::icmpv4;

    fn segment(is_v4: bool) -> Vec<u8> {
        segment_with(is_v4, Flags::ACK, Options::default())
    }

    fn segment_with(is_v4: bool, flags: Flags, options: Options) -> Vec<u8> {
        let [a, b]: [IpAddr; 2] = if is_v4 {
            ["198.18.0.1", "198.18.0.2"]
        } else {
            ["2001:db8::1", "2001:db8::2"]
        }
        .map(|text| text.parse().unwrap());
        let header = Header {
            source_port: 1_024,
            destination_port: 7,
            seq: Seq(5),
            ack: Seq(9),
            flags,
            window: 1,
            urgent: 0,
            options,
        };
        let mut segment = vec![0; header.len()];
        segment.extend([b'x'; 100]);
        header.emit(&mut segment, a, b);
        packet(a, b, ip::PROTOCOL_TCP, &segment, [0, 1])
    }

    #[test]
    fn a_mark_is_for_those_who_understand_it_and_leaves_a_whole_packet() {
        for (is_v4, at, ect, ce) in [(true, 15, 2, 3), (false, 15, 0x20, 0x30)] {
            let mut frame = segment(is_v4);
            let plain = frame.clone();
            mark(&mut frame);
            assert_eq!(frame, plain);
            frame[at] |= ect;
            mark(&mut frame);
            assert_eq!(frame[at] & ce, ce);
            assert!(Seen::parse(&frame).is_some());
        }
    }

    #[test]
    fn a_filter_takes_the_option_alone() {
        let options = Options {
            mss: Some(1_460),
            window_scale: Some(7),
            fast_open: FastOpenCookie::new(b"biscuits"),
            ..Options::default()
        };
        for is_v4 in [true, false] {
            let frame = segment_with(is_v4, Flags::SYN, options);
            let pass = |filter: Filter, frame: &[u8]| filter.pass(frame.to_vec(), [0, 1]);
            assert_eq!(pass(Filter::Passes, &frame), Some(frame.clone()));
            assert_eq!(pass(Filter::Drops, &frame), None);
            let stripped = pass(Filter::Strips, &frame).unwrap();
            let (before, after) = (Seen::parse(&frame), Seen::parse(&stripped));
            let (before, after) = (before.unwrap(), after.unwrap());
            let expected = Options {
                fast_open: None,
                ..before.header.options
            };
            assert_eq!(after.header.options, expected);
            assert_eq!((after.flow, after.data), (before.flow, before.data));
            for filter in [Filter::Strips, Filter::Drops] {
                assert_eq!(pass(filter, &stripped), Some(stripped.clone()));
            }
        }
    }

    #[test]
    fn a_router_quotes_what_did_not_fit() {
        for is_v4 in [true, false] {
            let frame = segment(is_v4);
            let told = too_big(&frame, 1_280, [1, 0]).unwrap();
            let packet = &told[ethernet::HEADER_LEN..];
            let expected = Error::PacketTooBig { mtu: 1_280 };
            let quote = if is_v4 {
                let (_, message) = ipv4::Header::parse(packet).unwrap();
                let message = icmpv4::Message::parse(message).unwrap();
                let icmpv4::Message::Error { error, original } = message else {
                    panic!("{message:?}")
                };
                assert_eq!(error, expected);
                Quote::of_ipv4(original)
            } else {
                let (ip, message) = ipv6::Header::parse(packet).unwrap();
                let message = icmpv6::Message::parse(message, ip.source, ip.destination).unwrap();
                let icmpv6::Message::Error { error, original } = message else {
                    panic!("{message:?}")
                };
                assert_eq!(error, expected);
                Quote::of_ipv6(original)
            };
            assert_eq!(quote.map(|quote| quote.seq), Some(Seq(5)));
        }
    }

    #[test]
    fn no_forged_segment_could_be_a_real_one() {
        let mut rng = Rng::from_seed(3);
        let frame = segment(true);
        let seen = Seen::parse(&frame).unwrap();
        let target = Target {
            end: Seq(u32::MAX - 50),
            una: Seq(7),
        };
        for _ in 0..1_000 {
            let forged = forge(&seen, &target, &mut rng, [0, 1]);
            let Seen { flow, header, .. } = Seen::parse(&forged).unwrap();
            let Flow { from, to } = seen.flow;
            assert_eq!((flow.from, flow.to), (from, to));
            if header.flags == Flags::RST {
                assert!(header.seq.follows(target.end));
            } else if header.flags.contains(Flags::ACK) {
                assert!(header.ack.distance_from(target.una).unsigned_abs() >= 1 << 30);
            }
        }
    }
}
