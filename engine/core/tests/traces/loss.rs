//! Retransmission (RFC 6298) and fast recovery (RFC 5681, RFC 6582).

use crate::peer::{Peer, Told, seg};
use ringmill_core::sockets::Closed;
use ringmill_core::time::Duration;

/// RFC 6298 (5.4) to (5.6): the earliest segment again, alone, at intervals that
/// double; and RFC 9293 section 3.8.3 (R2) at the end.
/// RFC 9293 section 3.8.1, MUST-18; section 3.8.2, MUST-19.
#[test]
fn a_timeout_sends_the_first_segment_again_and_doubles() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.mtu_probing = false;
    })
    .listening()
    .handshake();
    peer.engine_sends(&[b'x'; 2_920]);
    peer.expects(seg("A").seq(1).ack(1).len(1_460));
    peer.expects(seg("A").seq(1_461).ack(1).len(1_460));
    let mut waits = Vec::new();
    let mut last = peer.now;
    for _ in 0..6 {
        while peer.stats().tcp.rto_expired == waits.len() as u64 {
            peer.wait_ms(10);
        }
        waits.push(peer.now.since(last).as_millis());
        last = peer.now;
        peer.expects(seg("A").seq(1).ack(1).len(1_460));
        peer.expects_nothing();
    }
    // 200 ms is the floor of the timeout.
    for (wait, expected) in waits.iter().zip([200, 400, 800, 1_600, 3_200, 6_400]) {
        assert!(wait.abs_diff(expected) <= 11, "{waits:?}");
    }
    peer.wait(Duration::from_secs(2_000));
    assert_eq!(peer.told().last(), Some(&Told::Closed(Closed::TimedOut)));
    peer.takes_all();
    peer.ends_clean();
}

/// After a timeout everything unacknowledged goes out again as the window allows.
#[test]
fn what_was_lost_with_the_first_follows_its_acknowledgment() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 4_380]);
    peer.takes_all();
    peer.wait_ms(210);
    peer.expects(seg("A").seq(1).ack(1).len(1_460));
    peer.sends(seg("A").seq(1).ack(1_461));
    peer.expects(seg("A").seq(1_461).ack(1).len(1_460));
    peer.expects(seg("A").seq(2_921).ack(1).len(1_460));
    peer.sends(seg("A").seq(1).ack(4_381));
    peer.expects_nothing();
    assert_eq!(peer.stats().tcp.bytes_acked, 4_380);
}

/// RFC 5681 section 3.2: the third duplicate; RFC 6582: a partial acknowledgment
/// brings the next hole at once, and one that covers all ends recovery.
#[test]
fn three_duplicates_resend_without_waiting_and_partial_acks_go_on() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 14_600]);
    assert_eq!(peer.takes_all().len(), 10, "the initial window");
    for _ in 0..2 {
        peer.sends(seg("A").seq(1).ack(1));
        peer.expects_nothing();
    }
    peer.sends(seg("A").seq(1).ack(1));
    peer.expects(seg("A").seq(1).ack(1).len(1_460));
    peer.expects_nothing();
    peer.sends(seg("A").seq(1).ack(4_381));
    peer.expects(seg("A").seq(4_381).ack(1).len(1_460));
    peer.sends(seg("A").seq(1).ack(14_601));
    peer.expects_nothing();
    let tcp = peer.stats().tcp;
    assert_eq!(
        (tcp.fast_retransmits, tcp.rto_expired, tcp.retransmits),
        (1, 0, 2)
    );
}

/// An ACK with data or a new window is no duplicate (RFC 5681 section 2).
#[test]
fn acks_that_carry_news_are_no_duplicates() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 2_920]);
    peer.takes_all();
    for n in 0..4 {
        peer.sends(seg("A").seq(1).ack(1).win(60_000 - n));
        peer.sends(
            seg("A")
                .seq(1 + u32::from(n))
                .ack(1)
                .win(60_000 - n)
                .data(b"d"),
        );
    }
    assert_eq!(peer.stats().tcp.fast_retransmits, 0);
}

