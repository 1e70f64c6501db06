//! Peers that abuse the two ends of a connection: its opening, its numbers, its
//! window and its close.

use crate::peer::{ENGINE, PEER, PORT, Peer, Told, host, seg};
use ringmill_core::ports::PortRange;
use ringmill_core::sockets::{Closed, ConnectError, SocketOptions};
use ringmill_core::stack::InterfaceAddress;
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::{State, SynCookies};
use ringmill_core::time::Duration;
use std::collections::BTreeSet;

/// The engine's initial sequence numbers of 2,000 flows, one after the other at one
/// moment: those that it answers SYNs with.
fn numbers_of(seed: u64, cookies: SynCookies) -> Vec<u32> {
    let mut peer = Peer::with(|config| {
        config.seed = seed;
        config.tcp.timestamps = false;
        config.tcp.syn_cookies = cookies;
    })
    .listening();
    (0..2_000)
        .map(|n| {
            peer.port = 10_000 + n;
            peer.sends(seg("S"));
            let (syn_ack, _) = peer.takes_all().pop().unwrap();
            peer.sends(seg("R").seq(1));
            syn_ack.seq.0
        })
        .collect()
}

/// How many of them came before.
fn repeated(values: impl Iterator<Item = u32>) -> usize {
    let mut seen = BTreeSet::new();
    values.filter(|value| !seen.insert(*value)).count()
}

/// Attack case 23 (RFC 6528): from the numbers of some flows nobody can tell another's, for
/// no step from one to the next comes twice; another engine's are others. A cookie has 24
/// bits for that. (Of a million flows: `tcp/connect`.)
#[test]
fn initial_sequence_numbers_step_by_no_step_twice() {
    for (cookies, bits) in [(SynCookies::Never, 32), (SynCookies::Always, 24)] {
        let kept = |value: u32| value << (32 - bits);
        let steps = |numbers: &[u32]| -> Vec<u32> {
            let step = |pair: &[u32]| kept(pair[1].wrapping_sub(pair[0]));
            numbers.windows(2).map(step).collect()
        };
        let [ours, others] = [1, 2].map(|seed| numbers_of(seed, cookies));
        for numbers in [&ours, &others] {
            assert!(repeated(numbers.iter().map(|&n| kept(n))) <= 2);
            assert!(repeated(steps(numbers).into_iter()) <= 2, "{bits}");
        }
        let apart = ours.iter().zip(&others);
        assert!(repeated(apart.map(|(a, b)| kept(a.wrapping_sub(*b)))) <= 2);
    }
}

/// Attack case 23: the numbers of one flow grow, so that what is left of an old connection
/// is old to the next (RFC 9293 section 3.4.1).
#[test]
fn the_next_connection_of_a_flow_begins_past_the_last() {
    let mut peer = Peer::new().listening();
    let mut before = None;
    for _ in 0..100 {
        peer.sends(seg("S"));
        let (syn_ack, _) = peer.takes_all().pop().unwrap();
        if let Some(before) = before.replace(syn_ack.seq) {
            assert_eq!(syn_ack.seq.bytes_since(before), 15 * 250_000);
        }
        peer.sends(seg("R").seq(1));
        peer.wait(Duration::from_secs(15));
    }
}

/// The local ports of first connections to sixty services of the peer.
fn ports_of(seed: u64) -> Vec<u16> {
    let mut peer = Peer::with(|config| config.seed = seed);
    (1..=60)
        .map(|service| {
            peer.sockets(|_, sockets| {
                let options = SocketOptions::default();
                let id = sockets.connect((PEER, service).into(), 0, options).unwrap();
                sockets.local(id).unwrap().port()
            })
        })
        .collect()
}

