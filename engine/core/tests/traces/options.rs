//! Socket options: each in the trace that tells whether it is set.

use crate::peer::{ENGINE, PEER, PORT, Peer, Told, seg};
use ringmill_core::sockets::{
    Closed, ConnectError, ListenError, OptionError, SocketError, SocketOption, SocketOptions,
    SoftError,
};
use ringmill_core::tcp::{Profile, State};
use ringmill_core::time::Duration;
use ringmill_core::wire::tcp::Flags;
use std::net::SocketAddr;

fn set(peer: &mut Peer, option: SocketOption) -> Result<(), OptionError> {
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.set_option(id, option))
}

/// What is accepted has the options that its listener had when the SYN came; a
/// listener's change is for later ones, a connection's for itself.
#[test]
fn options_are_inherited_and_then_each_has_its_own() {
    let mut peer = Peer::new();
    let listener = peer.sockets(|_, sockets| {
        let options = SocketOptions {
            nodelay: true,
            ..SocketOptions::default()
        };
        sockets.listen(None, PORT, 2, options).unwrap()
    });
    let nodelay = |peer: &mut Peer| {
        let id = peer.id();
        peer.sockets(|_, sockets| sockets.options(id).unwrap().nodelay)
    };
    let mut peer = peer.handshake();
    let first = peer.id();
    assert!(nodelay(&mut peer));
    let off = SocketOption::NoDelay(false);
    peer.sockets(|_, sockets| sockets.set_listener_option(listener, off).unwrap());
    assert!(nodelay(&mut peer), "the first keeps what it has");
    peer.port += 1;
    let mut peer = peer.handshake();
    assert!(!nodelay(&mut peer), "the second has the new value");
    assert_eq!(peer.shard.gauges().option_sets, 2);
    peer.sockets(|_, sockets| {
        sockets.set_option(first, off).unwrap();
        assert!(!sockets.options(first).unwrap().nodelay);
        assert!(!sockets.listener_options(listener).unwrap().nodelay);
    });
    assert_eq!(peer.shard.gauges().option_sets, 1, "equal sets are one");
    peer.sockets(|_, sockets| {
        sockets.close_all_listeners();
        sockets.abort_all();
    });
    peer.takes_all();
    peer.ends_clean();
}

/// RFC 9293 section 3.7.4 (MUST-17): small data waits for an acknowledgment until
/// TCP_NODELAY is set.
#[test]
fn nodelay_lets_what_waits_leave_at_once() {
    let mut peer = Peer::established();
    peer.engine_sends(b"first");
    peer.expects(seg("A").seq(1).ack(1).data(b"first"));
    peer.engine_sends(b"second");
    peer.expects_nothing();
    set(&mut peer, SocketOption::NoDelay(true)).unwrap();
    peer.expects(seg("A").seq(6).ack(1).data(b"second"));
}

/// TCP_MAXSEG: what the SYN offers and what is sent, and EINVAL.
#[test]
fn maxseg_bounds_segments_in_both_directions() {
    let options = SocketOptions::default()
        .with(SocketOption::MaxSegment(600))
        .unwrap();
    let mut peer = Peer::new().listening_with(options);
    peer.sends(seg("S").mss(1_460));
    peer.expects(seg("SA").ack(1).mss(600));
    peer.sends(seg("A").seq(1).ack(1));
    peer.engine_sends(&[b'x'; 1_000]);
    peer.expects(seg("A").seq(1).ack(1).len(600));
    peer.sends(seg("A").seq(1).ack(601));
    peer.expects(seg("A").seq(601).ack(1).len(400));
    set(&mut peer, SocketOption::MaxSegment(200)).unwrap();
    peer.sends(seg("A").seq(1).ack(1_001));
    peer.engine_sends(&[b'x'; 300]);
    peer.expects(seg("A").seq(1_001).ack(1).len(200));
    for mss in [0, 87, 32_768] {
        assert_eq!(
            set(&mut peer, SocketOption::MaxSegment(mss)),
            Err(OptionError::Invalid)
        );
    }
}

