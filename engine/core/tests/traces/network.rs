//! The IP layer under a connection, the same on both families: bad packets,
//! spoofed ones, ICMP errors and the path's MTU, neighbours, VLANs.

use crate::FAMILY;
use crate::peer::{
    ENGINE, ENGINE_MAC, Family, ICMP, IP_LEN, PEER, PEER_MAC, PORT, PORT_UNREACHABLE, Peer, Seg,
    Told, advertisement, frame, host, icmp_error, icmp_error_about, icmp_frame, ip_frame, quoted,
    seg, solicitation,
};
use ringmill_core::frame::Frame;
use ringmill_core::seq::Seq;
use ringmill_core::sockets::{Closed, ConnectError, ListenError, SocketOptions, SoftError};
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::State;
use ringmill_core::wire::checksum::Sum;
use ringmill_core::wire::ethernet::MacAddress;
use ringmill_core::wire::tcp::{Flags, Header, Options};
use ringmill_core::wire::{ChecksumPolicy, ip};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const STRANGER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x66]);

fn syn() -> Header {
    Header {
        source_port: 4_000,
        destination_port: PORT,
        seq: Seq(0),
        ack: Seq(0),
        flags: Flags::SYN,
        window: 1_000,
        urgent: 0,
        options: Options::default(),
    }
}

/// Attack case 1, attack case 11: a frame cut off anywhere, or a header that tells of more
/// than there is; also where the rest of what it tells of still lies behind the frame in
/// its buffer, and would make it good.
#[test]
fn no_byte_is_read_past_the_end_of_a_frame() {
    let mut peer = Peer::established();
    let whole = peer.frame_of(&seg("PA").seq(1).ack(1).data(b"data"));
    for len in 0..whole.len() {
        peer.arrives(&whole[..len]);
        let mut frame = Frame::copied(&whole);
        frame.truncate(len);
        peer.shard.driver_mut().arrive(frame);
    }
    peer.wait_ms(0);
    peer.expects_nothing();
    let drops = peer.drops();
    assert_eq!(
        drops,
        [
            (DropReason::Truncated, 2 * (14 + IP_LEN as u64)),
            (DropReason::TotalLength, 2 * 24),
        ]
    );
    assert_eq!(peer.engine_reads(), b"");
    peer.sends(seg("PA").seq(1).ack(1).data(b"data"));
    assert_eq!(peer.engine_reads(), b"data", "the connection is unharmed");
}

/// Attack case 14: what is behind the packet in its frame, up to the 46 bytes that a
/// frame holds at least and further, is no data and moves no number.
#[test]
fn padding_is_never_delivered() {
    for padding in [0xee, 0] {
        let mut peer = Peer::established();
        let arrives = |peer: &mut Peer, segment: Seg, len: usize| {
            let mut padded = peer.frame_of(&segment);
            padded.resize(padded.len().max(14 + len), padding);
            peer.arrives(&padded);
            peer.wait_ms(0);
            peer.wait_ms(50);
        };
        for len in [46, 64, 1_500] {
            arrives(&mut peer, seg("A").seq(1).ack(1), len);
            peer.expects_nothing();
        }
        assert_eq!(peer.engine_reads(), b"");
        arrives(&mut peer, seg("PA").seq(1).ack(1).data(b"d"), 46);
        peer.expects(seg("A").seq(1).ack(2));
        arrives(&mut peer, seg("PA").seq(2).ack(1).data(b"e"), 64);
        peer.expects(seg("A").seq(1).ack(3));
        assert_eq!(peer.engine_reads(), b"de");
        arrives(&mut peer, seg("FA").seq(3).ack(1), 64);
        peer.expects(seg("A").seq(1).ack(4));
        assert_eq!(peer.stats().tcp.bytes_received, 2);
    }
}