/// Attack case 24: from the ports towards some destinations nobody can tell those
/// towards others, nor from one run those of the next (RFC 6056 section 3.3.3).
#[test]
fn ports_towards_other_destinations_are_not_next_to_each_other() {
    let ports = ports_of(1);
    let distinct: BTreeSet<_> = ports.iter().collect();
    assert!(distinct.len() >= 58, "{ports:?}");
    let near = ports.windows(2).filter(|w| w[0].abs_diff(w[1]) < 100);
    assert!(near.count() <= 5, "{ports:?}");
    let mut steps: Vec<u16> = ports.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    steps.sort_unstable();
    let again = steps.windows(2).filter(|w| w[0] == w[1]).count();
    assert!(again <= 1, "{steps:?}");
    let other = ports_of(2);
    let same = ports.iter().zip(&other).filter(|(a, b)| a == b).count();
    assert!(same <= 1, "{ports:?} {other:?}");
}

/// Attack case 24: a port in TIME-WAIT is not taken for the same destination.
#[test]
fn a_port_in_time_wait_is_not_chosen() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.ports = PortRange {
            first: 7_000,
            last: 7_001,
        };
    })
    .connecting();
    peer.expects(seg("S"));
    peer.sends(seg("SA").ack(1));
    peer.expects(seg("A").seq(1).ack(1));
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("FA").seq(1).ack(2));
    peer.expects(seg("A").seq(2).ack(2));
    let waits = peer.engine_port;
    let mut connect = || {
        peer.sockets(|_, sockets| {
            let options = SocketOptions::default();
            let id = sockets.connect((PEER, PORT).into(), 0, options).ok()?;
            sockets.local(id).map(|local| local.port())
        })
    };
    let left = connect();
    assert!(left.is_some() && left != Some(waits));
    assert_eq!(connect(), None);
}

/// Attack case 28: data beside a SYN that has no cookie is not taken, and comes
/// once when it comes again; data with the wrong acknowledgment is not taken at all.
#[test]
fn data_before_the_handshake_is_over_is_read_once_or_never() {
    let mut peer = Peer::new().listening();
    peer.sends(seg("S").mss(1_460).data(b"early"));
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("PA").seq(1).ack(500).data(b"wrong"));
    peer.expects(seg("R").seq(500));
    assert!(peer.told().is_empty());
    peer.sends(seg("PA").seq(1).ack(1).data(b"early"));
    peer.sends(seg("PA").seq(1).ack(1).data(b"early"));
    assert_eq!(peer.engine_reads(), b"early");
}

/// Attack case 28: what a RST carries is no data (RFC 9293 section 3.5.2, SHLD-2),
/// whether it counts or not.
#[test]
fn data_on_a_reset_is_never_read() {
    let mut peer = Peer::established();
    peer.sends(seg("R").seq(2).data(b"evil"));
    peer.expects(seg("A").seq(1).ack(1));
    assert!(peer.engine_reads().is_empty());
    peer.sends(seg("R").seq(1).data(b"evil"));
    assert_eq!(peer.told(), [Told::Accepted, Told::Closed(Closed::Reset)]);
    assert!(peer.engine_reads().is_empty());
    peer.ends_clean();
}

/// Attack case 29: the FINs cross, and both sides close.
#[test]
fn crossing_fins_go_through_closing_to_time_wait() {
    let mut peer = Peer::established();
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.shutdown(id)).unwrap();
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("FA").seq(1).ack(1));
    peer.expects(seg("A").seq(2).ack(2));
    assert_eq!(peer.state(), Some(State::Closing));
    peer.sends(seg("A").seq(2).ack(2));
    assert_eq!(peer.shard.gauges().of(State::TimeWait), 1);
    peer.engine_closes();
    peer.wait(Duration::from_secs(61));
    peer.ends_clean();
}

