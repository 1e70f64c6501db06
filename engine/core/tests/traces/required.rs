//! Requirements of RFC 9293 that no other trace is about.

use crate::peer::{ENGINE, PORT, Peer, Seg, Told, seg};
use ringmill_core::rng::Rng;
use ringmill_core::sockets::{Closed, SocketError, SocketOptions};
use ringmill_core::tcp::State;
use ringmill_core::time::Duration;
use ringmill_core::wire::tcp::Options;

/// Acknowledges what is in flight, round after round: the most that ever was.
fn most_in_flight(peer: &mut Peer, window: u16, rounds: usize) -> u32 {
    let (mut acked, mut most) = (1, 0);
    for _ in 0..rounds {
        peer.wait_ms(1);
        let sent: usize = peer.takes_all().iter().map(|(_, data)| data.len()).sum();
        let sent = u32::try_from(sent).unwrap();
        most = most.max(sent);
        acked += sent;
        peer.sends(seg("A").seq(1).ack(acked).win(window));
    }
    most
}

/// MUST-1: a window of 40,000 is not a negative one. REC-1: one of 32 bits, by its
/// scale, is used to its edge.
#[test]
fn a_window_is_an_unsigned_number_of_up_to_32_bits() {
    let mut peer = Peer::established();
    peer.sends(seg("A").seq(1).ack(1).win(40_000));
    let id = peer.id();
    let send = |peer: &mut Peer| {
        while peer.sockets(|_, s| s.send(id, &[b'x'; 60_000])).is_ok() {}
    };
    send(&mut peer);
    let most = most_in_flight(&mut peer, 40_000, 6);
    assert!((32_768..=40_000).contains(&most), "{most}");

    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.receive_buffer = 1 << 20;
        config.tcp.send_buffer = 1 << 20;
    })
    .listening();
    peer.sends(seg("S").win(65_535).mss(1_460).scale(2));
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("A").seq(1).ack(1).win(25_000));
    send(&mut peer);
    let most = most_in_flight(&mut peer, 25_000, 7);
    assert!((65_536..=100_000).contains(&most), "{most}");
}

/// MUST-11: a RST to a passive SYN-RECEIVED leaves the listener as it was; to an
/// active one it is a refused connect.
#[test]
fn syn_received_knows_who_opened() {
    let mut peer = Peer::new().listening();
    peer.sends(seg("S"));
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("R").seq(1));
    assert!(peer.told().is_empty());
    assert_eq!(peer.shard.gauges().of(State::SynReceived), 0);
    let mut peer = peer.handshake();
    assert_eq!(peer.told(), [Told::Accepted]);
    peer.expects_nothing();

    let mut peer = Peer::new().connecting();
    peer.expects(seg("S"));
    peer.sends(seg("S"));
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("R").seq(1));
    assert_eq!(peer.told(), [Told::Closed(Closed::Refused)]);
    peer.ends_clean();
}

/// MUST-12: a normal close is the end of the stream, an abort is told as one.
#[test]
fn a_normal_close_is_told_from_an_abort() {
    let mut peer = Peer::established();
    let id = peer.id();
    peer.sends(seg("FA").seq(1).ack(1));
    let end = peer.sockets(|_, sockets| sockets.receive(id).map(<[u8]>::len));
    assert_eq!((end, peer.told()), (Ok(0), &[Told::Accepted][..]));
    peer.sends(seg("R").seq(2));
    let end = peer.sockets(|_, sockets| sockets.receive(id).map(<[u8]>::len));
    assert_eq!(end, Err(SocketError::BadDescriptor));
    assert_eq!(peer.told().last(), Some(&Told::Closed(Closed::Reset)));
}

/// MUST-14, SHLD-5, MAY-3: every SYN offers an MSS, of what our MTU holds (MUST-67,
/// SHLD-6: there is one interface). MUST-65: no other segment has the option.
#[test]
fn an_mss_is_on_every_syn_and_nowhere_else() {
    let mut peer = Peer::new().connecting();
    let syn = peer.expects(seg("S"));
    assert_eq!(syn.options.mss, Some(1_460), "MMS_R - 20");
    peer.sends(seg("SA").ack(1).mss(1_460));
    let ack = peer.expects(seg("A").seq(1).ack(1));
    peer.engine_sends(b"data");
    let data = peer.expects(seg("A").seq(1).ack(1).data(b"data"));
    let mut peer = Peer::new().listening();
    peer.sends(seg("S"));
    let syn_ack = peer.expects(seg("SA").ack(1));
    assert_eq!(syn_ack.options.mss, Some(1_460));
    for segment in [ack, data] {
        assert_eq!(segment.options, Options::default());
    }
}