/// Attack case 12: fragments of a packet, as an attacker cuts them. The first too small
/// for the header behind IP, the second in two versions that overlap, one that ends past
/// 65,535 bytes (the ping of death), and thousands of packets that never become whole
/// (CVE-2018-5391). None is put together, answered or held (RFC 5722 for IPv6).
#[test]
fn fragments_are_dropped_whatever_they_hold() {
    let mut peer = Peer::established();
    let before = peer.shard.gauges();
    let segment = peer.frame_of(&seg("PA").seq(1).ack(1).data(&[b'x'; 60]));
    let segment = &segment[14 + IP_LEN..];
    let echo = [
        &[if FAMILY == Family::V4 { 8 } else { 128 }, 0, 0, 0],
        &[0; 60][..],
    ]
    .concat();
    // Of 8 bytes each: where it starts, whether more follow, and what is in it.
    let pieces = [
        (0, true, ip::PROTOCOL_TCP, &segment[..8]),
        (1, false, ip::PROTOCOL_TCP, &segment[8..]),
        (0, true, ip::PROTOCOL_TCP, &segment[..40]),
        (3, true, ip::PROTOCOL_TCP, &segment[..40]),
        (3, false, ip::PROTOCOL_TCP, &segment[24..]),
        (0, true, ip::PROTOCOL_TCP, segment),
        (0, true, ICMP, &echo),
        (0x1fff, false, ICMP, &echo),
        (0x1fff, true, ICMP, &echo),
    ];
    for id in 0..1_000 {
        for (offset, more, protocol, bytes) in pieces {
            peer.arrives(&fragment(id, offset, more, protocol, bytes));
        }
        peer.wait_ms(0);
    }
    peer.expects_nothing();
    assert!(peer.takes_others().is_empty());
    assert_eq!(peer.drops(), [(DropReason::Fragment, 9_000)]);
    assert_eq!(peer.shard.gauges(), before);
    assert_eq!(peer.shard.frames_missing(), 0);
    assert_eq!(peer.engine_reads(), b"");
    assert_eq!(peer.stats().tcp.segments_in, 2, "those of the handshake");
}

/// A piece of a packet from the peer, `offset` times eight bytes into it.
fn fragment(id: u16, offset: u16, more: bool, protocol: u8, bytes: &[u8]) -> Vec<u8> {
    let place = offset << 3 | u16::from(more);
    match FAMILY {
        Family::V4 => {
            let mut frame = ip_frame(PEER, ENGINE, protocol, bytes);
            let header = &mut frame[14..][..IP_LEN];
            header[4..6].copy_from_slice(&id.to_be_bytes());
            let bits = offset | u16::from(more) << 13;
            header[6..8].copy_from_slice(&bits.to_be_bytes());
            header[10..12].fill(0);
            let sum = Sum::default().add_bytes(header).complement();
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame
        }
        Family::V6 => {
            const FRAGMENT: u8 = 44;
            let [a, b] = place.to_be_bytes();
            let [c, d] = id.to_be_bytes();
            let header = [protocol, 0, a, b, 0, 0, c, d];
            ip_frame(PEER, ENGINE, FRAGMENT, &[&header, bytes].concat())
        }
    }
}

/// Attack case 9: dropped in silence, without a RST (RFC 9293 MUST-3).
#[test]
fn segments_with_a_bad_checksum_are_dropped_in_silence() {
    let mut peer = Peer::established();
    let mut bytes = peer.frame_of(&seg("PA").seq(1).ack(1).data(b"data"));
    let checksum_at = 14 + IP_LEN + 16;
    for flip in [1, 0x80, 0xff] {
        bytes[checksum_at] ^= flip;
        peer.arrives(&bytes);
        peer.arrives(&{
            let mut stray = bytes.clone();
            stray[14 + IP_LEN + 3] ^= 7; // for a port where nobody listens
            stray
        });
    }
    peer.wait_ms(0);
    peer.expects_nothing();
    assert_eq!(peer.drops(), [(DropReason::Checksum, 6)]);
    assert_eq!(peer.engine_reads(), b"");
    assert_eq!(peer.stats().tcp.resets_out, 0);
}

/// Attack case 9: a kernel at the other end of a veth leaves the checksum to the
/// hardware that there is none of; such a frame is taken only where that is said.
#[test]
fn a_partial_checksum_counts_only_where_it_may() {
    for (policy, expected) in [
        (ChecksumPolicy::Full, &b""[..]),
        (ChecksumPolicy::AcceptPartial, &b"data"[..]),
    ] {
        let mut peer = Peer::with(|config| {
            config.tcp.timestamps = false;
            config.checksum = policy;
        })
        .listening()
        .handshake();
        let mut bytes = peer.frame_of(&seg("PA").seq(1).ack(1).data(b"data"));
        let len = bytes.len() - 14 - IP_LEN;
        let pseudo = ip::pseudo_header(PEER, ENGINE, 6, len).fold();
        bytes[14 + IP_LEN + 16..][..2].copy_from_slice(&pseudo.to_be_bytes());
        peer.arrives(&bytes);
        peer.wait_ms(0);
        assert_eq!(peer.engine_reads(), expected, "{policy:?}");
    }
}

