//! What an application says of the end of what it sends, and what becomes of less than
//! a full segment (RFC 9293 sections 3.7.4 and 3.9.1.2).

use crate::peer::{Peer, seg};
use ringmill_core::sockets::{Ending, SocketOption, SocketOptions};
use ringmill_core::tcp::State;
use ringmill_core::wire::tcp::Flags;

fn sends(peer: &mut Peer, len: usize, ending: Ending) {
    let id = peer.id();
    peer.sockets(|_, sockets| {
        assert_eq!(sockets.send_ending(id, &vec![b'x'; len], ending), Ok(len));
    });
}

/// An engine with these options, established.
fn with(options: SocketOptions) -> Peer {
    Peer::new().listening_with(options).handshake()
}

fn nodelay() -> SocketOptions {
    SocketOptions {
        nodelay: true,
        ..SocketOptions::default()
    }
}

/// Everything that came, as sequence number, length and PSH.
fn takes(peer: &mut Peer) -> Vec<(u32, usize, bool)> {
    let iss = peer.iss.unwrap();
    let all = peer.takes_all().into_iter();
    all.map(|(header, data)| {
        let is_pushed = header.flags.contains(Flags::PSH);
        (header.seq.bytes_since(iss), data.len(), is_pushed)
    })
    .collect()
}

/// Appendix A.3: a small segment waits for a small one, and not for a full one, for
/// which the peer may delay its acknowledgment until there is a second.
#[test]
fn a_small_segment_follows_a_full_one_at_once() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 1_500]);
    assert_eq!(takes(&mut peer), [(1, 1_460, false), (1_461, 40, true)]);
    peer.engine_sends(b"and more");
    peer.expects_nothing();
    peer.sends(seg("A").seq(1).ack(1_461));
    peer.expects_nothing();
    peer.sends(seg("A").seq(1).ack(1_501));
    assert_eq!(takes(&mut peer), [(1_501, 8, true)]);
}

/// MAY-15: what is not pushed waits for what is, and carries no PSH of its own.
#[test]
fn what_is_not_pushed_waits_for_more() {
    let mut peer = with(nodelay());
    sends(&mut peer, 40, Ending::More);
    peer.expects_nothing();
    sends(&mut peer, 20, Ending::Push);
    assert_eq!(takes(&mut peer), [(1, 60, true)]);
    // What fills a segment needs no more.
    sends(&mut peer, 1_500, Ending::More);
    assert_eq!(takes(&mut peer), [(61, 1_460, false)]);
    peer.sends(seg("A").seq(1).ack(1_521));
    assert_eq!(takes(&mut peer), [(1_521, 40, false)], "an acknowledgment");
    peer.sends(seg("A").seq(1).ack(1_561));
    // MUST-60: nor is anything kept for ever.
    sends(&mut peer, 5, Ending::More);
    peer.wait_ms(190);
    peer.expects_nothing();
    peer.wait_ms(20);
    assert_eq!(takes(&mut peer), [(1_561, 5, true)]);
    // A FIN follows what was sent.
    peer.sends(seg("A").seq(1).ack(1_566));
    sends(&mut peer, 5, Ending::More);
    peer.engine_closes();
    peer.expects(seg("FPA").seq(1_566).ack(1).len(5));
}

/// No segment holds data of two records, sent again or not; one that others follow
/// does not wait for what is out.
#[test]
fn a_segment_ends_where_a_record_does() {
    let mut peer = Peer::established();
    sends(&mut peer, 1_400, Ending::Push);
    sends(&mut peer, 400, Ending::Record);
    sends(&mut peer, 400, Ending::Record);
    sends(&mut peer, 1_460, Ending::Push);
    let sent = [
        (1, 1_400, true),
        (1_401, 400, true),
        (1_801, 400, true),
        (2_201, 1_460, true),
    ];
    assert_eq!(takes(&mut peer), sent);
    peer.sends(seg("A").seq(1).ack(1_401));
    peer.wait_ms(210);
    assert_eq!(takes(&mut peer), sent[1..3], "as much as one full one");
    peer.sends(seg("A").seq(1).ack(2_201));
    assert_eq!(takes(&mut peer), sent[3..]);
}

/// A window that opens little by little, too, is filled by one record at a time.
#[test]
fn a_probe_ends_where_a_record_does() {
    let mut peer = Peer::established();
    peer.sends(seg("A").seq(1).ack(1).win(0));
    sends(&mut peer, 1, Ending::Record);
    sends(&mut peer, 500, Ending::Push);
    peer.sends(seg("A").seq(1).ack(1).win(300));
    peer.wait_ms(250);
    let first = takes(&mut peer)[0];
    assert_eq!((first.0, first.1), (1, 1));
}

/// Setting TCP_NODELAY sends what is queued, though the socket is corked.
#[test]
fn nodelay_takes_the_cork_off_what_is_queued() {
    let mut peer = with(SocketOptions {
        cork: true,
        ..SocketOptions::default()
    });
    let id = peer.id();
    sends(&mut peer, 40, Ending::Push);
    peer.expects_nothing();
    peer.sockets(|_, sockets| sockets.set_option(id, SocketOption::NoDelay(true)).unwrap());
    assert_eq!(takes(&mut peer), [(1, 40, true)]);
    peer.sends(seg("A").seq(1).ack(41));
    sends(&mut peer, 40, Ending::Push);
    peer.expects_nothing();
}

/// What one connection has out holds no other back: a cold part goes from one to
/// the next.
#[test]
fn a_small_segment_of_another_connection_holds_nothing_back() {
    let mut peer = Peer::new().listening();
    for port in 4_000..4_016 {
        (peer.port, peer.iss) = (port, None);
        peer.sends(seg("S").win(65_535).mss(1_460));
        peer.expects(seg("SA").ack(1));
        peer.sends(seg("A").seq(1).ack(1));
        // The gap is what a cold part is for, before anything is sent.
        peer.sends(seg("A").seq(2).ack(1).data(b"b"));
        peer.expects(seg("A").seq(1).ack(1));
        peer.engine_sends(b"x");
        peer.expects(seg("A").seq(1).ack(1).data(b"x"));
        peer.sends(seg("A").seq(1).ack(2).data(b"a"));
        peer.takes_all();
    }
}

/// What waited and left on a probe's timer is over with its acknowledgment: the timer
/// does not go on until it gives up a peer that has nothing to answer.
#[test]
fn a_connection_that_has_sent_what_waited_may_be_idle_for_ever() {
    let mut peer = with(nodelay());
    sends(&mut peer, 5, Ending::More);
    peer.wait_ms(210);
    assert_eq!(takes(&mut peer), [(1, 5, true)]);
    peer.sends(seg("A").seq(1).ack(6));
    peer.wait_ms(10_000_000);
    peer.expects_nothing();
    assert_eq!(peer.state(), Some(State::Established));
}

/// Data that leaves while a probe's timer runs has a retransmission timer, and is lost
/// as a whole when that expires.
#[test]
fn what_follows_a_segment_that_waited_is_repaired_as_any_flight() {
    let mut peer = with(nodelay());
    sends(&mut peer, 5, Ending::More);
    peer.expects_nothing();
    sends(&mut peer, 4 * 1_460, Ending::Push);
    assert_eq!(takes(&mut peer).len(), 5);
    peer.wait_ms(210);
    assert_eq!(takes(&mut peer), [(1, 1_460, false)]);
    peer.sends(seg("A").seq(1).ack(1_461));
    let again = [(1_461, 1_460, false), (2_921, 1_460, false)];
    assert_eq!(takes(&mut peer), again);
}
