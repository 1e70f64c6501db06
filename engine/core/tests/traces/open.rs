//! Opening connections (RFC 9293 sections 3.5, 3.10.7.2 and 3.10.7.3).

use crate::peer::{MSS_DEFAULT, PEER, PORT, Peer, Told, seg};
use ringmill_core::ports::PortRange;
use ringmill_core::seq::Seq;
use ringmill_core::sockets::{Closed, ConnectError, SocketOptions};
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::State;
use ringmill_core::time::Duration;
use std::net::SocketAddr;

/// RFC 9293 MUST-14: the MSS option is sent, and read below; MUST-67: it is the
/// MTU less the headers (SHLD-5, SHLD-6).
#[test]
fn a_passive_open_is_three_segments() {
    let mut peer = Peer::new().listening();
    peer.sends(seg("S").mss(1_460).scale(7));
    peer.expects(seg("SA").ack(1).mss(1_460).scale(0));
    peer.sends(seg("A").seq(1).ack(1));
    peer.expects_nothing();
    assert_eq!(
        (peer.state(), peer.told()),
        (Some(State::Established), &[Told::Accepted][..])
    );
}

#[test]
fn an_active_open_acknowledges_at_once_when_there_is_nothing_to_say() {
    let mut peer = Peer::new().connecting();
    peer.expects(seg("S").mss(1_460).scale(0));
    peer.sends(seg("SA").ack(1).mss(1_460));
    peer.expects(seg("A").seq(1).ack(1));
    assert_eq!(
        (peer.state(), peer.told()),
        (Some(State::Established), &[Told::Connected][..])
    );
}

/// RFC 9293 section 3.5, figure 7 (MUST-10).
/// Attack case 29.
#[test]
fn simultaneous_open() {
    let mut peer = Peer::new().connecting();
    peer.expects(seg("S"));
    peer.sends(seg("S"));
    peer.expects(seg("SA").ack(1));
    assert_eq!(peer.state(), Some(State::SynReceived));
    peer.sends(seg("A").seq(1).ack(1));
    peer.expects_nothing();
    assert_eq!(peer.state(), Some(State::Established));
}

/// Attack case 28; on SYN and on RST in `cells` and `required`.
#[test]
fn data_may_come_with_the_ack_that_completes_the_handshake() {
    let mut peer = Peer::new().listening();
    peer.sends(seg("S"));
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("PA").seq(1).ack(1).data(b"hello"));
    assert_eq!(peer.engine_reads(), b"hello");
}

/// RFC 6298: 1 s, then doubled; RFC 9293 MUST-23: at least 3 minutes in all.
#[test]
fn a_syn_that_nobody_answers_is_sent_again_and_then_given_up() {
    let mut peer = Peer::new().connecting();
    peer.expects(seg("S"));
    for seconds in [1, 2, 4, 8, 16, 32, 64] {
        peer.wait_ms(seconds * 1_000 - 10);
        peer.expects_nothing();
        peer.wait_ms(10 + 1);
        peer.expects(seg("S"));
        peer.now = peer.now - Duration::from_millis(1);
    }
    peer.wait_ms(121_000);
    assert_eq!(peer.told(), [Told::Closed(Closed::TimedOut)]);
    assert_eq!(peer.stats().tcp.attempt_fails, 1);
    peer.ends_clean();
}

#[test]
fn a_syn_ack_is_sent_again_and_a_repeated_syn_is_answered() {
    let mut peer = Peer::new().listening();
    peer.sends(seg("S"));
    peer.expects(seg("SA").ack(1));
    peer.wait_ms(1_100);
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("S"));
    peer.expects(seg("SA").ack(1));
    peer.wait(Duration::from_secs(200));
    assert!(peer.takes_all().len() == 4 && peer.shard.gauges().of(State::SynReceived) == 0);
    peer.ends_clean();
}

#[test]
fn a_refused_connect_is_told_as_refused() {
    let mut peer = Peer::new().connecting();
    peer.expects(seg("S"));
    peer.sends(seg("RA").ack(1));
    assert_eq!(peer.told(), [Told::Closed(Closed::Refused)]);
    peer.ends_clean();
}

/// RFC 9293 section 3.10.7.3: a RST counts only with an acceptable ACK, and an
/// unacceptable ACK is answered by a RST.
#[test]
fn segments_that_are_no_answer_to_the_syn_do_not_end_it() {
    let mut peer = Peer::new().connecting();
    peer.expects(seg("S"));
    peer.sends(seg("RA").ack(2));
    peer.sends(seg("R"));
    peer.expects_nothing();
    peer.sends(seg("SA").ack(5));
    peer.expects(seg("R").seq(5));
    assert_eq!(peer.state(), Some(State::SynSent));
}

/// RFC 9293 section 3.5.1, figure 9: the peer is still in TIME-WAIT or half open
/// on this flow. The RST ends that, and the SYN does not wait a second to follow.
#[test]
fn an_old_connection_at_the_peer_costs_two_milliseconds() {
    let mut peer = Peer::new().connecting();
    peer.expects(seg("S"));
    peer.sends(seg("A").seq(300).ack(5_000));
    peer.expects(seg("R").seq(5_000));
    peer.wait_ms(3);
    peer.expects(seg("S"));
    peer.sends(seg("SA").ack(1));
    peer.expects(seg("A").seq(1).ack(1));
    assert_eq!(peer.state(), Some(State::Established));
}