/// Attack case 15, attack case 16: RFC 9293 MUST-57 and MUST-63, RFC 1122 section 3.2.1.3,
/// and LAND. Neither state nor answer.
#[test]
fn what_is_from_or_to_an_address_that_nobody_has_is_dropped_in_silence() {
    let nobody: &[&str] = match FAMILY {
        Family::V4 => &[
            "255.255.255.255",
            "224.0.0.1",
            "127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "198.18.0.255",
            "198.18.0.0",
        ],
        Family::V6 => &["ff02::1", "ff0e::1", "::1", "::", "::ffff:198.18.0.2"],
    };
    let not_ours: &[&str] = match FAMILY {
        Family::V4 => &[
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.255",
            "127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
        ],
        Family::V6 => &["ff02::1", "ff02::1:ff00:1", "ff0e::1", "::1", "::"],
    };
    let mut peer = Peer::new().listening();
    let land = Header {
        source_port: PORT,
        ..syn()
    };
    peer.arrives(&frame(ENGINE, ENGINE, &land, b""));
    // To the listener, and to a port where a RST would be the answer.
    let closed = Header {
        destination_port: PORT + 1,
        ..syn()
    };
    let ack = Header {
        flags: Flags::ACK,
        ..syn()
    };
    let segments = [syn(), ack, closed];
    for header in &segments {
        for source in nobody {
            let source: IpAddr = source.parse().unwrap();
            peer.arrives(&frame(source, ENGINE, header, b""));
        }
        for other in not_ours {
            let other: IpAddr = other.parse().unwrap();
            peer.arrives(&frame(PEER, other, header, b""));
        }
        // To us, in a frame for everybody (RFC 1122 section 3.3.6).
        let mut broadcast = frame(PEER, ENGINE, header, b"");
        broadcast[..6].copy_from_slice(&MacAddress::BROADCAST.0);
        peer.arrives(&broadcast);
    }
    peer.wait_ms(0);
    let counts = [nobody.len(), not_ours.len() + 1].map(|len| (segments.len() * len) as u64);
    assert_eq!(
        peer.drops(),
        [
            (DropReason::NotForUs, counts[1]),
            (DropReason::BadSource, counts[0] + 1)
        ]
    );
    assert_eq!(peer.stats().link.tx_frames, 0);
    assert_eq!(peer.stats().tcp.segments_in, 0);
    peer.ends_clean();
}

/// Attack case 13: a packet in a packet is no packet of ours.
#[test]
fn tunnels_end_elsewhere() {
    let mut peer = Peer::new().listening();
    let inner = frame(PEER, ENGINE, &syn(), b"");
    for protocol in [4, 41, 47, 17, 132] {
        peer.arrives(&ip_frame(PEER, ENGINE, protocol, &inner[14..]));
    }
    peer.wait_ms(0);
    assert_eq!(peer.drops(), [(DropReason::Protocol, 5)]);
    peer.expects_nothing();
    peer.ends_clean();
}

const HOST_UNREACHABLE: [(u8, u8); 2] = [(3, 1), (1, 3)];
const NETWORK_UNREACHABLE: [(u8, u8); 2] = [(3, 0), (1, 0)];
const PROHIBITED: [(u8, u8); 2] = [(3, 13), (1, 1)];
const TIME_EXCEEDED: [(u8, u8); 2] = [(11, 0), (3, 0)];
const PARAMETER_PROBLEM: [(u8, u8); 2] = [(12, 0), (4, 0)];
const TOO_BIG: [(u8, u8); 2] = [(3, 4), (2, 0)];

/// Attack case 25: an error goes to the connection that it quotes (RFC 9293 MUST-54),
/// and must quote what is in flight (RFC 5927 section 4.1): the addresses, the ports and a
/// sequence number. Of none of these errors more is seen than that it was dropped, by a
/// connection that opens and by one that is open.
#[test]
fn icmp_errors_that_quote_nothing_of_ours_are_ignored() {
    let kinds = [
        (PORT_UNREACHABLE, 0),
        (PROHIBITED, 0),
        (HOST_UNREACHABLE, 0),
        (TOO_BIG, 1_300),
    ];
    for is_open in [false, true] {
        let mut peer = if is_open {
            let mut peer = Peer::established();
            peer.engine_sends(&[b'x'; 1_460]);
            peer.takes_all();
            peer
        } else {
            let mut peer = Peer::new().connecting();
            peer.expects(seg("S"));
            peer
        };
        // In flight is the SYN, or 1,460 bytes behind it.
        let first = peer.iss.unwrap() + u32::from(is_open);
        let past = first + if is_open { 1_460 } else { 1 };
        let real = quoted(&peer, first);
        let mut count = 0;
        for (kinds, word) in kinds {
            for seq in [first + u32::MAX, past, past + (1 << 30), first + (1 << 31)] {
                peer.arrives(&icmp_error(kinds, word, &quoted(&peer, seq), 1_460));
            }
            for (source, destination) in [(5, 0), (0, 5), (0, 1)] {
                let of_another = Header {
                    source_port: real.source_port ^ source,
                    destination_port: real.destination_port ^ destination,
                    ..real
                };
                peer.arrives(&icmp_error(kinds, word, &of_another, 1_460));
            }
            for (source, destination) in [(host(9), PEER), (ENGINE, host(9)), (PEER, ENGINE)] {
                let quote = frame(source, destination, &real, &[0; 1_460]);
                peer.arrives(&icmp_error_about(kinds, word, &quote));
            }
            count += 10;
        }
        let state = peer.state();
        let before = peer.stats().link.tx_frames;
        peer.wait_ms(0);
        assert_eq!(peer.drops(), [(DropReason::Icmp, count)]);
        let id = peer.id();
        assert_eq!(peer.sockets(|_, sockets| sockets.take_soft_error(id)), None);
        assert_eq!((peer.state(), peer.stats().link.tx_frames), (state, before));
        // In a message that is damaged.
        let mut damaged = icmp_error(PORT_UNREACHABLE, 0, &real, 0);
        *damaged.last_mut().unwrap() ^= 1;
        peer.arrives(&damaged);
        peer.wait_ms(0);
        assert_eq!(peer.dropped(DropReason::Checksum), 1);
        if is_open {
            // The path is as wide as it was.
            peer.sends(seg("A").seq(1).ack(1_461));
            peer.engine_sends(&[b'x'; 1_460]);
            peer.expects(seg("A").seq(1_461).ack(1).len(1_460));
        } else {
            peer.arrives(&icmp_error(PORT_UNREACHABLE, 0, &real, 0));
            peer.wait_ms(0);
            assert_eq!(peer.told(), [Told::Closed(Closed::Refused)]);
            peer.ends_clean();
        }
    }
}