/// SO_RCVBUF is the window that is offered, and SO_SNDBUF what may be queued.
#[test]
fn buffers_are_a_connections_own() {
    let options = SocketOptions {
        receive_buffer: Some(4_000),
        send_buffer: Some(3_000),
        ..SocketOptions::default()
    };
    let mut peer = Peer::new().listening_with(options);
    peer.sends(seg("S").mss(1_460));
    peer.expects(seg("SA").ack(1).win(4_000));
    peer.sends(seg("A").seq(1).ack(1).win(0));
    let id = peer.id();
    let fill = |peer: &mut Peer| peer.sockets(|_, sockets| sockets.send(id, &[b'x'; 9_000]));
    assert_eq!(fill(&mut peer), Ok(3_000));
    assert_eq!(fill(&mut peer), Err(SocketError::WouldBlock));
    set(&mut peer, SocketOption::SendBuffer(5_000)).unwrap();
    assert_eq!(fill(&mut peer), Ok(2_000));
    // A larger buffer is offered with the next segment.
    set(&mut peer, SocketOption::ReceiveBuffer(20_000)).unwrap();
    peer.sends(seg("PA").seq(1).ack(1).win(0).len(1_000));
    peer.wait_ms(50);
    peer.expects(seg("A").seq(1).ack(1_001).win(19_000));
    // Less than there can be is the least.
    set(&mut peer, SocketOption::SendBuffer(0)).unwrap();
    let options = peer.sockets(|_, sockets| sockets.options(id));
    assert_eq!(options.unwrap().send_buffer, Some(2_048));
}

/// ENOBUFS where the table of sets is full, and nothing is changed by the refusal.
#[test]
fn with_no_room_for_a_set_an_option_a_listen_and_a_connect_are_refused() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.max_option_sets = 1;
    })
    .listening()
    .handshake();
    assert_eq!(
        set(&mut peer, SocketOption::NoDelay(true)),
        Err(OptionError::NoBuffers)
    );
    let options = SocketOptions {
        nodelay: true,
        ..SocketOptions::default()
    };
    peer.sockets(|_, sockets| {
        let to = SocketAddr::new(PEER, PORT);
        assert_eq!(
            sockets.listen(None, 81, 1, options),
            Err(ListenError::NoBuffers)
        );
        assert_eq!(
            sockets.connect(to, 0, options),
            Err(ConnectError::NoBuffers)
        );
        assert!(sockets.connect(to, 0, SocketOptions::default()).is_ok());
    });
    assert_eq!(peer.shard.gauges().ports, 1, "a refused one keeps no port");
}

/// Each profile's SYN: window and window scale, which has room for what the receive
/// buffer may grow to.
#[test]
fn a_profile_shows_in_the_syn() {
    for (profile, window, scale) in [
        (Profile::Ringmill, 65_535, 8),
        (Profile::Linux, 65_535, 8),
        (Profile::FreeBsd, 65_535, 6),
    ] {
        let mut peer = Peer::with(|config| {
            config.tcp = ringmill_core::tcp::TcpConfig {
                max_connections: 4,
                max_half_open: 4,
                max_time_wait: 4,
                ..profile.config()
            };
        })
        .connecting();
        peer.expects(seg("S").win(window).mss(1_460).scale(scale).ts(0, 0));
    }
}

/// Each profile's answer to four full segments of one batch: one for all of them, one
/// for each while a connection is young, one for every second.
#[test]
fn a_profile_shows_in_its_acknowledgments() {
    for (profile, acks) in [
        (Profile::Ringmill, 1),
        (Profile::Linux, 4),
        (Profile::FreeBsd, 2),
    ] {
        let mut peer = Peer::with(|config| {
            config.tcp = ringmill_core::tcp::TcpConfig {
                max_connections: 4,
                max_half_open: 4,
                max_time_wait: 4,
                timestamps: false,
                ..profile.config()
            };
        })
        .listening()
        .handshake();
        for n in 0..4 {
            peer.sends_without_pause(seg("A").seq(1 + n * 1_460).ack(1).len(1_460));
        }
        peer.sends(seg("A").seq(5_841).ack(1));
        let sent = peer.takes_all();
        assert_eq!(sent.len(), acks, "{profile}");
        assert_eq!(Peer::relative(sent[acks - 1].0.ack), 5_841);
    }
}

fn with(options: &[SocketOption]) -> SocketOptions {
    let set = |set: SocketOptions, &option| set.with(option).unwrap();
    options.iter().fold(SocketOptions::default(), set)
}

fn established_with(options: &[SocketOption]) -> Peer {
    Peer::new().listening_with(with(options)).handshake()
}

const SECOND: Duration = Duration::from_secs(1);

