//! What only IPv6 has: extension headers, and neighbour discovery over ICMPv6.

use crate::peer::{
    ENGINE, ENGINE_MAC, PEER, PEER_MAC, Peer, discovery, frame, icmp_frame, ip_frame, seg,
    solicitation,
};
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::State;
use ringmill_core::wire::ethernet::MacAddress;
use ringmill_core::wire::{icmpv6, ipv6, ndp};
use std::net::{IpAddr, Ipv6Addr};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const NOTHING: u8 = 59;
const DESTINATION: u8 = 60;
const TCP: u8 = 6;

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V6(ip) => ip,
        IpAddr::V4(_) => panic!("not of this family"),
    }
}

/// A frame with data for the connection behind these headers, each of them kind
/// and whole bytes but for the kind of the next.
fn behind(peer: &Peer, headers: &[(u8, &[u8])]) -> Vec<u8> {
    let bytes = peer.frame_of(&seg("PA").seq(1).ack(1).data(b"data"));
    let mut chain = Vec::new();
    for (at, (_, body)) in headers.iter().enumerate() {
        chain.push(headers.get(at + 1).map_or(TCP, |(kind, _)| *kind));
        chain.extend(*body);
    }
    chain.extend(&bytes[14 + ipv6::HEADER_LEN..]);
    ip_frame(
        PEER,
        ENGINE,
        headers.first().map_or(TCP, |(kind, _)| *kind),
        &chain,
    )
}

const PADDED: &[u8] = &[0, 1, 4, 0, 0, 0, 0];

/// Attack case 13: router alert among them says nothing to a host.
#[test]
fn data_behind_extension_headers_is_delivered() {
    let mut peer = Peer::established();
    let bytes = behind(
        &peer,
        &[
            (HOP_BY_HOP, &[0, 5, 2, 0, 0, 1, 0]), // router alert
            (DESTINATION, PADDED),
            (ROUTING, &[0, 0, 0, 0, 0, 0, 0]), // nothing left to visit
            (FRAGMENT, &[0, 0, 0, 0, 0, 0, 1]), // the whole (RFC 6946)
        ],
    );
    peer.arrives(&bytes);
    peer.wait_ms(0);
    assert_eq!(peer.engine_reads(), b"data");
}

/// Attack case 10 (CVE-2020-17442, CVE-2020-17444, CVE-2020-17445): lengths of 0 and of
/// more than there is, headers without end. Attack case 13: a route still to go.
#[test]
fn extension_headers_that_lie_or_never_end_are_dropped() {
    let mut peer = Peer::established();
    let many: Vec<(u8, &[u8])> = vec![(DESTINATION, PADDED); ipv6::EXTENSIONS_MAX + 1];
    for (bytes, reason) in [
        (behind(&peer, &many), DropReason::Extension),
        (
            behind(&peer, &[(DESTINATION, PADDED), (HOP_BY_HOP, PADDED)]),
            DropReason::Extension,
        ),
        // Of 2048 bytes; of 0 is one of 8, and its options have no length.
        (
            behind(&peer, &[(DESTINATION, &[255, 1, 4, 0, 0, 0, 0])]),
            DropReason::HeaderLength,
        ),
        (
            behind(&peer, &[(DESTINATION, &[0, 1, 255, 0, 0, 0, 0])]),
            DropReason::Option,
        ),
        (
            behind(&peer, &[(HOP_BY_HOP, &[0, 0xc2, 4, 0, 1, 0, 0])]),
            DropReason::Option,
        ), // jumbo
        (
            behind(&peer, &[(ROUTING, &[0, 0, 1, 0, 0, 0, 0])]),
            DropReason::SourceRoute,
        ),
        (behind(&peer, &[(51, PADDED)]), DropReason::Protocol), // nobody signed with us
        (
            ip_frame(PEER, ENGINE, NOTHING, b"tail"),
            DropReason::Protocol,
        ),
    ] {
        let before = peer.dropped(reason);
        peer.arrives(&bytes);
        peer.wait_ms(0);
        assert_eq!(peer.dropped(reason), before + 1, "{reason:?}");
    }
    peer.expects_nothing();
    assert_eq!(peer.engine_reads(), b"");
    assert_eq!(peer.state(), Some(State::Established));
}

