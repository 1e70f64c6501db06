//! What the constants of congestion control and of the timeout change: the same
//! traces under two values of one setting.

use crate::peer::{PORT, Peer, seg};
use ringmill_core::sockets::{SocketOption, SocketOptions};
use ringmill_core::stack::Config;
use ringmill_core::tcp::{Algorithm, Profile};
use ringmill_core::time::Duration;

const MSS: u32 = 1_460;

fn established(set: impl FnOnce(&mut Config)) -> Peer {
    let config = |config: &mut Config| {
        config.tcp.timestamps = false;
        set(config);
    };
    Peer::with(config).listening().handshake()
}

/// Everything before segment `n` is acknowledged.
fn acknowledges(peer: &mut Peer, n: u32) {
    peer.sends(seg("A").seq(1).ack(1 + n * MSS));
}

/// Segments that leave when so many are queued.
fn leave(peer: &mut Peer, queued: u32) -> usize {
    peer.engine_sends(&vec![b'x'; (queued * MSS) as usize]);
    peer.takes_all().len()
}

/// RFC 6928 section 2.
#[test]
fn the_initial_window_has_as_many_segments_as_set() {
    for segments in [3, 10, 20] {
        let mut peer = established(|config| config.tcp.initial_window = segments);
        assert_eq!(leave(&mut peer, 30), segments as usize);
    }
}

/// RFC 5681 section 4.1: after a timeout's worth of silence the window is the initial
/// one again, and after less it is not.
#[test]
fn a_connection_that_rested_starts_again_only_where_it_is_to() {
    for (restarts, wait_ms, expected) in [(true, 300, 10), (true, 150, 20), (false, 300, 20)] {
        let mut peer = established(|config| config.tcp.restart_after_idle = restarts);
        assert_eq!(leave(&mut peer, 10), 10);
        for n in 1..=5 {
            acknowledges(&mut peer, 2 * n);
        }
        peer.wait_ms(wait_ms);
        assert_eq!(leave(&mut peer, 30), expected, "{restarts} {wait_ms}");
    }
}

/// The same where it was the peer's window that kept it from sending: probes do not
/// show what the path holds.
#[test]
fn a_connection_whose_window_was_closed_starts_again_where_it_is_to() {
    for (restarts, wait_ms, expected) in [(true, 300, 10), (true, 150, 20), (false, 300, 20)] {
        for with_data in [true, false] {
            let mut peer = established(|config| {
                config.tcp.restart_after_idle = restarts;
                config.tcp.zero_window_probe_data = with_data;
            });
            assert_eq!(leave(&mut peer, 10), 10);
            for n in 1..5 {
                acknowledges(&mut peer, 2 * n);
            }
            peer.sends(seg("A").seq(1).ack(1 + 10 * MSS).win(0));
            assert_eq!(leave(&mut peer, 30), 0);
            peer.wait_ms(wait_ms);
            assert_eq!(peer.takes_all().len(), usize::from(wait_ms > 200));
            acknowledges(&mut peer, 10);
            let left = peer.takes_all().len();
            assert_eq!(left, expected, "{restarts} {wait_ms} {with_data}");
        }
    }
}

/// L of RFC 9406 section 4.2: what one acknowledgment of ten segments adds.
#[test]
fn one_acknowledgment_adds_no_more_segments_than_the_limit() {
    for (limit, expected) in [(2, 12), (8, 18), (u32::MAX, 20)] {
        let mut peer = established(|config| config.tcp.slow_start_limit = limit);
        assert_eq!(leave(&mut peer, 40), 10);
        acknowledges(&mut peer, 10);
        assert_eq!(peer.takes_all().len(), expected);
    }
}

/// RFC 6298 (2.3): RTO = SRTT + max(G, 4 * RTTVAR). With round trips that are all the
/// same nothing is left but the bound.
#[test]
fn a_steady_round_trip_leaves_the_least_variation() {
    for (least_ms, expected_ms) in [(0, 300), (200, 500)] {
        let mut peer = Peer::with(|config| {
            config.tcp.timestamps = false;
            config.tcp.rto.min_variation = Duration::from_millis(least_ms);
        })
        .listening();
        peer.sends(seg("S").mss(1_460));
        peer.expects(seg("SA").ack(1));
        peer.wait_ms(300);
        peer.sends(seg("A").seq(1).ack(1));
        for n in 1..40 {
            peer.engine_sends(b"x");
            peer.wait_ms(300);
            peer.sends(seg("A").seq(1).ack(1 + n));
        }
        peer.takes_all();
        peer.engine_sends(b"y");
        peer.expects(seg("A").seq(40).ack(1).data(b"y"));
        peer.wait_ms(expected_ms - 5);
        peer.expects_nothing();
        peer.wait_ms(10);
        peer.expects(seg("A").seq(40).ack(1).data(b"y"));
    }
}