/// Attack case 29: there is no loopback. A connect to this stack itself, to its own port
/// or another, listened on or not, is refused at once; what comes back of forged ones
/// is case 15.
#[test]
fn nobody_connects_to_this_stack_itself() {
    let mut peer = Peer::with(|config| {
        let prefix_len = config.addresses[0].prefix_len;
        let ip = host(3);
        config.addresses.push(InterfaceAddress { ip, prefix_len });
    })
    .listening();
    peer.sockets(|_, sockets| {
        let options = SocketOptions::default();
        let refused = Err(ConnectError::InvalidAddress);
        for remote in [(ENGINE, PORT), (ENGINE, 4_000), (host(3), PORT)] {
            let remote = remote.into();
            assert_eq!(sockets.connect(remote, 0, options), refused);
            let local = (ENGINE, 4_000).into();
            assert_eq!(sockets.connect_from(local, remote, 0, options), refused);
        }
    });
    peer.wait_ms(5_000);
    assert_eq!(peer.asked, 0);
    peer.ends_clean();
}

/// Attack case 30 (RFC 1337): none of the old segments that can come ends
/// TIME-WAIT, and data of the old connection is answered and not kept.
#[test]
fn no_old_segment_ends_time_wait() {
    let mut peer = Peer::established();
    peer.sends(seg("PA").seq(1).ack(1).data(b"data"));
    assert_eq!(peer.engine_reads(), b"data");
    peer.engine_closes();
    peer.takes_all();
    peer.sends(seg("FA").seq(5).ack(2));
    peer.expects(seg("A").seq(2).ack(6));
    for flags in ["R", "RA"] {
        for seq in [0, 1, 5, 6, 7, 1_000, 1 << 31] {
            peer.sends(seg(flags).seq(seq).ack(2).data(b"x"));
            peer.expects_nothing();
        }
    }
    let before = peer.shard.gauges();
    for old in [
        seg("PA").seq(1).ack(1).data(b"data"),
        seg("PA").seq(6).ack(2).data(b"more"),
        seg("S").seq(0),
        seg("SA").seq(0).ack(1),
    ] {
        peer.sends(old);
        peer.expects(seg("A").seq(2).ack(6));
        assert_eq!(peer.shard.gauges(), before);
    }
    peer.wait(Duration::from_secs(61));
    peer.ends_clean();
}

/// Attack case 36: a peer that answers every probe keeps its connection as long as
/// it likes, unless the application has set a limit (TCP_USER_TIMEOUT).
#[test]
fn a_window_that_stays_closed_ends_at_the_limit_of_the_application() {
    for limit in [None, Some(Duration::from_secs(30))] {
        let options = SocketOptions {
            user_timeout: limit,
            ..SocketOptions::default()
        };
        let mut peer = Peer::new().listening_with(options).handshake();
        peer.sends(seg("A").seq(1).ack(1).win(0));
        peer.engine_sends(&[b'x'; 10_000]);
        for _ in 0..20_000 {
            peer.wait_ms(10);
            for (_, data) in peer.takes_all() {
                assert!(data.len() <= 1);
                peer.sends(seg("A").seq(1).ack(1).win(0));
            }
        }
        let is_open = peer.state() == Some(State::Established);
        assert_eq!(is_open, limit.is_none());
        if limit.is_some() {
            assert_eq!(peer.told().last(), Some(&Told::Closed(Closed::TimedOut)));
            assert_eq!(peer.shard.gauges().chunks, 0);
        }
    }
}

