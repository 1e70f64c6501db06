//! The SYN queue and the accept queue at their bounds, and cookies (RFC 4987).

use crate::peer::{ENGINE, MSS_DEFAULT, Peer, Seg, Told, frame, host, seg};
use ringmill_core::rng::Rng;
use ringmill_core::seq::Seq;
use ringmill_core::sockets::{ConnectionId, SocketOption, SocketOptions};
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::{AcceptOverflow, State, SynCookies};
use ringmill_core::time::Duration;
use ringmill_core::wire::tcp::{Flags, Header, Options, Timestamps};

/// A listener (backlog 2, four half-open records) that nobody accepts from.
fn busy(cookies: SynCookies, overflow: AcceptOverflow) -> Peer {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.syn_cookies = cookies;
        config.tcp.accept_overflow = overflow;
    })
    .listening();
    peer.sockets(|app, _| app.accepts = false);
    peer
}

/// Four handshakes up to their SYN-ACK, from ports 5001 to 5004.
fn four_half_open(peer: &mut Peer) -> Vec<Seq> {
    (1..=4)
        .map(|n| {
            peer.port = 5_000 + n;
            peer.sends(seg("S").mss(1_460));
            peer.expects(seg("SA").ack(1));
            peer.iss.unwrap()
        })
        .collect()
}

fn completes(peer: &mut Peer, port: u16, iss: Seq) {
    (peer.port, peer.iss) = (port, Some(iss));
    peer.sends(seg("A").seq(1).ack(1));
}

fn accepts(peer: &mut Peer) -> Vec<ConnectionId> {
    peer.sockets(|app, sockets| {
        let listener = app.listener.unwrap();
        std::iter::from_fn(|| sockets.accept(listener)).collect()
    })
}

/// The SYN queue is full: without cookies a SYN is ignored. The accept queue is
/// full: so is a SYN then, and the ACK of a handshake, whose SYN-ACK comes again
/// until there is room. What was complete first is accepted first.
#[test]
fn full_queues_ignore_and_let_the_peer_try_again() {
    let mut peer = busy(SynCookies::Never, AcceptOverflow::Ignore);
    let iss = four_half_open(&mut peer);
    peer.port = 5_005;
    peer.sends(seg("S"));
    peer.expects_nothing();
    assert_eq!(peer.dropped(DropReason::SynQueueFull), 1);
    // The backlog is 2; the second and then the first complete.
    completes(&mut peer, 5_002, iss[1]);
    completes(&mut peer, 5_001, iss[0]);
    completes(&mut peer, 5_003, iss[2]);
    assert_eq!(peer.dropped(DropReason::AcceptQueueFull), 1);
    peer.port = 5_005;
    peer.sends(seg("S"));
    assert_eq!(peer.dropped(DropReason::AcceptQueueFull), 2);
    peer.expects_nothing();
    let accepted = accepts(&mut peer);
    let remotes: Vec<u16> = peer.sockets(|_, sockets| {
        let port = |&id| sockets.remote(id).unwrap().port();
        accepted.iter().map(port).collect()
    });
    assert_eq!(remotes, [5_002, 5_001]);
    (peer.port, peer.iss) = (5_003, Some(iss[2]));
    peer.wait_ms(1_100);
    assert_eq!(peer.takes_all().len(), 2, "the SYN-ACKs of both");
    completes(&mut peer, 5_003, iss[2]);
    assert_eq!(accepts(&mut peer).len(), 1);
    peer.sockets(|_, sockets| sockets.close_all_listeners());
    assert_eq!(peer.takes_all().len(), 1, "a half-open one is reset");
    peer.sockets(|_, sockets| sockets.abort_all());
    peer.takes_all();
    peer.ends_clean();
}

/// As Linux's tcp_abort_on_overflow.
#[test]
fn a_full_accept_queue_may_reset_instead() {
    let mut peer = busy(SynCookies::Never, AcceptOverflow::Reset);
    let iss = four_half_open(&mut peer);
    for n in 0..3u16 {
        completes(&mut peer, 5_001 + n, iss[usize::from(n)]);
    }
    peer.expects(seg("R").seq(1));
    assert_eq!(peer.shard.gauges().of(State::SynReceived), 1);
    assert_eq!(peer.dropped(DropReason::AcceptQueueFull), 1);
}