/// RFC 9293 section 3.8.4 (MUST-24, MUST-25, MUST-26, MUST-27, MUST-28, MUST-29,
/// SHLD-12, MAY-5): off unless set, and 2 h of silence unless told otherwise; empty
/// probes at SND.NXT - 1 of an idle connection; an answer starts the time anew, and
/// only so many without one end it.
#[test]
fn keep_alive_asks_a_silent_peer_and_believes_several_silences() {
    let mut silent = Peer::established();
    silent.wait(Duration::from_secs(10 * 60 * 60));
    silent.expects_nothing();
    let mut peer = established_with(&[
        SocketOption::KeepAlive(true),
        SocketOption::KeepIdle(100 * SECOND),
        SocketOption::KeepInterval(10 * SECOND),
        SocketOption::KeepCount(3),
    ]);
    peer.wait(99 * SECOND);
    peer.expects_nothing();
    peer.wait(2 * SECOND);
    peer.expects(seg("A").seq(0).ack(1));
    peer.sends(seg("A").seq(1).ack(1));
    peer.wait(98 * SECOND);
    peer.expects_nothing();
    peer.wait(3 * SECOND);
    peer.expects(seg("A").seq(0).ack(1));
    peer.wait(25 * SECOND);
    peer.expects(seg("A").seq(0).ack(1));
    peer.expects(seg("A").seq(0).ack(1));
    assert_eq!(peer.state(), Some(State::Established));
    peer.wait(10 * SECOND);
    peer.expects(seg("RA").seq(1).ack(1));
    assert_eq!(
        peer.told(),
        [Told::Accepted, Told::Closed(Closed::TimedOut)]
    );
    assert_eq!(SocketOptions::default().keep_idle, 7_200 * SECOND);
    peer.ends_clean();
}

/// RFC 5482; RFC 9293 section 3.8.3 (MUST-21): a time instead of a count, for what
/// is not acknowledged and for what a closed window holds back.
#[test]
fn a_user_timeout_ends_a_connection_whose_data_is_stuck() {
    for window in [65_535, 0] {
        let mut peer = established_with(&[SocketOption::UserTimeout(30 * SECOND)]);
        peer.wait(100 * SECOND);
        peer.sends(seg("A").seq(1).ack(1).win(window));
        peer.engine_sends(b"data");
        peer.wait(29 * SECOND);
        assert_eq!(peer.state(), Some(State::Established), "{window}");
        peer.sends(seg("A").seq(1).ack(1).win(window));
        peer.wait(2 * SECOND);
        let ended = Told::Closed(Closed::TimedOut);
        assert_eq!(peer.told(), [Told::Accepted, ended], "{window}");
        peer.takes_all();
        peer.ends_clean();
    }
    // What goes on being acknowledged is not stuck, however long it takes.
    let mut peer = established_with(&[SocketOption::UserTimeout(30 * SECOND)]);
    for sent in 0..5 {
        peer.engine_sends(b"x");
        peer.wait(20 * SECOND);
        peer.sends(seg("A").seq(1).ack(2 + sent));
    }
    assert_eq!(peer.state(), Some(State::Established));
}

/// RFC 9293 section 3.9.1.1: the timeout is for all data submitted, and so for what a device
/// that gives no frame back keeps from leaving.
#[test]
fn a_user_timeout_runs_while_no_frame_is_free() {
    let mut peer = established_with(&[SocketOption::UserTimeout(30 * SECOND)]);
    let id = peer.id();
    let send = |peer: &mut Peer| {
        let now = peer.now;
        let sent = peer
            .shard
            .with_app(now, |_, sockets| sockets.send(id, b"x"));
        assert_eq!(sent, Ok(1));
        peer.shard.step(now);
    };
    let mut kept = Vec::new();
    for acked in 2.. {
        send(&mut peer);
        let Some(frame) = peer.shard.driver_mut().take_sent() else {
            break;
        };
        kept.push(frame);
        peer.sends_without_pause(seg("A").seq(1).ack(acked));
        peer.shard.step(peer.now);
    }
    peer.now += 29 * SECOND;
    peer.shard.step(peer.now);
    assert_eq!(peer.told(), [Told::Accepted]);
    peer.now += 2 * SECOND;
    peer.shard.step(peer.now);
    let ended = Told::Closed(Closed::TimedOut);
    assert_eq!(peer.told(), [Told::Accepted, ended]);
    for frame in kept {
        peer.shard.driver_mut().complete(frame);
    }
    peer.ends_clean();
}