/// MUST-41: listening disturbs no connection. MUST-42: a port can be listened on
/// while a connect from it is under way. MUST-43: on one local address, or on all.
#[test]
fn a_passive_open_stands_beside_other_connections() {
    let mut peer = Peer::new().connecting();
    let syn = peer.expects(seg("S"));
    let options = SocketOptions::default;
    peer.sockets(|_, sockets| {
        sockets
            .listen(Some(ENGINE), syn.source_port, 2, options())
            .unwrap();
        sockets.listen(None, PORT, 2, options()).unwrap();
    });
    peer.sends(seg("SA").ack(1));
    peer.expects(seg("A").seq(1).ack(1));
    assert_eq!(peer.state(), Some(State::Established));
    peer.sends(seg("PA").seq(1).ack(1).data(b"still here"));
    assert_eq!(peer.engine_reads(), b"still here");
    // Another connection to the same local port, from the listener.
    peer.port = 9_999;
    peer.sends(seg("S"));
    let came = peer.takes_all();
    assert!(
        came.iter()
            .any(|(header, _)| header.destination_port == 9_999)
    );
    assert_eq!(peer.shard.gauges().of(State::SynReceived), 1);
    assert_eq!(peer.shard.gauges().of(State::Established), 1);
}

/// MUST-44: without a local address one is chosen before the SYN leaves. MUST-45:
/// every later segment has it too; the peer refuses what comes from another.
#[test]
fn a_connect_chooses_its_address_and_keeps_it() {
    let mut peer = Peer::new().connecting();
    peer.expects(seg("S"));
    peer.wait_ms(1_001);
    peer.expects(seg("S"));
    peer.sends(seg("SA").ack(1));
    peer.expects(seg("A").seq(1).ack(1));
    peer.engine_sends(b"x");
    peer.expects(seg("A").seq(1).ack(1).data(b"x"));
}

/// MUST-60, MAY-16: what waits is gathered, not kept for
/// ever. MUST-61, SHLD-27: PSH is on the last of it alone. SHLD-28: in segments of
/// the full size.
#[test]
fn sends_are_gathered_into_full_segments_and_the_last_is_pushed() {
    let mut peer = Peer::established();
    let id = peer.id();
    peer.sockets(|_, sockets| {
        for _ in 0..30 {
            assert_eq!(sockets.send(id, &[b'x'; 100]), Ok(100));
        }
    });
    for seq in [1, 1_461] {
        let header = peer.expects(seg("A").seq(seq).ack(1).len(1_460));
        assert_eq!(format!("{:?}", header.flags), "A");
    }
    peer.sends(seg("A").seq(1).ack(2_921));
    let header = peer.expects(seg("A").seq(2_921).ack(1).len(80));
    assert_eq!(format!("{:?}", header.flags), "PA");
}

/// SHLD-13: urgent data is for those who must; nothing sends it by itself.
#[test]
fn what_is_not_sent_as_urgent_is_not_urgent() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 10_000]);
    assert!(
        peer.takes_all()
            .iter()
            .all(|(header, _)| header.urgent == 0)
    );
}

/// SHLD-2: a RST may carry data, which tells people why.
#[test]
fn a_reset_with_data_is_a_reset() {
    let mut peer = Peer::established();
    peer.sends(seg("R").seq(1).data(b"out of memory"));
    assert_eq!(peer.told().last(), Some(&Told::Closed(Closed::Reset)));
    peer.ends_clean();
}

/// SHLD-10: R1 is at least three retransmissions. SHLD-11: R2 is at least 100 s,
/// and for a SYN 3 minutes (MUST-22, MUST-23).
#[test]
fn a_silent_peer_is_not_given_up_soon() {
    let mut peer = Peer::established();
    peer.engine_sends(b"anybody?");
    peer.wait(Duration::from_secs(100));
    assert!(peer.takes_all().len() > 4);
    assert_eq!(peer.state(), Some(State::Established));
    let mut peer = Peer::new().connecting();
    peer.wait(Duration::from_secs(180));
    assert!(peer.takes_all().len() > 4);
    assert_eq!(peer.state(), Some(State::SynSent));
}