/// Connections that were reset in the accept queue are passed over.
#[test]
fn what_was_reset_before_it_was_accepted_is_not_accepted() {
    let mut peer = busy(SynCookies::Never, AcceptOverflow::Ignore);
    let iss = four_half_open(&mut peer);
    completes(&mut peer, 5_001, iss[0]);
    peer.sends(seg("R").seq(1));
    completes(&mut peer, 5_002, iss[1]);
    assert_eq!(accepts(&mut peer).len(), 1);
}

/// TCP_DEFER_ACCEPT: the bare ACK does not wake the application; data does, and
/// so does the time when it is over.
#[test]
fn an_accept_is_deferred_until_there_is_data() {
    let options = SocketOptions::default()
        .with(SocketOption::DeferAccept(Duration::from_secs(4)))
        .unwrap();
    let open = || {
        let mut peer = Peer::new().listening_with(options);
        peer.sends(seg("S"));
        peer.expects(seg("SA").ack(1));
        peer.sends(seg("A").seq(1).ack(1));
        assert!(peer.told().is_empty());
        peer
    };
    let mut peer = open();
    peer.wait_ms(2_000);
    peer.expects_nothing();
    peer.sends(seg("PA").seq(1).ack(1).data(b"request"));
    assert_eq!(peer.told(), [Told::Accepted]);
    assert_eq!(peer.engine_reads(), b"request");

    let mut peer = open();
    peer.wait_ms(3_900);
    peer.expects_nothing();
    peer.wait_ms(200);
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("A").seq(1).ack(1));
    assert_eq!(peer.told(), [Told::Accepted], "as it is");

    // One that stays silent is given up like any other.
    let mut peer = open();
    peer.wait(Duration::from_secs(300));
    assert_eq!(peer.shard.gauges().of(State::SynReceived), 0);
    peer.takes_all();
    peer.ends_clean();
}

fn always_cookies(timestamps: bool) -> Peer {
    Peer::with(|config| {
        config.tcp.timestamps = timestamps;
        config.tcp.syn_cookies = SynCookies::Always;
        config.tcp.receive_buffer = 1 << 20;
    })
    .listening()
}

/// With timestamps nothing is lost: window scale and SACK come back in the echo,
/// the MSS in the acknowledgment.
#[test]
fn a_cookie_keeps_mss_window_scale_and_sack() {
    let mut peer = always_cookies(true);
    peer.sends(seg("S").mss(1_300).scale(2).ts(70, 0).sack_ok());
    let syn_ack = peer.expects(seg("SA").ack(1).scale(5).ts(0, 0));
    assert!(syn_ack.options.sack_permitted);
    assert_eq!(peer.shard.gauges().live(), 0, "no record");
    let stamp = syn_ack.options.timestamps.unwrap();
    assert_eq!(stamp.echo, 70);
    // A window of 5,000 is one of 20,000 bytes.
    peer.sends(
        seg("PA")
            .seq(1)
            .ack(1)
            .win(5_000)
            .ts(71, stamp.value)
            .data(b"request"),
    );
    assert_eq!(peer.engine_reads(), b"request");
    peer.takes_all();
    peer.engine_sends(&[b'x'; 10_000]);
    let sent = peer.takes_all();
    // 1,220 is the largest MSS of a cookie below 1,300; timestamps take twelve.
    assert!(sent.iter().take(8).all(|(_, data)| data.len() == 1_208));
    assert!(sent.iter().all(|(header, _)| {
        header
            .options
            .timestamps
            .unwrap()
            .value
            .wrapping_sub(stamp.value)
            < 1 << 31
    }));
    // A gap: SACK was agreed on.
    peer.sends(seg("A").seq(20).ack(1).ts(72, stamp.value).len(10));
    assert_eq!(peer.stats().tcp.cookies_received, 1);
}

/// Without timestamps only the MSS survives, and nothing else is offered.
#[test]
fn without_timestamps_a_cookie_keeps_the_mss() {
    for (mss, kept) in [
        (Some(1_460), 1_460),
        (Some(1_000), 536),
        (None, MSS_DEFAULT),
        (Some(8), 88),
    ] {
        let mut peer = always_cookies(false);
        let syn = seg("S").scale(7).sack_ok();
        peer.sends(match mss {
            Some(mss) => syn.mss(mss),
            None => syn,
        });
        let options = peer.expects(seg("SA").ack(1)).options;
        assert_eq!(
            (options.window_scale, options.sack_permitted),
            (None, false)
        );
        peer.sends(seg("A").seq(1).ack(1).win(65_535));
        peer.engine_sends(&[b'x'; 3_000]);
        assert_eq!(peer.takes_all()[0].1.len(), kept);
        assert_eq!(peer.state(), Some(State::Established));
    }
}