/// RFC 9293 section 3.9.2.2: SHLD-26 for what opens, RFC 5927 section 5.2.
#[test]
fn hard_errors_end_a_connect() {
    for (kinds, why) in [
        (PORT_UNREACHABLE, Closed::Refused),
        (PROHIBITED, Closed::Unreachable),
    ] {
        let mut peer = Peer::new().connecting();
        let iss = peer.expects(seg("S")).seq;
        let error = icmp_error(kinds, 0, &quoted(&peer, iss), 0);
        peer.arrives(&error);
        peer.wait_ms(0);
        assert_eq!(peer.told(), [Told::Closed(why)]);
        peer.ends_clean();
    }
}

/// RFC 9293 MUST-56: these end nothing; the application can ask for them (MUST-47,
/// SHLD-25), and hears of the last when nobody answers.
/// SHLD-20: who does not ask is not told.
#[test]
fn soft_errors_end_no_connect_and_are_told_at_its_end() {
    let mut peer = Peer::with(|config| config.tcp.syn_retransmits_max = 2).connecting();
    let iss = peer.expects(seg("S")).seq;
    for (kinds, soft) in [
        (TIME_EXCEEDED, SoftError::TimeExceeded),
        (PARAMETER_PROBLEM, SoftError::ParameterProblem),
        (NETWORK_UNREACHABLE, SoftError::NetworkUnreachable),
        (HOST_UNREACHABLE, SoftError::HostUnreachable),
    ] {
        let error = icmp_error(kinds, 0, &quoted(&peer, iss), 0);
        peer.arrives(&error);
        peer.wait_ms(0);
        let id = peer.id();
        assert_eq!(
            peer.sockets(|_, sockets| sockets.take_soft_error(id)),
            Some(soft)
        );
        assert_eq!(peer.sockets(|_, sockets| sockets.take_soft_error(id)), None);
        peer.arrives(&error);
        peer.wait_ms(0);
    }
    assert_eq!(peer.told(), []);
    peer.wait_ms(60_000);
    peer.takes_all();
    assert_eq!(peer.told(), [Told::Closed(Closed::Unreachable)]);
    assert_eq!(peer.stats().tcp.attempt_fails, 1);
}

/// Attack case 25: what is hard for a connect is soft for an open connection, and
/// Source Quench is nothing at all (MUST-55).
#[test]
fn no_icmp_error_ends_an_open_connection() {
    let mut peer = Peer::established();
    peer.engine_sends(b"x");
    peer.takes_all();
    let iss = peer.iss.unwrap();
    let id = peer.id();
    for (kinds, soft) in [
        (PORT_UNREACHABLE, SoftError::PortUnreachable),
        (PROHIBITED, SoftError::Prohibited),
        (HOST_UNREACHABLE, SoftError::HostUnreachable),
    ] {
        peer.arrives(&icmp_error(kinds, 0, &quoted(&peer, iss + 1), 1));
        peer.wait_ms(0);
        assert_eq!(peer.state(), Some(State::Established));
        assert_eq!(
            peer.sockets(|_, sockets| sockets.take_soft_error(id)),
            Some(soft)
        );
    }
    let quench = [(4, 0), (5, 1)];
    let unused = icmp_error(quench, 0, &quoted(&peer, iss + 1), 1);
    let (before, sent) = (peer.stats().tcp, peer.stats().link.tx_frames);
    peer.arrives(&unused);
    peer.wait_ms(0);
    assert_eq!(
        (peer.stats().tcp, peer.stats().link.tx_frames),
        (before, sent)
    );
    // What is acknowledged is in flight no more.
    peer.sends(seg("A").seq(1).ack(2));
    peer.arrives(&icmp_error(PORT_UNREACHABLE, 0, &quoted(&peer, iss + 1), 1));
    peer.wait_ms(0);
    assert_eq!(peer.sockets(|_, sockets| sockets.take_soft_error(id)), None);
    assert_eq!(peer.dropped(DropReason::Icmp), 2);
}