/// RFC 9293 section 3.8.3 (SHLD-9, SHLD-10): between R1 and R2 there is word of it.
#[test]
fn three_retransmissions_without_an_answer_are_told() {
    let mut peer = Peer::established();
    peer.engine_sends(b"data");
    let error = |peer: &mut Peer| {
        let id = peer.id();
        peer.sockets(|_, sockets| sockets.take_soft_error(id))
    };
    peer.wait_ms(500);
    assert_eq!(error(&mut peer), None);
    peer.wait(10 * SECOND);
    assert_eq!(error(&mut peer), Some(SoftError::NoAnswer));
}

/// SO_LINGER: zero is a RST; a time is one in which it is delivered or reset, and
/// the application is told which.
#[test]
fn a_lingering_close_tells_whether_all_was_delivered() {
    let mut peer = established_with(&[SocketOption::Linger(Some(Duration::ZERO))]);
    peer.engine_closes();
    peer.expects(seg("RA").seq(1).ack(1));
    peer.ends_clean();

    let lingers = || {
        let mut peer = established_with(&[SocketOption::Linger(Some(5 * SECOND))]);
        peer.engine_sends(b"last");
        peer.engine_closes();
        peer.takes_all();
        assert_eq!(peer.told(), [Told::Accepted]);
        peer
    };
    let mut peer = lingers();
    peer.sends(seg("A").seq(1).ack(6));
    assert_eq!(
        peer.told(),
        [Told::Accepted, Told::Closed(Closed::Normally)]
    );
    let mut peer = lingers();
    peer.wait(6 * SECOND);
    assert_eq!(peer.told(), [Told::Accepted, Told::Closed(Closed::Aborted)]);
    let last = peer.takes_all().pop().unwrap().0;
    assert!(last.flags.contains(Flags::RST));
    peer.ends_clean();
}

/// TCP_LINGER2 is how long an orphan waits for the peer's FIN.
#[test]
fn linger2_bounds_fin_wait_2() {
    let mut peer = established_with(&[SocketOption::Linger2(3 * SECOND)]);
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("A").seq(1).ack(2));
    assert_eq!(peer.shard.gauges().of(State::FinWait2), 1);
    peer.wait(4 * SECOND);
    peer.ends_clean();
}

/// TCP_CORK holds back what is no full segment, for a while.
#[test]
fn a_cork_holds_small_segments_back() {
    let mut peer = established_with(&[SocketOption::Cork(true)]);
    peer.engine_sends(b"head");
    peer.expects_nothing();
    peer.engine_sends(&[b'x'; 1_456]);
    assert_eq!(peer.takes_all()[0].1.len(), 1_460);
    peer.sends(seg("A").seq(1).ack(1_461));
    peer.engine_sends(b"tail");
    peer.expects_nothing();
    set(&mut peer, SocketOption::Cork(false)).unwrap();
    peer.expects(seg("A").seq(1_461).ack(1).data(b"tail"));
    peer.sends(seg("A").seq(1).ack(1_465));
    set(&mut peer, SocketOption::Cork(true)).unwrap();
    peer.engine_sends(b"late");
    peer.expects_nothing();
    peer.wait(SECOND);
    assert_eq!(peer.takes_all()[0].1, b"late", "no cork is for ever");
}

/// TCP_QUICKACK: no acknowledgment waits.
#[test]
fn quickack_acknowledges_at_once() {
    let mut peer = Peer::established();
    peer.sends(seg("PA").seq(1).ack(1).data(b"a"));
    peer.expects_nothing();
    set(&mut peer, SocketOption::QuickAck(true)).unwrap();
    peer.sends(seg("PA").seq(2).ack(1).data(b"b"));
    peer.expects(seg("A").seq(1).ack(3));
}

/// TCP_NOTSENT_LOWAT: while so much waits to be sent no more is taken.
#[test]
fn notsent_lowat_bounds_what_waits() {
    let mut peer = established_with(&[SocketOption::NotSentLowat(1_000)]);
    peer.sends(seg("A").seq(1).ack(1).win(0));
    let id = peer.id();
    let send = |peer: &mut Peer| peer.sockets(|_, sockets| sockets.send(id, &[b'x'; 5_000]));
    assert_eq!(send(&mut peer), Ok(1_000));
    assert_eq!(send(&mut peer), Err(SocketError::WouldBlock));
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    peer.takes_all();
    assert_eq!(send(&mut peer), Ok(1_000), "what was sent waits no more");
}