/// RFC 9293 section 3.10.7.1. Attack case 18: with an ACK the RST has its number, without
/// one it is 0 and acknowledges all that the segment holds. (Every set of flags: `cells`.)
#[test]
fn a_closed_port_answers_by_reset_and_never_a_reset_by_one() {
    let mut peer = Peer::new();
    peer.iss = Some(Seq(0));
    for (segment, ack) in [
        (seg("S"), 1),
        (seg("S").data(b"early"), 6),
        (seg("SF").data(b"early"), 7),
        (seg("F").seq(9), 10),
        (seg(""), 0),
        (seg("PU").seq(9).data(b"x"), 10),
    ] {
        peer.sends(segment);
        peer.expects(seg("RA").ack(ack));
    }
    for flags in ["A", "SA", "FA", "PA", "FPUA"] {
        peer.sends(seg(flags).seq(9).ack(77).data(b"x"));
        peer.expects(seg("R").seq(77));
    }
    for flags in ["R", "RA", "SR", "FRA", "SFRPAU"] {
        peer.sends(seg(flags).seq(9).ack(3));
        peer.expects_nothing();
    }
    assert_eq!(peer.drops(), [(DropReason::NoListener, 16)]);
    assert_eq!(peer.stats().tcp.resets_out, 11);
    peer.ends_clean();
}

/// RFC 9293 section 3.7.1: MUST-14, MUST-16, MUST-15 (536 or 1220 without the option), and a floor under
/// what a peer may ask for (CVE-2019-11479).
/// MUST-16: and within our own. Attack case 38.
#[test]
fn the_segment_size_is_what_the_peer_says_within_reason() {
    for (offered, expected) in [
        (None, MSS_DEFAULT),
        (Some(1), 88),
        (Some(700), 700),
        (Some(9_000), 1_460),
    ] {
        let mut peer = Peer::new().listening();
        let syn = seg("S");
        peer.sends(match offered {
            Some(mss) => syn.mss(mss),
            None => syn,
        });
        peer.expects(seg("SA").ack(1));
        peer.sends(seg("A").seq(1).ack(1));
        peer.engine_sends(&[b'x'; 1_460]);
        peer.expects(seg("A").seq(1).ack(1).len(expected));
        peer.takes_all();
    }
}

/// RFC 7323 section 2: only if both offer it, never to a SYN's own window, and
/// more than 14 is 14.
#[test]
fn window_scale_is_agreed_on_or_not_used() {
    let offer = |config: &mut ringmill_core::stack::Config| {
        config.tcp.timestamps = false;
        config.tcp.receive_buffer = 1 << 20;
    };
    let mut peer = Peer::with(offer).listening();
    peer.sends(seg("S").win(1_000).mss(1_460).scale(2));
    peer.expects(seg("SA").ack(1).scale(5).win(65_535));
    // A window of 250 is one of 1,000 bytes.
    peer.sends(seg("A").seq(1).ack(1).win(250));
    peer.engine_sends(&[b'x'; 3_000]);
    peer.expects(seg("A").seq(1).ack(1).len(1_000));

    let mut peer = Peer::with(offer).listening();
    peer.sends(seg("S").win(500).mss(1_460));
    let syn_ack = peer.expects(seg("SA").ack(1));
    assert_eq!(syn_ack.options.window_scale, None);
    peer.sends(seg("A").seq(1).ack(1).win(500));
    peer.engine_sends(&[b'x'; 3_000]);
    peer.expects(seg("A").seq(1).ack(1).len(500));

    let refuse = |config: &mut ringmill_core::stack::Config| {
        offer(config);
        config.tcp.window_scaling = false;
    };
    let mut peer = Peer::with(refuse).listening();
    peer.sends(seg("S").win(500).mss(1_460).scale(2));
    let syn_ack = peer.expects(seg("SA").ack(1).win(65_535));
    assert_eq!(syn_ack.options.window_scale, None);
    peer.sends(seg("A").seq(1).ack(1).win(500));
    peer.engine_sends(&[b'x'; 3_000]);
    peer.expects(seg("A").seq(1).ack(1).win(65_535).len(500));
    let mut peer = peer.connecting();
    assert_eq!(peer.expects(seg("S")).options.window_scale, None);
}

/// RFC 6056, EADDRNOTAVAIL: TIME-WAIT and connections hold ports.
/// Attack case 24: which one comes next is a keyed hash (`ports`).
#[test]
fn with_every_port_taken_a_connect_is_refused_here() {
    let mut peer = Peer::with(|config| {
        config.tcp.ports = PortRange {
            first: 7_000,
            last: 7_001,
        }
    });
    let target = SocketAddr::from((PEER, PORT));
    let connect = |peer: &mut Peer| {
        peer.sockets(|_, sockets| sockets.connect(target, 0, SocketOptions::default()))
    };
    assert!(connect(&mut peer).is_ok() && connect(&mut peer).is_ok());
    assert_eq!(connect(&mut peer), Err(ConnectError::AddressNotAvailable));
    assert_eq!(peer.stats().tcp.ports_exhausted, 1);
    let other = SocketAddr::from((PEER, PORT + 1));
    assert!(
        peer.sockets(|_, sockets| sockets.connect(other, 0, SocketOptions::default()))
            .is_ok()
    );
}

/// RFC 1122 section 2.3.2, RFC 4861 section 7.2.2: three probes, a second apart,
/// then it has failed.
#[test]
fn a_neighbor_that_answers_no_probe_is_unreachable_within_seconds() {
    let mut peer = Peer::new();
    peer.answers_neighbors = false;
    let mut peer = peer.connecting();
    peer.expects_nothing();
    peer.wait_ms(3_100);
    assert_eq!(peer.told(), [Told::Closed(Closed::Unreachable)]);
    assert_eq!(peer.asked, 3);
    peer.ends_clean();
}