/// A SYN with a forged source: its owner's host says that it wants no SYN-ACK.
#[test]
fn a_hard_error_about_a_syn_ack_ends_the_half_open_connection() {
    let mut peer = Peer::new().listening();
    peer.sends(seg("S"));
    let iss = peer.expects(seg("SA").ack(1)).seq;
    for (seq, left) in [(iss + 1, 1), (iss, 0)] {
        peer.arrives(&icmp_error(PORT_UNREACHABLE, 0, &quoted(&peer, seq), 0));
        peer.wait_ms(0);
        assert_eq!(peer.shard.gauges().of(State::SynReceived), left);
    }
    peer.ends_clean();
}

/// RFC 1191 and RFC 8201: segments fit what the router said, now and on the next
/// connection to the same host.
#[test]
fn a_path_that_takes_less_gets_smaller_segments() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 1_460]);
    peer.expects(seg("A").seq(1).ack(1).len(1_460));
    let mtu = 1_280 + u32::try_from(IP_LEN).unwrap() + 20;
    let error = icmp_error(TOO_BIG, mtu, &quoted(&peer, peer.iss.unwrap() + 1), 1_460);
    peer.arrives(&error);
    peer.wait_ms(5_000);
    let largest = peer.takes_all().iter().map(|(_, data)| data.len()).max();
    assert_eq!(largest, Some(1_280), "it is sent again, in two");
    peer.sends(seg("R").seq(1));
    peer.iss = None;
    peer.port += 1;
    let mut peer = peer.handshake();
    peer.engine_sends(&[b'x'; 1_460]);
    peer.expects(seg("A").seq(1).ack(1).len(1_280));
    // Ten minutes later it is tried anew (RFC 8201 section 5.3).
    peer.sends(seg("R").seq(1));
    peer.wait_ms(600_000);
    peer.takes_all();
    peer.iss = None;
    peer.port += 1;
    let mut peer = peer.handshake();
    peer.engine_sends(&[b'x'; 1_460]);
    peer.expects(seg("A").seq(1).ack(1).len(1_460));
}

/// Attack case 26: whatever a router says, segments stay at the floor or above: 552 - 40
/// bytes on IPv4, where 0 is the word of an old router and means the next size in use (RFC
/// 1191 section 7); on IPv6 less than 1,280 is discarded (RFC 8201 section 4).
#[test]
fn a_path_never_shrinks_below_its_floor() {
    let odd = [69, 296, 551, 552, 1_279, 0xffff, u32::MAX];
    for mtu in (0..=68).chain(odd) {
        let mut peer = Peer::established();
        peer.engine_sends(&[b'x'; 1_460]);
        peer.takes_all();
        let quoted = quoted(&peer, peer.iss.unwrap() + 1);
        peer.arrives(&icmp_error(TOO_BIG, mtu, &quoted, 1_460));
        peer.wait_ms(0);
        let expected = match (FAMILY, mtu) {
            (Family::V6, _) | (_, 1_500..) => 1_460,
            (_, 0) => 1_492 - 40,
            (_, 1_279) => 1_279 - 40,
            _ => 512,
        };
        let is_word = expected < 1_460;
        assert_eq!(peer.dropped(DropReason::Icmp), u64::from(!is_word), "{mtu}");
        let id = peer.id();
        let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
        assert_eq!(usize::from(info.mss), expected, "{mtu}");
        let again: Vec<usize> = peer
            .takes_all()
            .iter()
            .map(|(_, data)| data.len())
            .collect();
        assert_eq!(again.first(), is_word.then_some(&expected), "{mtu}");
        // Said again of every size that it has led to, it goes down to the floor.
        let mut mss = expected;
        for _ in 0..20 {
            peer.arrives(&icmp_error(TOO_BIG, mtu.min(68), &quoted, mss));
            peer.wait_ms(0);
            let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
            mss = usize::from(info.mss);
            let sent = peer.takes_all();
            assert!(sent.iter().all(|(_, data)| data.len() <= mss));
        }
        let floor = if FAMILY == Family::V4 { 512 } else { 1_460 };
        assert_eq!(mss, floor, "{mtu}");
        peer.sends(seg("A").seq(1).ack(1_461));
        assert_eq!(peer.stats().tcp.bytes_acked, 1_460);
    }
}

