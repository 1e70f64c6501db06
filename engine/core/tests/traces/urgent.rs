//! Urgent data (RFC 9293 section 3.8.5): in line, with its notification.

use crate::hostile::forged;
use crate::peer::{Peer, Seg, Told, seg};
use ringmill_core::tcp::State;

/// The segment with an urgent pointer.
fn urgent(peer: &mut Peer, segment: &Seg, pointer: u16) {
    let frame = forged(peer, segment, |bytes| {
        bytes[18..20].copy_from_slice(&pointer.to_be_bytes());
    });
    peer.arrives(&frame);
    peer.wait_ms(0);
}

fn remaining(peer: &mut Peer) -> u32 {
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.urgent_remaining(id))
}

fn times_told(peer: &Peer) -> usize {
    peer.told()
        .iter()
        .filter(|told| **told == Told::Urgent)
        .count()
}

/// MUST-30: it is supported. MUST-32: every advance of the mark is told, and no
/// repetition. MUST-33: how much remains can be asked for, from before it has come.
#[test]
fn an_advance_of_the_mark_is_told_and_the_rest_is_known() {
    let mut peer = Peer::established();
    urgent(&mut peer, &seg("UPA").seq(1).ack(1).data(b"hello"), 10);
    assert_eq!((times_told(&peer), remaining(&mut peer)), (1, 10));
    urgent(&mut peer, &seg("UPA").seq(6).ack(1).data(b"world"), 5);
    assert_eq!(times_told(&peer), 1, "the same mark");
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.consume(id, 4));
    assert_eq!(remaining(&mut peer), 6);
    urgent(&mut peer, &seg("UA").seq(11).ack(1), 3);
    assert_eq!((times_told(&peer), remaining(&mut peer)), (2, 9));
    assert_eq!(peer.engine_reads(), b"oworld");
    assert_eq!(remaining(&mut peer), 3);
    peer.sends(seg("PA").seq(11).ack(1).data(b"!!!?"));
    assert_eq!(peer.engine_reads(), b"!!!?");
    assert_eq!(remaining(&mut peer), 0);
}

/// MUST-31: urgent data of any length, more than a pointer can span.
#[test]
fn a_mark_moves_on_as_far_as_it_must() {
    let mut peer = Peer::established();
    let mut at = 1;
    for _ in 0..100 {
        urgent(&mut peer, &seg("UA").seq(at).ack(1).len(1_000), 0xffff);
        assert_eq!(remaining(&mut peer), 65_535);
        assert_eq!(peer.engine_reads().len(), 1_000);
        at += 1_000;
    }
    assert_eq!(remaining(&mut peer), 64_535);
    assert_eq!(times_told(&peer), 100);
}

/// MUST-62: what is sent points to the byte after the urgent ones, on every segment
/// before it and on none after it.
#[test]
fn urgent_data_is_marked_up_to_its_end() {
    let mut peer = Peer::established();
    let id = peer.id();
    peer.sockets(|_, sockets| {
        sockets.send(id, &[b'x'; 2_000]).unwrap();
        sockets.send_urgent(id, b"stop").unwrap();
        sockets.send(id, &[b'y'; 2_000]).unwrap();
    });
    let first = peer.expects(seg("UA").seq(1).ack(1).len(1_460));
    assert_eq!(first.urgent, 2_004);
    let rest = peer.takes_all();
    let [(second, _), (third, data)] = &rest[..] else {
        panic!("{rest:?}")
    };
    assert_eq!(second.urgent, 2_004 - 1_460);
    assert_eq!(
        (third.urgent, format!("{:?}", third.flags)),
        (0, "PA".into())
    );
    assert_eq!(data.len(), 1_084);
    peer.sends(seg("A").seq(1).ack(4_005));
    peer.engine_sends(b"z");
    let plain = peer.expects(seg("A").seq(4_005).ack(1).data(b"z"));
    assert_eq!(plain.urgent, 0);
}

/// MUST-66: a closed window holds up neither the mark that comes nor the one that
/// leaves.
#[test]
fn a_mark_passes_a_closed_window() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.receive_buffer = 2_920;
    })
    .listening()
    .handshake();
    for seq in [1, 1_461] {
        peer.sends(seg("A").seq(seq).ack(1).len(1_460));
    }
    assert_eq!(peer.takes_all().pop().unwrap().0.window, 0);
    urgent(&mut peer, &seg("UA").seq(2_921).ack(1).data(b"!"), 1);
    assert_eq!((times_told(&peer), remaining(&mut peer)), (1, 2_921));
    peer.takes_all();
    peer.sends(seg("A").seq(2_921).ack(1).win(0));
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.send_urgent(id, b"stop").unwrap());
    let mark = peer.expects(seg("UA").seq(1).ack(2_921));
    assert_eq!(mark.urgent, 4);
    assert_eq!(peer.state(), Some(State::Established));
}