/// Attack case 11 (CVE-2020-17441): a payload length of 0, one that is not the frame's,
/// and one of 0 with a jumbo payload option (RFC 2675) that tells what is there, or more.
#[test]
fn impossible_lengths_are_dropped() {
    let mut peer = Peer::established();
    let with_len = |mut bytes: Vec<u8>, len: u16| {
        bytes[14 + 4..14 + 6].copy_from_slice(&len.to_be_bytes());
        bytes
    };
    for len in [0, 25, 1_000, u16::MAX] {
        peer.arrives(&with_len(behind(&peer, &[]), len));
    }
    for jumbo in [32_u32, 0, 1 << 16, u32::MAX] {
        let [a, b, c, d] = jumbo.to_be_bytes();
        let option: &[u8] = &[0, 0xc2, 4, a, b, c, d];
        peer.arrives(&with_len(behind(&peer, &[(HOP_BY_HOP, option)]), 0));
    }
    for len in 1..20 {
        peer.arrives(&with_len(behind(&peer, &[]), len)); // less than a TCP header
    }
    // Within a header of the chain, or between two.
    for len in 1..16 + 20 {
        let chain = behind(&peer, &[(DESTINATION, PADDED), (ROUTING, &[0; 7])]);
        peer.arrives(&with_len(chain, len));
    }
    peer.wait_ms(0);
    assert_eq!(
        peer.drops(),
        [
            (DropReason::Truncated, 19 + 20),
            (DropReason::HeaderLength, 15),
            (DropReason::TotalLength, 8)
        ]
    );
    peer.expects_nothing();
    assert_eq!(peer.engine_reads(), b"");
    assert_eq!(peer.state(), Some(State::Established));
}

/// RFC 4861 section 7.1: what may have come from afar or in pieces is no neighbour.
#[test]
fn neighbor_discovery_that_is_unsound_is_ignored() {
    let mut peer = Peer::new();
    let (engine, other) = (v6(ENGINE), v6(PEER));
    let good = solicitation(PEER, ENGINE, PEER_MAC);
    let mut routed = good.clone();
    routed[14 + 7] = 254;
    let message = good[14 + ipv6::HEADER_LEN..].to_vec();
    let mut fragmented = ip_frame(PEER, ndp::solicited_node(engine), FRAGMENT, &{
        let mut message = message.clone();
        icmpv6::seal(&mut message, other, ndp::solicited_node(engine));
        [&[ipv6::PROTOCOL_ICMP, 0, 0, 0, 0, 0, 0, 1], &message[..]].concat()
    });
    fragmented[14 + 7] = ndp::HOP_LIMIT;
    let mut empty_option = message.clone();
    empty_option[25] = 0;
    let mut of_group = message.clone();
    of_group[8] = 0xff;
    // Who has no address names no Ethernet address, and asks the group.
    let named = discovery(
        Ipv6Addr::UNSPECIFIED,
        ndp::solicited_node(engine),
        &mut message.clone(),
    );
    let mut told_all = vec![0; ndp::LEN];
    let told = ndp::Advertisement {
        target: other,
        at: Some(PEER_MAC),
        solicited: true,
        overrides: true,
    };
    told.emit(&mut told_all);
    for (bytes, reason) in [
        (routed, DropReason::Icmp),
        (fragmented, DropReason::Icmp),
        (
            discovery(other, engine, &mut empty_option),
            DropReason::Option,
        ),
        (
            discovery(other, engine, &mut of_group),
            DropReason::Hardware,
        ),
        (
            discovery(other, engine, &mut message[..23].to_vec()),
            DropReason::Truncated,
        ),
        (named, DropReason::Icmp),
        (
            discovery(other, ndp::ALL_NODES, &mut told_all),
            DropReason::Icmp,
        ),
    ] {
        let before = peer.dropped(reason);
        peer.arrives(&bytes);
        peer.wait_ms(0);
        assert_eq!(peer.dropped(reason), before + 1, "{reason:?}");
    }
    assert_eq!(peer.stats().link.tx_frames, 0);
    peer.arrives(&good);
    peer.wait_ms(0);
    assert_eq!(peer.takes_others().len(), 1);
    peer.ends_clean();
}