/// Attack case 27: who is talked to stays reachable, whatever others say.
#[test]
fn a_flood_of_neighbors_leaves_the_live_one_alone() {
    let mut peer = Peer::established();
    for round in 0..8u8 {
        for last in 3..=254 {
            let mac = MacAddress([2, 0, 0, 0, round, last]);
            peer.arrives(&solicitation(host(last), ENGINE, mac));
            peer.arrives(&advertisement(host(last), mac, false, true));
        }
        peer.wait_ms(0);
    }
    peer.takes_others();
    peer.engine_sends(b"x");
    // The peer asserts that it is sent to the peer's own Ethernet address.
    peer.expects(seg("A").seq(1).ack(1).data(b"x"));
    peer.sends(seg("R").seq(1));
    peer.ends_clean();
}

/// Attack case 27 (RFC 6583): segments from thousands of addresses of the link where
/// nobody is. They are asked for, three times each while there is room in the table and
/// no more; few frames wait for them, and the live neighbour keeps its place.
#[test]
fn a_link_full_of_nobodies_is_not_asked_for_without_end() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.stray_resets_per_second = u32::MAX;
        if FAMILY == Family::V4 {
            config.addresses[0].prefix_len = 15;
        }
    })
    .listening()
    .handshake();
    peer.asked = 0;
    let nobody = |n: u16| -> IpAddr {
        let [a, b] = n.to_be_bytes();
        match PEER {
            IpAddr::V4(_) => Ipv4Addr::new(198, 19, a, b).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 1, 0, 0, n).into(),
        }
    };
    let stray = Header {
        flags: Flags::ACK,
        ..syn()
    };
    for n in 1..=20_000 {
        peer.arrives(&frame(nobody(n), ENGINE, &stray, b""));
        if n % 100 == 0 {
            peer.wait_ms(10);
        }
        assert!(peer.asked <= 3 * 1_024, "the places of the table");
    }
    assert!(peer.asked >= 1_000);
    peer.engine_sends(b"x");
    peer.expects(seg("A").seq(1).ack(1).data(b"x"));
    peer.sends(seg("PA").seq(1).ack(2).data(b"y"));
    assert_eq!(peer.engine_reads(), b"y");
    // All that waited was given up, and is home.
    peer.wait_ms(10_000);
    peer.takes_all();
    let given_up = peer.dropped(DropReason::NextHopUnreachable);
    let refused = peer.dropped(DropReason::ReplyQueueFull);
    assert_eq!(given_up + refused, 20_000);
    peer.sends(seg("R").seq(2));
    peer.ends_clean();
}

/// Attack case 27: a forged word is doubted and put right by the owner.
#[test]
fn a_forged_neighbor_is_found_out() {
    let mut peer = Peer::established();
    peer.arrives(&advertisement(PEER, STRANGER_MAC, true, true));
    peer.wait_ms(0);
    assert_eq!(peer.asked, 1);
    // The next use starts the delay, and the probe goes to the forged address; the
    // owner's answer, which overrides, is believed.
    let id = peer.id();
    peer.answers_neighbors = false;
    peer.shard
        .with_app(peer.now, |_, sockets| sockets.abort(id));
    peer.shard.step(peer.now);
    let forged = peer.shard.driver_mut().take_sent().unwrap();
    assert_eq!(forged.data()[..6], STRANGER_MAC.0);
    peer.shard.driver_mut().complete(forged);
    peer.wait_ms(5_100);
    assert_eq!(peer.asked, 2);
    peer.arrives(&advertisement(PEER, PEER_MAC, true, true));
    peer.wait_ms(0);
    peer.port += 1;
    peer.iss = None;
    peer.handshake();
}

#[test]
fn an_echo_request_is_answered_with_its_data() {
    let mut peer = Peer::new();
    let [request, reply] = if FAMILY == Family::V4 {
        [8, 0]
    } else {
        [128, 129]
    };
    let data: Vec<u8> = (0..1_400u16).map(|n| n.to_be_bytes()[1]).collect();
    let message = [&[request, 0, 0, 0, 0x12, 0x34, 0, 1], &data[..]].concat();
    peer.arrives(&icmp_frame(message.clone()));
    peer.wait_ms(0);
    let answers = peer.takes_others();
    assert_eq!(answers.len(), 1);
    let answer = &answers[0][14 + IP_LEN..];
    assert_eq!((answer[0], &answer[4..]), (reply, &message[4..]));
    assert_eq!(answers[0][..6], PEER_MAC.0);
    peer.ends_clean();
}

