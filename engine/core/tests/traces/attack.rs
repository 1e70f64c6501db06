//! Bad input: spoofed, malformed, and simply wrong.

use crate::peer::{ENGINE, PEER, Peer, Told, arp_frame, frame, ip_frame, seg};
use ringmill_core::rng::Rng;
use ringmill_core::seq::Seq;
use ringmill_core::sockets::Closed;
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::State;
use ringmill_core::wire::checksum::Sum;
use ringmill_core::wire::tcp::{Flags, Header, Options};
use ringmill_core::wire::{arp, ipv4};
use std::net::Ipv4Addr;

fn syn() -> Header {
    Header {
        source_port: 4_000,
        destination_port: 80,
        seq: Seq(0),
        ack: Seq(0),
        flags: Flags::SYN,
        window: 1_000,
        urgent: 0,
        options: Options::default(),
    }
}

/// RFC 9293 MUST-57 and MUST-63, RFC 1122 section 3.2.1.3, and LAND.
#[test]
fn syns_from_addresses_that_nobody_has_are_dropped_in_silence() {
    let mut peer = Peer::new().listening();
    for source in [
        ENGINE,
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::new(0, 1, 2, 3),
    ] {
        peer.arrives(&frame(source, ENGINE, &syn(), b""));
    }
    peer.arrives(&frame(PEER, Ipv4Addr::BROADCAST, &syn(), b""));
    peer.wait_ms(0);
    assert_eq!(
        (
            peer.dropped(DropReason::BadSource),
            peer.dropped(DropReason::NotForUs)
        ),
        (6, 1)
    );
    peer.ends_clean();
}

/// No flags, all flags, and pairs that make no sense, to a listener and to a
/// connection: no state is made or lost.
#[test]
fn senseless_flags_make_and_break_nothing() {
    let combinations = ["", "FPU", "SF", "SR", "F", "U", "SFRPAU", "P"];
    let mut peer = Peer::new().listening();
    for flags in combinations {
        peer.sends(seg(flags));
    }
    assert_eq!(peer.shard.gauges().of(State::SynReceived), 0);
    peer.takes_all();
    peer.ends_clean();

    let mut peer = Peer::established();
    for flags in combinations
        .into_iter()
        .filter(|flags| !flags.contains('R'))
    {
        peer.sends(seg(flags).seq(1).ack(1));
    }
    assert_eq!(peer.state(), Some(State::Established));
}

/// RFC 5961 section 5.2: what was never sent can't be acknowledged, nor what is
/// long past.
#[test]
fn acknowledgments_of_the_future_and_of_the_distant_past_are_challenged() {
    let mut peer = Peer::established();
    peer.engine_sends(b"x");
    peer.expects(seg("A").seq(1).ack(1).data(b"x"));
    for ack in [3, 1_000_000, 0u32.wrapping_sub(100_000)] {
        peer.sends(seg("A").seq(1).ack(ack));
        peer.expects(seg("A").seq(2).ack(1));
    }
    assert_eq!(
        (
            peer.dropped(DropReason::BadAck),
            peer.stats().tcp.bytes_acked
        ),
        (3, 0)
    );
    assert_eq!(peer.state(), Some(State::Established));
}

/// An ICMP port unreachable that quotes a segment with this sequence number.
pub(crate) fn port_unreachable(peer: &Peer, seq: Seq) -> Vec<u8> {
    let quoted = Header {
        source_port: peer.engine_port,
        destination_port: 80,
        seq,
        ..syn()
    };
    let quote = frame(ENGINE, PEER, &quoted, b"");
    let mut message = [&[3, 3, 0, 0, 0, 0, 0, 0], &quote[14..14 + 28]].concat();
    let sum = Sum::default().add_bytes(&message).complement();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ip_frame(PEER, ENGINE, ipv4::PROTOCOL_ICMP, &message)
}