/// Attack case 38 (CVE-2019-11479): in a SYN or a SYN-ACK, an MSS of next to nothing
/// gets segments of 88 bytes, no more of them than the initial window has, and all
/// of the data in the end.
#[test]
fn a_tiny_mss_makes_neither_tiny_segments_nor_many() {
    for mss in [0, 1, 8, 48, 87] {
        for connects in [false, true] {
            let mut peer = if connects {
                let mut peer = Peer::new().connecting();
                peer.expects(seg("S"));
                peer.sends(seg("SA").ack(1).mss(mss));
                peer.expects(seg("A").seq(1).ack(1));
                peer
            } else {
                let mut peer = Peer::new().listening();
                peer.sends(seg("S").mss(mss));
                peer.expects(seg("SA").ack(1));
                peer.sends(seg("A").seq(1).ack(1));
                peer
            };
            peer.engine_sends(&[b'x'; 8_800]);
            assert!(peer.shard.gauges().chunks <= 8);
            let (mut acked, mut flights) = (1, 0);
            while acked < 8_801 && flights < 100 {
                let came = peer.takes_all();
                assert!(flights > 0 || came.len() == 10, "{}", came.len());
                assert!(came.iter().all(|(_, data)| data.len() == 88));
                acked += 88 * u32::try_from(came.len()).unwrap();
                flights += 1;
                peer.sends(seg("A").seq(1).ack(acked));
            }
            assert_eq!(acked, 8_801);
            assert_eq!(peer.stats().tcp.bytes_acked, 8_800);
        }
    }
}

/// Attack case 44: the peer vanishes while the engine waits for the end, in every
/// state in which it can. Nothing stays.
#[test]
fn a_peer_that_vanishes_at_the_end_is_given_up() {
    for state in [
        State::FinWait1,
        State::FinWait2,
        State::Closing,
        State::LastAck,
    ] {
        let mut peer = Peer::established();
        if state == State::LastAck {
            peer.sends(seg("FA").seq(1).ack(1));
        }
        peer.engine_closes();
        match state {
            State::FinWait2 => peer.sends(seg("A").seq(1).ack(2)),
            State::Closing => peer.sends(seg("FA").seq(1).ack(1)),
            _ => {}
        }
        assert_eq!(peer.shard.gauges().of(state), 1, "{state:?}");
        peer.wait(Duration::from_secs(3_600));
        peer.takes_all();
        assert_eq!(peer.shard.gauges().live(), 0, "{state:?}");
        peer.ends_clean();
    }
}

/// Attack case 45: a close leaves data and a FIN unread: the peer is told by a RST
/// (RFC 9293 section 3.6.1, SHLD-3), and the frames come home.
#[test]
fn a_close_before_data_and_fin_are_read_resets() {
    let mut peer = Peer::established();
    peer.sends(seg("FPA").seq(1).ack(1).data(b"unread"));
    peer.takes_all();
    peer.engine_closes();
    peer.expects(seg("RA").seq(1).ack(8));
    peer.ends_clean();
}

/// Attack case 45: a half that is closed stays so. The peer sends on to who still
/// reads, and what comes behind its own FIN is nobody's.
#[test]
fn after_a_half_close_data_counts_up_to_the_fin() {
    let mut peer = Peer::established();
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.shutdown(id)).unwrap();
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("PA").seq(1).ack(2).data(b"more"));
    assert_eq!(peer.engine_reads(), b"more");
    peer.sends(seg("FA").seq(5).ack(2));
    peer.takes_all();
    peer.sends(seg("PA").seq(6).ack(2).data(b"behind"));
    assert!(peer.engine_reads().is_empty());
    assert_eq!(peer.dropped(DropReason::DataAfterClose), 0);
    peer.takes_all();
    peer.engine_closes();
    peer.wait(Duration::from_secs(61));
    peer.ends_clean();
}

/// A RST in LAST-ACK, while data and the FIN behind it are still to be sent, ends
/// that too, and the application hears of it.
#[test]
fn a_reset_before_all_was_sent_is_told_in_last_ack() {
    let mut peer = Peer::established();
    peer.sends(seg("FA").seq(1).ack(1).win(1_000));
    peer.takes_all();
    peer.engine_sends(&[b'x'; 5_000]);
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.shutdown(id)).unwrap();
    assert_eq!(peer.state(), Some(State::LastAck));
    peer.takes_all();
    peer.sends(seg("R").seq(2));
    assert_eq!(peer.told().last(), Some(&Told::Closed(Closed::Reset)));
    peer.expects_nothing();
    peer.ends_clean();
}
