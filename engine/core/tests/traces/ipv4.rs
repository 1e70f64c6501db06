//! What only IPv4 has: a header of its own length, options, fragments on the way,
//! and ARP.

use crate::peer::{ENGINE, PEER, PEER_MAC, Peer, arp_frame, frame, ip_frame, seg, solicitation};
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::State;
use ringmill_core::wire::arp;
use ringmill_core::wire::checksum::Sum;
use std::net::{IpAddr, Ipv4Addr};

/// Changes the IP header of a frame and makes its checksum good.
fn changed(mut bytes: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let ip = &mut bytes[14..];
    change(ip);
    let len = (usize::from(ip[0] & 0xf) * 4).min(ip.len());
    ip[10..12].fill(0);
    let sum = Sum::default().add_bytes(&ip[..len]).complement();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The same, of a frame with data for the connection.
fn data(peer: &Peer, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    changed(
        peer.frame_of(&seg("PA").seq(1).ack(1).data(b"data")),
        change,
    )
}

/// Attack case 2, attack case 3 (CVE-2021-31401, CVE-2018-16601).
#[test]
fn impossible_lengths_are_dropped() {
    let mut peer = Peer::established();
    let total = |len: u16| move |ip: &mut [u8]| ip[2..4].copy_from_slice(&len.to_be_bytes());
    for (bytes, reason) in [
        (data(&peer, total(0)), DropReason::TotalLength),
        (data(&peer, total(19)), DropReason::TotalLength),
        (data(&peer, total(45)), DropReason::TotalLength),
        (data(&peer, total(u16::MAX)), DropReason::TotalLength),
        (data(&peer, total(20)), DropReason::Truncated),
        (data(&peer, total(39)), DropReason::Truncated),
        (data(&peer, |ip| ip[0] = 0x44), DropReason::HeaderLength),
        (data(&peer, |ip| ip[0] = 0x40), DropReason::HeaderLength),
        (data(&peer, |ip| ip[0] = 0x4f), DropReason::HeaderLength),
        (data(&peer, |ip| ip[0] = 0x65), DropReason::Version),
    ] {
        let before = peer.dropped(reason);
        peer.arrives(&bytes);
        peer.wait_ms(0);
        assert_eq!(peer.dropped(reason), before + 1, "{:?}", &bytes[14..34]);
    }
    for words in 0..5 {
        peer.arrives(&data(&peer, |ip| ip[0] = 0x40 | words));
    }
    // With options: every total length below the header's and below the two headers'.
    for words in 6..=10_u16 {
        let header = 4 * words;
        for len in (0..header + 20).filter(|&len| len < 44) {
            peer.arrives(&data(&peer, |ip| {
                ip[0] = 0x40 | u8::try_from(words).unwrap();
                ip[20..].fill(1); // which options may be
                total(len)(ip);
            }));
        }
    }
    // A header that reaches over the segment's own: 24 bytes, the total 44.
    peer.arrives(&data(&peer, |ip| ip[0] = 0x4a));
    peer.wait_ms(0);
    peer.expects_nothing();
    assert_eq!(peer.engine_reads(), b"");
    assert_eq!(peer.state(), Some(State::Established));
    assert_eq!(peer.stats().drops.total(), 11 + 5 + 5 * 44);
    assert_eq!(peer.stats().tcp.segments_in, 2, "those of the handshake");
}

/// Attack case 9, of the IP header.
#[test]
fn a_bad_header_checksum_is_dropped_in_silence() {
    let mut peer = Peer::established();
    let mut bytes = data(&peer, |_| ());
    bytes[14 + 8] ^= 1;
    peer.arrives(&bytes);
    peer.wait_ms(0);
    peer.expects_nothing();
    assert_eq!(peer.drops(), [(DropReason::Checksum, 1)]);
}

/// Every bit of the fragment field but one makes a fragment (attack case 12 in `network`).
#[test]
fn a_packet_that_must_not_be_fragmented_is_no_fragment() {
    let mut peer = Peer::established();
    for bit in (0..16).filter(|bit| ![14, 15].contains(bit)) {
        let bits = (1_u16 << bit).to_be_bytes();
        peer.arrives(&data(&peer, |ip| ip[6..8].copy_from_slice(&bits)));
    }
    peer.wait_ms(0);
    assert_eq!(peer.drops(), [(DropReason::Fragment, 14)]);
    assert_eq!(peer.engine_reads(), b"");
    let whole = data(&peer, |ip| ip[6..8].copy_from_slice(&[0x40, 0]));
    peer.arrives(&whole);
    peer.wait_ms(0);
    assert_eq!(peer.engine_reads(), b"data");
}

/// Attack case 13: a source route is refused (RFC 7126 sections 4.3 and 4.4), and
/// options that say nothing to a host are passed over (MUST-50).
#[test]
fn options_are_passed_over_and_source_routes_refused() {
    let with_options = |peer: &Peer, options: [u8; 4]| {
        let mut bytes = peer.frame_of(&seg("PA").seq(1).ack(1).data(b"data"));
        bytes.splice(34..34, options);
        changed(bytes, |ip| {
            ip[0] = 0x46;
            ip[3] += 4;
        })
    };
    let mut peer = Peer::established();
    for route in [131, 137] {
        peer.arrives(&with_options(&peer, [route, 3, 4, 0]));
    }
    peer.arrives(&with_options(&peer, [68, 0, 0, 0])); // never ends
    peer.wait_ms(0);
    peer.expects_nothing();
    assert_eq!(
        peer.drops(),
        [(DropReason::SourceRoute, 2), (DropReason::Option, 1)]
    );
    peer.arrives(&with_options(&peer, [148, 4, 0, 0])); // router alert
    peer.wait_ms(0);
    assert_eq!(peer.engine_reads(), b"data");
}

/// RFC 5227 section 2.4: a host that probes for our address hears that it is taken.
#[test]
fn our_address_is_defended() {
    let mut peer = Peer::new();
    let IpAddr::V4(engine) = ENGINE else { panic!() };
    let probe = arp_frame(arp::Operation::Request, Ipv4Addr::UNSPECIFIED, engine);
    peer.arrives(&probe);
    peer.wait_ms(0);
    let answers = peer.takes_others();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][..6], PEER_MAC.0);
    peer.ends_clean();
}

