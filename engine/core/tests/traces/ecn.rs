//! Explicit congestion notification (RFC 3168).

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