/// TCP_SYNCNT.
#[test]
fn syncnt_bounds_the_syns() {
    let options = with(&[SocketOption::SynCount(2)]);
    let mut peer = Peer::new().connecting_with(options);
    peer.wait(100 * SECOND);
    assert_eq!(peer.takes_all().len(), 3);
    assert_eq!(peer.told(), [Told::Closed(Closed::TimedOut)]);
    peer.ends_clean();
}

/// SHUT_RD: what came before can be read, what comes later is thrown away.
#[test]
fn a_closed_receiving_side_takes_and_forgets() {
    let mut peer = Peer::established();
    let id = peer.id();
    peer.sends(seg("PA").seq(1).ack(1).data(b"before"));
    peer.sockets(|_, sockets| sockets.shutdown_receive(id).unwrap());
    assert_eq!(peer.engine_reads(), b"before");
    peer.sends(seg("PA").seq(7).ack(1).data(b"after"));
    peer.wait_ms(100);
    peer.expects(seg("A").seq(1).ack(12));
    assert_eq!(
        peer.sockets(|_, sockets| sockets.receive(id).map(<[u8]>::len)),
        Ok(0)
    );
    peer.engine_sends(b"still");
    peer.expects(seg("A").seq(1).ack(12).data(b"still"));
}

/// bind and connect: EADDRINUSE, EADDRNOTAVAIL, a port outside of the range, and a
/// flow that exists.
#[test]
fn a_connect_may_choose_where_it_comes_from() {
    let mut peer = Peer::new().listening();
    let from = |port| SocketAddr::new(ENGINE, port);
    let to = SocketAddr::new(PEER, PORT);
    peer.sockets(|_, sockets| {
        let mut connect = |local| sockets.connect_from(local, to, 0, SocketOptions::default());
        assert!(connect(from(700)).is_ok() && connect(from(7_000)).is_ok());
        for port in [700, 7_000] {
            let taken = Err(ConnectError::AddressNotAvailable);
            assert_eq!(connect(from(port)), taken);
        }
        assert_eq!(connect(from(PORT)), Err(ConnectError::AddressInUse));
        let foreign = SocketAddr::new(PEER, 0);
        assert_eq!(connect(foreign), Err(ConnectError::AddressNotAvailable));
        assert!(connect(from(0)).is_ok());
    });
    peer.wait_ms(10);
    let ports: Vec<u16> = peer
        .takes_all()
        .iter()
        .map(|(h, _)| h.source_port)
        .collect();
    assert_eq!(ports[..2], [700, 7_000]);
}

/// SO_REUSEADDR: connections of an earlier listener, and their TIME-WAIT, keep a
/// port from being listened on without it.
#[test]
fn a_port_with_connections_is_listened_on_again_only_on_request() {
    let mut peer = Peer::established();
    let listen = |peer: &mut Peer, options| {
        peer.sockets(|_, sockets| sockets.listen(None, PORT, 1, options).is_ok())
    };
    peer.sockets(|_, sockets| sockets.close_all_listeners());
    assert!(!listen(&mut peer, SocketOptions::default()));
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("FA").seq(1).ack(2));
    peer.takes_all();
    assert_eq!(peer.shard.gauges().of(State::TimeWait), 1);
    assert!(!listen(&mut peer, SocketOptions::default()));
    assert!(listen(&mut peer, with(&[SocketOption::ReuseAddress(true)])));
}

/// IP_TOS and IP_TTL (MUST-48, MUST-49): what is set goes into every later packet
/// as it is (SHLD-22), and may change while the connection is open (SHLD-21). The
/// two bits of ECN are not the application's.
#[test]
fn the_type_of_service_and_the_time_to_live_are_the_applications() {
    let mut peer = Peer::established();
    peer.engine_sends(b"a");
    assert_eq!(peer.services.last(), Some(&(0, 64)));
    set(&mut peer, SocketOption::Tos(0xb8 | 3)).unwrap();
    set(&mut peer, SocketOption::Ttl(3)).unwrap();
    peer.sends(seg("A").seq(1).ack(2));
    peer.engine_sends(b"b");
    assert_eq!(peer.services.last(), Some(&(0xb8, 3)));
    set(&mut peer, SocketOption::Tos(0x20)).unwrap();
    peer.sends(seg("A").seq(1).ack(3));
    peer.engine_sends(b"c");
    assert_eq!(peer.services.last(), Some(&(0x20, 3)));
    assert_eq!(
        set(&mut peer, SocketOption::Ttl(0)),
        Err(OptionError::Invalid)
    );
    peer.takes_all();
}