/// RFC 5927: an ICMP error must quote what is in flight, and ends only a connect.
#[test]
fn icmp_errors_end_a_connect_only_if_they_quote_it() {
    let mut peer = Peer::new().connecting();
    let iss = peer.expects(seg("S")).seq;
    let forged = port_unreachable(&peer, iss + 1);
    peer.arrives(&forged);
    peer.wait_ms(0);
    assert_eq!(
        (peer.state(), peer.dropped(DropReason::Icmp)),
        (Some(State::SynSent), 1)
    );
    let real = port_unreachable(&peer, iss);
    peer.arrives(&real);
    peer.wait_ms(0);
    assert_eq!(peer.told(), [Told::Closed(Closed::Refused)]);
    peer.ends_clean();

    let mut peer = Peer::established();
    peer.engine_sends(b"x");
    peer.takes_all();
    let late = port_unreachable(&peer, peer.iss.unwrap() + 1);
    peer.arrives(&late);
    peer.wait_ms(0);
    assert_eq!(peer.state(), Some(State::Established));
}

#[test]
fn arp_and_echo_requests_are_answered_and_those_for_others_are_not() {
    let mut peer = Peer::new();
    let sent = |peer: &Peer| peer.stats().link.tx_frames;
    peer.arrives(&arp_frame(arp::Operation::Request, PEER, ENGINE));
    peer.wait_ms(0);
    assert_eq!(sent(&peer), 1);
    peer.arrives(&arp_frame(
        arp::Operation::Request,
        PEER,
        Ipv4Addr::new(198, 18, 0, 9),
    ));
    peer.wait_ms(0);
    assert_eq!((sent(&peer), peer.dropped(DropReason::NotForUs)), (1, 1));
    let mut echo = vec![8, 0, 0, 0, 0, 1, 0, 1, b'h', b'i'];
    let sum = Sum::default().add_bytes(&echo).complement();
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    peer.arrives(&ip_frame(PEER, ENGINE, ipv4::PROTOCOL_ICMP, &echo));
    peer.wait_ms(0);
    assert_eq!(sent(&peer), 2);
    peer.ends_clean();
}

/// Every frame that can arrive is survived: random bytes, and real segments of a
/// live connection with some bytes changed and the checksums mended, so that they
/// get past the first door. Nothing panics, nothing leaks.
#[test]
fn a_hundred_thousand_mutated_frames_are_survived() {
    let mut rng = Rng::from_seed(20);
    for round in 0..20 {
        let mut peer = Peer::with(|config| config.tcp.timestamps = round % 2 == 0)
            .listening()
            .handshake_any();
        peer.engine_sends(&[b'x'; 3_000]);
        for _ in 0..5_000 {
            let flags =
                ["S", "A", "PA", "FA", "RA", "SA", ""][usize::try_from(rng.below(7)).unwrap()];
            let near = |rng: &mut Rng| u32::try_from(rng.below(200)).unwrap();
            let mut segment = seg(flags)
                .seq(near(&mut rng))
                .ack(near(&mut rng))
                .len(usize::try_from(rng.below(90)).unwrap());
            if rng.chance(500_000) {
                segment = segment.ts(near(&mut rng), 0);
            }
            let mut bytes = peer.frame_of(&segment);
            for _ in 0..rng.below(4) {
                let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
                bytes[at] = u8::try_from(rng.below(256)).unwrap();
            }
            if rng.chance(800_000) {
                mend_checksums(&mut bytes);
            }
            bytes.truncate(bytes.len() - usize::try_from(rng.below(3)).unwrap());
            peer.arrives(&bytes);
            if rng.chance(100_000) {
                peer.wait_ms(rng.below(300));
            }
        }
        peer.wait_ms(0);
        peer.sockets(|_, sockets| {
            sockets.close_all_listeners();
            sockets.abort_all();
        });
        peer.wait_ms(200_000);
        peer.takes_all();
        assert_eq!(peer.shard.frames_missing(), 0, "round {round}");
        peer.ends_clean();
    }
}

fn mend_checksums(bytes: &mut [u8]) {
    let Some(ip) = bytes.get_mut(14..) else {
        return;
    };
    let header_len = usize::from(ip[0] & 0xf) * 4;
    if header_len < 20 || ip.len() < header_len + 20 {
        return;
    }
    ip[10..12].fill(0);
    let sum = Sum::default().add_bytes(&ip[..header_len]).complement();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let (header, segment) = ip.split_at_mut(header_len);
    segment[16..18].fill(0);
    let pseudo = Sum::default()
        .add_bytes(&header[12..20])
        .add_u16(6)
        .add_u16(u16::try_from(segment.len()).unwrap());
    let sum = pseudo.add_bytes(segment).complement();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
}
