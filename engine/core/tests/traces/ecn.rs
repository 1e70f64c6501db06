//! Explicit congestion notification (RFC 3168).

use crate::hostile::forged;
use crate::peer::{Peer, Seg, seg};
use ringmill_core::tcp::{Ecn, State};
use ringmill_core::wire::checksum::Sum;

const CE: u8 = 3;
const ECT_0: u8 = 2;

/// A segment of the peer that a router has marked.
fn arrives_marked(peer: &mut Peer, segment: &Seg) {
    let mut bytes = peer.frame_of(segment);
    let ip = &mut bytes[14..];
    if ip[0] >> 4 == 4 {
        ip[1] |= CE;
        ip[10..12].fill(0);
        let sum = Sum::default().add_bytes(&ip[..20]).complement();
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        ip[1] |= CE << 4;
    }
    peer.arrives(&bytes);
    peer.wait_ms(0);
}

/// A connection that the peer opened with ECN.
fn agreed() -> Peer {
    let mut peer = Peer::new().listening();
    peer.sends(seg("SEC").win(65_535).mss(1_460));
    peer.expects(seg("SAE").ack(1));
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    assert_eq!(peer.state(), Some(State::Established));
    peer
}

/// RFC 3168 section 6.1.1: we agree when asked, and not to half a question.
/// RFC 9293 section 3.8.2, SHLD-8.
#[test]
fn ecn_is_agreed_to_when_the_peer_asks_for_it() {
    let mut peer = agreed();
    peer.engine_sends(b"x");
    peer.expects(seg("A").seq(1).ack(1).data(b"x"));
    assert_eq!(peer.codepoints, [0, ECT_0], "the SYN-ACK is not capable");
    for half in ["SE", "SC", "S"] {
        let mut peer = Peer::new().listening();
        peer.sends(seg(half).win(65_535).mss(1_460));
        peer.expects(seg("SA").ack(1));
    }
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.ecn = Ecn::Off;
    })
    .listening();
    peer.sends(seg("SEC").win(65_535).mss(1_460));
    peer.expects(seg("SA").ack(1));
}

/// Section 6.1.1.1: a SYN that is not answered comes again without the question.
#[test]
fn a_syn_asks_once() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.ecn = Ecn::Active;
    })
    .connecting();
    peer.expects(seg("SEC"));
    peer.wait_ms(1_010);
    peer.expects(seg("S"));
    peer.sends(seg("SAE").ack(1).win(65_535).mss(1_460));
    peer.expects(seg("A").seq(1).ack(1));
    peer.engine_sends(b"x");
    peer.expects(seg("A").seq(1).ack(1).data(b"x"));
    assert_eq!(peer.codepoints.last(), Some(&0));
}

/// Section 6.1.3: every acknowledgment echoes the mark until CWR comes.
#[test]
fn a_mark_is_echoed_until_the_sender_has_seen_it() {
    let mut peer = agreed();
    arrives_marked(&mut peer, &seg("A").seq(1).ack(1).data(b"a"));
    peer.wait_ms(50);
    peer.expects(seg("AE").seq(1).ack(2));
    peer.sends(seg("A").seq(2).ack(1).data(b"b"));
    peer.wait_ms(50);
    peer.expects(seg("AE").seq(1).ack(3));
    peer.sends(seg("AC").seq(3).ack(1).data(b"c"));
    peer.wait_ms(50);
    peer.expects(seg("A").seq(1).ack(4));
}

/// Section 6.1.2: the window is lowered once a round trip however many echoes
/// come, the next new data says so, and nothing is sent again.
#[test]
fn an_echo_lowers_the_window_once_a_round_trip() {
    let mut peer = agreed();
    peer.engine_sends(&[b'x'; 60_000]);
    assert_eq!(peer.takes_all().len(), 10);
    let iss = peer.iss.unwrap();
    let mss = 1_460;
    peer.sends(seg("AE").seq(1).ack(1 + 2 * mss));
    peer.sends(seg("AE").seq(1).ack(1 + 4 * mss));
    assert_eq!(peer.stats().tcp.ece_received, 1);
    peer.sends(seg("AE").seq(1).ack(1 + 8 * mss));
    let sent = peer.takes_all();
    let reduced: Vec<bool> = sent
        .iter()
        .map(|(h, _)| format!("{:?}", h.flags).contains('C'))
        .collect();
    assert_eq!(reduced.iter().filter(|&&cwr| cwr).count(), 1, "{reduced:?}");
    assert!(reduced[0] && sent[0].0.seq.bytes_since(iss) > 10 * mss);
    assert_eq!(
        (peer.stats().tcp.retransmits, peer.stats().tcp.ece_received),
        (0, 1)
    );
}