#[test]
fn a_neighbor_that_asks_is_answered_and_one_that_asks_for_others_is_not() {
    let mut peer = Peer::new();
    peer.arrives(&solicitation(PEER, ENGINE, PEER_MAC));
    peer.arrives(&solicitation(PEER, host(9), PEER_MAC));
    peer.wait_ms(0);
    assert_eq!(peer.drops(), [(DropReason::NotForUs, 1)]);
    let answers = peer.takes_others();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][..12], [PEER_MAC.0, ENGINE_MAC.0].concat());
    assert_eq!(peer.asked, 0, "who asked is known");
    peer.ends_clean();
}

/// A neighbour that has a place but is not proven is used at once and asked
/// directly after five seconds (RFC 4861 section 7.3.3).
#[test]
fn a_neighbor_that_asked_is_used_and_then_probed() {
    let mut peer = Peer::new().listening();
    peer.arrives(&solicitation(PEER, ENGINE, PEER_MAC));
    let mut peer = peer.handshake();
    assert_eq!(peer.asked, 0);
    peer.wait_ms(5_000);
    assert_eq!(peer.asked, 1);
    peer.wait_ms(20_000);
    assert_eq!(peer.asked, 1, "it answered");
    peer.sends(seg("R").seq(1));
}

/// RFC 9293 section 3.8.3, MUST-20 and SHLD-10: after three retransmissions without
/// an answer the next hop is probed, long before its time; one that answers the
/// probe is not asked again with every retransmission of a second.
#[test]
fn three_retransmissions_without_an_answer_have_the_next_hop_probed() {
    let mut peer = Peer::established();
    peer.engine_sends(b"anybody?");
    // At 200, 600 and 1,400 ms it is sent again.
    peer.wait_ms(2_990);
    assert_eq!((peer.takes_all().len(), peer.asked), (4, 1));
    peer.wait_ms(20);
    assert_eq!(peer.asked, 2, "the neighbour is there");
    peer.wait_ms(10_000);
    assert_eq!((peer.takes_all().len(), peer.asked), (3, 4));
    // When it does not answer, its address is forgotten, and asked for anew.
    peer.answers_neighbors = false;
    peer.wait_ms(30_000);
    assert!(peer.asked >= 7, "{}", peer.asked);
    assert_eq!(peer.state(), Some(State::Established), "no hard error");
}

/// A connection with a cork on it that has `anybody?` to send, and a next hop that has
/// just been found silent.
fn unheard() -> Peer {
    let corked = SocketOptions {
        cork: true,
        ..SocketOptions::default()
    };
    let mut peer = Peer::new().listening_with(corked).handshake();
    peer.wait_ms(30_000);
    peer.answers_neighbors = false;
    peer.sends(seg("PA").seq(1).ack(1).win(10_000).data(b"hello"));
    // Five seconds after its use it is probed, three times.
    peer.wait_ms(8_200);
    peer.expects(seg("A").seq(1).ack(6));
    assert_eq!(peer.asked, 1 + 3);
    peer.engine_sends(b"anybody?");
    peer
}

/// What was never sent because the next hop was silent is sent when it is back, even
/// when nothing but a timer lets it go: it is corked, and less than a full segment.
#[test]
fn what_waited_for_a_next_hop_leaves_when_it_is_back() {
    let mut peer = unheard();
    peer.answers_neighbors = true;
    peer.wait_ms(5_000);
    assert_eq!(peer.asked, 1 + 3 + 1);
    peer.expects(seg("PA").seq(1).ack(6).data(b"anybody?"));
    peer.sends(seg("A").seq(6).ack(9));
    peer.expects_nothing();
}

/// A probe that was due when the window opened, and waited for the next hop, is not
/// due any more: what leaves then has a timer, and is sent again.
#[test]
fn a_probe_that_a_silent_next_hop_held_up_is_off_when_the_window_opens() {
    let mut peer = unheard();
    peer.wait_ms(4_000);
    assert_eq!(peer.asked, 1 + 3 + 2, "it is asked for again");
    peer.sends(seg("A").seq(6).ack(1).win(20_000));
    peer.arrives(&advertisement(PEER, PEER_MAC, true, true));
    peer.answers_neighbors = true;
    peer.wait_ms(10_000);
    let sent = peer.takes_all();
    assert!(sent.len() > 2, "{sent:?}");
    assert!(sent.iter().all(|(_, data)| data == b"anybody?"));
}