/// Attack case 34: forged, altered and stale cookies open no connection. The RST is
/// for those whose slot is over or still to come: in the others a segment that came
/// early looks the same.
#[test]
fn forged_altered_and_stale_cookies_are_refused() {
    let syn = || seg("S").mss(1_460).scale(2).ts(70, 0);
    let mut peer = always_cookies(true);
    peer.sends(seg("A").seq(1).ack(77).ts(71, 0));
    assert_eq!(peer.takes_all().len(), 1, "none was sent: a stray ACK");
    assert_eq!(peer.stats().tcp.cookies_failed, 0);
    peer.sends(syn());
    let stamp = peer
        .expects(seg("SA").ack(1).ts(0, 0))
        .options
        .timestamps
        .unwrap()
        .value;
    let good = seg("A").seq(1).ack(1).ts(71, stamp);
    let forged = [
        good.clone().ack(2),
        good.clone().ack(1 + (1 << 24)),
        good.clone().seq(2),
        good.clone().ts(71, stamp ^ 1),
        good.clone().ts(71, stamp ^ 1 << 4),
        Seg {
            options: Options::default(),
            ..good.clone()
        },
    ];
    for (count, forged) in (1..).zip(forged) {
        peer.sends(forged);
        peer.expects_nothing();
        assert_eq!(peer.stats().tcp.cookies_failed, count);
    }
    for slots in [1, 2, 16, 30] {
        let ack = 1 + (slots << 27);
        peer.sends(good.clone().ack(ack));
        peer.expects(seg("R").seq(ack));
    }
    assert!(peer.told().is_empty() && peer.shard.gauges().live() == 0);
    // Another's cookie is none of this flow's.
    peer.port += 1;
    peer.sends(good.clone());
    peer.expects_nothing();
    peer.port -= 1;
    peer.wait(Duration::from_secs(129));
    peer.sends(good.clone());
    peer.expects(seg("R").seq(1));
    assert!(peer.told().is_empty());
    // And the good one, in time, is good.
    peer.sends(syn());
    let stamp = peer
        .expects(seg("SA").ack(1).ts(0, 0))
        .options
        .timestamps
        .unwrap()
        .value;
    peer.sends(good.ts(71, stamp));
    assert_eq!(peer.told(), [Told::Accepted]);
}

/// What overtakes the first segment brings back the cookie under another sequence
/// number: it is not used, and the peer is not reset for it.
#[test]
fn a_segment_ahead_of_the_first_is_no_reason_to_reset() {
    for timestamps in [false, true] {
        let mut peer = always_cookies(timestamps);
        let stamped = |segment: Seg, stamp| match timestamps {
            true => segment.ts(71, stamp),
            false => segment,
        };
        peer.sends(stamped(seg("S").mss(1_460), 0));
        let syn_ack = peer.takes_all().pop().unwrap().0;
        peer.iss = Some(syn_ack.seq);
        let stamp = syn_ack.options.timestamps.map_or(0, |stamp| stamp.value);
        let second = stamped(seg("FPA").seq(6).ack(1).data(b"second"), stamp);
        peer.sends(second.clone());
        peer.sends(stamped(seg("A").seq(13).ack(1), stamp));
        peer.expects_nothing();
        assert_eq!(peer.dropped(DropReason::BadCookie), 2);
        assert!(peer.told().is_empty() && peer.shard.gauges().live() == 0);
        peer.sends(stamped(seg("A").seq(1).ack(1).data(b"first"), stamp));
        peer.sends(second);
        assert_eq!(peer.engine_reads(), b"firstsecond");
    }
}

/// A SYN of port 5005 came twice: a cookie answered it while the SYN queue was full,
/// and then a record. Three records of others, and the cookie.
fn answered_twice(overflow: AcceptOverflow) -> (Peer, Vec<Seq>, Seq) {
    let mut peer = busy(SynCookies::OnOverflow, overflow);
    let mut records = four_half_open(&mut peer);
    let syn = || seg("S").mss(1_460);
    peer.port = 5_005;
    peer.sends(syn());
    peer.expects(seg("SA").ack(1));
    let cookie = peer.iss.unwrap();
    (peer.port, peer.iss) = (5_001, Some(records.remove(0)));
    peer.sends(seg("R").seq(1));
    peer.port = 5_005;
    peer.sends(syn());
    peer.expects(seg("SA").ack(1));
    assert_ne!(peer.iss, Some(cookie));
    assert_eq!(peer.shard.gauges().of(State::SynReceived), 4);
    (peer, records, cookie)
}

