//! Peers that want more than their share of the path: acknowledgments made up to have
//! the congestion window grow (Savage et al., 1999), windows and scales that can't be.

use crate::hostile::{all_arrives_in_the_end, arrives, with_options};
use crate::peer::{Peer, seg};
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::State;

const MSS: u32 = 1_460;

/// Ten segments of 1,460 bytes in flight, 480,000 bytes queued, and a window for all.
fn ten_in_flight() -> Peer {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.send_buffer = 1 << 20;
    })
    .listening();
    peer.sends(seg("S").win(65_535).mss(1_460).scale(7));
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    for _ in 0..8 {
        peer.engine_sends(&[b'x'; 60_000]);
    }
    assert_eq!((peer.takes_all().len(), cwnd(&mut peer)), (10, 10));
    peer
}

/// The congestion window in segments.
fn cwnd(peer: &mut Peer) -> u32 {
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.info(id)).unwrap().cwnd
}

/// Attack case 46: an ACK of what was not sent yet is none (RFC 5961 section 5.2). It
/// moves neither SND.UNA nor the window, and few of many are answered.
#[test]
fn an_optimistic_acknowledgment_earns_nothing() {
    let mut peer = ten_in_flight();
    for n in 1..=1_000 {
        peer.sends(seg("A").seq(1).ack(10 * MSS + 1 + n));
    }
    let answers = peer.takes_all();
    assert_eq!(answers.len(), 10);
    assert!(answers.iter().all(|(_, data)| data.is_empty()));
    assert_eq!(peer.drops(), [(DropReason::BadAck, 1_000)]);
    assert_eq!((cwnd(&mut peer), peer.stats().tcp.bytes_acked), (10, 0));
    // One of all that was sent is believed, and worth no more than L segments: 2 in RFC
    // 3465, 8 in RFC 9406 section 4.2.
    peer.sends(seg("A").seq(1).ack(10 * MSS + 1));
    assert_eq!(cwnd(&mut peer), 10 + 8);
    assert_eq!(peer.takes_all().len(), 18);
}

/// Attack case 46: an acknowledgment cut into single bytes is worth what it is whole
/// (RFC 3465: bytes are counted).
#[test]
fn a_split_acknowledgment_earns_what_a_whole_one_does() {
    let mut peer = ten_in_flight();
    for segment in 0..5 {
        for n in 1..=MSS {
            peer.sends(seg("A").seq(1).ack(1 + segment * MSS + n));
        }
        assert_eq!((cwnd(&mut peer), peer.takes_all().len()), (11 + segment, 2));
    }
}

/// Attack case 46: duplicates without end let out as many segments as were in flight when
/// they began, and the window is the half that a loss leaves (RFC 5681 section 3.2: the
/// inflation may be limited to what is outstanding). What they say again after a partial
/// acknowledgment is limited again.
#[test]
fn duplicate_acknowledgments_without_end_do_not_inflate_the_window() {
    let mut peer = ten_in_flight();
    for _ in 0..10_000 {
        peer.sends(seg("A").seq(1).ack(1));
    }
    let sent = peer.takes_all();
    assert!(sent.len() <= 11, "{}", sent.len());
    assert!(cwnd(&mut peer) <= 10);
    assert_eq!(peer.stats().tcp.fast_retransmits, 1);
    let out = peer.takes_all().len();
    assert_eq!(out, 0);
    peer.sends(seg("A").seq(1).ack(1 + MSS));
    peer.takes_all();
    for _ in 0..10_000 {
        peer.sends(seg("A").seq(1).ack(1 + MSS));
    }
    let again = peer.takes_all();
    assert!(again.len() <= 20, "{}", again.len());
    assert!(cwnd(&mut peer) <= 10);
    assert_eq!(peer.state(), Some(State::Established));
}