/// A router asks from its link-local address, and is answered there, not through
/// itself (RFC 4861 section 5.1).
#[test]
fn a_router_that_asks_is_answered_at_its_link_local_address() {
    let mut peer = Peer::with(|config| config.gateways.v6 = Some(v6(PEER)));
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);
    let mac = MacAddress([2, 0, 0, 0, 0, 0xfe]);
    peer.arrives(&solicitation(router.into(), ENGINE, mac));
    peer.wait_ms(0);
    let answers = peer.takes_others();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][..6], mac.0);
    assert_eq!(peer.asked, 0);
    peer.ends_clean();
}

/// RFC 4861 section 7.2.4: a host that makes sure of our address hears, with all
/// others, that it is taken.
#[test]
fn our_address_is_defended() {
    let mut peer = Peer::new();
    let engine = v6(ENGINE);
    let mut message = vec![0; 24];
    message[0] = ndp::SOLICITATION;
    message[8..24].copy_from_slice(&engine.octets());
    peer.arrives(&discovery(
        Ipv6Addr::UNSPECIFIED,
        ndp::solicited_node(engine),
        &mut message,
    ));
    peer.wait_ms(0);
    let answers = peer.takes_others();
    assert_eq!(answers.len(), 1);
    assert_eq!(
        answers[0][..12],
        [[0x33, 0x33, 0, 0, 0, 1], ENGINE_MAC.0].concat()
    );
    let (header, message) = ipv6::Header::parse(&answers[0][14..]).unwrap();
    assert_eq!(
        (header.destination, header.ttl),
        (ndp::ALL_NODES, ndp::HOP_LIMIT)
    );
    let told = ndp::Advertisement {
        target: engine,
        at: Some(ENGINE_MAC),
        solicited: false,
        overrides: true,
    };
    assert_eq!(ndp::Advertisement::parse(message), Ok(told));
    peer.ends_clean();
}

/// Routers are configured: nobody can make himself one.
#[test]
fn router_advertisements_and_redirects_are_not_listened_to() {
    let mut peer = Peer::new();
    for kind in [134, 137] {
        let mut message = vec![0; 40];
        message[0] = kind;
        peer.arrives(&discovery(v6(PEER), v6(ENGINE), &mut message));
        peer.arrives(&discovery(v6(PEER), ndp::ALL_NODES, &mut message));
    }
    peer.wait_ms(0);
    assert_eq!(peer.drops(), [(DropReason::Icmp, 4)]);
    peer.ends_clean();
}

/// A group of hosts is not pinged through us, and gets no errors from us.
#[test]
fn echo_requests_to_groups_are_not_answered() {
    let mut peer = Peer::new();
    let mut echo = vec![128, 0, 0, 0, 0, 1, 0, 1];
    peer.arrives(&discovery(v6(PEER), ndp::ALL_NODES, &mut echo));
    peer.arrives(&icmp_frame(vec![128, 1, 0, 0, 0, 1, 0, 1])); // a code that is none
    peer.wait_ms(0);
    assert_eq!(peer.drops(), [(DropReason::Icmp, 2)]);
    assert_eq!(peer.stats().link.tx_frames, 0);
    peer.ends_clean();
}

/// A quote with mapped addresses must not reach a connection of the other family.
#[test]
fn an_advertisement_of_a_mapped_address_makes_nothing() {
    let mut peer = Peer::new();
    let mapped = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0xc612, 2);
    let mut message = vec![0; ndp::LEN];
    let told = ndp::Advertisement {
        target: mapped,
        at: Some(MacAddress([2, 0, 0, 0, 0, 0x66])),
        solicited: true,
        overrides: true,
    };
    told.emit(&mut message);
    peer.arrives(&discovery(v6(PEER), v6(ENGINE), &mut message));
    peer.wait_ms(0);
    assert_eq!(peer.drops(), [(DropReason::Icmp, 1)]);
    let syn = peer.frame_of(&seg("S"));
    let mapped_syn = frame(
        mapped,
        ENGINE,
        &ringmill_core::wire::tcp::Header::parse(
            &syn[54..],
            PEER,
            ENGINE,
            ringmill_core::wire::ChecksumPolicy::Full,
        )
        .unwrap()
        .0,
        b"",
    );
    peer.arrives(&mapped_syn);
    peer.wait_ms(0);
    assert_eq!(peer.dropped(DropReason::BadSource), 1);
    peer.ends_clean();
}