/// The peer goes by the answer that it saw first.
#[test]
fn a_cookie_opens_in_place_of_the_record_of_the_same_syn() {
    let (mut peer, _, cookie) = answered_twice(AcceptOverflow::Ignore);
    peer.iss = Some(cookie);
    peer.sends(seg("A").seq(2).ack(1).data(b"ello"));
    peer.expects_nothing();
    // Of neither.
    peer.sends(seg("A").seq(1).ack(1 << 30));
    peer.expects(seg("R").seq(1 << 30));
    peer.sends(seg("A").seq(1).ack(1).data(b"hello"));
    let accepted = accepts(&mut peer);
    assert_eq!(accepted.len(), 1);
    peer.shard
        .with_app(peer.now, |app, _| app.connection = Some(accepted[0]));
    assert_eq!(peer.engine_reads(), b"hello");
    assert_eq!(peer.shard.gauges().of(State::SynReceived), 3);
}

/// Where it finds the accept queue full the record stays until there is room, but for a
/// reset.
#[test]
fn a_record_outlives_a_cookie_that_finds_no_room() {
    for (overflow, resets) in [(AcceptOverflow::Ignore, 0), (AcceptOverflow::Reset, 1)] {
        let (mut peer, records, cookie) = answered_twice(overflow);
        completes(&mut peer, 5_002, records[0]);
        completes(&mut peer, 5_003, records[1]);
        completes(&mut peer, 5_005, cookie);
        assert_eq!(peer.takes_all().len(), resets);
        assert_eq!(peer.dropped(DropReason::AcceptQueueFull), 1);
        assert_eq!(peer.shard.gauges().of(State::SynReceived), 2 - resets);
        assert_eq!(accepts(&mut peer).len(), 2);
        if resets == 0 {
            completes(&mut peer, 5_005, cookie);
            assert_eq!(accepts(&mut peer).len(), 1);
            assert_eq!(peer.shard.gauges().of(State::SynReceived), 1);
        }
    }
}

/// RFC 4022: a handshake that ends with its listener failed (tcpAttemptFails).
#[test]
fn what_is_half_open_ends_with_its_listener() {
    let mut peer = busy(SynCookies::Never, AcceptOverflow::Ignore);
    four_half_open(&mut peer);
    peer.sockets(|app, sockets| sockets.close_listener(app.listener.unwrap()));
    let resets = peer.takes_all();
    assert!(resets.iter().all(|(it, _)| it.flags.contains(Flags::RST)));
    assert_eq!((resets.len(), peer.stats().tcp.attempt_fails), (4, 4));
    peer.ends_clean();
}

/// A cookie comes back and the accept queue is full: as without cookies.
#[test]
fn a_cookie_needs_room_in_the_accept_queue() {
    for (overflow, resets) in [(AcceptOverflow::Ignore, 0), (AcceptOverflow::Reset, 1)] {
        let mut peer = busy(SynCookies::Always, overflow);
        let iss = four_half_open(&mut peer);
        assert_eq!(peer.shard.gauges().of(State::SynReceived), 0);
        for n in 0..3u16 {
            completes(&mut peer, 5_001 + n, iss[usize::from(n)]);
        }
        assert_eq!(peer.takes_all().len(), resets);
        assert_eq!(peer.dropped(DropReason::AcceptQueueFull), 1);
        assert_eq!(accepts(&mut peer).len(), 2);
    }
}

/// One listener's SYN queue full is not another's.
#[test]
fn each_listener_has_its_own_syn_queue() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.syn_cookies = SynCookies::Never;
        config.tcp.syn_backlog = 2;
    })
    .listening();
    peer.sockets(|_, sockets| {
        sockets
            .listen(None, 81, 2, SocketOptions::default())
            .unwrap();
    });
    for (to, port, answered) in [(80, 1, 1), (80, 2, 1), (80, 3, 0), (81, 4, 1)] {
        (peer.engine_port, peer.port) = (to, port);
        peer.sends(seg("S"));
        assert_eq!(peer.takes_all().len(), answered, "{port}");
    }
    peer.wait(Duration::from_secs(300));
    peer.takes_all();
    (peer.engine_port, peer.port) = (80, 9);
    peer.sends(seg("S"));
    assert_eq!(peer.takes_all().len(), 1, "the records were given up");
}