/// Attack cases 7 and 46: a peer that reports duplicates of what was sent once has no loss
/// taken back (RFC 3708 section 3).
#[test]
fn duplicates_of_what_was_sent_once_take_no_loss_back() {
    let mut peer = Peer::new().listening().handshake_sack();
    peer.engine_sends(&[b'x'; 60_000]);
    assert_eq!(peer.takes_all().len(), 10);
    peer.sends(seg("A").seq(1).ack(1 + 2 * MSS));
    peer.takes_all();
    let at = |n: u32| 1 + n * MSS;
    peer.sends(seg("A").seq(1).ack(at(2)).sack(&[(at(3), at(6))]));
    let sent = peer.takes_all();
    assert_eq!(sent[0].0.seq.bytes_since(peer.iss.unwrap()), at(2));
    assert_eq!(peer.stats().tcp.fast_retransmits, 1);
    let lowered = cwnd(&mut peer);
    for block in [(at(0), at(1)), (at(1), at(2)), (1, 2)] {
        peer.sends(seg("A").seq(1).ack(at(2)).sack(&[block, (at(3), at(6))]));
        peer.sends(seg("A").seq(1).ack(at(6)).sack(&[block]));
    }
    assert_eq!(peer.stats().tcp.spurious, 0);
    assert!(cwnd(&mut peer) <= lowered + 4);
    // The same of what was: it had only been late.
    peer.sends(seg("A").seq(1).ack(at(6)).sack(&[(at(2), at(3))]));
    assert_eq!(peer.stats().tcp.spurious, 1);
}

/// Attack case 47: the window closes over data in flight, and opens again.
#[test]
fn a_window_that_closes_over_data_in_flight_is_waited_for() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 7_300]);
    assert_eq!(peer.takes_all().len(), 5);
    peer.sends(seg("A").seq(1).ack(1_461).win(0));
    peer.engine_sends(&[b'y'; 7_300]);
    peer.wait_ms(10_000);
    // It asks by what was in flight, of which nothing is forgotten, and sends no more.
    let asked = peer.takes_all();
    assert!((1..20).contains(&asked.len()));
    assert!(asked.iter().all(|(_, data)| !data.contains(&b'y')));
    assert_eq!(peer.state(), Some(State::Established));
    peer.sends(seg("A").seq(1).ack(1_461).win(65_535));
    all_arrives_in_the_end(peer, 1_461, 14_601);
}

/// Attack case 47: a scale of 15 and of 255 is one of 14 (RFC 7323 section 2.3), from
/// whichever side it comes, and on any segment but a SYN it is nothing.
#[test]
fn window_scales_that_can_not_be_are_bounded() {
    for (shift, connects) in [(15, false), (255, false), (15, true), (255, true)] {
        let peer = Peer::with(|config| {
            config.tcp.timestamps = false;
            config.tcp.receive_buffer = 1 << 20;
        });
        let options = [2, 4, 5, 180, 3, 3, shift];
        let mut peer = if connects {
            let mut peer = peer.connecting();
            peer.expects(seg("S"));
            let syn_ack = with_options(&peer, &seg("SA").ack(1).win(100), &options);
            arrives(&mut peer, &syn_ack);
            peer.expects(seg("A").seq(1).ack(1));
            peer
        } else {
            let mut peer = peer.listening();
            let syn = with_options(&peer, &seg("S").win(100), &options);
            arrives(&mut peer, &syn);
            peer.expects(seg("SA").ack(1));
            peer
        };
        peer.sends(seg("A").seq(1).ack(1).win(1));
        let id = peer.id();
        let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
        assert_eq!((info.scales.0, info.snd_wnd), (14, 1 << 14));
        // 16,384 bytes: more than the congestion window lets out at first.
        peer.engine_sends(&[b'x'; 30_000]);
        assert_eq!(peer.takes_all().len(), 10);
        peer.sends(seg("A").seq(1).ack(14_601).win(1));
        let more: usize = peer.takes_all().iter().map(|(_, data)| data.len()).sum();
        assert!(more > 0 && more <= 16_384, "{more}");
        // The largest window of all: 65,535 times 2^14.
        peer.sends(seg("A").seq(1).ack(14_601).win(65_535));
        let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
        assert_eq!(info.snd_wnd, 65_535 << 14);
    }
    let mut peer = Peer::established();
    let late = with_options(&peer, &seg("A").seq(1).ack(1).win(2_000), &[3, 3, 14]);
    arrives(&mut peer, &late);
    peer.engine_sends(&[b'x'; 4_000]);
    peer.expects(seg("A").seq(1).ack(1).len(1_460));
    peer.expects_nothing();
    let id = peer.id();
    let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
    assert_eq!((info.scales, info.snd_wnd), ((0, 0), 2_000));
}