/// TCP_CONGESTION is a connection's own: from its listener, or set on it. NewReno goes
/// on with a half of what was in flight (RFC 5681, equation 4), CUBIC with 0.7 of it
/// (RFC 9438 section 4.6).
#[test]
fn congestion_control_is_a_connections_own() {
    let cubic = |config: &mut Config| {
        config.tcp.timestamps = false;
        config.tcp.congestion = Algorithm::Cubic;
    };
    let reno = SocketOption::Congestion(Algorithm::NewReno);
    let mut peer = Peer::with(cubic).listening();
    let mut thresholds = Vec::new();
    for (port, set) in [(4_000, None), (4_001, Some(reno)), (4_002, None)] {
        (peer.port, peer.iss) = (port, None);
        peer = peer.handshake();
        let id = peer.id();
        if let Some(option) = set {
            peer.sockets(|_, sockets| sockets.set_option(id, option))
                .unwrap();
        }
        assert_eq!(leave(&mut peer, 10), 10);
        for _ in 0..3 {
            peer.sends(seg("A").seq(1).ack(1));
        }
        peer.takes_all();
        let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
        thresholds.push(info.ssthresh.unwrap());
    }
    assert_eq!(thresholds, [7, 5, 7]);

    let options = SocketOptions::default().with(reno).unwrap();
    let mut peer = Peer::with(cubic).listening_with(options).handshake();
    assert_eq!(peer.engine_port, PORT);
    assert_eq!(leave(&mut peer, 10), 10);
    for _ in 0..3 {
        peer.sends(seg("A").seq(1).ack(1));
    }
    let id = peer.id();
    let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
    assert_eq!(info.ssthresh, Some(5));
}

/// RFC 9293 section 3.8.6.1: a probe of a closed window is an octet of what waits. Linux's
/// is empty, at SND.UNA - 1, and says nothing that a peer would take note of: what is to
/// be acknowledged still is.
#[test]
fn a_closed_window_is_probed_with_data_or_without() {
    for (profile, probe_seq, probe_len) in [(Profile::Ringmill, 1, 1), (Profile::Linux, 0, 0)] {
        let mut peer = established(|config| {
            let profiled = profile.config();
            config.tcp.zero_window_probe_data = profiled.zero_window_probe_data;
        });
        peer.engine_sends(b"sent");
        peer.expects(seg("A").seq(1).ack(1).data(b"sent"));
        peer.sends(seg("A").seq(1).ack(5).win(0));
        peer.engine_sends(b"waits");
        peer.expects_nothing();
        for n in 1..=3 {
            peer.wait_ms(200 << n);
            let probe = seg("A").seq(4 + probe_seq).ack(1);
            peer.expects(probe.data(&b"waits"[..probe_len]));
            peer.expects_nothing();
            assert_eq!(peer.stats().tcp.window_probes, n);
            peer.sends(seg("A").seq(1).ack(5).win(0));
        }
        peer.sends(seg("A").seq(1).ack(5).win(1_000));
        peer.expects(seg("A").seq(5).ack(1).data(b"waits"));
        peer.sends(seg("A").seq(1).ack(10));
        peer.expects_nothing();
    }
}

/// An acknowledgment that is due when an empty probe is leaves beside it.
#[test]
fn an_empty_window_probe_takes_no_acknowledgment_along() {
    let mut peer = established(|config| config.tcp.zero_window_probe_data = false);
    peer.sends(seg("A").seq(1).ack(1).win(0));
    peer.engine_sends(b"waits");
    peer.expects_nothing();
    peer.wait_ms(190);
    peer.sends(seg("A").seq(1).ack(1).win(0).data(b"x"));
    peer.wait_ms(20);
    peer.expects(seg("A").seq(0).ack(2));
    peer.wait_ms(40);
    peer.expects(seg("A").seq(1).ack(2));
}