/// Section 6.1.2: one window of data lowers the window once, whether its segments were marked
/// or lost. What is lost of the next lowers it again.
#[test]
fn a_mark_and_a_loss_in_one_window_lower_it_once() {
    let mut peer = agreed();
    let mss = 1_460;
    let id = peer.id();
    let ssthresh = |peer: &mut Peer| {
        let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
        info.ssthresh.unwrap()
    };
    // The first segment that is in flight is lost; all that was sent is acknowledged.
    let loses_one = |peer: &mut Peer, una: u32, end: u32| {
        for _ in 0..3 {
            peer.sends(seg("A").seq(1).ack(una));
        }
        let sent = peer.takes_all();
        let lost = peer.iss.unwrap() + una;
        assert!(sent.iter().any(|(header, _)| header.seq == lost));
        let lowered = ssthresh(peer);
        let more = u32::try_from(sent.len() - 1).unwrap();
        peer.sends(seg("A").seq(1).ack(end + more * mss));
        lowered
    };
    peer.engine_sends(&[b'x'; 60_000]);
    assert_eq!(peer.takes_all().len(), 10);
    peer.sends(seg("AE").seq(1).ack(1 + 2 * mss));
    let lowered = ssthresh(&mut peer);
    assert!((5..10).contains(&lowered), "{lowered}");
    peer.expects_nothing();
    assert_eq!(loses_one(&mut peer, 1 + 2 * mss, 1 + 10 * mss), lowered);
    let flight = peer.takes_all();
    let una = flight[0].0.seq.bytes_since(peer.iss.unwrap());
    peer.sends(seg("A").seq(1).ack(una + mss));
    peer.takes_all();
    assert!(loses_one(&mut peer, una + mss, una + mss) < lowered);
}

/// Attack case 50: marks and echoes that were not agreed on change nothing, nor
/// does a mark on a SYN.
#[test]
fn what_was_not_agreed_on_is_ignored() {
    let mut peer = Peer::new().listening();
    let syn = seg("S").win(65_535).mss(1_460);
    arrives_marked(&mut peer, &syn);
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    peer.engine_sends(&[b'x'; 60_000]);
    assert_eq!(peer.takes_all().len(), 10);
    for _ in 0..100 {
        peer.sends(seg("AEC").seq(1).ack(2));
    }
    arrives_marked(&mut peer, &seg("A").seq(1).ack(2).data(b"a"));
    peer.wait_ms(50);
    let tcp = peer.stats().tcp;
    assert_eq!((tcp.ce_received, tcp.ece_received), (0, 0));
    assert!(peer.codepoints.iter().all(|&codepoint| codepoint == 0));
}

/// Attack case 50: flags that nobody agreed on, on a SYN with half a question and in
/// storms: CWR alone asks for nothing, and the window grows as without them. So with the
/// flag of accurate ECN (RFC 9768), which here is none.
#[test]
fn a_storm_of_flags_that_were_not_agreed_on_is_nothing() {
    let mut peer = Peer::new().listening();
    peer.sends(seg("SC").win(65_535).mss(1_460));
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    peer.engine_sends(&[b'x'; 60_000]);
    assert_eq!(peer.takes_all().len(), 10);
    for n in 1..=10_u32 {
        let flags = ["AE", "AC", "AEC"][n as usize % 3];
        let storm = forged(&peer, &seg(flags).seq(1).ack(1 + n * 1_460), |bytes| {
            bytes[12] |= 1;
        });
        peer.arrives(&storm);
        peer.wait_ms(0);
    }
    assert_eq!(peer.takes_all().len(), 20, "slow start goes on");
    assert_eq!(peer.stats().tcp.ece_received, 0);
    assert_eq!(peer.state(), Some(State::Established));
}

/// Attack case 50: a SYN that asks for accurate ECN (AE, CWR and ECE) is one that asks for
/// ECN as it was before (RFC 9768 section 3.1.2), and where there is none it gets none.
#[test]
fn accurate_ecn_is_answered_as_ecn() {
    for (ecn, answer) in [(Ecn::Passive, "SAE"), (Ecn::Off, "SA")] {
        let mut peer = Peer::with(|config| {
            config.tcp.timestamps = false;
            config.tcp.ecn = ecn;
        })
        .listening();
        let syn = seg("SEC").win(65_535).mss(1_460);
        let syn = forged(&peer, &syn, |bytes| bytes[12] |= 1);
        peer.arrives(&syn);
        peer.wait_ms(0);
        peer.expects(seg(answer).ack(1));
        peer.sends(seg("A").seq(1).ack(1).win(65_535));
        peer.engine_sends(b"x");
        peer.expects(seg("A").seq(1).ack(1).data(b"x"));
        assert_eq!(peer.codepoints.last() == Some(&ECT_0), ecn == Ecn::Passive);
    }
}

/// Attack case 50: echoes on every acknowledgment, and marks and CWR on every segment, for
/// twenty round trips: the window is lowered once in each, to two segments at the least,
/// every mark is answered, and all of the data arrives.
#[test]
fn a_storm_of_echoes_lowers_the_window_once_a_round_trip_and_ends_nothing() {
    let mut peer = agreed();
    for _ in 0..4 {
        peer.engine_sends(&[b'x'; 60_000]);
    }
    let (mut acked, mut received) = (1, 1);
    let mut cwnd = 10;
    for round in 1..=20 {
        let flight = peer.takes_all();
        assert!(!flight.is_empty() && flight.len() <= 10);
        peer.wait_ms(20);
        for (_, data) in flight {
            acked += u32::try_from(data.len()).unwrap();
            let storm = seg("PAEC").seq(received).ack(acked).data(b"y");
            arrives_marked(&mut peer, &storm);
            received += 1;
        }
        assert_eq!(peer.stats().tcp.ece_received, round);
        assert_eq!(peer.stats().tcp.ce_received, u64::from(received) - 1);
        let id = peer.id();
        let now = peer.sockets(|_, sockets| sockets.info(id)).unwrap().cwnd;
        assert!(
            now >= 2 && now <= cwnd && now + 1 >= cwnd * 7 / 10,
            "{now} of {cwnd}"
        );
        cwnd = now;
    }
    assert_eq!(cwnd, 2);
    assert_eq!(peer.state(), Some(State::Established));
}