/// Attack case 33: a flood of SYNs from addresses that do not answer. Memory stays
/// within its bound, no more leaves than came, and all that really connect do.
#[test]
fn a_flood_of_syns_costs_bounded_memory_and_keeps_nobody_out() {
    let mut rng = Rng::from_seed(33);
    let mut peer = Peer::with(|_| ()).listening();
    // The way back to the peer is known before it is asked for that of others.
    peer.sends(seg("A"));
    peer.takes_all();
    for round in 0..100u16 {
        for _ in 0..200 {
            let syn = Header {
                source_port: u16::try_from(rng.below(1 << 16)).unwrap(),
                destination_port: 80,
                seq: Seq(u32::try_from(rng.below(1 << 32)).unwrap()),
                ack: Seq(0),
                flags: Flags::SYN,
                window: 1_000,
                urgent: 0,
                options: Options {
                    mss: Some(1_460),
                    timestamps: Some(Timestamps { value: 1, echo: 0 }),
                    ..Options::default()
                },
            };
            let source = host(3 + u8::try_from(rng.below(250)).unwrap());
            peer.arrives(&frame(source, ENGINE, &syn, b""));
        }
        peer.wait_ms(1);
        let gauges = peer.shard.gauges();
        assert!(gauges.of(State::SynReceived) <= 4 && gauges.timers <= 4 + usize::from(round));
        peer.port = 10_000 + round;
        peer.sends(seg("S").mss(1_460).ts(5, 0));
        let stamp = peer
            .expects(seg("SA").ack(1).ts(0, 0))
            .options
            .timestamps
            .unwrap();
        peer.sends(seg("PA").seq(1).ack(1).ts(6, stamp.value).data(b"hi"));
        assert_eq!(peer.told().len(), usize::from(round) + 1, "round {round}");
        assert_eq!(peer.engine_reads(), b"hi");
        peer.takes_all();
        peer.engine_aborts();
        peer.takes_all();
    }
    let tcp = peer.stats().tcp;
    assert!(
        tcp.cookies_sent > 19_000 && tcp.cookies_received > 90,
        "{tcp:?}"
    );
    assert!(tcp.segments_out <= tcp.segments_in + 300, "{tcp:?}");
    assert_eq!(peer.shard.frames_missing(), 0);
}

/// Attack case 18: a closed port answers by a RST, and only so many a second.
#[test]
fn resets_for_closed_ports_are_limited() {
    let mut peer = Peer::with(|config| config.tcp.stray_resets_per_second = 100);
    for n in 0..1_000 {
        peer.port = n;
        peer.sends(seg("S"));
    }
    let sent = peer.takes_all();
    assert!((50..=100).contains(&sent.len()), "{}", sent.len());
    assert!(
        sent.iter()
            .all(|(header, _)| header.flags == Flags::RST | Flags::ACK)
    );
    let limited = peer.dropped(DropReason::ResetLimited);
    assert_eq!(limited + sent.len() as u64, 1_000);
    peer.wait_ms(1_100);
    peer.sends(seg("S"));
    assert_eq!(peer.takes_all().len(), 1, "the next second has its own");
}

/// Attack case 22 (CVE-2016-5696): challenge ACKs are counted a connection, so one
/// connection's do not tell about another's.
#[test]
fn challenge_acks_are_limited_for_each_connection_by_itself() {
    let mut peer = Peer::established();
    let first = (peer.port, peer.iss);
    peer.port += 1;
    let mut peer = peer.handshake();
    let second = (peer.port, peer.iss);
    peer.now += Duration::from_secs(1);
    (peer.port, peer.iss) = first;
    for _ in 0..1_000 {
        peer.sends(seg("S").seq(1));
    }
    assert_eq!(peer.takes_all().len(), 10);
    (peer.port, peer.iss) = second;
    for _ in 0..20 {
        peer.sends(seg("R").seq(5));
    }
    assert_eq!(peer.takes_all().len(), 10, "its own ten");
    assert_eq!(peer.stats().tcp.challenge_acks_limited, 1_000 - 10 + 10);
    peer.wait(Duration::from_secs(5));
    peer.sends(seg("S").seq(1));
    peer.expects(seg("A").seq(1).ack(1));
}