/// SHLD-14: whatever is received and read, the right edge of the window that the
/// peer was told never moves back, but for what the scale rounds (RFC 7323
/// section 2.4).
#[test]
fn the_offered_window_never_shrinks() {
    let mut rng = Rng::from_seed(14);
    let mut pick = |below: u64| u32::try_from(rng.below(below)).unwrap();
    for scale in [0, 7] {
        let mut peer = Peer::with(|config| {
            config.tcp.timestamps = false;
            config.tcp.receive_buffer = 30_000 << scale;
        })
        .listening();
        peer.sends(seg("S").mss(1_460).scale(7));
        let own = peer.expects(seg("SA").ack(1)).options.window_scale.unwrap();
        peer.sends(seg("A").seq(1).ack(1));
        let (mut at, mut edge) = (1, 0);
        for _ in 0..2_000 {
            if pick(3) > 0 {
                let len = 1 + pick(1_460);
                peer.sends(seg("A").seq(at).ack(1).len(len as usize));
                at += len;
            } else {
                let (id, count) = (peer.id(), pick(20_000) as usize);
                peer.sockets(|_, sockets| sockets.consume(id, count));
            }
            for (header, _) in peer.takes_all() {
                let ack = Peer::relative(header.ack);
                let told = ack + (u32::from(header.window) << own);
                assert!(told + (1 << own) > edge, "{told} after {edge}");
                edge = edge.max(told);
                at = ack;
            }
        }
        assert!(edge > 200_000);
    }
}

/// SHLD-15: a window that shrank gets no new data. SHLD-16: what lies within it is
/// sent again. SHLD-17: what lies past it ends nothing. Attack case 47.
#[test]
fn data_past_a_shrunk_window_is_waited_with() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 4_380]);
    assert_eq!(peer.takes_all().len(), 3);
    peer.sends(seg("A").seq(1).ack(1).win(2_000));
    peer.engine_sends(&[b'y'; 100]);
    peer.wait(Duration::from_secs(20));
    let iss = peer.iss.unwrap();
    let came = peer.takes_all();
    assert!(!came.is_empty());
    for (header, data) in came {
        assert!(header.seq.bytes_since(iss) < 2_001 && !data.contains(&b'y'));
    }
    peer.sends(seg("A").seq(1).ack(2_001).win(0));
    for _ in 0..40 {
        peer.wait(Duration::from_secs(30));
        peer.takes_all();
        peer.sends(seg("A").seq(1).ack(2_001).win(0));
    }
    assert_eq!(peer.state(), Some(State::Established));
}

/// MUST-66: with a window of zero a RST counts, and so does the ACK of a segment
/// at the edge.
#[test]
fn a_closed_window_lets_control_through() {
    let closed = || {
        let mut peer = Peer::with(|config| {
            config.tcp.timestamps = false;
            config.tcp.receive_buffer = 2_920;
        })
        .listening()
        .handshake();
        peer.engine_sends(b"x");
        for seq in [1, 1_461] {
            peer.sends(seg("A").seq(seq).ack(1).len(1_460));
        }
        let last = peer.takes_all().pop().unwrap().0;
        assert_eq!(last.window, 0);
        peer
    };
    let mut peer = closed();
    peer.sends(seg("PA").seq(2_921).ack(2).len(10));
    assert_eq!(peer.stats().tcp.bytes_acked, 1);
    let mut peer = closed();
    peer.sends(seg("R").seq(2_920));
    assert_eq!(peer.state(), Some(State::Established));
    peer.sends(seg("R").seq(2_921));
    assert_eq!(peer.told().last(), Some(&Told::Closed(Closed::Reset)));
}

/// MUST-5, MUST-6: options that nobody knows are passed over on any segment.
#[test]
fn unknown_options_on_data_are_passed_over() {
    let mut peer = Peer::established();
    let data: Seg = seg("PA").seq(1).ack(1).data(b"data");
    let odd = crate::hostile::with_options(&peer, &data, &[253, 6, 1, 2, 3, 4, 1, 1]);
    peer.arrives(&odd);
    peer.wait_ms(0);
    assert_eq!(peer.engine_reads(), b"data");
}
