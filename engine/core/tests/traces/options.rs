//! Socket options: each in the trace that tells whether it is set.

use crate::peer::{PEER, PORT, Peer, seg};
use ringmill_core::sockets::{
    ConnectError, ListenError, OptionError, SocketError, SocketOption, SocketOptions,
};
use ringmill_core::tcp::Profile;
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

/// Each profile's SYN: window and window scale.
#[test]
fn a_profile_shows_in_the_syn() {
    for (profile, window, scale) in [
        (Profile::Ringmill, 65_535, 3),
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