/// Attack case 27: gratuitous ARP of a stranger makes no state.
#[test]
fn what_arp_tells_unasked_is_not_kept() {
    let mut peer = Peer::new();
    let stranger = Ipv4Addr::new(198, 18, 0, 9);
    peer.arrives(&arp_frame(arp::Operation::Reply, stranger, stranger));
    peer.arrives(&solicitation(stranger.into(), stranger.into(), PEER_MAC));
    peer.wait_ms(0);
    assert_eq!(peer.drops(), [(DropReason::NotForUs, 2)]);
    peer.ends_clean();
}

/// A router may have set the "more fragments" bit of an ICMP error's quote aside:
/// only the first fragment holds the ports.
#[test]
fn an_error_that_quotes_a_later_fragment_is_ignored() {
    let mut peer = Peer::new().connecting();
    let header = peer.expects(seg("S"));
    let original = frame(ENGINE, PEER, &header, b"");
    let mut message = [&[3, 3, 0, 0, 0, 0, 0, 0], &original[14..14 + 28]].concat();
    message[8 + 7] = 1; // fragment offset 8
    let sum = Sum::default().add_bytes(&message).complement();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    peer.arrives(&ip_frame(PEER, ENGINE, 1, &message));
    peer.wait_ms(0);
    assert_eq!(peer.drops(), [(DropReason::Icmp, 1)]);
    assert_eq!(peer.state(), Some(State::SynSent));
}