/// Karn's algorithm: the answer to a segment that was sent twice is no sample, so
/// the timeout stays at its floor however late it came.
/// RFC 9293 section 3.8.1, MUST-18.
#[test]
fn a_retransmitted_segment_is_no_round_trip_sample() {
    let mut peer = Peer::established();
    let id = peer.id();
    let before = peer.sockets(|_, sockets| sockets.smoothed_rtt(id));
    peer.engine_sends(b"x");
    peer.wait_ms(250);
    peer.sends(seg("A").seq(1).ack(2));
    assert_eq!(peer.sockets(|_, sockets| sockets.smoothed_rtt(id)), before);
    peer.takes_all();
    peer.engine_sends(b"y");
    peer.wait_ms(100);
    peer.sends(seg("A").seq(1).ack(3));
    assert!(peer.sockets(|_, sockets| sockets.smoothed_rtt(id)) > before);
}

/// RFC 5681 section 3.1: the window doubles a round trip.
/// RFC 9293 section 3.8.2, MUST-19.
#[test]
fn slow_start_doubles_what_is_in_flight() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 60_000]);
    assert_eq!(peer.takes_all().len(), 10);
    for n in 1..=5 {
        peer.sends(seg("A").seq(1).ack(1 + n * 2_920));
    }
    assert_eq!(peer.takes_all().len(), 20);
}

/// A segment that is sent again takes no new data along past the window's edge.
#[test]
fn a_retransmission_stays_within_the_window() {
    let mut peer = Peer::new().listening();
    peer.sends(seg("S").win(1_000).mss(1_460));
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("A").seq(1).ack(1).win(1_000));
    peer.engine_sends(&[b'x'; 2_000]);
    peer.expects(seg("A").seq(1).ack(1).len(1_000));
    peer.wait_ms(2_000);
    let again = peer.takes_all();
    assert!(!again.is_empty() && again.iter().all(|(_, data)| data.len() == 1_000));
}

/// A full segment with a FIN is one number longer than the window that a timeout
/// leaves, and is sent again all the same.
#[test]
fn a_full_segment_with_a_fin_is_sent_again_by_every_timeout() {
    let mut peer = Peer::established();
    let id = peer.id();
    peer.sockets(|_, sockets| {
        assert_eq!(sockets.send(id, &[b'x'; 1_460]), Ok(1_460));
        sockets.close(id);
    });
    peer.expects(seg("FA").seq(1).ack(1).len(1_460));
    peer.wait_ms(20_000);
    let again = peer.takes_all();
    assert!(again.len() >= 4, "{}", again.len());
}

/// RFC 6298 (5.3): only what acknowledges new data starts the timer anew; duplicates
/// of a peer without SACK put off no timeout.
#[test]
fn duplicates_do_not_put_the_timeout_off() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 2_920]);
    peer.takes_all();
    for _ in 0..2 {
        peer.wait_ms(90);
        peer.sends(seg("A").seq(1).ack(1));
    }
    assert_eq!(peer.stats().tcp.duplicate_acks, 2);
    peer.expects_nothing();
    peer.wait_ms(25);
    peer.expects(seg("A").seq(1).ack(1).len(1_460));
    assert_eq!(peer.stats().tcp.rto_expired, 1);
}

/// RFC 6675 section 6, MAY: a retransmission has a whole timeout to be acknowledged.
#[test]
fn a_fast_retransmission_starts_the_timer_anew() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 14_600]);
    peer.takes_all();
    peer.wait_ms(150);
    for _ in 0..3 {
        peer.sends(seg("A").seq(1).ack(1));
    }
    peer.expects(seg("A").seq(1).ack(1).len(1_460));
    peer.wait_ms(190);
    peer.expects_nothing();
    peer.wait_ms(20);
    assert_eq!(peer.stats().tcp.rto_expired, 1);
}

/// A probe of a window that closed over what was in flight sends one byte of it again
/// (RFC 9293 section 3.8.6.1). Its segment is still the first to go when there is room.
#[test]
fn a_window_that_opens_is_sent_the_first_segment_first() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 4_380]);
    peer.takes_all();
    peer.sends(seg("A").seq(1).ack(1).win(0));
    peer.wait_ms(210);
    peer.expects(seg("A").seq(1).ack(1).len(1));
    peer.sends(seg("A").seq(1).ack(1).win(0));
    peer.expects_nothing();
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    peer.expects(seg("A").seq(1).ack(1).len(1_460));
    peer.sends(seg("A").seq(1).ack(1_461).win(65_535));
    peer.expects(seg("A").seq(1_461).ack(1).len(1_460));
    peer.expects(seg("A").seq(2_921).ack(1).len(1_460));
    assert_eq!(peer.stats().tcp.window_probes, 1);
}