/// An engine on a VLAN hears that VLAN alone, and all that it sends is tagged.
#[test]
fn a_vlan_is_a_link_of_its_own() {
    let tagged = |mut bytes: Vec<u8>, vlan: u16| {
        let [a, b] = vlan.to_be_bytes();
        bytes.splice(12..12, [0x81, 0, a, b]);
        bytes
    };
    let mut peer = Peer::with(|config| config.vlan = Some(7)).listening();
    let syn = frame(PEER, ENGINE, &syn(), b"");
    let asks = solicitation(PEER, ENGINE, PEER_MAC);
    for other in [
        tagged(syn.clone(), 8),
        tagged(syn.clone(), 0),
        syn.clone(),
        asks.clone(),
    ] {
        peer.arrives(&other);
    }
    peer.shard.step(peer.now);
    assert_eq!(peer.drops(), [(DropReason::Vlan, 4)]);
    // A tag within the tag is no way in.
    peer.arrives(&tagged(tagged(syn.clone(), 7), 7));
    peer.shard.step(peer.now);
    assert_eq!(peer.dropped(DropReason::Protocol), 1);
    peer.arrives(&tagged(asks, 7));
    peer.arrives(&tagged(syn, 0xe007)); // with a priority
    while peer.shard.step(peer.now) {}
    let mut kinds = Vec::new();
    while let Some(sent) = peer.shard.driver_mut().take_sent() {
        assert_eq!(sent.data()[12..16], [0x81, 0, 0, 7]);
        kinds.push(sent.len());
        peer.shard.driver_mut().complete(sent);
    }
    assert_eq!(kinds.len(), 2, "the answer and the SYN-ACK");
}

/// The addresses of a family take turns, and the other's are not for it.
#[test]
fn a_connect_goes_out_from_an_address_of_its_family() {
    let mut peer = Peer::with(|config| {
        let prefix_len = config.addresses[0].prefix_len;
        for ip in [
            host(3),
            IpAddr::V4(Ipv4Addr::new(198, 19, 0, 1)),
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)),
        ] {
            config
                .addresses
                .push(ringmill_core::stack::InterfaceAddress { ip, prefix_len });
        }
    });
    peer.answers_neighbors = false;
    let locals: Vec<IpAddr> = peer.sockets(|_, sockets| {
        (0..4)
            .map(|_| {
                let id = sockets.connect((PEER, PORT).into(), 0, SocketOptions::default());
                sockets.local(id.unwrap()).unwrap().ip()
            })
            .collect()
    });
    assert!(
        locals.iter().all(|local| local.is_ipv4() == PEER.is_ipv4()),
        "{locals:?}"
    );
    assert!(locals.contains(&ENGINE) && locals.contains(&host(3)));
    assert_eq!(locals[0], locals[3], "three take turns");
}

/// RFC 9293 MUST-46: an OPEN to what is no host's address is an error at once.
#[test]
fn a_connect_to_a_group_or_to_nobody_is_refused() {
    let invalid: &[&str] = match FAMILY {
        Family::V4 => &["255.255.255.255", "198.18.0.255", "224.0.0.1", "0.0.0.0"],
        Family::V6 => &["ff02::1", "::", "::ffff:198.18.0.2"],
    };
    let mut peer = Peer::new();
    peer.sockets(|_, sockets| {
        for ip in invalid {
            let remote = (ip.parse::<IpAddr>().unwrap(), 80).into();
            let options = SocketOptions::default();
            let refused = Err(ConnectError::InvalidAddress);
            assert_eq!(sockets.connect(remote, 0, options), refused, "{ip}");
            let local = (ENGINE, 700).into();
            assert_eq!(sockets.connect_from(local, remote, 0, options), refused);
        }
        assert_eq!(
            sockets.connect((PEER, 0).into(), 0, SocketOptions::default()),
            Err(ConnectError::InvalidAddress)
        );
    });
    assert_eq!(peer.asked, 0);
    peer.ends_clean();
}

#[test]
fn addresses_that_are_not_ours_can_be_neither_used_nor_listened_on() {
    let mut peer = Peer::new();
    let other: IpAddr = if FAMILY == Family::V4 {
        Ipv6Addr::LOCALHOST.into()
    } else {
        Ipv4Addr::LOCALHOST.into()
    };
    peer.sockets(|_, sockets| {
        let options = SocketOptions::default();
        assert_eq!(
            sockets.connect((other, 80).into(), 0, options),
            Err(ConnectError::AddressNotAvailable),
            "no address of its family"
        );
        for address in [other, PEER] {
            assert_eq!(
                sockets.listen(Some(address), 80, 1, options),
                Err(ListenError::AddressNotAvailable { address })
            );
        }
        sockets.listen(Some(ENGINE), 80, 1, options).unwrap();
        assert_eq!(
            sockets.listen(None, 80, 1, options),
            Err(ListenError::AddressInUse { port: 80 })
        );
    });
    peer.ends_clean();
}
